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

    def rows(self, indices: Array) -> "Split":
        """Some of the rows, in the order given."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths[indices])])
        parts = [self.ids[a:b] for a, b in zip(self.offsets[indices], self.offsets[indices + 1], strict=True)]
        return Split(np.concatenate(parts), offsets, self.labels[indices])


def epoch_batches(lengths: Array, batch: int, tokens: int, random: np.random.Generator) -> list[Array]:
    """The rows of each step of one epoch: every row once, rows of like length together.

    A step has at most `batch` rows and, padding included, at most `tokens` tokens; a longer row is a step of its own.
    The result depends on the arguments alone.
    """
    rows = random.permutation(len(lengths))
    steps: list[Array] = []
    for start in range(0, len(rows), _POOL * batch):
        pool = rows[start : start + _POOL * batch]
        steps += _steps(pool[np.argsort(lengths[pool], kind="stable")], lengths, batch, tokens)
    return [steps[i] for i in random.permutation(len(steps))]


def evaluation_batches(lengths: Array, tokens: int = 2048) -> list[Array]:
    """All rows, sorted by length, in batches of at most `tokens` tokens; a longer row is a batch of its own."""
    return _steps(np.argsort(lengths, kind="stable"), lengths, tokens, tokens)


def pad(split: Split, indices: Array) -> tuple[Array, Array]:
    """The rows `indices` as ids, int64 (rows, n), and their lengths, int64 (rows,).

    Shorter rows are filled with 0 up to the longest, which counts as one token long at least.
    """
    starts = split.offsets[indices]
    counts = split.offsets[indices + 1] - starts
    position = np.arange(counts.max(initial=1))
    places = (starts[:, None] + position).clip(max=len(split.ids) - 1)
    ids = split.ids[places].astype(np.int64) if len(split.ids) else np.zeros(places.shape, np.int64)
    ids[position >= counts[:, None]] = 0
    return ids, counts


def distinct(ids: Array, vocabulary: int) -> tuple[Array, Array]:
    """The ids that occur, sorted, int64; and the place of each id among them, shaped as `ids`."""
    place = np.zeros(vocabulary, np.int64)
    place[ids.ravel()] = 1
    used = np.flatnonzero(place)
    place[used] = np.arange(len(used))
    return used, place[ids]


def _steps(rows: Array, lengths: Array, batch: int, tokens: int) -> list[Array]:
    """Rows that are sorted by length, cut into as few steps as have at most `batch` rows and `tokens` tokens each."""
    longest = lengths[rows].clip(1)
    steps: list[Array] = []
    start = 0
    while start < len(rows):
        reach = longest[start : start + batch]
        size = max(1, int(np.searchsorted(reach * np.arange(1, len(reach) + 1), tokens, side="right")))
        steps.append(rows[start : start + size])
        start += size
    return steps
