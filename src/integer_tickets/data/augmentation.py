"""Texts beside train on which a teacher teaches: sentences of unlabelled text, and variations of texts of train."""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from integer_tickets.blocks import Lessons
from integer_tickets.data.splits import word_runs
from integer_tickets.seeds import generator

Text = str | tuple[str, str]

_ENDS = re.compile(r"<br\s*/?>|(?<=[.!?])[\"')\]]*\s+")  # of sentences: a line, or a full stop and the like
WINDOW, LONGEST_WINDOW = 0.25, 5
"""Share of variations that are a run of 1 to 5 words of a text (Tang et al., arXiv 1903.12136: n-gram sampling)."""
DROPPED, REPLACED = 0.1, 0.1
"""Of the words of the others: left out (there: masked), or replaced by a word as frequent words of train are drawn."""


def lesson_texts(
    train: Sequence[Text], unlabelled: Sequence[str], settings: Lessons, known: Iterable[str]
) -> list[Text]:
    """Variations of texts of train, then unlabelled texts: at most so many of each as the settings ask for.

    known: texts that must not be among the unlabelled ones: those of splits which only report.
    """
    random = generator("augmented", settings.seed)
    found: list[Text] = list(variations(train, settings.augmented, random))
    own = sentences(unlabelled, settings.words)
    barred = set(word_runs(known))
    own = [text for text, run in zip(own, word_runs(own), strict=True) if run not in barred]
    chosen = generator("unlabelled", settings.seed).permutation(len(own))[: settings.unlabelled]
    return found + [own[i] for i in np.sort(chosen)]


def sentences(texts: Sequence[str], words: Sequence[int]) -> list[str]:
    """The sentences of texts that have so many words, at least and at most, between white space; none asked: texts."""
    if not words:
        return list(texts)
    fewest, most = words
    cut = (sentence for text in texts for sentence in _ENDS.split(text))
    return [sentence.strip() for sentence in cut if fewest <= len(sentence.split()) <= most]


def variations(texts: Sequence[Text], count: int, random: np.random.Generator) -> Iterator[Text]:
    """`count` texts, each made from one of `texts` by chance; of a pair both are changed."""
    if count == 0:
        return
    words = [word for text in texts for part in _parts(text) for word in part.split()]
    for index in random.integers(0, len(texts), count):
        parts = tuple(_varied(part.split(), words, random) for part in _parts(texts[index]))
        yield parts[0] if len(parts) == 1 else (parts[0], parts[1])


def _parts(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def _varied(words: list[str], drawn_from: Sequence[str], random: np.random.Generator) -> str:
    if len(words) < 2:
        return " ".join(words)
    if random.random() < WINDOW:
        size = int(random.integers(1, min(LONGEST_WINDOW, len(words)) + 1))
        start = int(random.integers(0, len(words) - size + 1))
        return " ".join(words[start : start + size])
    chance, other = random.random(len(words)), random.integers(0, len(drawn_from), len(words))
    kept = [
        drawn_from[j] if c < DROPPED + REPLACED else word
        for word, c, j in zip(words, chance, other, strict=True)
        if c >= DROPPED
    ]
    return " ".join(kept or words)
