"""Rank correlations: known cases, intervals that cover, and measures that say nothing."""

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from integer_tickets.information.zoo import rank_correlation


def correlation(measure, gap, given=None, seed=0, families=None):
    given = None if given is None else np.array(given, float)
    families = np.arange(len(gap)) if families is None else families
    random = np.random.default_rng(seed)
    return rank_correlation(np.array(measure, float), np.array(gap, float), 200, 0.95, random, families, given)


def test_orders_that_agree_and_that_do_not():
    rising = np.arange(60.0)
    assert correlation(rising, rising**3).tau == 1 and correlation(rising, -rising).tau == -1
    found = correlation([1, 2, 3, 4], [1, 3, 2, 4])
    assert found.tau == pytest.approx(4 / 6) and found.models == 4


def test_the_interval_covers_nothing_for_a_measure_that_fails():
    random = np.random.default_rng(1)
    found = correlation(random.normal(size=80), random.normal(size=80))
    assert found.low < 0 < found.high and found.low < found.tau < found.high


def test_what_both_follow_is_taken_out():
    random = np.random.default_rng(2)
    given = random.normal(size=400)
    measure, gap = given + 0.3 * random.normal(size=400), given + 0.3 * random.normal(size=400)
    assert correlation(measure, gap).low > 0.5
    assert abs(correlation(measure, gap, given).tau) < abs(correlation(measure, gap).tau) / 3


def test_models_without_the_measure_and_constant_measures():
    assert correlation([1, 2, math.nan, 3], [1, 2, 0, 3]).models == 3
    constant = correlation([1, 1, 1], [1, 2, 3])
    assert math.isnan(constant.tau) and math.isnan(constant.low) and constant.models == 3


def test_tau_is_that_of_scipy_with_ties_too():
    random = np.random.default_rng(3)
    measure, gap = random.integers(0, 6, 50), random.integers(0, 6, 50)
    assert correlation(measure, gap).tau == pytest.approx(kendalltau(measure, gap).statistic)


def test_models_that_resemble_each_other_are_drawn_together():
    random = np.random.default_rng(4)
    families = np.repeat(np.arange(10), 20)
    shift = random.normal(size=(2, 10))[:, families]
    measure, gap = shift + 0.1 * random.normal(size=(2, 200))
    alone, together = correlation(measure, gap), correlation(measure, gap, families=families)
    assert alone.tau == together.tau and together.high - together.low > 2 * (alone.high - alone.low)
    one = correlation(measure, gap, families=np.zeros(200, int))
    assert one.tau == alone.tau and math.isnan(one.low)
