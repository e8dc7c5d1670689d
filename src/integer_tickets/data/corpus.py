"""The prepared corpus as later stages read it: token ids, labels, tokenizer and statistics. NumPy only."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from integer_tickets.data.batches import Split
from integer_tickets.errors import UserError
from integer_tickets.files import read_json, write_bytes, write_json
from integer_tickets.integer.layout import describe_tokenizer, tokenizer_tensors, unpack_tokenizer
from integer_tickets.integer.tokenizer import Input, Tokenizer

SPLITS = ("train", "selection", "validation", "test")
CORPUS = "corpus.safetensors"
PARTS = ("ids", "offsets", "labels")  # of a split


@dataclass(frozen=True)
class Soft:
    """What a teacher says of the rows of train: logits (rows, classes) float32, the temperature at which they are
    taken, and the weight of the hard labels beside them."""

    logits: NDArray[np.float32]
    temperature: float
    hard: float


@dataclass(frozen=True)
class Corpus:
    """splits: train, selection, validation, and test where there is one; labels: the names of the classes in order;
    statistics: the content of statistics.json; soft: in lessons alone."""

    splits: dict[str, Split]
    labels: tuple[str, ...]
    tokenizer: Tokenizer
    statistics: dict[str, Any]
    soft: Soft | None = None


def encode(tokenizer: Tokenizer, texts: Iterable[Input], labels: Iterable[int]) -> Split:
    rows = tokenizer.encode_batch(texts)
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    ids = np.fromiter((i for row in rows for i in row), np.int32, count=int(offsets[-1]))
    return Split(ids, offsets, np.fromiter(labels, np.int64))


def save_corpus(folder: Path, corpus: Corpus) -> None:
    """Write corpus.safetensors, tokenizer.safetensors and statistics.json (which names the classes) into `folder`."""
    save_splits(folder / CORPUS, corpus)
    tokenizer = corpus.tokenizer
    described = describe_tokenizer(tokenizer) | {"positions": tokenizer.positions}
    content = save(tokenizer_tensors(tokenizer), {"tokenizer": json.dumps(described, sort_keys=True)})
    write_bytes(folder / "tokenizer.safetensors", content)
    write_json(folder / "statistics.json", corpus.statistics)


def save_splits(path: Path, corpus: Corpus) -> None:
    """Write the splits of a corpus, and what a teacher says of train, as one file."""
    tensors: dict[str, Any] = {}
    for name, split in corpus.splits.items():
        tensors |= _tensors(name, split)
    if corpus.soft is not None:
        tensors |= {f"soft.{name}": np.asarray(value, np.float32) for name, value in vars(corpus.soft).items()}
    write_bytes(path, save(tensors))


def save_texts(folder: Path, name: str, split: Split) -> None:
    """Write NAME.safetensors, unlabelled texts that few stages read, beside the rest."""
    write_bytes(folder / f"{name}.safetensors", save(_tensors(name, split)))


def load_texts(folder: Path, name: str) -> Split:
    """Texts whose labels, all -1, are not known; maybe none. name: unlabelled, or lessons."""
    path = folder / f"{name}.safetensors"
    try:
        return _split(name, _load(path)[0])
    except KeyError as error:
        raise UserError(f"{path}: not unlabelled text (no {error})") from None


def load_corpus(folder: Path, lessons: Path | None = None) -> Corpus:
    """Read what `save_corpus` wrote, or with the splits of `lessons`. A missing or foreign file is a UserError."""
    statistics = read_json(folder / "statistics.json")
    tensors, _ = _load(lessons or folder / CORPUS)
    pieces, metadata = _load(folder / "tokenizer.safetensors")
    try:
        splits = {name: _split(name, tensors) for name in SPLITS if f"{name}.labels" in tensors}
        described = json.loads(metadata["tokenizer"])
        tokenizer = unpack_tokenizer(described, described["positions"], pieces)
        return Corpus(splits, tuple(statistics["labels"]), tokenizer, statistics, _soft(tensors))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: not a prepared corpus ({type(error).__name__}: {error})") from None


def _tensors(name: str, split: Split) -> dict[str, Any]:
    return {f"{name}.{part}": getattr(split, part) for part in PARTS}


def _split(name: str, tensors: dict[str, Any]) -> Split:
    return Split(*(tensors[f"{name}.{part}"] for part in PARTS))


def _soft(tensors: dict[str, Any]) -> Soft | None:
    if "soft.logits" not in tensors:
        return None
    return Soft(tensors["soft.logits"], float(tensors["soft.temperature"]), float(tensors["soft.hard"]))


def _load(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    if not path.exists():
        raise UserError(f"{path}: no such file; the stage prepare makes it, run dvc repro prepare")
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error})") from None
