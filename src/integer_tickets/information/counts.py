"""Entropy of a discrete variable from counts of a sample, in bits: six estimators, from naive to Bayesian.

`counts` are how often each state was seen; states that were never seen may be left out. Which of the estimates can be
trusted is decided in `identify`, not here.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, polygamma, psi

from integer_tickets.information.exact import entropy

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

NSB_RANGE = math.log(1e-7), math.log(1e6)  # of ln beta, whose prior weight vanishes at both ends
NSB_POINTS = 2000


def counts_of(codes: NDArray[np.integer]) -> Counts:
    """How often each distinct row of codes (n, ...) occurs."""
    rows = np.ascontiguousarray(codes).reshape(len(codes), -1)
    return np.unique(rows, axis=0, return_counts=True)[1].astype(np.int64)


def coverage(counts: Counts) -> float:
    """Good-Turing: the estimated probability of the states that were seen, 1 - f1/n."""
    seen = _seen(counts)
    return float(1 - (seen == 1).sum() / seen.sum())


def plugin(counts: Counts) -> float:
    """Of the observed frequencies: too low by about (states - 1) / (2 n ln 2)."""
    seen = _seen(counts)
    return entropy(seen / seen.sum())


def miller_madow(counts: Counts) -> float:
    """Plug-in and the first term of its bias, over the observed states (Miller, 1955)."""
    seen = _seen(counts)
    return plugin(seen) + (len(seen) - 1) / (2 * float(seen.sum()) * math.log(2))


def grassberger(counts: Counts) -> float:
    """Grassberger, arXiv physics/0307138 (2003): H = ln n - 1/n sum n_i G(n_i)."""
    seen = _seen(counts)
    n, c = seen.sum(), seen.astype(float)
    sign = np.where(seen % 2 == 0, 1.0, -1.0)
    g = psi(c) + 0.5 * sign * (psi((c + 1) / 2) - psi(c / 2))
    return float((np.log(n) - (c * g).sum() / n) / np.log(2))


def chao_shen(counts: Counts) -> float:
    """Horvitz-Thompson with frequencies shrunk by coverage (Chao and Shen, 2003)."""
    seen = _seen(counts)
    n = int(seen.sum())
    singles = int((seen == 1).sum())
    cover = 1 - (singles if singles < n else n - 1) / n  # where every state is a singleton, as if one were not
    p = cover * seen / n
    return float(-(p * np.log2(p) / -np.expm1(n * np.log1p(-p))).sum()) if len(seen) > 1 else 0.0


def chao_wang_jost(counts: Counts) -> float:
    """From the slope of the accumulation curve (Chao, Wang and Jost, 2013)."""
    seen = _seen(counts)
    n = int(seen.sum())
    known = float((seen / n * (psi(n) - psi(seen))).sum())
    f1, f2 = int((seen == 1).sum()), int((seen == 2).sum())
    if f1 == 0:
        return known / math.log(2)
    a = 2 * f2 / ((n - 1) * f1 + 2 * f2) if f2 else 2 / ((n - 1) * (f1 - 1) + 2)
    if a == 1:
        return known / math.log(2)
    # the series of -ln a less its first n - 1 terms; their sum is rounded where (1 - a)^n is tiny, then nothing is left
    r = np.arange(1, n)
    rest = -math.log(a) - float(((1 - a) ** r / r).sum())
    unseen = f1 / n * math.exp((1 - n) * math.log1p(-a)) * rest if rest > 0 else 0.0
    return (known + unseen) / math.log(2)


def nsb(counts: Counts, states: int) -> float:
    """Nemenman, Shafee and Bialek (2002): mean over Dirichlet priors whose entropy is flat; `states` that can occur."""
    seen = _seen(counts)
    n = float(seen.sum())
    if states < len(seen):
        raise ValueError(f"{len(seen)} states were seen of {states} that can occur")
    if states == 1:
        return 0.0
    value, times = np.unique(np.append(seen, 0), return_counts=True)
    times = times.astype(float)
    times[0] = states - len(seen)  # never seen; the 0 that was appended stands for them
    log_beta = np.linspace(*NSB_RANGE, NSB_POINTS)
    beta = np.exp(log_beta)[:, None]
    total = n + states * beta[:, 0]
    evidence = gammaln(states * beta[:, 0]) - gammaln(total) + ((gammaln(value + beta) - gammaln(beta)) @ times)
    flat = states * polygamma(1, states * beta[:, 0] + 1) - polygamma(1, beta[:, 0] + 1)  # d E[H] / d beta
    mean = psi(total + 1) - ((value + beta) * psi(value + beta + 1)) @ times / total
    with np.errstate(divide="ignore"):
        weight = evidence + np.log(np.maximum(flat, 0)) + log_beta  # d beta = beta d ln beta
    weight = np.exp(weight - weight.max())
    return float((weight * mean).sum() / weight.sum() / np.log(2))


def _seen(counts: Counts) -> Counts:
    found = np.asarray(counts, np.int64).reshape(-1)
    found = found[found > 0]
    if not len(found):
        raise ValueError("no observations")
    return found
