"""Estimates are given where they can be trusted and refused, with the reason, elsewhere."""

import math

import numpy as np
import pytest

from integer_tickets.information.counts import counts_of, grassberger, plugin
from integer_tickets.information.identify import entropy_of, information_about
from integer_tickets.information.probes import Sample, usable


def independent(states, n, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, states, n), random.integers(0, 2, n)


def sigmoid_table(n, seed=0):
    """Z uniform on 256 values, p(y=1|z) a sigmoid, and the exact I(Z;Y)."""
    random = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-np.linspace(-3, 3, 256)))
    z = random.integers(0, 256, n)
    return z, (random.random(n) < p[z]).astype(int), 1 + (p * np.log2(p) + (1 - p) * np.log2(1 - p)).mean()


def test_independent_variables_share_nothing():
    z, y = independent(256, 6920)
    found = information_about(z, y, 256, np.random.default_rng(1))
    assert found.identifiable and found.estimator == "Miller-Madow"
    assert abs(found.value) < 0.01 and abs(found.null) < 0.01
    joint, apart = counts_of(np.stack([z, y], 1)), (counts_of(z), counts_of(y))
    assert plugin(apart[0]) + plugin(apart[1]) - plugin(joint) == pytest.approx(0.028, abs=0.005)  # naively


def test_too_few_observations_are_refused():
    z, y = independent(4096, 872)
    found = information_about(z, y, 4096, np.random.default_rng(1))
    assert not found.identifiable and math.isnan(found.value) and found.refused


def test_all_distinct_codes_are_refused():
    z, y = np.arange(5000), np.arange(5000) % 2
    found = information_about(z, y, 5000, np.random.default_rng(1))
    assert math.isnan(found.value) and found.refused == "coverage 0.00 is below 0.95"
    assert entropy_of(z, 5000).refused == "coverage 0.00 is below 0.95"


def test_known_information():
    z, y, truth = sigmoid_table(67_349)
    found = information_about(z, y, 256, np.random.default_rng(1))
    assert truth == pytest.approx(0.3279, abs=1e-4)
    assert found.value == pytest.approx(truth, abs=0.01) and found.n == 67_349
    parts = (grassberger(counts_of(own)) for own in (z, y, np.stack([z, y], 1)))
    assert next(parts) + next(parts) - next(parts) == pytest.approx(truth, abs=0.01)
    half = len(z) // 2
    table = [Sample(np.eye(256)[own], labels) for own, labels in ((z[:half], y[:half]), (z[half:], y[half:]))]
    assert usable(*table, "linear").mean() == pytest.approx(truth, abs=0.01)


def test_rows_are_codes_too():
    z, y, truth = sigmoid_table(20_000)
    pairs = np.stack([z // 16, z % 16], 1)
    one = information_about(z, y, 256, np.random.default_rng(1))
    assert information_about(pairs, y, 256, np.random.default_rng(1)) == one
    assert one.value == pytest.approx(truth, abs=0.02)


def test_few_observations_a_state_take_the_bayesian_estimate():
    z, _ = independent(256, 2000)
    found = entropy_of(z, 256)
    assert found.estimator == "NSB" and found.value == pytest.approx(8, abs=0.02)


def test_the_refusal_names_both_estimates():
    random = np.random.default_rng(0)
    z = np.where(random.random(4000) < 0.97, 0, random.integers(1, 2000, 4000))
    refused = entropy_of(z, 2000).refused
    assert refused == "NSB 0.464 and Chao-Wang-Jost 0.534 differ by more than 0.05 bits"
