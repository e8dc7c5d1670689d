"""Text to token ids: bytes, ASCII rules, greedy longest match. Encoding only; a page of C does the same."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Protocol

from integer_tickets.errors import UserError

PADDING, UNKNOWN, SEPARATOR = 0, 1, 2
FIRST_PIECE = 3
LONGEST_WORD = 200
KINDS = ("pieces", "hash")
SIDES = ("right", "left")

Text = str | bytes
"""One text. A str is encoded as UTF-8 with `surrogateescape`, bytes are taken as they are."""

Input = Text | tuple[Text, Text]
"""One text, or a pair of them for a task about two."""

_LOWER = bytes(c + 32 if 65 <= c <= 90 else c for c in range(256))
_PUNCTUATION = rb"!-/:-@\[-`{-~"
_WORDS = re.compile(rb"[%b]|[^ \t\n\v\f\r%b]+" % (_PUNCTUATION, _PUNCTUATION))


class _Matcher(Protocol):
    def __call__(self, word: bytes, /) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Tokenizer:
    """How a network reads text.

    kind: `pieces` (learned pieces of words) or `hash` (a word's id is 3 + FNV-1a of its bytes modulo size -
    3); pieces: the bytes of each piece, its id is 3 + its index; continues: whether the piece continues a
    word or begins one (the same bytes may be there once as each); size: number of ids; positions: the most
    tokens of a sentence; truncation_side: where a text with more of them loses some, its beginning being
    on the left (the name is that of Hugging Face). Ids 0, 1, 2 are padding, unknown word and the separator
    of a pair.
    """

    kind: str
    pieces: tuple[bytes, ...]
    continues: tuple[bool, ...]
    size: int
    positions: int
    truncation_side: str = "right"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"tokenizer: kind {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.truncation_side not in SIDES:
            raise UserError(f"tokenizer: truncation_side {self.truncation_side!r}, expected one of {', '.join(SIDES)}")
        if self.positions < 1:
            raise UserError(f"tokenizer: {self.positions} positions, expected at least 1")
        if len(self.pieces) != len(self.continues):
            raise UserError(f"tokenizer: {len(self.pieces)} pieces, but {len(self.continues)} flags")
        if self.kind == "hash":
            if self.pieces or self.size <= FIRST_PIECE:
                raise UserError(f"tokenizer: a hash has no pieces and more than {FIRST_PIECE} ids")
            return
        if self.size != FIRST_PIECE + len(self.pieces):
            raise UserError(f"tokenizer: size {self.size} with {len(self.pieces)} pieces, expected 3 more")
        if not all(1 <= len(piece) <= LONGEST_WORD for piece in self.pieces):
            raise UserError(f"tokenizer: a piece must have 1 to {LONGEST_WORD} bytes")
        if len(self._begins) + len(self._continues) != len(self.pieces):
            raise UserError("tokenizer: a piece occurs twice")

    def encode(self, text: Text, pair: Text | None = None) -> list[int]:
        """The ids of a text, or of two with the separator between them, 1 to `positions` of them.

        Empty text is one unknown token. What is too long loses tokens on its `truncation_side`; of a pair
        the longer text loses first, the second at a tie.
        """
        first = self._tokens(text)
        if pair is None:
            return first
        second = self._tokens(pair)
        room = self.positions - 1
        kept = min(len(second), max(room - len(first), room // 2))
        return [*self._cut(first, room - kept), SEPARATOR, *self._cut(second, kept)]

    def encode_batch(self, texts: Iterable[Input]) -> list[list[int]]:
        """The ids of each text or pair of texts."""
        return [self.encode(*text) if isinstance(text, tuple) else self.encode(text) for text in texts]

    def _tokens(self, text: Text) -> list[int]:
        """At most `positions` ids of one text; what a pair keeps of it never depends on more."""
        ids = (i for word in words(text) for i in self._word_ids(word))
        left = self.truncation_side == "left"
        return list(deque(ids, self.positions) if left else islice(ids, self.positions)) or [UNKNOWN]

    def _cut(self, ids: list[int], most: int) -> list[int]:
        return ids[max(0, len(ids) - most) :] if self.truncation_side == "left" else ids[:most]

    @cached_property
    def _word_ids(self) -> _Matcher:
        return lru_cache(maxsize=1 << 16)(self._hash if self.kind == "hash" else self._match)

    @cached_property
    def _begins(self) -> dict[bytes, int]:
        return {p: FIRST_PIECE + i for i, p in enumerate(self.pieces) if not self.continues[i]}

    @cached_property
    def _continues(self) -> dict[bytes, int]:
        return {p: FIRST_PIECE + i for i, p in enumerate(self.pieces) if self.continues[i]}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.pieces), default=0)

    def _hash(self, word: bytes) -> tuple[int, ...]:
        if len(word) > LONGEST_WORD:
            return (UNKNOWN,)
        return (FIRST_PIECE + fnv1a(word) % (self.size - FIRST_PIECE),)

    def _match(self, word: bytes) -> tuple[int, ...]:
        """The longest piece that begins the word, then the longest ones that continue it; all or unknown."""
        if len(word) > LONGEST_WORD:
            return (UNKNOWN,)
        ids: list[int] = []
        start, table = 0, self._begins
        while start < len(word):
            end = min(len(word), start + self._longest)
            while end > start and word[start:end] not in table:
                end -= 1
            if end == start:
                return (UNKNOWN,)
            ids.append(table[word[start:end]])
            start, table = end, self._continues
        return tuple(ids)


def words(text: Text) -> Iterator[bytes]:
    """The words of a text: A-Z lowered, split on ASCII white space, each ASCII punctuation byte a word.

    Any other byte (digits, letters, 0x80 and above, control characters) is a letter.
    """
    for match in _WORDS.finditer(to_bytes(text).translate(_LOWER)):
        yield match.group()


def to_bytes(text: Text) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return text.encode("utf-8", "surrogatepass")


def fnv1a(data: bytes) -> int:
    """The 32-bit FNV-1a hash (Fowler, Noll, Vo)."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value
