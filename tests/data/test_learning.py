"""The pieces of text: complete, within size, all of them used, and the same in every process."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integer_tickets.data.language import generate
from integer_tickets.data.learning import learn_tokenizer
from integer_tickets.errors import UserError
from integer_tickets.integer.tokenizer import FIRST_PIECE, UNKNOWN
from integer_tickets.params import load_params

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
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
    texts = [sentence.text for sentence in generate(load_params(PARAMS).language, 2000, 0)]
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


VOCABULARY = ["[PAD]", "[CLS]", "##", "the", "The", "good", "##ness", "##s", "ugly", "bad bad", "x" * 201, "go", "the"]


def test_a_pretrained_vocabulary_is_cut_to_what_the_texts_use() -> None:
    tokenizer = learn_tokenizer(TEXTS, "pretrained", 100, 40, VOCABULARY)
    pieces = list(zip(tokenizer.pieces, tokenizer.continues, strict=True))
    longer = [(piece, continues) for piece, continues in pieces if len(piece) > 1]
    assert longer == [(b"good", False), (b"ness", True), (b"the", False), (b"ugly", False)]
    assert (tokenizer.kind, tokenizer.size, tokenizer.positions) == ("pieces", FIRST_PIECE + len(pieces), 40)
    assert [tokenizer.pieces[i - FIRST_PIECE] for i in tokenizer.encode("goodness")] == [b"good", b"ness"]


def test_the_most_frequent_pieces_stay_and_the_earlier_ones_at_a_tie() -> None:
    texts = ["aa bb cc bb", "aa dd bb"]
    for room, kept in ((0, set()), (1, {b"bb"}), (2, {b"bb", b"aa"}), (3, {b"bb", b"aa", b"dd"})):
        tokenizer = learn_tokenizer(texts, "pretrained", FIRST_PIECE + 8 + room, 40, ["dd", "cc", "bb", "aa"])
        assert {piece for piece in tokenizer.pieces if len(piece) > 1} == kept


def test_a_piece_that_is_used_only_behind_one_without_room_goes() -> None:
    texts = ["abcdef", *["x"] * 5, "abyy", "abyy"]
    tokenizer = learn_tokenizer(texts, "pretrained", FIRST_PIECE + 9 + 1, 40, ["abc", "##def", "aby", "##yy"])
    assert b"def" not in tokenizer.pieces and UNKNOWN not in tokenizer.encode("abcdef")


PIECE = st.text("aAb#é![ ", min_size=1, max_size=4)


@settings(max_examples=60)
@given(st.lists(st.text("aAbé! ", max_size=20), max_size=10), st.lists(PIECE, max_size=20), st.integers(20, 40))
def test_any_vocabulary_leaves_no_word_of_train_unknown(texts: list[str], vocabulary: list[str], size: int) -> None:
    tokenizer = learn_tokenizer(texts, "pretrained", size, 255, vocabulary)
    pieces = set(zip(tokenizer.pieces, tokenizer.continues, strict=True))
    used = {i for text in texts for i in tokenizer.encode(text)}
    assert tokenizer.size <= size
    assert {FIRST_PIECE + i for i, piece in enumerate(tokenizer.pieces) if len(piece) > 1} <= used
    longer = {(piece, continues) for piece, continues in pieces if len(piece) > 1}
    assert longer <= {
        (line.removeprefix("##" * continues).encode(), continues) for line in vocabulary for continues in (False, True)
    }
    assert all(UNKNOWN not in tokenizer.encode(text) for text in texts if text.split())


def test_hash_learns_nothing() -> None:
    tokenizer = learn_tokenizer(TEXTS, "hash", 100, 40)
    assert (tokenizer.kind, tokenizer.pieces, tokenizer.size) == ("hash", (), 100)


def test_a_size_without_room_for_the_bytes() -> None:
    with pytest.raises(UserError, match=r"tokenizer\.size = 10: .* need \d\d$"):
        learn_tokenizer(TEXTS, "pieces", 10, 40)


def test_every_process_learns_the_same() -> None:
    # A language of words drawn equally often is full of ties.
    code = (
        "import sys; from pathlib import Path\n"
        "from integer_tickets.data.language import generate\n"
        "from integer_tickets.data.learning import learn_tokenizer\n"
        "from integer_tickets.params import load_params\n"
        "texts = [sentence.text for sentence in generate(load_params(Path(sys.argv[1])).language, 2000, 0)]\n"
        "print(learn_tokenizer(texts, 'pieces', 400, 40))\n"
    )
    command = [sys.executable, "-c", code, str(PARAMS)]
    outputs = {subprocess.run(command, capture_output=True, check=True).stdout for _ in range(3)}
    assert len(outputs) == 1
