"""Learning the pieces of a tokenizer from train text."""

from collections.abc import Iterable

from integer_tickets.errors import UserError
from integer_tickets.integer.tokenizer import FIRST_PIECE, LONGEST_WORD, Tokenizer, words

_Piece = tuple[bytes, bool]
"""The bytes of a piece, and whether it continues a word."""


def learn_tokenizer(texts: Iterable[str], kind: str, size: int, positions: int) -> Tokenizer:
    """A tokenizer with at most `size` ids, learned from `texts`; for the kind `hash` there is nothing to learn.

    Pieces are the byte pairs of Sennrich, Haddow and Birch (2016) over the words of the normaliser, as far as encoding
    the texts uses them, and every single byte seen, as beginning or continuing a word as it was seen. The same texts
    give the same pieces. Raises UserError if `size` has no room for the single bytes.
    """
    if kind == "hash":
        return Tokenizer("hash", (), (), size, positions)
    # Longer words are unknown whatever the pieces.
    lines = [[word for word in words(text) if len(word) <= LONGEST_WORD] for text in texts]
    vocabulary = {word for line in lines for word in line}
    singles = {(word[i : i + 1], i > 0) for word in vocabulary for i in range(len(word))}
    if FIRST_PIECE + len(singles) > size:
        raise UserError(
            f"tokenizer.size = {size}: the bytes of train and the reserved ids alone need {FIRST_PIECE + len(singles)}"
        )
    learned = _tokenizer(_byte_pairs(lines, size - FIRST_PIECE), LONGEST_WORD)
    # A pair that only led to longer pieces takes an id and a row of the embedding for nothing.
    used = {i - FIRST_PIECE for word in vocabulary for i in learned.encode(word)}
    pieces = list(zip(learned.pieces, learned.continues, strict=True))
    return _tokenizer(singles | {pieces[i] for i in used}, positions)


def _tokenizer(pieces: set[_Piece], positions: int) -> Tokenizer:
    ordered = sorted(pieces)
    texts, continues = tuple(text for text, _ in ordered), tuple(flag for _, flag in ordered)
    return Tokenizer("pieces", texts, continues, FIRST_PIECE + len(ordered), positions)


def _byte_pairs(lines: list[list[bytes]], count: int) -> set[_Piece]:
    """`count` pieces: the single bytes, and the pairs that merge most often."""
    import tokenizers

    # Byte b is character b where it begins a word and 256 + b elsewhere. The trainer's own mark for continuing pieces
    # would number them in the order of a hash map, and ties between pairs would fall differently in each process.
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=count, min_frequency=2, show_progress=False)
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = tokenizers.pre_tokenizers.CharDelimiterSplit(" ")
    learner.train_from_iterator((" ".join(map(_characters, line)) for line in lines), trainer)
    return {(bytes(ord(c) % 256 for c in piece), ord(piece[0]) >= 256) for piece in learner.get_vocab()}


def _characters(word: bytes) -> str:
    return chr(word[0]) + "".join(chr(256 + byte) for byte in word[1:])
