"""The enumerable language: its truth, and what known representations of it hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.data.enumerable import NEGATOR, SCORES, draw, enumeration, posterior, scores_of
from integer_tickets.information.exact import entropy, held, label_bits

LANGUAGE = enumeration()


def bags(tokens):
    return np.stack([(tokens == v).sum(1) for v in range(len(SCORES))], 1)


def unsigned(tokens):
    return np.asarray(SCORES)[tokens].sum(1)


# representation, states, I(X;Z), I(Z;Y), gap, superfluous: the reference table
TABLE = [
    (LANGUAGE.tokens, 4096, 10.479, 0.6636, 0, 9.815),
    (bags(LANGUAGE.tokens), 330, 7.041, 0.6636, 0, 6.377),
    (LANGUAGE.score, 17, 3.780, 0.6636, 0, 3.116),
    (unsigned(LANGUAGE.tokens), 17, 3.245, 0.0819, 0.5817, 3.163),
    (np.sign(LANGUAGE.score), 3, 1.181, 0.5984, 0.0652, 0.582),
]


@pytest.mark.parametrize(
    ("codes", "states", "bits", "label", "gap", "superfluous"),
    TABLE,
    ids=["sentence", "bag of words", "score", "score without negation", "sign"],
)
def test_reference_table(codes, states, bits, label, gap, superfluous):
    found = held(codes, LANGUAGE.chance, LANGUAGE.posterior)
    assert found.states == states
    values = found.entropy, found.label, found.gap, found.superfluous
    assert values == pytest.approx((bits, label, gap, superfluous), abs=1e-3)


def test_the_language_is_a_distribution_with_the_known_truth():
    assert LANGUAGE.chance.sum() == pytest.approx(1)
    positive = (LANGUAGE.chance * LANGUAGE.posterior).sum()
    assert entropy(np.array([positive, 1 - positive])) == pytest.approx(0.926, abs=1e-3)
    error = (LANGUAGE.chance * np.minimum(LANGUAGE.posterior, 1 - LANGUAGE.posterior)).sum()
    assert error == pytest.approx(0.0769, abs=1e-4)


def test_sampled_sentences_follow_the_same_law():
    tokens, labels = draw(40_000, 4, np.random.default_rng(0))
    index = tokens @ 8 ** np.arange(3, -1, -1)
    assert (LANGUAGE.tokens[index] == tokens).all()
    by_score = [labels[scores_of(tokens) == s].mean() for s in (-2, 0, 2)]
    assert by_score == pytest.approx(posterior(np.array([-2, 0, 2])), abs=0.03)
    assert (tokens == NEGATOR).mean() == pytest.approx(LANGUAGE.chance @ (LANGUAGE.tokens == NEGATOR).mean(1), abs=0.01)


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 5))
def test_no_map_adds_information(seed, first, second):
    """The data processing inequality, through any chain of deterministic maps."""
    random = np.random.default_rng(seed)
    chance = random.dirichlet(np.ones(24))
    truth = random.random(24)
    codes = random.integers(0, 2**first, (24, 2))
    maps = {tuple(row): random.integers(0, second + 1, 2) for row in codes}
    mapped = np.array([maps[tuple(row)] for row in codes])
    one, two = held(codes, chance, truth), held(mapped, chance, truth)
    assert two.entropy <= one.entropy + 1e-12 and two.label <= one.label + 1e-12
    assert one.gap >= -1e-12 and one.superfluous >= -1e-12
    assert label_bits(chance, chance * truth) == pytest.approx(one.gap + one.label)


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_what_a_map_holds_of_its_input_is_its_entropy(seed, bits):
    """I(X;Z) = H(Z) and I(X;Z|Y) = H(Z) - I(Z;Y), from the joint distribution of X, Y and Z, cell by cell."""
    random = np.random.default_rng(seed)
    chance, truth = random.dirichlet(np.ones(12)), random.random(12)
    codes = random.integers(0, 2**bits, 12)
    joint = np.zeros((12, 2, 2**bits))
    joint[np.arange(12), 0, codes], joint[np.arange(12), 1, codes] = chance * (1 - truth), chance * truth

    def bits_of(*axes):
        return entropy(joint.sum(tuple({0, 1, 2} - set(axes))))

    found = held(codes, chance, truth)
    assert found.entropy == pytest.approx(bits_of(0) + bits_of(2) - bits_of(0, 2))
    assert found.label == pytest.approx(bits_of(1) + bits_of(2) - bits_of(1, 2))
    assert found.superfluous == pytest.approx(bits_of(0, 1) + bits_of(1, 2) - bits_of(1) - bits_of(0, 1, 2))


def test_a_constant_holds_nothing():
    found = held(np.zeros((4096, 3), int), LANGUAGE.chance, LANGUAGE.posterior)
    assert (found.states, found.entropy, found.superfluous) == (1, *[pytest.approx(0, abs=1e-12)] * 2)
