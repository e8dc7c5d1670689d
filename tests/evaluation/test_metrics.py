"""Metrics agree with scikit-learn, intervals with the binomial and with a bootstrap of indices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics

from integer_tickets.evaluation.metrics import METRICS, barrier, confusion, intervals, resample, seed_weights


@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 10**6))
def test_metrics_are_those_of_scikit_learn(classes, n, seed):
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, rng.integers(1, classes, endpoint=True), (2, n))
    matrix = confusion(labels, predictions, classes)
    average = {"average": "binary"} if classes == 2 else {"average": "macro"}
    assert matrix.sum() == n
    assert METRICS["accuracy"](matrix) == pytest.approx(sklearn_metrics.accuracy_score(labels, predictions))
    assert METRICS["f1"](matrix) == pytest.approx(
        sklearn_metrics.f1_score(labels, predictions, zero_division=0.0, **average)
    )
    if len(set(labels) | set(predictions)) > 1:
        assert METRICS["matthews"](matrix) == pytest.approx(sklearn_metrics.matthews_corrcoef(labels, predictions))


def test_confusion_counts_actual_by_predicted_for_every_seed():
    matrix = confusion(np.array([0, 0, 1]), np.array([[0, 1, 1], [1, 1, 1]]), 2)
    assert matrix.tolist() == [[[1, 1], [0, 1]], [[0, 2], [0, 1]]]


@pytest.mark.parametrize("predicted", [0, 1])
def test_constant_predictions_have_no_correlation(predicted):
    matrix = confusion(np.array([0, 1, 1]), np.full(3, predicted), 2)
    assert METRICS["matthews"](matrix) == 0
    assert METRICS["f1"](matrix) == (0.8 if predicted else 0.0)


def test_barriers():
    assert barrier([0.2, 0.3, 0.4]) == pytest.approx(0.0)
    assert barrier([0.2, 0.5, 0.4]) == pytest.approx(0.2)
    assert barrier([0.4, 0.1, 0.2]) == 0.0
    assert barrier(list(np.zeros(11))) == 0.0


def test_resampling_keeps_the_number_of_sentences():
    rng = np.random.default_rng(0)
    columns = rng.integers(-1, 2, (3, 50))
    patterns, drawn = resample(columns, 20, rng)
    assert patterns.shape[0] == 3 and drawn.shape == (20, patterns.shape[1])
    assert (drawn.sum(1) == 50).all()
    assert np.allclose(seed_weights(3, 20, rng).sum(1), 1)


def test_interval_of_one_accuracy_is_the_binomial_one():
    labels = np.zeros(500, int)
    predictions = (np.arange(500) < 60).astype(int)[None]  # 88 % right
    low, high = intervals(labels, predictions, 2, 20_000, 0.95, np.random.default_rng(0))["accuracy"]
    expected = stats.binom.ppf([0.025, 0.975], 500, 0.88) / 500
    assert (low, high) == pytest.approx(tuple(expected), abs=0.003)


def test_intervals_are_those_of_a_bootstrap_of_indices():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 300)
    predictions = np.where(rng.random((4, 300)) < 0.8, labels, rng.integers(0, 3, (4, 300)))
    ours = intervals(labels, predictions, 3, 4000, 0.9, np.random.default_rng(2))
    naive: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(2000):
        rows, seeds = rng.integers(0, 300, 300), rng.integers(0, 4, 4)
        matrices = confusion(labels[rows], predictions[seeds][:, rows], 3)
        for name, metric in METRICS.items():
            naive[name].append(metric(matrices).mean())
    for name, values in naive.items():
        assert ours[name] == pytest.approx(tuple(np.quantile(values, [0.05, 0.95])), abs=0.006)
