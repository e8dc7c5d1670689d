"""Robustness by enumeration: every change of a kind is tried, so that no attack can find one that was missed.

An integer network gives the same answer everywhere, so what is enumerated here holds wherever it runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from integer_tickets.data import grammar
from integer_tickets.integer.tokenizer import words

LETTERS = "abcdefghijklmnopqrstuvwxyz"
AT_ONCE = 20_000  # texts given to the classifier in one call

Logits = Callable[[Sequence[str]], NDArray[np.integer]]
"""Integer logits (texts, classes) of texts."""


@dataclass(frozen=True)
class Robustness:
    """Of each text (n,): its margin (largest logit less the next), how many changes there are, how many flip it."""

    margin: NDArray[np.int64]
    changes: NDArray[np.int64]
    flips: NDArray[np.int64]

    @property
    def safe(self) -> float:
        """The share of texts whose label no change can flip."""
        return float((self.flips == 0).mean())


def robustness(logits: Logits, texts: Sequence[str], changes: Callable[[str], Sequence[str]]) -> Robustness:
    """Try all `changes` of every text."""
    before = logits(texts)
    label, top = before.argmax(1), np.sort(before.astype(np.int64), 1)
    variants = [changes(text) for text in texts]
    count = np.array([len(own) for own in variants], np.int64)
    owner = np.repeat(np.arange(len(texts)), count)
    every = [variant for own in variants for variant in own]
    flips = np.zeros(len(texts), np.int64)
    for begin in range(0, len(every), AT_ONCE):
        own = owner[begin : begin + AT_ONCE]
        found = logits(every[begin : begin + AT_ONCE]).argmax(1)
        np.add.at(flips, own, found != label[own])
    return Robustness(top[:, -1] - top[:, -2], count, flips)


def share_interval(hits: int, n: int, confidence: float) -> tuple[float, float]:
    """Of the share of all texts, by those seen (Clopper and Pearson, 1934)."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def typos(text: str) -> list[str]:
    """Every text that one slip makes of a lower-case one: a letter left out, doubled or wrong, put in, or two swapped.

    Letters are a to z and change inside words alone; what stands between words stays. Each once, in order.
    """
    found: dict[str, None] = {}
    for i, letter in enumerate(text):
        if letter not in LETTERS:
            continue
        before, after = text[:i], text[i + 1 :]
        found[before + after] = None
        if after and after[0] in LETTERS:
            found[before + after[0] + letter + after[1:]] = None
        for other in LETTERS:
            found[before + other + after] = None
            found[before + other + letter + after] = None
            if not after or after[0] not in LETTERS:
                found[before + letter + other + after] = None
    found.pop(text, None)
    return list(found)


def substitutions(text: str, synonyms: Mapping[str, Sequence[str]]) -> list[str]:
    """Every text with one word in place of another that means as much: each once, in order."""
    found: dict[str, None] = {}
    for start, word in _places(text):
        for other in synonyms.get(word, ()):
            found[text[:start] + other + text[start + len(word) :]] = None
    found.pop(text, None)
    return list(found)


def synonyms_of_the_language(vocabulary: int) -> dict[str, list[str]]:
    """Of each content word of the built-in language the others of its list and side: none of them moves a score."""
    columns = [
        column for name, own in grammar.lists(vocabulary).items() if name not in grammar.FUNCTION for column in own
    ]
    return {word: [other for other in column if other != word] for column in columns for word in column}


def _places(text: str) -> Iterator[tuple[int, str]]:
    """Where each word begins, and the word, of an ASCII text in lower case."""
    start = 0
    for word in (w.decode("ascii", "surrogateescape") for w in words(text)):
        start = text.index(word, start)
        yield start, word
        start += len(word)
