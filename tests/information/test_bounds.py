"""Bounds: known values, their order, and that they hold."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainccinv, betaln
from scipy.stats import beta

from integer_tickets.data.enumerable import enumeration
from integer_tickets.information.bounds import (
    binary_entropy,
    binomial_tail,
    description_length,
    kl,
    kl_inverse,
    maurer,
    occam,
    square_root,
)

DELTA = 0.05
risks = st.floats(0, 0.99)


@pytest.mark.parametrize(
    ("n", "risk", "bits", "binomial", "kl_form", "two_roots"),
    [
        (67_349, 0.10, 1_000, 0.1484, 0.1486, 0.1488),
        (67_349, 0.10, 10_000, 0.2856, 0.2857, 0.2858),
        (6_920, 0.10, 1_000, 0.2824, 0.2830, 0.2839),
        (1_000_000, 0.05, 100_000, 0.1726, 0.1726, 0.1726),
    ],
)
def test_known_values(n, risk, bits, binomial, kl_form, two_roots):
    found = binomial_tail(round(n * risk), n, bits, DELTA), occam(risk, n, bits, DELTA), maurer(risk, n, bits, DELTA)
    assert found == pytest.approx((binomial, kl_form, two_roots), abs=6e-5)


@pytest.mark.parametrize(("m", "value"), [(872, 0.1181), (1_821, 0.1123), (25_000, 0.1032), (38_000, 0.1026)])
def test_held_out_bound_is_that_of_clopper_and_pearson(m, value):
    k = round(0.1 * m)
    found = binomial_tail(k, m, 0, DELTA)
    assert found == pytest.approx(value, abs=1.1e-4)
    assert found == pytest.approx(beta.ppf(1 - DELTA, k + 1, m - k), abs=1e-9)


@given(st.integers(1, 5000), risks, st.floats(0, 4000), st.floats(1e-6, 0.5))
def test_each_form_is_at_least_the_tighter_one(n, risk, bits, delta):
    errors = math.floor(risk * n)
    risk = errors / n
    values = [form(risk, n, bits, delta) for form in (occam, maurer, square_root)]
    values = [binomial_tail(errors, n, bits, delta), *values]
    assert all(a <= b + 1e-9 for a, b in pairwise(values))
    assert values[0] >= risk


@given(risks, st.floats(1e-4, 3))
def test_the_inverse_of_relative_entropy(q, c):
    p = kl_inverse(q, c)
    assert q <= p <= 1 and (1 - p < 1e-9 or kl(q, p) == pytest.approx(c, rel=1e-6))
    assert kl_inverse(0, c) == pytest.approx(1 - math.exp(-c))


@given(st.integers(50, 100_000), st.floats(0, 0.49), st.floats(0, 50_000), st.floats(1e-6, 0.5))
def test_below_one_half_iff_the_labels_compress(n, risk, bits, delta):
    total = bits + n * binary_entropy(risk) + math.log2(1 / delta)
    if abs(total - n) > 1e-6 * n:
        assert (occam(risk, n, bits, delta) < 0.5) == (total < n)


def test_description_length():
    assert description_length(500, 1000, 250) == pytest.approx(1.25)
    assert description_length(0, 1000, 100) == pytest.approx(0.1)


@pytest.mark.parametrize(("n", "mean", "slack"), [(200, 0.361, 0.119), (500, 0.312, 0.075), (2000, 0.273, 0.040)])
def test_the_best_of_many_hypotheses_by_the_bound_itself_does_not_break_it(n, mean, slack):
    """All votes of -1, 0 or 1 for each word of a bag: the learner picks by the bound what the bound has to hold for."""
    language, random = enumeration(), np.random.default_rng(n)
    words = (language.tokens[:, :, None] == np.arange(8)).sum(1)
    bags, of = np.unique(words, axis=0, return_inverse=True)
    votes = np.array(list(product([-1, 0, 1], repeat=8)))
    used = np.abs(votes).sum(1)
    bits = np.array([math.log2(9 * math.comb(8, k)) + signs(vote) for k, vote in zip(used, votes, strict=True)])
    assert np.exp2(-bits).sum() == pytest.approx(1, abs=1e-9)  # Kraft: the code is one

    says = bags @ votes.T > 0  # (bags, hypotheses)
    cells = [np.bincount(of, language.chance * p) for p in (1 - language.posterior, language.posterior)]
    truth = cells[0] @ says + cells[1] @ ~says
    bounds, risks = [], []
    for _ in range(300):
        negative, positive = random.multinomial(n, np.concatenate(cells)).reshape(2, -1)
        errors = negative @ says + positive @ ~says
        bound = betainccinv(errors + 1, n - errors, DELTA * np.exp2(-bits))
        best = bound.argmin()
        bounds.append(bound[best])
        risks.append(truth[best])
        if len(bounds) == 1:
            assert bound[best] == pytest.approx(binomial_tail(int(errors[best]), n, bits[best], DELTA), abs=1e-9)
    assert (np.array(risks) <= bounds).all()  # of 300; 15 could be above
    assert mean - 3 / n - 0.005 < np.mean(bounds) < mean + 0.005  # known for `occam`, which is a little looser
    assert slack - 3 / n - 0.005 < np.mean(bounds) - np.mean(risks) < slack + 0.005


def signs(vote):
    """Bits of the signs of a vote by the adaptive code of Krichevsky and Trofimov."""
    plus, minus = (vote > 0).sum(), (vote < 0).sum()
    return (betaln(0.5, 0.5) - betaln(plus + 0.5, minus + 0.5)) / math.log(2)
