"""Probes find what is known to be there, and nothing where nothing is."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from integer_tickets.information.probes import Sample, online_bits, paired_interval, random_label_bits, usable


def gaussians(n, apart, seed=0):
    """Two classes, whose vectors of one relevant and three other coordinates are normal about +-apart / 2."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    vectors = random.standard_normal((n, 4))
    vectors[:, 0] += apart * (labels - 0.5)
    return Sample(vectors, labels)


def information(apart):
    def integrand(z):
        one, two = norm.pdf(z, apart / 2), norm.pdf(z, -apart / 2)
        return one * np.log2(2 * one / (one + two))

    return quad(integrand, -12, 12)[0]


def test_usable_information_is_at_most_the_information_and_near_it():
    truth = information(2.0)
    found = usable(gaussians(20_000, 2.0), gaussians(20_000, 2.0, 1), "linear").mean()
    assert truth - 0.01 < found < truth + 0.01


def test_nothing_is_found_where_nothing_is():
    train, held_out = gaussians(5_000, 0.0), gaussians(5_000, 0.0, 1)
    assert usable(train, held_out, "linear").mean() == pytest.approx(0, abs=0.01)
    constant = Sample(np.zeros((100, 3)), np.arange(100) % 2)
    assert usable(constant, constant, "linear").mean() == pytest.approx(0, abs=1e-9)
    assert random_label_bits(constant, "linear", np.random.default_rng(0)) == pytest.approx(0, abs=1e-9)


def test_a_probe_with_neurons_reads_what_a_linear_one_cannot():
    random = np.random.default_rng(0)
    vectors = random.choice([-1.0, 1.0], (4_000, 2)) + 0.1 * random.standard_normal((4_000, 2))
    labels = (vectors[:, 0] * vectors[:, 1] > 0).astype(int)
    train, held_out = Sample(vectors[:3000], labels[:3000]), Sample(vectors[3000:], labels[3000:])
    assert usable(train, held_out, "linear").mean() < 0.05
    assert usable(train, held_out, "mlp").mean() > 0.9


def test_shuffled_labels_take_at_least_one_bit():
    random = np.random.default_rng(0)
    sample = gaussians(4_000, 2.0)
    shuffled = Sample(sample.vectors, random.permutation(sample.labels))
    orders = [random.permutation(4_000) for _ in range(3)]
    assert all(online_bits(shuffled, order) >= 1 for order in orders)
    honest = np.mean([online_bits(sample, order) for order in orders])
    assert honest == pytest.approx(1 - information(2.0), abs=0.03)  # learning costs little here


def test_examples_of_a_class_that_cannot_be_told_apart():
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2
    collapsed = Sample(np.repeat(labels[:, None], 20, 1) + 0.0, labels)
    spread = Sample(random.standard_normal((400, 300)), labels)
    assert random_label_bits(collapsed, "linear", random) == pytest.approx(0, abs=0.01)
    assert random_label_bits(spread, "linear", random) > 0.9


def test_a_label_that_train_lacks_is_unlikely_but_not_impossible():
    train = Sample(np.arange(20.0)[:, None], np.arange(20) % 2)
    held_out = Sample(np.array([[3.0]]), np.array([2]))
    assert np.isfinite(usable(train, held_out, "linear")).all()
    single = Sample(np.arange(20.0)[:, None], np.zeros(20, int))
    assert usable(single, single, "linear").mean() == pytest.approx(np.log2(0.98), abs=1e-9)


def test_interval_of_a_paired_difference():
    random = np.random.default_rng(0)
    one = random.standard_normal(2000)
    low, high = paired_interval(one + 0.1, one, 200, 0.95, random)
    assert low == pytest.approx(0.1) and high == pytest.approx(0.1)
    low, high = paired_interval(one, random.standard_normal(2000), 200, 0.95, random)
    assert low < 0.06 and high > -0.06 and low < high
