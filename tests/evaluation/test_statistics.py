"""Comparisons on known cases: simulated nulls, coverage, hand-computed corrections and verdicts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from integer_tickets.evaluation.statistics import compare, holm, mcnemar, p_value


def null_pair(rng, seeds, n, training_noise):
    """Right answers (seeds, n) of two kinds of model that are equally good; sentences differ in difficulty."""
    difficulty = rng.beta(8, 1, n)
    quality = rng.normal(0, training_noise, (2, seeds, 1))
    return rng.random((2, seeds, n)) < np.clip(difficulty + quality, 0, 1)


@pytest.mark.parametrize(("seeds", "training_noise"), [(3, 0.05), (5, 0.02)])
def test_p_is_uniform_where_there_is_no_difference(seeds, training_noise):
    rng = np.random.default_rng(0)
    pairs = [null_pair(rng, seeds, 400, training_noise) for _ in range(400)]
    p = np.array([p_value(a.astype(np.int8) - b.astype(np.int8)) for a, b in pairs])
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert 0.02 < (p < 0.05).mean() < 0.09


def test_few_seeds_that_agree_by_chance_do_not_pass_a_correction():
    """Where many questions are asked, only the far tail counts; many sentences must not make up for few seeds."""
    rng, n, disagreement = np.random.default_rng(6), 4000, 0.08
    questions, tail = 3000, 0.05 / 24
    found = []
    for shift in rng.normal(0, 0.004, (questions, 3, 1)):
        u = rng.random((3, n), np.float32)
        found.append(p_value((u < disagreement / 2 + shift).astype(np.int8) - (u > 1 - disagreement / 2 + shift)))
    assert (np.array(found) < tail).mean() < 2 * tail


@pytest.mark.parametrize("seeds", [2, 3])
def test_p_is_on_the_safe_side_without_training_noise(seeds):
    rng = np.random.default_rng(0)
    pairs = [null_pair(rng, seeds, 400, 0.0) for _ in range(400)]
    p = np.array([p_value(a.astype(np.int8) - b.astype(np.int8)) for a, b in pairs])
    assert (p < 0.05).mean() < 0.06 and (p < 0.2).mean() < 0.22


def test_seeds_that_agree_by_chance_do_not_outweigh_few_sentences():
    d = np.zeros((2, 400), np.int8)
    d[:, :5] = 1  # the same 5 of 400 sentences for both seeds
    assert p_value(d) == pytest.approx(2 * stats.t.sf(np.sqrt(5 / (395 / 399)), 399), rel=1e-6)


@pytest.mark.parametrize(("seeds", "training_noise", "least"), [(3, 0.0, 0.95), (3, 0.01, 0.9), (10, 0.03, 0.88)])
def test_interval_covers_the_true_difference(seeds, training_noise, least):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(150):
        result = compare(*null_pair(rng, seeds, 600, training_noise), 300, 0.95, 0.01, rng)
        covered += result.low <= 0 <= result.high
    assert covered / 150 >= least


def test_a_clear_difference_is_found():
    rng = np.random.default_rng(2)
    a, b = rng.random((3, 2000)) < 0.90, rng.random((3, 2000)) < 0.85
    result = compare(a, b, 500, 0.95, 0.01, rng)
    assert result.low > 0 and result.p < 0.01 and result.matching and result.within_one_std
    swapped = compare(b, a, 500, 0.95, 0.01, rng)
    assert swapped.high < 0 and not swapped.matching and not swapped.within_one_std
    assert swapped.p == pytest.approx(result.p)


def test_equal_answers_match_without_doubt():
    right = np.random.default_rng(3).random((3, 100)) < 0.8
    result = compare(right, right, 200, 0.95, 0.001, np.random.default_rng(0))
    assert (result.difference, result.low, result.high, result.p) == (0, 0, 0, 1)
    assert result.matching and result.within_one_std
    assert (result.n, result.seeds) == (100, 3)


def test_within_one_standard_deviation_is_that_of_b():
    b = np.zeros((3, 100), bool)
    for row, count in zip(b, (80, 82, 84), strict=True):  # standard deviation 2 points
        row[:count] = True
    a = np.zeros((3, 100), bool)
    a[:, :81] = True
    assert compare(a, b, 100, 0.95, 0.0, np.random.default_rng(0)).within_one_std
    a[:, 79:] = False
    assert not compare(a, b, 100, 0.95, 0.0, np.random.default_rng(0)).within_one_std


def test_a_single_row_stands_beside_every_seed():
    rng = np.random.default_rng(4)
    a, b = rng.random((3, 500)) < 0.9, rng.random((1, 500)) < 0.8
    result = compare(a, b, 200, 0.95, 0.01, rng)
    assert result.difference == pytest.approx(a.mean() - b.mean())
    assert result.within_one_std is None and result.seeds == 3


def test_one_seed_is_judged_by_mcnemar():
    rng = np.random.default_rng(5)
    a, b = rng.random((2, 1, 60)) < 0.7
    better, worse = int((a & ~b).sum()), int((b & ~a).sum())
    expected = stats.binomtest(better, better + worse, 0.5).pvalue
    assert compare(a, b, 100, 0.95, 0.01, rng).p == pytest.approx(expected)
    assert mcnemar(np.zeros(9, int)) == 1.0


def test_without_any_noise_p_is_certain():
    assert p_value(np.ones((3, 10), int)) == 0.0
    assert p_value(np.zeros((3, 10), int)) == 1.0
    assert p_value(np.array([[1], [0], [1]])) > 0.1  # one sentence


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.6]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20), st.floats(0.01, 0.5))
def test_holm_rejects_what_the_step_down_procedure_rejects(percent, alpha):
    p = [value / 100 for value in percent]
    rejected: set[int] = set()
    for step, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[index] * (len(p) - step) > alpha:
            break
        rejected.add(index)
    assert {index for index, value in enumerate(holm(p)) if value <= alpha} == rejected
