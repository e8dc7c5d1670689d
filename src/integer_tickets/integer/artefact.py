"""The file of an integer network: one safetensors file, described in docs/format.md. No pickle, no float, no clock."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.numpy
from safetensors import SafetensorError

from integer_tickets.errors import UserError
from integer_tickets.files import write_bytes
from integer_tickets.integer.bounds import prove
from integer_tickets.integer.layout import (
    architecture_of,
    network_from,
    network_tensors,
    tokenizer_from,
    tokenizer_tensors,
)
from integer_tickets.integer.network import IntegerNetwork
from integer_tickets.integer.rounding import Array
from integer_tickets.integer.tokenizer import Tokenizer

FORMAT = 1
KEY = "integer_tickets"
MAX_HEADER = 100_000_000

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
    _check_fit(network, tokenizer)
    tensors = network_tensors(network) | tokenizer_tensors(tokenizer)
    description = {
        "format": FORMAT,
        "architecture": architecture_of(network),
        "labels": list(network.labels),
        "tokenizer": {"kind": tokenizer.kind, "size": tokenizer.size},
        "provenance": dict(provenance),
        "bounds": prove(network),
    }
    description["sha256"] = _content_hash(description, tensors)
    return bytes(safetensors.numpy.save(tensors, {KEY: _canonical(description)}))


def load(path: Path) -> Artefact:
    """Read an artefact and prove it anew. Raises UserError, one line naming the file and what is wrong with it."""
    description, tensors = _read(Path(path))
    try:
        if description["sha256"] != _content_hash(description, tensors):
            raise UserError("the content does not match its sha256; the file was altered or damaged")
        network = network_from(description["architecture"], tuple(description["labels"]), tensors)
        tokenizer = tokenizer_from(description["tokenizer"], network, tensors)
        _check_fit(network, tokenizer)
        if prove(network) != description["bounds"]:
            raise UserError("the stated bounds are not those of its numbers; the file was altered")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UserError(f"{path}: not a valid integer network ({type(error).__name__}: {error})") from None
    return Artefact(network, tokenizer, description["provenance"], description["bounds"], description["sha256"])


def artefact_bits(path: Path) -> int:
    """The size of the file in bits."""
    return 8 * len(_content(Path(path)))


def bits_breakdown(source: Path | Artefact) -> dict[str, int]:
    """The bits of a file by part (PARTS), and their `total`. Masks and biases are those of all matrices."""
    if isinstance(source, Artefact):
        content = serialize(source.network, source.tokenizer, source.provenance)
        tensors = safetensors.numpy.load(content)
        total = 8 * len(content)
    else:
        tensors = _read(Path(source))[1]
        total = artefact_bits(source)
    bits = dict.fromkeys(PARTS, 0)
    for name, tensor in tensors.items():
        bits[_part(name)] += 8 * tensor.nbytes
    bits["header"] = total - sum(bits.values())
    return bits | {"total": total}


def _part(tensor: str) -> str:
    if ".mask." in tensor:
        return "masks"
    for prefix, part in (("tokens.", "embedding"), ("positions.", "positions"), ("tokenizer.", "vocabulary")):
        if tensor.startswith(prefix):
            return part
    return {"weight": "weights", "bias": "biases"}.get(tensor.rpartition(".")[2], "scales")


def _check_fit(network: IntegerNetwork, tokenizer: Tokenizer) -> None:
    rows, positions = network.tokens.weight.shape[0], network.positions.weight.shape[0]
    if (tokenizer.size, tokenizer.positions) != (rows, positions):
        raise UserError(
            f"tokenizer: {tokenizer.size} ids and {tokenizer.positions} positions, "
            f"but the network has {rows} and {positions}"
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The description and the packed tensors of a file that says it is an integer network of this format."""
    content = _content(path)
    length = int.from_bytes(content[:8], "little")
    if len(content) < 10 or not 2 <= length <= MAX_HEADER or content[8:9] != b"{":
        raise UserError(f"{path}: not a safetensors file")
    if 8 + length > len(content):
        raise UserError(f"{path}: truncated safetensors file")
    try:
        header = json.loads(content[8 : 8 + length])
        stored = header.pop("__metadata__", {}).get(KEY)
        expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if len(content) < expected:
            raise UserError(f"{path}: truncated, {len(content)} bytes of {expected}")
        if stored is None:
            raise UserError(f"{path}: a safetensors file, but no integer network (no {KEY!r} in its metadata)")
        tensors = safetensors.numpy.load(content)
        description = json.loads(stored)
        version = description["format"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, SafetensorError) as error:
        raise UserError(f"{path}: damaged safetensors file ({error})") from None
    if version != FORMAT:
        raise UserError(f"{path}: format version {version}, this program reads version {FORMAT}; update it")
    return description, tensors


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
