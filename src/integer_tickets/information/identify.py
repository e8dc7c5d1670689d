"""Entropy and mutual information from a sample, given only where two estimators of different kind agree.

Where every state was seen many times, bias corrections settle the matter; where states were seen a few times, a
Bayesian and a coverage estimate may; where most of the mass was not seen, no count can tell and none is given: with
all states distinct, counts find all of H(Y) in a Z that is independent of Y.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from integer_tickets.information.counts import (
    Counts,
    chao_wang_jost,
    counts_of,
    coverage,
    grassberger,
    miller_madow,
    nsb,
)

MANY, FEW = 16, 1  # observations a state
AGREE_MANY, AGREE_FEW = 0.01, 0.05  # bits
COVERED = 0.95  # share of the probability that must have been seen
SHUFFLES = 20  # of the null

Codes = NDArray[np.integer]


@dataclass(frozen=True)
class Estimate:
    """A quantity in bits, or the reason why the sample does not give it."""

    value: float  # NaN where it is not identifiable
    estimator: str
    n: int
    states: int
    coverage: float
    null: float = math.nan  # mean of the same estimate with shuffled labels
    refused: str = ""

    @property
    def identifiable(self) -> bool:
        return not self.refused


def entropy_of(codes: Codes, states: int) -> Estimate:
    """H(Z) of codes (n, ...), of which `states` values can occur."""
    counts = counts_of(codes)
    return _judged(counts, states, lambda estimate: estimate(counts, states))


def information_about(codes: Codes, labels: Codes, states: int, random: np.random.Generator) -> Estimate:
    """I(Z;Y) of codes (n, ...) and labels (n,), beside what shuffled labels give; never clipped at 0.

    The estimators are those for `states` values of Z, each used for H(Z), H(Y) and H(Z,Y).
    """
    number = np.unique(np.ascontiguousarray(codes).reshape(len(codes), -1), axis=0, return_inverse=True)[1].reshape(-1)
    classes = int(labels.max()) + 1

    def estimate_with(y: Codes) -> Callable[[Callable[[Counts, int], float]], float]:
        joint = np.bincount(number * classes + y)
        z, own = np.bincount(number), np.bincount(y)
        return lambda f: f(z, states) + f(own, classes) - f(joint, states * classes)

    found = _judged(np.bincount(number), states, estimate_with(labels))
    if not found.identifiable:
        return found
    first = _pair(found.n, states)[0][1]
    null = float(np.mean([estimate_with(random.permutation(labels))(first) for _ in range(SHUFFLES)]))
    return replace(found, null=null)


def _pair(n: int, states: int) -> tuple[tuple[str, Callable[[Counts, int], float]], ...]:
    """The estimator that is reported and the one that must agree with it."""
    if n >= MANY * states:
        return ("Miller-Madow", lambda c, _: miller_madow(c)), ("Grassberger", lambda c, _: grassberger(c))
    return ("NSB", nsb), ("Chao-Wang-Jost", lambda c, _: chao_wang_jost(c))


def _judged(counts: Counts, states: int, estimate: Callable[..., float]) -> Estimate:
    n, covered = int(counts.sum()), coverage(counts)
    (name, first), (other, second) = _pair(n, states)
    blank = Estimate(math.nan, name, n, states, covered)
    if covered < COVERED:
        return replace(blank, refused=f"coverage {covered:.2f} is below {COVERED}")
    if n < FEW * states:
        return replace(blank, refused=f"{n} observations of {states} states")
    one, two = estimate(first), estimate(second)
    allowed = AGREE_MANY if n >= MANY * states else AGREE_FEW
    if abs(one - two) > allowed:
        return replace(blank, refused=f"{name} {one:.3f} and {other} {two:.3f} differ by more than {allowed} bits")
    return replace(blank, value=one)
