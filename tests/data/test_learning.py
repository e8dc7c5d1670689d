"""Pieces learned from text: complete, within size, all of them used, and the same in every process."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integer_tickets.data.language import LanguageParams, generate
from integer_tickets.data.learning import learn_tokenizer
from integer_tickets.errors import UserError
from integer_tickets.integer.tokenizer import FIRST_PIECE, UNKNOWN

TEXTS = ["The good, the bad and the ugly", "the better the good", "naïve café 東京", "good goodness ugliness"]


def test_pieces_are_sorted_within_size_and_all_in_train() -> None:
    tokenizer = learn_tokenizer(TEXTS, "pieces", 100, 40)
    pieces = list(zip(tokenizer.pieces, tokenizer.continues, strict=True))
    assert pieces == sorted(pieces)
    assert tokenizer.size == len(pieces) + FIRST_PIECE <= 100
    assert tokenizer.positions == 40
    assert (b"good", False) in pieces
    assert (b"the", False) in pieces
    text = " ".join(TEXTS).lower().encode()
    assert all(piece in text for piece, _ in pieces)


def test_single_bytes_are_there_in_the_forms_seen() -> None:
    tokenizer = learn_tokenizer(["ab", "ab", "ba", "c!"], "pieces", 50, 40)
    singles = {pair for pair in zip(tokenizer.pieces, tokenizer.continues, strict=True) if len(pair[0]) == 1}
    assert singles == {(b"a", False), (b"b", True), (b"b", False), (b"a", True), (b"c", False), (b"!", False)}


def test_every_longer_piece_is_used_by_the_texts_it_came_from() -> None:
    texts = [sentence.text for sentence in generate(LanguageParams(), 2000, 0)]
    tokenizer = learn_tokenizer(texts, "pieces", 400, 40)
    used = {i for ids in tokenizer.encode_batch(texts) for i in ids}
    longer = {FIRST_PIECE + i for i, piece in enumerate(tokenizer.pieces) if len(piece) > 1}
    assert longer <= used
    assert len(longer) > 200


@settings(max_examples=30)
@given(st.lists(st.text(max_size=30), max_size=10))
def test_no_train_text_has_an_unknown_word(texts: list[str]) -> None:
    tokenizer = learn_tokenizer(texts, "pieces", 600, 255)
    for text in texts:
        ids = tokenizer.encode(text)
        assert UNKNOWN not in ids or ids == [UNKNOWN] == tokenizer.encode("")
    assert learn_tokenizer(reversed(texts), "pieces", 600, 255) == tokenizer


def test_very_long_words_are_left_out() -> None:
    tokenizer = learn_tokenizer(["a b", "x" * 100_000], "pieces", 50, 40)
    assert tokenizer.pieces == (b"a", b"b")
    assert tokenizer.encode("x" * 100_000) == [UNKNOWN]


def test_hash_learns_nothing() -> None:
    tokenizer = learn_tokenizer(TEXTS, "hash", 100, 40)
    assert (tokenizer.kind, tokenizer.pieces, tokenizer.size) == ("hash", (), 100)


def test_a_size_without_room_for_the_bytes() -> None:
    with pytest.raises(UserError, match=r"tokenizer\.size = 10: .* need \d\d$"):
        learn_tokenizer(TEXTS, "pieces", 10, 40)


def test_every_process_learns_the_same() -> None:
    # A language of words drawn equally often is full of ties.
    code = (
        "from integer_tickets.data.language import LanguageParams, generate\n"
        "from integer_tickets.data.learning import learn_tokenizer\n"
        "texts = [sentence.text for sentence in generate(LanguageParams(), 2000, 0)]\n"
        "print(learn_tokenizer(texts, 'pieces', 400, 40))\n"
    )
    outputs = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(3)}
    assert len(outputs) == 1
