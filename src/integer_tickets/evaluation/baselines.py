"""What a model must beat: the majority class, and a bag of words (TF-IDF with logistic regression)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from integer_tickets.evaluation.metrics import Array
from integer_tickets.integer.tokenizer import words

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Inverse regularization C, chosen on the selection split."""

Text = str | tuple[str, str]


@dataclass(frozen=True)
class Baseline:
    """predictions: class indices (rows,) of each split; bits: of what would be shipped, None if nothing could be."""

    name: str
    predictions: dict[str, Array]
    bits: int | None


def majority(labels: Mapping[str, Array]) -> Baseline:
    """The most frequent class of train, the lowest at a tie; it costs the bits of one class index."""
    counts = np.bincount(labels["train"])
    winner = int(counts.argmax())
    predictions = {name: np.full(len(column), winner) for name, column in labels.items() if name != "train"}
    return Baseline("majority", predictions, (len(counts) - 1).bit_length())


def bayes(scores: Mapping[str, Array]) -> Baseline:
    """The best possible classifier of the built-in language: class 1 is likelier than 0 where the score is positive."""
    return Baseline("bayes", {name: (score > 0).astype(int) for name, score in scores.items() if name != "train"}, None)


def tfidf(texts: Mapping[str, Sequence[Text]], labels: Mapping[str, Array]) -> Baseline:
    """Words and pairs of neighbouring words, weighted by TF-IDF, in a logistic regression.

    Words are those of the tokenizer's normaliser, so that both sides read the same text; in a pair of texts no pair of
    words crosses the border. bits: 32 for each coefficient that is not zero, each inverse frequency and each
    intercept, 8 for each byte of the vocabulary.
    """
    vectorizer = TfidfVectorizer(analyzer=_terms)
    features = {"train": vectorizer.fit_transform(texts["train"])}
    features |= {name: vectorizer.transform(rows) for name, rows in texts.items() if name != "train"}
    models = [
        LogisticRegression(C=strength, max_iter=2000).fit(features["train"], labels["train"]) for strength in STRENGTHS
    ]
    best = max(models, key=lambda model: model.score(features["selection"], labels["selection"]))
    predictions = {name: best.predict(rows) for name, rows in features.items() if name != "train"}
    numbers = np.count_nonzero(best.coef_) + len(vectorizer.idf_) + best.intercept_.size
    bits = 32 * int(numbers) + 8 * sum(map(len, vectorizer.vocabulary_))
    return Baseline("tfidf", predictions, bits)


def _terms(text: Text) -> Iterator[bytes]:
    for part in (text,) if isinstance(text, str) else text:
        single = list(words(part)) or [b""]
        yield from single
        yield from (first + b" " + second for first, second in pairwise(single))
