"""Upper bounds on the true error of a classifier that has a code length, from its errors on n independent examples.

A self-delimiting code is a probability over classifiers that was fixed before the data, P(h) = 2^-bits(h); a union
over it makes one bound hold for all classifiers at once, so how a classifier was found costs nothing. Risks and losses
lie in [0, 1]; each bound holds with probability 1 - delta over the sample.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import gammaln

HALVINGS = 100  # of an interval within [0, 1]: to the last bit of a float


def kl(q: float, p: float) -> float:
    """Relative entropy of Bernoulli(q) to Bernoulli(p), in nats."""
    if q in (0.0, 1.0):
        other = p if q else 1 - p
        return -math.log(other) if other > 0 else math.inf
    if p in (0.0, 1.0):
        return math.inf
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def kl_inverse(q: float, c: float) -> float:
    """The largest p with kl(q, p) <= c."""
    return _largest(q, lambda p: kl(q, p) <= c)


def occam(risk: float, n: int, bits: float, delta: float) -> float:
    """kl(risk || R) <= (bits ln 2 + ln 1/delta) / n: Chernoff and a union over the code; any loss in [0, 1]."""
    return kl_inverse(risk, _cost(bits, delta) / n)


def binomial_tail(errors: int, n: int, bits: float, delta: float) -> float:
    """max {p : Pr[Bin(n, p) <= errors] >= delta 2^-bits} (Langford, JMLR 2005): 0-1 loss only, no bound is tighter.

    With bits = 0 the exact bound of a held-out sample (Clopper and Pearson).
    """
    least = -_cost(bits, delta)
    return _largest(errors / n, lambda p: _log_tail(errors, n, p) >= least)


def maurer(risk: float, n: int, bits: float, delta: float) -> float:
    """kl(risk || R) <= (bits ln 2 + ln(2 sqrt(n) / delta)) / n: the form for randomized classifiers, shown beside."""
    return kl_inverse(risk, (_cost(bits, delta) + math.log(2 * math.sqrt(n))) / n)


def square_root(risk: float, n: int, bits: float, delta: float) -> float:
    """risk + sqrt((bits ln 2 + ln(2 sqrt(n) / delta)) / 2n), McAllester's: what Pinsker leaves of `maurer`."""
    return min(1.0, risk + math.sqrt((_cost(bits, delta) + math.log(2 * math.sqrt(n))) / (2 * n)))


def binary_entropy(p: float) -> float:
    """In bits."""
    return -sum(x * math.log2(x) for x in (p, 1 - p) if x > 0)


def description_length(errors: float, n: int, bits: float, classes: int = 2) -> float:
    """Bits a label of the two-part code: the classifier, and which labels it has wrong and what they are."""
    return (bits + n * binary_entropy(errors / n) + errors * math.log2(classes - 1)) / n


def _cost(bits: float, delta: float) -> float:
    return bits * math.log(2) - math.log(delta)


def _largest(low: float, holds: Callable[[float], bool]) -> float:
    """The largest p in [low, 1] for which a condition holds that holds at `low`, and stops for good: from above."""
    if holds(1.0):
        return 1.0
    high = 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return high


def _log_tail(k: int, n: int, p: float) -> float:
    """ln Pr[Bin(n, p) <= k], also where it is far below the smallest float."""
    if p <= 0 or k >= n:
        return 0.0
    if p >= 1:
        return -math.inf
    i = np.arange(k + 1)
    terms = gammaln(n + 1) - gammaln(i + 1) - gammaln(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
    most = terms.max()
    return float(most + np.log(np.exp(terms - most).sum()))
