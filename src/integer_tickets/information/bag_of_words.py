"""The simplest ticket of all, for a certificate to be read beside: signs of some hashed words against a threshold.

Words are hashed into a table, which needs no vocabulary; a text votes with the signs of those of its words that the
ticket keeps, once each. Found by pruning the smallest weights of a logistic regression and fitting the rest again. Its
code is what a decoder needs: which places of the table live, their signs, and the threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from integer_tickets.information.bounds import occam
from integer_tickets.information.certificates import losses_of
from integer_tickets.information.coder import Coder, adaptive, choice, measured, number
from integer_tickets.integer.tokenizer import fnv1a, words

PLACES = 4096
KEEP = 0.8  # of the weights, from one ticket to the next
FEWEST = 16
STRENGTH = 0.01  # inverse of that of the penalty on squared weights, so strong that a rare word's weight stays small


@dataclass(frozen=True)
class BagOfWords:
    """signs: -1, 0 or 1 for each place (PLACES,); a text is of class 1 where its signs add up to above threshold."""

    signs: NDArray[np.int64]
    threshold: int

    def predict(self, places: csr_matrix) -> NDArray[np.int64]:
        return np.asarray(places @ self.signs > self.threshold).astype(np.int64)

    @property
    def bits(self) -> float:
        return measured(self._code)

    def _code(self, coder: Coder) -> None:
        living = (self.signs != 0).astype(np.int64)
        number(coder, len(living))
        adaptive(coder, living, np.zeros(len(living), np.int64), 2)
        kept = (self.signs[living == 1] > 0).astype(np.int64)
        adaptive(coder, kept, np.zeros(len(kept), np.int64), 2)
        number(coder, abs(self.threshold))
        choice(coder, int(self.threshold < 0), 2)


def places_of(texts: Sequence[str]) -> csr_matrix:
    """Which places of the table the words of each text take, (texts, PLACES) of 0 and 1."""
    hashed = cache(fnv1a)  # in Python byte by byte, so once for each word
    rows = [sorted({hashed(word) % PLACES for word in words(text)}) for text in texts]
    columns = np.array([place for row in rows for place in row], np.int64)
    ends = np.cumsum([0, *map(len, rows)])
    return csr_matrix((np.ones(len(columns), np.float64), columns, ends), (len(rows), PLACES))


def smallest_bound(
    places: csr_matrix, labels: NDArray[np.integer], number: NDArray[np.int64], delta: float
) -> BagOfWords:
    """Of the tickets on the way down, of two classes, the one with the lowest bound (which holds for all at once).

    number: of the independent unit of each text.
    """
    from sklearn.linear_model import LogisticRegression  # which takes three seconds; the report needs PLACES alone

    alive = np.flatnonzero(np.asarray(places.sum(0)).ravel() > 0)
    best, lowest = BagOfWords(np.zeros(PLACES, np.int64), 0), np.inf
    while len(alive) >= FEWEST:
        some = places[:, alive]
        weight = LogisticRegression(C=STRENGTH, max_iter=200).fit(some, labels).coef_[0]
        signs = np.zeros(PLACES, np.int64)
        signs[alive] = np.where(weight < 0, -1, 1)
        own = BagOfWords(signs, _threshold(np.asarray(some @ signs[alive]), labels))
        losses = losses_of(own.predict(places) != labels, number)
        bound = occam(float(losses.mean()), len(losses), own.bits, delta)
        if bound < lowest:
            best, lowest = own, bound
        largest = np.argsort(-np.abs(weight), kind="stable")[: int(KEEP * len(alive))]
        alive = np.sort(alive[largest])
    return best


def _threshold(votes: NDArray[np.float64], labels: NDArray[np.integer]) -> int:
    """The whole number above which to say 1 with the fewest errors, the smallest of equals."""
    tried = np.arange(int(votes.min()) - 1, int(votes.max()) + 1)
    errors = [int(((votes > t) != labels).sum()) for t in tried]
    return int(tried[int(np.argmin(errors))])
