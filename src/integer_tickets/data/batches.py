"""Encoded splits and the batches that training and evaluation take from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.integer]

_POOL = 64  # batches within which rows are sorted by length: enough for little padding, few enough to stay random


@dataclass(frozen=True)
class Split:
    """The rows of one split as token ids.

    ids: int32, all rows one after the other; offsets: int64 (rows + 1,), where each begins and the last ends;
    labels: int64 (rows,).
    """

    ids: Array
    offsets: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Array:
        """Tokens of each row, (rows,)."""
        return np.diff(self.offsets)


def epoch_batches(lengths: Array, batch: int, random: np.random.Generator) -> list[Array]:
    """The rows of each step of one epoch: every row once, rows of like length together, at most `batch` in a step.

    Only one batch is smaller than `batch`. The result depends on the arguments alone.
    """
    rows = random.permutation(len(lengths))
    batches: list[Array] = []
    for start in range(0, len(rows), _POOL * batch):
        pool = rows[start : start + _POOL * batch]
        batches += _chunks(pool[np.argsort(lengths[pool], kind="stable")], batch)
    return [batches[i] for i in random.permutation(len(batches))]


def evaluation_batches(lengths: Array, batch: int) -> list[Array]:
    """All rows in batches of at most `batch`, sorted by length."""
    return _chunks(np.argsort(lengths, kind="stable"), batch)


def pad(split: Split, indices: Array) -> tuple[Array, Array]:
    """The rows `indices` as ids, int64 (rows, n), and their lengths, int64 (rows,).

    Shorter rows are filled with 0 up to the longest, which counts as one token long at least.
    """
    counts = split.lengths[indices]
    position = np.arange(counts.max(initial=1))
    valid = position < counts[:, None]
    ids = np.zeros(valid.shape, np.int64)
    ids[valid] = split.ids[(split.offsets[indices][:, None] + position)[valid]]
    return ids, counts.astype(np.int64)


def _chunks(rows: Array, size: int) -> list[Array]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
