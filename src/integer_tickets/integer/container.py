"""A safetensors file read with distrust: what it declares is held against the bytes it has before anything is made."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.numpy
from safetensors import SafetensorError

from integer_tickets.errors import UserError
from integer_tickets.integer.rounding import Array

MAX_HEADER = 10_000_000
MAX_FILE = 1 << 31
PIECE = 1 << 20
"""Bytes of a file that are read at once."""

ITEM_SIZES = {"U8": 1, "I16": 2, "I32": 4}
"""The types of number that occur, and their bytes."""


@dataclass(frozen=True)
class Container:
    """The one text among the metadata of a file, its tensors, and its size in bytes."""

    text: str
    tensors: dict[str, Array]
    size: int


def read(path: Path, key: str) -> Container:
    """Read a file whose metadata is one text under `key` and whose tensors are rows of integers.

    Raises UserError, one line naming the file, for every other file.
    """
    try:
        content = _content(path)
        length = int.from_bytes(content[:8], "little")
        if 8 + length > len(content):
            raise UserError("truncated safetensors file")
        header = parsed(content[8 : 8 + length].decode("utf-8"))
        metadata = header.pop("__metadata__", {})
        if key not in metadata:
            raise UserError(f"a safetensors file, but no integer network (no {key!r} in its metadata)")
        if list(metadata) != [key] or not isinstance(metadata[key], str):
            raise UserError(f"its metadata holds more than the text {key!r}")
        expected = 8 + length + max((_end(name, entry) for name, entry in header.items()), default=0)
        if len(content) != expected:
            state = "truncated" if len(content) < expected else "something was added to it"
            raise UserError(f"{state}, {len(content)} bytes of {expected}")
        return Container(metadata[key], safetensors.numpy.load(content), len(content))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except MemoryError:
        raise UserError(f"{path}: larger than the memory of this machine") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise UserError(f"{path}: damaged safetensors file ({error})") from None


def parsed(text: str) -> Any:
    """JSON in which no object names anything twice. ValueError or RecursionError where it is none."""
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} occurs twice")
        found[name] = value
    return found


def _content(path: Path) -> bytes:
    """The bytes of the file, if it begins as such a file does: what does not is not read to its end."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
            if len(start) < 9 or not 2 <= int.from_bytes(start[:8], "little") <= MAX_HEADER or start[8:] != b"{":
                raise UserError("not a safetensors file")
            pieces = [start]
            while len(pieces) * PIECE < MAX_FILE and (piece := file.read(PIECE)):
                pieces.append(piece)
    except FileNotFoundError:
        raise UserError("no such file") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from None
    if len(pieces) * PIECE >= MAX_FILE:
        raise UserError(f"larger than {MAX_FILE} bytes")
    return b"".join(pieces)


def _end(name: str, entry: Any) -> int:
    """Where the bytes of a tensor end, after its entry in the header was checked."""
    if entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise UserError(f"tensor {name!r} is not described by type, shape and place")
    kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in ITEM_SIZES:
        raise UserError(f"tensor {name!r} is of type {kind!r}, expected one of {', '.join(ITEM_SIZES)}")
    if len(shape) != 1 or any(type(number) is not int or number < 0 for number in (*shape, start, end)):
        raise UserError(f"tensor {name!r} is not a row of numbers with a place in the file")
    if end - start != shape[0] * ITEM_SIZES[kind]:
        raise UserError(f"tensor {name!r} has {end - start} bytes for {shape[0]} numbers of type {kind}")
    return int(end)
