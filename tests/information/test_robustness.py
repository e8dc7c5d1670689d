"""Enumerated changes are all there are, and flips are counted by text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.data.language import generate, score_of
from integer_tickets.information.robustness import (
    LETTERS,
    robustness,
    share_interval,
    substitutions,
    synonyms_of_the_language,
    typos,
)
from integer_tickets.information.synonyms import synonyms_of_english
from integer_tickets.integer.conformance import KIT, TICKET
from integer_tickets.integer.ticket import load
from integer_tickets.params import load_params


def edits(text):
    """The textbook set of texts at one edit within a word."""
    splits = [(text[:i], text[i:]) for i in range(len(text) + 1)]
    letter = set(LETTERS).__contains__
    removed = {a + b[1:] for a, b in splits if b and letter(b[0])}
    swapped = {a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1 and letter(b[0]) and letter(b[1])}
    wrong = {a + c + b[1:] for a, b in splits if b and letter(b[0]) for c in LETTERS}
    put_in = {a + c + b for a, b in splits if (b and letter(b[0])) or (a and letter(a[-1])) for c in LETTERS}
    return (removed | swapped | wrong | put_in) - {text}


@given(st.text("abz ,", max_size=8))
def test_typos_are_all_single_edits_of_words(text):
    found = typos(text)
    assert len(set(found)) == len(found) and set(found) == edits(text)


def test_substitutions_keep_the_score_of_a_sentence():
    synonyms = synonyms_of_the_language(400)
    sentences = [s for s, _ in zip(generate(load_params().language, 40, 3), range(40), strict=True)]
    for sentence in sentences:
        found = substitutions(sentence.text, synonyms)
        assert len(found) == len(set(found)) > 10
        assert all(score_of(other) == sentence.score for other in found[:: len(found) // 10])


def test_a_substitution_takes_one_word_at_its_place():
    synonyms = {"good": ["fine", "nice"], "film": ["movie"]}
    assert substitutions("good, a good film", synonyms) == [
        "fine, a good film", "nice, a good film", "good, a fine film", "good, a nice film", "good, a good movie",
    ]  # fmt: skip
    assert substitutions("goodness", synonyms) == []


def test_flips_are_counted_by_text():
    def logits(texts):
        return np.array([[text.count("a"), 1] for text in texts])

    found = robustness(logits, ["aaa", "aa", "b"], lambda text: [text[1:], text[2:], text])
    assert found.flips.tolist() == [0, 1, 0]  # "a" is a tie, and the first label has it
    assert found.margin.tolist() == [2, 1, 1] and found.changes.tolist() == [3, 3, 3]
    assert found.safe == 2 / 3


def test_the_kit_is_safer_from_synonyms_than_from_typos():
    ticket = load(KIT / TICKET)
    texts = ["the film is superb", "the plot is utterly awful", "nobody thinks the tone of this novel is plodding"]
    synonyms = synonyms_of_the_language(400)
    by_word = robustness(ticket.logits, texts, lambda text: substitutions(text, synonyms))
    by_letter = robustness(ticket.logits, texts, typos)
    assert by_word.safe >= by_letter.safe and (by_letter.changes > 800).all()


def test_intervals_of_a_share():
    assert share_interval(0, 10, 0.95) == pytest.approx((0, 0.3085), abs=1e-4)
    assert share_interval(10, 10, 0.95) == pytest.approx((0.6915, 1), abs=1e-4)
    low, high = share_interval(30, 100, 0.9)
    assert low < 0.3 < high and high - low < 0.17


def test_english_synonyms_are_words_each_in_one_group():
    synonyms = synonyms_of_english()
    assert synonyms["film"] == ["movie", "picture"] and "film" in synonyms["movie"]
    assert all(word.isalpha() and word.islower() for word in synonyms)
    assert all(word in synonyms[other] for word, others in synonyms.items() for other in others)
    assert substitutions("a big film", synonyms) == ["a large film", "a big movie", "a big picture"]
