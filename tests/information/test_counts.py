"""Entropies from counts, against published and known values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.information.counts import (
    chao_shen,
    chao_wang_jost,
    counts_of,
    coverage,
    grassberger,
    miller_madow,
    nsb,
    plugin,
)

NDD = np.array([12, 4, 12, 4, 5, 3, 1, 5, 1, 2, 2, 2, 2, 11, 3, 4, 12, 12, 1, 2])  # the example of the package ndd


def sample(p, n, seed=0):
    return np.random.default_rng(seed).multinomial(n, p)


def uniform(states):
    return np.full(states, 1 / states)


def zipf(states):
    p = 1 / np.arange(1, states + 1)
    return p / p.sum()


def test_nsb_gives_the_published_value():
    assert nsb(NDD, 100) * math.log(2) == pytest.approx(2.840012048914245, abs=1e-6)


GEOMETRIC = np.array([400, 200, 100, 50, 25, 12, 6, 3, 1, 1, 1])


@pytest.mark.parametrize(
    ("counts", "values"),
    [
        (NDD, (4.012302180730913, 4.040030827588063, 4.031577255151435)),
        (GEOMETRIC, (2.001176493445985, 2.012903037922349, 2.0049217159786927)),
    ],
)
def test_another_package_gives_the_same(counts, values):
    """infomeasure 0.6.3: entropy(data, approach="miller_madow" and so on, base=2)."""
    found = [estimate(counts) for estimate in (miller_madow, chao_shen, chao_wang_jost)]
    assert found == pytest.approx(values, abs=1e-9)


# distribution, n, truth, then what plug-in, MM, Grassberger, Chao-Shen, CWJ and NSB give on average
KNOWN = [
    (uniform(256), 872, 8.000, 7.784, 7.989, 8.018, 8.077, 8.011, 7.987),
    (uniform(4096), 872, 12.000, 9.575, 10.227, 11.069, 12.111, 12.064, 11.947),
    (uniform(4096), 6920, 12.000, 11.516, 11.865, 11.994, 12.244, 12.009, 11.993),
    (zipf(4096), 872, 8.752, 7.481, 7.822, 8.185, 8.222, 8.476, 8.452),
    (zipf(65536), 6920, 11.140, 9.645, 9.961, 10.332, 10.344, 10.707, 10.693),
]


@pytest.mark.parametrize(("p", "n", "truth", "values"), [(p, n, t, v) for p, n, t, *v in KNOWN])
def test_known_biases(p, n, truth, values):
    draws = [sample(p, n, seed) for seed in range(5)]
    estimators = plugin, miller_madow, grassberger, chao_shen, chao_wang_jost, lambda c: nsb(c, len(p))
    found = [np.mean([estimate(c) for c in draws]) for estimate in estimators]
    assert -(p * np.log2(p)).sum() == pytest.approx(truth, abs=1e-3)
    assert np.subtract(found, found[0]) == pytest.approx(np.subtract(values, values[0]), abs=0.1)
    assert found[0] == pytest.approx(values[0], abs=0.2)  # what few draws share differs by that
    assert found[0] < truth and abs(found[5] - truth) < abs(found[0] - truth)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(lambda c: sum(c) > 1))
def test_estimates_are_bits_and_know_nothing_of_order_or_empty_states(counts):
    counts = np.array(counts)
    shuffled = np.append(counts[::-1], [0, 0])
    for estimate in (plugin, miller_madow, grassberger, chao_shen, chao_wang_jost, lambda c: nsb(c, 50)):
        value = estimate(counts)
        assert math.isfinite(value) and value == pytest.approx(estimate(shuffled), abs=1e-9)
    assert plugin(counts) <= miller_madow(counts)
    assert 0 <= coverage(counts) <= 1


def test_a_constant_has_no_entropy():
    counts = np.array([500])
    values = [plugin(counts), miller_madow(counts), chao_shen(counts), chao_wang_jost(counts), nsb(counts, 1)]
    assert values == pytest.approx([0] * 5, abs=1e-12)
    assert nsb(counts, 2) < 0.03  # half of the prior's mass lies at little entropy


def test_counts_of_rows():
    codes = np.array([[1, 2], [1, 3], [1, 2], [0, 0]])
    assert sorted(counts_of(codes)) == [1, 1, 2] and coverage(counts_of(codes)) == 0.5


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match="no observations"):
        plugin(np.array([0, 0]))
    with pytest.raises(ValueError, match="3 states were seen of 2"):
        nsb(np.array([1, 1, 1]), 2)
