"""Encoded splits and the batches that training and evaluation take from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.integer]


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


def epoch_batches(lengths: Array, tokens: int, random: np.random.Generator) -> list[Array]:
    """The rows of each step of one epoch: every row once, at most `tokens` tokens in a step, padding included.

    Rows of one length are in random order, and so are the steps; a longer row than `tokens` is a step of its own.
    Which lengths meet, and so the number of steps, is the same in every epoch.
    """
    rows = random.permutation(len(lengths))
    steps = _steps(rows[np.argsort(lengths[rows], kind="stable")], lengths, tokens)
    return [steps[i] for i in random.permutation(len(steps))]


def evaluation_batches(lengths: Array, tokens: int = 2048) -> list[Array]:
    """All rows, sorted by length, in batches of at most `tokens` tokens."""
    return _steps(np.argsort(lengths, kind="stable"), lengths, tokens)


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


def _steps(rows: Array, lengths: Array, tokens: int) -> list[Array]:
    """Rows that are sorted by length, cut into as few steps as hold at most `tokens` tokens each."""
    longest = lengths[rows].clip(1)
    steps: list[Array] = []
    start = 0
    while start < len(rows):
        reach = longest[start : start + tokens]
        size = int(np.searchsorted(reach * np.arange(1, len(reach) + 1), tokens, side="right"))
        steps.append(rows[start : start + max(1, size)])
        start += max(1, size)
    return steps
