"""Does a measure explain generalization? Rank correlations over many models, with intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    families: NDArray[Any], given: Floats | None = None,
) -> Correlation:  # fmt: skip
    """Of a measure (models,) with the gap (models,); with `given` the partial one, by Kendall's formula.

    Models without a finite measure are left out. The interval is a percentile bootstrap over families (models,), the
    models of which resemble each other: wide where they are few, and of what was trained, not of all that might be.
    """
    columns = [measure, gap] if given is None else [measure, gap, given]
    known = np.isfinite(columns).all(0)
    table = np.stack(columns)[:, known]
    count = table.shape[1]
    if count < 2:
        return Correlation(np.nan, np.nan, np.nan, count)
    orders = [np.sign(column[:, None] - column) for column in table]
    # How often each model is drawn: none twice first, then as the bootstrap has its family.
    family = np.unique(families[known], return_inverse=True)[1]
    whole = int(family.max()) + 1
    drawn = random.multinomial(whole, np.full(whole, 1 / whole), resamples)[:, family]
    often = np.concatenate([np.ones((1, count)), drawn])
    found = _tau(orders[0], orders[1], often) if given is None else _partial(orders, often)
    if np.isnan(found[0]) or whole < 2:
        return Correlation(float(found[0]), np.nan, np.nan, count)
    low, high = np.nanquantile(found[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Correlation(float(found[0]), float(low), float(high), count)


def _tau(one: Floats, other: Floats, often: Floats) -> Floats:
    """tau-b (samples,) by the signs of all differences (models, models), where models occur so often (samples, models).

    Concordant pairs less discordant ones, over the root of the product of those that are tied in neither side; a model
    that occurs twice ties with itself.
    """

    def pairs(signs: Floats) -> Floats:
        return np.asarray(((often @ signs) * often).sum(1))

    untied = pairs(np.abs(one)) * pairs(np.abs(other))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(untied > 0, pairs(one * other) / np.sqrt(untied), np.nan)


def _partial(orders: list[Floats], often: Floats) -> Floats:
    """(t_xy - t_xz t_yz) / sqrt((1 - t_xz^2)(1 - t_yz^2)) (Kendall, 1942)."""
    x, y, z = orders
    xy, xz, yz = _tau(x, y, often), _tau(x, z, often), _tau(y, z, often)
    below = (1 - xz**2) * (1 - yz**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, (xy - xz * yz) / np.sqrt(below), np.nan)
