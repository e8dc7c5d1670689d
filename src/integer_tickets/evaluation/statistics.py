"""Paired comparison of two models over seeds: difference, interval, p-value, verdicts; and Holm's correction.

Both sides are judged on the same sentences, seed by seed. With d the difference of correctness (-1, 0, 1) per seed and
sentence, the estimate is the mean of d.

Interval: percentiles of a bootstrap that resamples sentences and seeds, crossed (Owen, "The pigeonhole bootstrap",
2007). It is wide where the noise of single answers dominates, and narrow where seeds do: with three seeds and training
noise as large as in practice, simulations put the coverage of the 95 % interval between 90 and 99 %.

p-value: the larger of two, each a two-sided Student test of the mean difference. One is over the means of the seeds, as
many as there are: few seeds can agree by chance, so it alone says how far they can be trusted (three of them seldom
survive a correction for many questions). The other has the variance of the means over seeds plus that of the means over
sentences, minus what both contain, and at least that over sentences; degrees of freedom by Satterthwaite (1946). For a
single seed there is nothing to say about training noise: McNemar's exact test over the sentences.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from integer_tickets.evaluation.metrics import Array, ends, resample, seed_weights


@dataclass(frozen=True)
class Comparison:
    """a against b: difference of accuracy a - b with its interval and p-value.

    matching: the lower end of the interval lies above -margin. within_one_std: the mean of a is at most one standard
    deviation (over the seeds of b) below that of b; None where b has one seed.
    """

    difference: float
    low: float
    high: float
    p: float
    matching: bool
    within_one_std: bool | None
    n: int
    seeds: int


def compare(
    a: Array, b: Array, resamples: int, confidence: float, margin: float, rng: np.random.Generator
) -> Comparison:
    """Compare right (True) and wrong answers, (seeds, n) each and row by row of the same seed; b may have one row."""
    d = a.astype(np.int8) - b.astype(np.int8)
    seeds, n = d.shape
    patterns, drawn = resample(d, resamples, rng)
    means = drawn @ patterns.T / n
    low, high = ends((means * seed_weights(seeds, resamples, rng)).sum(1), confidence)
    difference = float(d.mean())
    within = difference >= -float(b.mean(1).std(ddof=1)) if len(b) > 1 else None
    p = p_value(d) if seeds > 1 else mcnemar(d[0])
    return Comparison(difference, low, high, p, low > -margin, within, n, seeds)


def p_value(d: Array) -> float:
    """Two-sided p-value of mean 0 for differences d (seeds >= 2, n) with noise of seeds, of sentences and of both."""
    seeds, n = d.shape
    mean, of_seeds, of_sentences = d.mean(), d.mean(1), d.mean(0)
    rest = d - of_seeds[:, None] - of_sentences[None, :] + mean
    shared = float((rest**2).sum()) / ((seeds - 1) * max(n - 1, 1)) / (seeds * n)
    between_seeds = float(of_seeds.var(ddof=1)) / seeds
    between_sentences = float(of_sentences.var(ddof=1)) / n if n > 1 else 0.0
    # Few seeds can agree by chance; they never take away from the noise of the sentences.
    variance = between_sentences + max(between_seeds - shared, 0.0)
    if variance == 0:
        return float(mean == 0)
    freedom = variance**2 / (between_seeds**2 / (seeds - 1) + between_sentences**2 / max(n - 1, 1))
    return max(_student(mean, variance, freedom), _student(mean, between_seeds, seeds - 1))


def _student(mean: float, variance: float, freedom: float) -> float:
    """Two-sided p-value of mean 0 for a mean with this estimated variance."""
    return float(2 * stats.t.sf(abs(mean) / np.sqrt(variance), freedom)) if variance else float(mean == 0)


def mcnemar(d: Array) -> float:
    """McNemar's exact test: are +1 and -1 equally likely in d (n,)?"""
    better, worse = int((d > 0).sum()), int((d < 0).sum())
    return float(min(1.0, 2 * stats.binom.cdf(min(better, worse), better + worse, 0.5)))


def holm(p: list[float]) -> list[float]:
    """p-values corrected for the number of questions (Holm, 1979), in the given order."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(np.array(p)[order] * factors), 1.0)
    return [float(value) for value in corrected]
