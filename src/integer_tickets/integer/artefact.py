"""The file of an integer network: one safetensors file, described in docs/format.md. No pickle, no float, no clock."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from integer_tickets.errors import UserError
from integer_tickets.files import write_bytes
from integer_tickets.integer.bounds import prove
from integer_tickets.integer.container import MAX_HEADER, parsed, read
from integer_tickets.integer.huffman import CODED, original, shortened, stored_bytes
from integer_tickets.integer.layout import (
    architecture_of,
    attention_widths,
    describe_tokenizer,
    network_from,
    network_tensors,
    tokenizer_tensors,
    unpack_tokenizer,
)
from integer_tickets.integer.network import IntegerNetwork
from integer_tickets.integer.rounding import Array
from integer_tickets.integer.tokenizer import Tokenizer

CODED_SINCE = 5
FORMATS = (1, 2, 3, 4, CODED_SINCE, 6)
"""The last is written, all are read; files from before CODED_SINCE hold all tensors as they are."""

KEY = "integer_tickets"

WEIGHTS_PER_BYTE, MOST_WEIGHTS = 2048, 1 << 28
"""No file declares more weights: a byte of a mask passes at most 255 pruned ones, and takes at least a bit."""

DEEPEST = 50
"""How deep the provenance may be nested."""

PARTS = ("embedding", "positions", "weights", "masks", "biases", "scales", "vocabulary", "header")
"""What the bits of a file are spent on."""


@dataclass(frozen=True)
class Artefact:
    """An integer network, the tokenizer that reads text for it, where they come from, and what was proved."""

    network: IntegerNetwork
    tokenizer: Tokenizer
    provenance: dict[str, Any]
    bounds: dict[str, int]
    sha256: str


def save(path: Path, network: IntegerNetwork, tokenizer: Tokenizer, provenance: Mapping[str, Any]) -> None:
    """Write the artefact, whole or not at all; equal arguments give equal bytes.

    `provenance` is anything JSON can hold. Raises UserError if the network could overflow or does not fit the
    tokenizer.
    """
    write_bytes(Path(path), serialize(network, tokenizer, provenance))


def serialize(network: IntegerNetwork, tokenizer: Tokenizer, provenance: Mapping[str, Any]) -> bytes:
    """The bytes of the file."""
    tensors = shortened(_tensors(network, tokenizer, coded=True))
    description = _describe(network, tokenizer, dict(provenance), FORMATS[-1])
    description["sha256"] = _content_hash(description, tensors)
    content = bytes(safetensors.numpy.save(tensors, {KEY: _canonical(description)}))
    _check_size(sum(matrix.weight.size for _, matrix in network.matrices()), len(content))
    if int.from_bytes(content[:8], "little") > MAX_HEADER:
        raise UserError(f"the description takes more than {MAX_HEADER} bytes; shorten the provenance")
    return content


def load(path: Path) -> Artefact:
    """Read an artefact and prove it anew: it is accepted only if `save` would write the same description and tensors.

    Nothing is made that is not in proportion to the bytes of the file. Raises UserError, one line naming the file
    and what is wrong with it.
    """
    description, tensors, size = _read(Path(path))
    try:
        if description["sha256"] != _content_hash(description, tensors):
            raise UserError("the content does not match its sha256; the file was altered or damaged")
        _check_declared(description, size)
        version = description["format"]
        coded = version >= CODED_SINCE
        plain = original(tensors) if coded else tensors
        network = network_from(description["architecture"], tuple(description["labels"]), plain)
        tokenizer = unpack_tokenizer(description["tokenizer"], network.positions.weight.shape[0], plain)
        expected = _describe(network, tokenizer, description["provenance"], version)
        written = _tensors(network, tokenizer, coded)
        _check_tensors(written, plain)
        if coded:
            _check_codes(shortened(written), tensors)
        for key in sorted(expected.keys() | description.keys() - {"sha256"}):
            if key not in expected:
                raise UserError(f"its description has a part {key!r} that no integer network has")
            if _canonical(expected[key]) != _canonical(description[key]):
                raise UserError(f"the stated {key} and its numbers disagree; the file was altered")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except MemoryError:
        raise UserError(f"{path}: needs more memory than this machine has") from None
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{path}: not a valid integer network ({type(error).__name__}: {error})") from None
    return Artefact(network, tokenizer, description["provenance"], description["bounds"], description["sha256"])


def artefact_bits(path: Path) -> int:
    """The size of the file in bits."""
    return 8 * _read(Path(path))[2]


def bits_breakdown(source: Path | Artefact) -> dict[str, int]:
    """The bits of a file by part (PARTS), and their `total`. Masks and biases are those of all matrices."""
    if isinstance(source, Artefact):
        content = serialize(source.network, source.tokenizer, source.provenance)
        tensors = safetensors.numpy.load(content)
        total = 8 * len(content)
    else:
        _, tensors, size = _read(Path(source))
        total = 8 * size
    bits = dict.fromkeys(PARTS, 0)
    for name, tensor in tensors.items():
        bits[_part(name)] += 8 * tensor.nbytes
    bits["header"] = total - sum(bits.values())
    return bits | {"total": total}


def _tensors(network: IntegerNetwork, tokenizer: Tokenizer, coded: bool) -> dict[str, Array]:
    """The tensors of a file, before they are coded in one whose tensors are."""
    return network_tensors(network, stored_bytes if coded else len) | tokenizer_tensors(tokenizer)


def _part(tensor: str) -> str:
    tensor = tensor.removesuffix(CODED)
    if ".mask." in tensor:
        return "masks"
    for prefix, part in (("tokens.", "embedding"), ("positions.", "positions"), ("tokenizer.", "vocabulary")):
        if tensor.startswith(prefix):
            return part
    return {"weight": "weights", "bias": "biases"}.get(tensor.rpartition(".")[2], "scales")


def _describe(network: IntegerNetwork, tokenizer: Tokenizer, provenance: Any, version: int) -> dict[str, Any]:
    """The description of a file, all but its hash. UserError where the parts do not fit each other."""
    rows, positions = network.tokens.weight.shape[0], network.positions.weight.shape[0]
    if (tokenizer.size, tokenizer.positions) != (rows, positions):
        raise UserError(
            f"tokenizer: {tokenizer.size} ids and {tokenizer.positions} positions, "
            f"but the network has {rows} and {positions}"
        )
    if not isinstance(provenance, dict) or _depth(provenance) > DEEPEST:
        raise UserError(f"provenance: expected names and values, nested at most {DEEPEST} deep")
    return {
        "format": version,
        "architecture": architecture_of(network),
        "labels": list(network.labels),
        "tokenizer": describe_tokenizer(tokenizer),
        "provenance": provenance,
        "bounds": prove(network),
    }


def _depth(value: Any) -> int:
    depth, inner = 0, [value]
    while inner and depth <= DEEPEST:
        depth += 1
        groups = [v.values() if isinstance(v, dict) else v for v in inner if isinstance(v, dict | list | tuple)]
        inner = [v for group in groups for v in group]
    return depth


def _check_size(weights: int, size: int) -> None:
    most = min(WEIGHTS_PER_BYTE * size, MOST_WEIGHTS)
    if weights > most:
        raise UserError(f"{weights} weights in a file of {size} bytes, which can hold {most}")


def _check_declared(description: Mapping[str, Any], size: int) -> None:
    """Refuse shapes that a file of `size` bytes cannot hold, before anything of such a shape is made."""
    described = description["architecture"]
    d, hidden = described["width"], [layer["hidden"] for layer in described["layers"]]
    rows = [described["vocabulary"], described["positions"], *hidden]
    for number in (d, *rows):
        if type(number) is not int or number < 1:
            raise ValueError(f"{number!r} where a number of rows or columns is expected")
    widths = [sum(attention_widths(described, layer)) for layer in described["layers"]]
    _check_size(d * (sum(rows) + sum(hidden) + len(description["labels"]) + 2 * sum(widths)), size)


def _check_tensors(expected: Mapping[str, Array], found: Mapping[str, Array]) -> None:
    """Every tensor once, of the right type and length, packed as the format says, and no other."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in expected or name not in found:
            raise UserError(f"tensor {name!r} is {'missing' if name in expected else 'not part of the network'}")
        own, other = expected[name], found[name]
        if own.dtype != other.dtype or own.shape != other.shape:
            types = [f"{tensor.size} x {tensor.dtype.name}" for tensor in (other, own)]
            raise UserError(f"tensor {name!r} is {types[0]}, expected {types[1]}")
        if not np.array_equal(own, other):
            raise UserError(f"tensor {name!r} is not packed as the format says")


