"""The simplest ticket: found on texts that two words decide, and coded as a decoder needs it."""

import math

import numpy as np

from integer_tickets.data.grammar import vocabulary_words
from integer_tickets.information.bag_of_words import PLACES, BagOfWords, places_of, smallest_bound


def test_places_are_those_of_words_once_each():
    places = places_of(["good good film", "FILM, good", ""])
    assert places.shape == (3, PLACES) and places.sum(1).ravel().tolist() == [[2, 3, 0]]
    assert (places[0].toarray() <= places[1].toarray()).all()


def test_the_words_that_decide_are_found():
    random, words = np.random.default_rng(0), vocabulary_words(300)
    rows = random.integers(0, len(words), (3000, 8))
    texts = [" ".join(words[i] for i in row) for row in rows]
    labels = (np.isin(rows, range(40)).sum(1) > np.isin(rows, range(40, 80)).sum(1)).astype(np.int64)
    places = places_of(texts)
    own = smallest_bound(places, labels, np.arange(3000), 0.05)
    assert (own.predict(places) != labels).mean() < 0.08
    assert 60 <= np.count_nonzero(own.signs) <= 140
    decisive = places_of(list(words[:80])).indices
    assert np.isin(np.flatnonzero(own.signs), decisive).mean() > 0.6


def test_bits_are_those_of_places_signs_and_threshold():
    signs = np.zeros(PLACES, np.int64)
    signs[:100] = np.where(np.arange(100) < 50, 1, -1)
    own = BagOfWords(signs, 3)
    chosen = math.log2(math.comb(PLACES, 100)) + math.log2(math.comb(100, 50))
    assert chosen < own.bits < chosen + 45
    assert BagOfWords(-signs, -3).bits == own.bits
