"""Text of any kind becomes ids by the documented rules."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.errors import UserError
from integer_tickets.integer.tokenizer import SEPARATOR, UNKNOWN, Tokenizer, fnv1a, to_bytes, words

PIECES = {"a": 3, "b": 4, "ab": 5, "+b": 6, "+bc": 7, "+c": 8, "!": 9, "é": 10}
POSITIONS = 8


def make(pieces=PIECES, positions=POSITIONS):
    flags = tuple(piece.startswith("+") for piece in pieces)
    return Tokenizer("pieces", tuple(p.removeprefix("+").encode() for p in pieces), flags, 3 + len(pieces), positions)


TOKENIZERS = [make(), Tokenizer("hash", (), (), 50, POSITIONS), replace(make(), truncation_side="left")]
LONG = Tokenizer("hash", (), (), 1 << 20, 255)
ALPHABET = st.sampled_from([*"abcABC!? \té", "\udcff", "\x00", "\u2003"])
TEXTS = st.one_of(st.binary(max_size=300), st.text(max_size=100), st.text(ALPHABET, max_size=300))


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: f"{t.kind}-{t.truncation_side}")
@given(text=TEXTS, pair=TEXTS)
def test_any_text_gives_1_to_positions_ids(tokenizer, text, pair):
    for ids in (tokenizer.encode(text), tokenizer.encode(text, pair)):
        assert 1 <= len(ids) <= POSITIONS and all(0 < i < tokenizer.size for i in ids)
    fresh = replace(tokenizer)
    assert fresh.encode(text) == tokenizer.encode(text) == tokenizer.encode(to_bytes(text))
    assert SEPARATOR not in tokenizer.encode(text)
    assert tokenizer.encode_batch([text, (text, pair)]) == [tokenizer.encode(text), tokenizer.encode(text, pair)]


@given(TEXTS, TEXTS, st.sampled_from([b" ", b"\t", b"\n", b"\v", b"\f", b"\r", b" \n "]))
def test_words_of_a_concatenation(left, right, space):
    left, right = to_bytes(left), to_bytes(right)
    assert list(words(left + space + right)) == [*words(left), *words(right)]
    assert list(words(left + b"!" + right)) == [*words(left), b"!", *words(right)]
    assert list(words(left.upper())) == list(words(left.lower()))
    joined = b"".join(words(left))
    assert joined == left.lower().translate(None, b" \t\n\v\f\r")


@given(TEXTS, TEXTS)
def test_pairs_are_cut_as_documented(first, second):
    a, b = (make(positions=255).encode(text) for text in (first, second))
    while len(a) + 1 + len(b) > POSITIONS:
        if len(a) > len(b):
            a.pop()
        else:
            b.pop()
    assert make().encode(first, second) == [*a, SEPARATOR, *b]


@given(TEXTS, TEXTS)
def test_the_ends_of_a_pair_are_kept(first, second):
    a, b = (make(positions=255).encode(text) for text in (first, second))
    while len(a) + 1 + len(b) > POSITIONS:
        (a if len(a) > len(b) else b).pop(0)
    assert replace(make(), truncation_side="left").encode(first, second) == [*a, SEPARATOR, *b]


@given(TEXTS)
def test_truncation_keeps_the_beginning_or_the_end(text):
    whole, all_of_it = LONG.encode(text), replace(LONG, positions=1000).encode(text)
    for positions in (1, 2, 7, 254):
        cut = Tokenizer("hash", (), (), 1 << 20, positions)
        assert cut.encode(text) == whole[:positions]
        assert replace(cut, truncation_side="left").encode(text) == all_of_it[-positions:]


def test_byte_rules():
    every = bytes(range(256))
    found = list(words(every))
    letters = [bytes(range(9)), bytes([*range(0x0E, 0x20)])]
    assert found[:2] == letters
    assert b"0123456789" in found and b"abcdefghijklmnopqrstuvwxyz" in found and found[-1] == bytes(range(0x7F, 256))
    assert sum(len(word) == 1 for word in found) == 32
    assert list(words("Don't\u00a0STOP")) == [b"don", b"'", "t\u00a0stop".encode()]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [UNKNOWN]),
        (" \n", [UNKNOWN]),
        ("a", [3]),
        ("ab", [5]),
        ("abbc", [5, 7]),
        ("abbb!a", [5, 6, 6, 9, 3]),
        ("aa", [UNKNOWN]),  # a begins a word and continues none
        ("ABC", [5, 8]),
        ("abz a", [UNKNOWN, 3]),
        ("é", [10]),
        ("É", [UNKNOWN]),
        (b"\xc3\xa9", [10]),
        (b"\xc3", [UNKNOWN]),
        ("c", [UNKNOWN]),
        ("!!", [9, 9]),
    ],
)
def test_longest_match(text, ids):
    assert make().encode(text) == ids


def test_the_longest_word():
    word = "a" + "b" * 199
    assert make(positions=255).encode(word) == [5, *[6] * 198]
    assert make().encode(word + "b") == [UNKNOWN]


def test_hash():
    assert [fnv1a(word) for word in (b"", b"a", b"foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]
    tokenizer = TOKENIZERS[1]
    assert tokenizer.encode("Foobar foobar") == [3 + 0xBF9CF968 % 47] * 2
    assert tokenizer.encode("x" * 200) != [UNKNOWN] == tokenizer.encode("x" * 201)


def test_lone_surrogates_and_long_lines():
    assert to_bytes("\udc80\udcff") == b"\x80\xff"
    assert to_bytes("\ud800a") == b"\xed\xa0\x80a"
    assert make().encode("a" * 100_000) == [UNKNOWN]
    assert make().encode("a " * 100_000) == [3] * POSITIONS
    assert make(positions=1).encode("a b", "a") == [SEPARATOR]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bpe", (), (), 10, 5), "kind 'bpe', expected one of pieces, hash"),
        (("hash", (), (), 10, 0), "0 positions"),
        (("hash", (), (), 10, 5, "both"), "truncation_side 'both', expected one of right, left"),
        (("hash", (), (), 3, 5), "more than 3 ids"),
        (("hash", (b"a",), (False,), 10, 5), "has no pieces"),
        (("pieces", (b"a",), (), 4, 5), "1 pieces, but 0 flags"),
        (("pieces", (b"a",), (False,), 5, 5), "size 5 with 1 pieces"),
        (("pieces", (b"",), (False,), 4, 5), "1 to 200 bytes"),
        (("pieces", (b"a" * 201,), (False,), 4, 5), "1 to 200 bytes"),
        (("pieces", (b"a", b"a"), (True, True), 5, 5), "twice"),
    ],
)
def test_a_broken_tokenizer_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Tokenizer(*arguments)
