"""Does a measure explain generalization? Rank correlations over many models, with intervals."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """Kendall's tau-b and its bootstrap interval over `models`; NaN where a side is constant."""

    tau: float
    low: float
    high: float
    models: int


def rank_correlation(
    measure: Floats, gap: Floats, resamples: int, confidence: float, random: np.random.Generator,
    given: Floats | None = None,
) -> Correlation:  # fmt: skip
    """Of a measure (models,) with the gap (models,); with `given` the partial one, by Kendall's formula.

    Models without a finite measure are left out. The interval is a percentile bootstrap over models: wide where they
    are few, and of the models that were trained, not of all that might be.
    """
    columns = [measure, gap] if given is None else [measure, gap, given]
    table = np.stack(columns)[:, np.isfinite(columns).all(0)]
    tau: Callable[[Floats], float] = _tau if given is None else _partial
    count = table.shape[1]
    value = tau(table)
    if math.isnan(value):
        return Correlation(value, math.nan, math.nan, count)
    found = np.array([tau(table[:, random.integers(0, count, count)]) for _ in range(resamples)])
    low, high = np.nanquantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Correlation(value, float(low), float(high), count)


def _tau(table: Floats) -> float:
    if table.shape[1] < 2 or (table[:2].min(1) == table[:2].max(1)).any():
        return math.nan
    return float(kendalltau(table[0], table[1]).statistic)


def _partial(table: Floats) -> float:
    """(t_xy - t_xz t_yz) / sqrt((1 - t_xz^2)(1 - t_yz^2)) (Kendall, 1942)."""
    xy, xz, yz = _tau(table[[0, 1]]), _tau(table[[0, 2]]), _tau(table[[1, 2]])
    below = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(below) if below > 0 else math.nan
