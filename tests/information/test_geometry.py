"""Geometry of a layer, against what is known of Gaussian vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from integer_tickets.information.counts import counts_of, miller_madow
from integer_tickets.information.geometry import (
    GAUSSIAN,
    class_distance_normalized_variance,
    coding_rate,
    nearest_mean,
    participation_ratio,
    rate_reduction,
    spectral_entropy,
)


def gaussians(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize(("d", "n", "raw", "right"), [(64, 64, 32, 64), (256, 64, 50, 256)])
def test_participation_ratio_without_the_bias_of_few_vectors(d, n, raw, right):
    found = np.mean([participation_ratio(gaussians(n, d, seed)) for seed in range(10)], 0)
    assert found[0] == pytest.approx(raw, abs=1) and found[1] == pytest.approx(right, rel=0.08)


def test_participation_ratio_of_vectors_that_are_all_equal():
    assert np.isnan(participation_ratio(np.ones((9, 3)))).all()
    assert spectral_entropy(np.ones((9, 3))) == 0


def test_both_gram_matrices_give_one_entropy():
    x = gaussians(40, 25) @ gaussians(25, 25, 1)
    wide = np.concatenate([x, np.zeros((40, 50))], 1)  # now n < d, so the other matrix is taken
    assert spectral_entropy(x) == pytest.approx(spectral_entropy(wide), abs=1e-9)
    assert participation_ratio(x) == pytest.approx(participation_ratio(wide), abs=1e-9)
    assert coding_rate(x) == pytest.approx(coding_rate(wide), abs=1e-9)


def test_rate_and_entropy_of_rounded_gaussians():
    x = np.rint(16 * gaussians(200_000, 8)).astype(int)
    separate = sum(miller_madow(counts_of(column)) for column in x.T)
    assert separate == pytest.approx(48.37, abs=0.05)
    assert coding_rate(x) + GAUSSIAN * 8 == pytest.approx(48.37, abs=0.05)


def test_rate_and_entropy_of_correlated_rounded_gaussians():
    mix = np.random.default_rng(5).normal(size=(8, 8)) * 24
    x = np.rint(gaussians(200_000, 8) @ mix).astype(int)
    whole = 4 * np.log2(2 * np.pi * np.e) + np.linalg.slogdet(mix)[1] / np.log(2)
    separate = sum(miller_madow(counts_of(column)) for column in x.T)
    assert coding_rate(x) + GAUSSIAN * 8 == pytest.approx(whole, abs=0.05) and separate > whole + 3


def test_rate_below_one_step_says_less_than_the_entropy():
    x = np.rint(0.3 * gaussians(100_000, 1)).astype(int)
    assert coding_rate(x) + GAUSSIAN > miller_madow(counts_of(x)) + 0.2


def test_rate_reduction_is_what_the_classes_explain():
    x, labels = gaussians(4000, 4), np.arange(4000) % 2
    assert rate_reduction(x, labels) == pytest.approx(0, abs=0.01)
    apart = x + 1000 * labels[:, None]
    assert rate_reduction(apart, labels) == pytest.approx(coding_rate(apart) - coding_rate(x), abs=0.01)


def test_variance_between_two_classes():
    x, labels = gaussians(20_000, 3), np.arange(20_000) % 2
    x[:, 0] += 10 * labels
    assert class_distance_normalized_variance(x, labels) == pytest.approx(6 / (2 * 100), rel=0.03)
    assert class_distance_normalized_variance(labels[:, None], labels) == 0
    assert (nearest_mean(x, labels, x) == labels).all()


@given(arrays(np.int64, (12, 3), elements=st.integers(-128, 127)), st.integers(-50, 50))
def test_shifts_of_all_vectors_change_nothing(x, shift):
    labels = np.arange(12) % 2
    assert coding_rate(x + shift) == pytest.approx(coding_rate(x), abs=1e-6)
    assert spectral_entropy(x + shift) == pytest.approx(spectral_entropy(x), abs=1e-6)
    assert rate_reduction(x, labels) >= -1e-9  # log det is concave
