"""The prepared corpus as later stages read it: token ids, labels, tokenizer and statistics. NumPy only."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from integer_tickets.data.batches import Split
from integer_tickets.errors import UserError
from integer_tickets.files import read_json, write_bytes, write_json
from integer_tickets.integer.layout import tokenizer_tensors, unpack_tokenizer
from integer_tickets.integer.tokenizer import Input, Tokenizer

SPLITS = ("train", "selection", "validation", "test")
PARTS = ("ids", "offsets", "labels")  # of a split


@dataclass(frozen=True)
class Corpus:
    """splits: train, selection, validation, and test where there is one; labels: the names of the classes in order;
    statistics: the content of statistics.json."""

    splits: dict[str, Split]
    labels: tuple[str, ...]
    tokenizer: Tokenizer
    statistics: dict[str, Any]


def encode(tokenizer: Tokenizer, texts: Iterable[Input], labels: Iterable[int]) -> Split:
    rows = tokenizer.encode_batch(texts)
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    ids = np.fromiter((i for row in rows for i in row), np.int32, count=int(offsets[-1]))
    return Split(ids, offsets, np.fromiter(labels, np.int64))


def save_corpus(folder: Path, corpus: Corpus) -> None:
    """Write corpus.safetensors, tokenizer.safetensors and statistics.json (which names the classes) into `folder`."""
    tensors: dict[str, Any] = {}
    for name, split in corpus.splits.items():
        tensors |= _tensors(name, split)
    write_bytes(folder / "corpus.safetensors", save(tensors))
    tokenizer = corpus.tokenizer
    described = {"kind": tokenizer.kind, "size": tokenizer.size, "positions": tokenizer.positions}
    content = save(tokenizer_tensors(tokenizer), {"tokenizer": json.dumps(described, sort_keys=True)})
    write_bytes(folder / "tokenizer.safetensors", content)
    write_json(folder / "statistics.json", corpus.statistics)


def save_unlabelled(folder: Path, unlabelled: Split) -> None:
    """Write unlabelled.safetensors, which few stages read, beside the rest."""
    write_bytes(folder / "unlabelled.safetensors", save(_tensors("unlabelled", unlabelled)))


def load_unlabelled(folder: Path) -> Split:
    """Texts whose labels, all -1, are not known; maybe none."""
    path = folder / "unlabelled.safetensors"
    try:
        return _split("unlabelled", _load(path)[0])
    except KeyError as error:
        raise UserError(f"{path}: not unlabelled text (no {error})") from None


def load_corpus(folder: Path) -> Corpus:
    """Read what `save_corpus` wrote. A missing or foreign file is a UserError that names it."""
    statistics = read_json(folder / "statistics.json")
    tensors, _ = _load(folder / "corpus.safetensors")
    pieces, metadata = _load(folder / "tokenizer.safetensors")
    try:
        splits = {name: _split(name, tensors) for name in SPLITS if f"{name}.labels" in tensors}
        described = json.loads(metadata["tokenizer"])
        tokenizer = unpack_tokenizer(described, described["positions"], pieces)
        return Corpus(splits, tuple(statistics["labels"]), tokenizer, statistics)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: not a prepared corpus ({type(error).__name__}: {error})") from None


def _tensors(name: str, split: Split) -> dict[str, Any]:
    return {f"{name}.{part}": getattr(split, part) for part in PARTS}


def _split(name: str, tensors: dict[str, Any]) -> Split:
    return Split(*(tensors[f"{name}.{part}"] for part in PARTS))


def _load(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    if not path.exists():
        raise UserError(f"{path}: no such file; the stage prepare makes it, run dvc repro prepare")
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error})") from None
