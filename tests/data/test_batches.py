"""Batches: every row once, the same for the same arguments, padded to the longest."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.data.batches import Split, distinct, epoch_batches, evaluation_batches, pad
from integer_tickets.seeds import generator

lengths_of = st.lists(st.integers(1, 40), min_size=1, max_size=300).map(np.array)


def split_of(lengths: list[int]) -> Split:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 1000, sum(lengths)).astype(np.int32)
    return Split(ids, np.cumsum([0, *lengths]), rng.integers(0, 2, len(lengths)))


def padded(rows: np.ndarray, lengths: np.ndarray) -> int:
    return int(len(rows) * lengths[rows].max())


@given(lengths_of, st.integers(1, 20), st.integers(1, 200), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_has_every_row_once_within_the_budget(
    lengths: np.ndarray, batch: int, tokens: int, seed: int, epoch: int
) -> None:
    batches = epoch_batches(lengths, batch, tokens, generator("order", seed, epoch))
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or (len(rows) <= batch and padded(rows, lengths) <= tokens)


@given(lengths_of, st.integers(1, 20), st.integers(0, 5))
def test_without_long_rows_all_batches_but_one_are_full(lengths: np.ndarray, batch: int, seed: int) -> None:
    batches = epoch_batches(lengths, batch, 40 * batch, generator("order", seed, 0))
    assert sorted(map(len, batches))[1:] == [batch] * (len(batches) - 1)


@given(lengths_of, st.integers(1, 200))
def test_evaluation_has_every_row_once_sorted_by_length(lengths: np.ndarray, tokens: int) -> None:
    batches = evaluation_batches(lengths, tokens)
    rows = np.concatenate(batches)
    assert sorted(rows) == list(range(len(lengths)))
    assert (np.diff(lengths[rows]) >= 0).all()
    assert all(len(own) == 1 or padded(own, lengths) <= tokens for own in batches)


@given(st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=1, max_size=8).map(np.array))
def test_distinct_ids_and_their_places(ids: np.ndarray) -> None:
    used, places = distinct(ids, 31)
    assert used.tolist() == sorted(set(ids.ravel().tolist()))
    assert (used[places] == ids).all()


def test_epochs_and_seeds_differ_and_repeat() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 1000)
    orders = {
        (seed, epoch): tuple(np.concatenate(epoch_batches(lengths, 16, 4096, generator("order", seed, epoch))))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    assert orders[1, 2] == tuple(np.concatenate(epoch_batches(lengths, 16, 4096, generator("order", 1, 2))))


def test_rows_of_like_length_meet_and_batches_are_shuffled() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 5000)
    batches = epoch_batches(lengths, 32, 4096, generator("order", 0, 0))
    assert sum(padded(rows, lengths) for rows in batches) < 1.1 * lengths.sum()
    means = [lengths[rows].mean() for rows in batches]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@given(st.lists(st.integers(0, 12), min_size=1, max_size=20), st.data())
def test_pad_gives_the_rows(lengths: list[int], data: st.DataObject) -> None:
    split = split_of(lengths)
    rows = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=10)))
    ids, counts = pad(split, rows)
    assert ids.dtype == np.int64 and counts.dtype == np.int64
    assert ids.shape == (len(rows), max(1, *(lengths[row] for row in rows)))
    for row, line, count in zip(rows, ids, counts, strict=True):
        expected = split.ids[split.offsets[row] : split.offsets[row + 1]]
        assert line[:count].tolist() == expected.tolist()
        assert not line[count:].any()


def test_split_length() -> None:
    split = split_of([3, 1, 2])
    assert len(split) == 3
    assert split.lengths.tolist() == [3, 1, 2]
