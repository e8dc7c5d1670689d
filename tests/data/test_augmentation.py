"""Texts beside train: sentences of unlabelled text, and variations of texts and pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.blocks import Lessons
from integer_tickets.data.augmentation import lesson_texts, sentences, variations

TRAIN = ["the film is very good", "a bad plot", "dull"]


def settings(**changes) -> Lessons:
    return Lessons(**{"temperature": 2, "hard": 0.3, "augmented": 0, "unlabelled": 0, "words": [], "seed": 0} | changes)


def test_sentences_end_where_readers_see_an_end():
    text = 'I liked it. "Really?" she asked! A 7.5 of 10<br /><br />No more of it... Never'
    assert sentences([text], (1, 9)) == [
        *("I liked it.", '"Really?', "she asked!", "A 7.5 of 10", "No more of it...", "Never"),
    ]
    assert sentences([text], (3, 4)) == ["I liked it.", "A 7.5 of 10", "No more of it..."]
    assert sentences([text], ()) == [text]


@given(st.lists(st.text(alphabet="ab ", max_size=12), min_size=1, max_size=6), st.integers(0, 20), st.integers(0, 9))
def test_variations_are_made_of_words_of_train(texts, count, seed):
    found = list(variations(texts, count, np.random.default_rng(seed)))
    assert len(found) == count
    assert {word for text in found for word in text.split()} <= {word for text in texts for word in text.split()}
    longest = max(len(text.split()) for text in texts)
    assert all(len(text.split()) <= longest for text in found)


def test_variations_differ_and_repeat():
    once, again = (list(variations(TRAIN, 200, np.random.default_rng(3))) for _ in range(2))
    assert once == again and len(set(once)) > 50
    pairs = list(variations([("a b c", "d e f")], 50, np.random.default_rng(0)))
    assert all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs) and len(set(pairs)) > 10


def test_lessons_are_as_many_as_asked_for_and_none_that_only_reports():
    more = ["One sentence here. Another one here.", "A BAD  plot here"]
    wanted = settings(augmented=5, unlabelled=10, words=[3, 9])
    found = lesson_texts(TRAIN, more, wanted, ["a bad plot here"])
    assert len(found) == 7 and found[5:] == ["One sentence here.", "Another one here."]
    assert len(lesson_texts(TRAIN, more, settings(unlabelled=1), [])) == 1
    assert lesson_texts(TRAIN, more, settings(), []) == []


@pytest.mark.parametrize("words", [[3], [5, 3]])
def test_words_that_are_no_range_are_named(words):
    with pytest.raises(ValueError, match="expected the fewest and the most of a sentence"):
        settings(words=words)
