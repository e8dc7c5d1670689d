"""Metrics of a classifier from its confusion matrix, and their intervals by a bootstrap over sentences and seeds."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def confusion(labels: Array, predictions: Array, classes: int) -> Array:
    """Counts (..., actual, predicted) of labels (n,) against predictions (..., n), both class indices."""
    cells = labels * classes + predictions
    rows = cells.reshape(-1, cells.shape[-1])
    counts = [np.bincount(row, minlength=classes * classes) for row in rows]
    return np.array(counts).reshape(*predictions.shape[:-1], classes, classes)


def accuracy(matrix: Array) -> Array:
    """Fraction of right answers; matrix (..., actual, predicted) as in all metrics here."""
    return np.trace(matrix, axis1=-2, axis2=-1) / matrix.sum((-2, -1))


def f1(matrix: Array) -> Array:
    """F1 of class 1 where there are two classes, else the mean over the classes that occur (macro F1).

    0 where a class occurs neither among the labels nor among the predictions, and there is no other.
    """
    twice = 2 * np.diagonal(matrix, axis1=-2, axis2=-1)
    either = matrix.sum(-1) + matrix.sum(-2)
    score = twice / np.maximum(either, 1)
    if matrix.shape[-1] == 2:
        return np.asarray(score[..., 1])
    return np.asarray(score.sum(-1) / np.maximum((either > 0).sum(-1), 1))


def matthews(matrix: Array) -> Array:
    """Matthews correlation, for any number of classes (Gorodkin, 2004); 0 where labels or predictions are constant."""
    actual, predicted = matrix.sum(-1).astype(float), matrix.sum(-2).astype(float)
    total = actual.sum(-1)
    right = np.trace(matrix, axis1=-2, axis2=-1)
    spread = (total**2 - (actual**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
    return np.asarray((right * total - (actual * predicted).sum(-1)) / np.sqrt(np.where(spread > 0, spread, np.inf)))


def barrier(errors: list[float]) -> float:
    """The most by which errors at evenly spaced points rise above the line from the first one to the last one."""
    return float((np.array(errors) - np.linspace(errors[0], errors[-1], len(errors))).max())


METRICS: dict[str, Callable[[Array], Array]] = {"accuracy": accuracy, "f1": f1, "matthews": matthews}


def resample(columns: Array, resamples: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Bootstrap of the sentences, by counts: sentences with equal columns are interchangeable.

    columns: (k, n) integers, one column per sentence. Returns the distinct columns (k, patterns) and how often
    each was drawn, (resamples, patterns): n draws with replacement are one draw of a multinomial.
    """
    patterns, counts = np.unique(columns, axis=1, return_counts=True)
    total = columns.shape[1]
    return patterns, rng.multinomial(total, counts / total, size=resamples)


def seed_weights(seeds: int, resamples: int, rng: np.random.Generator) -> Array:
    """Bootstrap of the seeds: the share of each in every resample, (resamples, seeds), rows sum to 1."""
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds


def intervals(
    labels: Array,
    predictions: Array,
    classes: int,
    resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of every metric's mean over seeds; labels (n,), predictions (seeds, n).

    Sentences and seeds are resampled crossed: all seeds of a resample see the same sentences.
    """
    seeds = len(predictions)
    patterns, drawn = resample(labels * classes + predictions, resamples, rng)
    cells = np.eye(classes * classes)[patterns].transpose(1, 0, 2).reshape(patterns.shape[1], -1)
    matrices = (drawn @ cells).reshape(resamples, seeds, classes, classes)
    shares = seed_weights(seeds, resamples, rng)
    return {name: ends((metric(matrices) * shares).sum(-1), confidence) for name, metric in METRICS.items()}


def ends(values: Array, confidence: float) -> tuple[float, float]:
    """Lower and upper end of the central interval that holds `confidence` of the values."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
