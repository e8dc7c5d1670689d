"""Codes of integer vectors: near the truth where it is known, decoded to what was written."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integer_tickets.information.counts import counts_of, miller_madow, plugin
from integer_tickets.information.vectors import collision_bound, collision_entropy, fit, lengths, read, write


def correlated(n, seed=0):
    """Rounded Gaussians of 8 dimensions, and their entropy in bits."""
    covariance = 16.0**2 * 0.8 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    x = np.random.default_rng(seed).standard_normal((n, 8)) @ np.linalg.cholesky(covariance).T
    return np.rint(x).astype(int), 0.5 * np.log2(np.linalg.det(2 * np.pi * np.e * covariance))


def test_correlated_gaussians_take_their_entropy():
    vectors, truth = correlated(12_000)
    train, held_out = vectors[:10_000], vectors[10_000:]
    code = fit(train, -400, 400)
    bits = lengths(code, held_out)
    assert bits.mean() == pytest.approx(truth, rel=0.005)
    assert bits.mean() < sum(miller_madow(counts_of(column)) for column in vectors.T) - 4
    assert plugin(counts_of(held_out)) == pytest.approx(math.log2(len(held_out)))  # what counts alone would say


def test_the_stream_is_as_long_as_the_bits_and_comes_back():
    vectors, _ = correlated(4_000)
    code = fit(vectors[:2_000], -400, 400)
    words = write(code, vectors[2_000:])
    assert 32 * len(words) <= lengths(code, vectors[2_000:]).sum() + 64
    assert (read(code, words, 2_000) == vectors[2_000:]).all()


def test_each_coordinate_takes_the_kind_that_suits_it():
    random = np.random.default_rng(0)
    spikes = np.where(random.random(8000) < 0.7, 0, random.integers(60, 64, 8000))
    vectors = np.stack([random.normal(0, 9, 8000), random.laplace(0, 9, 8000), spikes], 1)
    code = fit(np.rint(vectors).astype(int), -128, 127)
    assert [part.kind for part in code.coordinates] == ["gaussian", "laplace", "table"]


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 60))
def test_any_vectors_come_back(seed, width, count):
    random = np.random.default_rng(seed)
    vectors = random.integers(-128, 128, (count, width)) * random.integers(0, 2, width)
    code = fit(vectors[: count // 2 + 1], -128, 127)
    words = write(code, vectors)
    assert (read(code, words, count) == vectors).all()
    assert 32 * len(words) <= lengths(code, vectors).sum() + 64


def test_lengths_are_those_of_probabilities():
    """Over all values of a coordinate, and so over all vectors, probabilities sum to 1."""
    vectors, _ = correlated(500)
    code = fit(np.clip(vectors[:, :2], -8, 7), -8, 7)
    grid = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8), indexing="ij"), -1).reshape(-1, 2)
    assert np.exp2(-lengths(code, grid)).sum() == pytest.approx(1, abs=1e-4)


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="values 0 to 300, expected -128 to 127"):
        fit(np.array([[0], [300]]), -128, 127)


def test_collisions_see_twice_as_far_as_counts():
    codes = np.random.default_rng(0).integers(0, 2**20, 67_349)
    assert collision_entropy(counts_of(codes)) == pytest.approx(20, abs=0.1)
    assert plugin(counts_of(codes)) == pytest.approx(15.98, abs=0.03)
    assert collision_entropy(counts_of(np.arange(100))) == math.inf


@pytest.mark.parametrize("states", [4, 256, 2**20])
def test_the_bound_from_pairs_lies_below(states):
    codes = np.random.default_rng(0).integers(0, states, 20_000)
    bound = collision_bound(codes, 0.05)
    assert bound <= math.log2(states) and bound > min(math.log2(states), math.log2(20_000 / 2 / 3)) - 0.5


def test_collision_entropy_lies_below_the_code():
    random = np.random.default_rng(0)
    vectors = np.rint(random.normal(0, 2, (20_000, 2))).astype(int)
    code = fit(vectors[:10_000], -30, 30)
    assert collision_entropy(counts_of(vectors)) < lengths(code, vectors[10_000:]).mean()
