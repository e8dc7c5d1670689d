"""The enumerable language: every sentence of it can be listed, so that what a representation holds is known exactly.

A sentence is `length` tokens of 8, drawn independently; each has a score, and one of them, the negator, turns the sum
around wherever it stands. A label is drawn with p(y=1|x) = 1 / (1 + exp(-1.2 score(x))), so the score is the minimal
sufficient statistic, and without attention (or another look across tokens) nobody can have it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORDS = ("superb", "good", "fine", "not", "the", "poor", "bad", "awful")  # the tokens, commonest first
SCORES = (2, 1, 1, 0, 0, -1, -1, -2)  # of each token
NEGATOR = 3
SLOPE = 1.2  # of the posterior's logit
LENGTH = 4

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Enumeration:
    """All sentences of one length, in lexical order of their tokens."""

    tokens: Integers  # (sentences, length)
    chance: Floats  # (sentences,) p(x)
    score: Integers  # (sentences,)
    posterior: Floats  # (sentences,) p(y=1|x)


def token_chances() -> Floats:
    """p of each token (8,), falling as 1 / (1 + its number)."""
    weights = 1 / np.arange(1, len(SCORES) + 1)
    return np.asarray(weights / weights.sum())


def enumeration(length: int = LENGTH) -> Enumeration:
    """All 8^length sentences."""
    axes = np.indices((len(SCORES),) * length).reshape(length, -1)
    tokens = np.ascontiguousarray(axes.T).astype(np.int64)
    score = scores_of(tokens)
    return Enumeration(tokens, token_chances()[tokens].prod(1), score, posterior(score))


def scores_of(tokens: Integers) -> Integers:
    """The score of sentences (..., length)."""
    total = np.asarray(SCORES)[tokens].sum(-1)
    return np.where((tokens == NEGATOR).any(-1), -total, total)


def posterior(score: NDArray[Any]) -> Floats:
    """p(y=1|x) of a score."""
    return np.asarray(1 / (1 + np.exp(-SLOPE * np.asarray(score, np.float64))))


def text_of(tokens: Integers) -> str:
    """A sentence (length,) as words."""
    return " ".join(WORDS[token] for token in tokens)


def facts(length: int = LENGTH) -> dict[str, Any]:
    """The truth about the language, under the names that the built-in language has for its own."""
    whole = enumeration(length)
    p, y = whole.chance, whole.posterior
    chance = {int(score): float(p[whole.score == score].sum()) for score in np.unique(whole.score)}
    prior = float(p @ y)
    return {
        "score": chance,
        "score_entropy": _entropy(np.array(list(chance.values()))),
        "information": _entropy(np.array([prior, 1 - prior])) - float(p @ [_entropy(np.array([q, 1 - q])) for q in y]),
        "label_prior": prior,
        "bayes_error": float(p @ np.minimum(y, 1 - y)),
        "beta": SLOPE,
    }


def _entropy(p: Floats) -> float:
    """In bits."""
    return float(-(p * np.log2(p)).sum())


def draw(count: int, length: int, random: np.random.Generator) -> tuple[Integers, Integers]:
    """Sentences (count, length) and labels (count,), drawn independently of one another."""
    tokens = random.choice(len(SCORES), size=(count, length), p=token_chances()).astype(np.int64)
    return tokens, (random.random(count) < posterior(scores_of(tokens))).astype(np.int64)