def _check_codes(expected: Mapping[str, Array], found: Mapping[str, Array]) -> None:
    """Coded tensors are those, and in the words, that the format says; without codes they are as expected."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in expected or name not in found or not np.array_equal(expected[name], found[name]):
            what = "is coded, or not, otherwise than the format says"
            raise UserError(f"tensor {name.removesuffix(CODED)!r} {what}")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Array], int]:
    """The description and the packed tensors of a file that says it is an integer network of this format; its size."""
    container = read(path, KEY)
    try:
        description = parsed(container.text)
        version = description["format"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: its description cannot be read ({error})") from None
    if type(version) is not int or version not in FORMATS:
        known = f"{', '.join(map(str, FORMATS[:-1]))} and {FORMATS[-1]}"
        raise UserError(f"{path}: format version {version!r}, this program reads versions {known}; update it")
    return description, container.tensors, container.size


def _canonical(description: Mapping[str, Any]) -> str:
    return json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _content_hash(description: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    """SHA-256 over the description without its hash, then name, type, shape and bytes of every tensor, by name."""
    described = {key: value for key, value in description.items() if key != "sha256"}
    digest = hashlib.sha256(_canonical(described).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype.name} {list(tensor.shape)}\n".encode())
        digest.update(tensor.astype(tensor.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
