"""Learning the pieces of a tokenizer from train text."""

from collections.abc import Iterable

from integer_tickets.errors import UserError
from integer_tickets.integer.tokenizer import FIRST_PIECE, LONGEST_WORD, Tokenizer, words

# Bytes are the first 256 characters for the trainer; the next one marks a piece that continues a word.
_CONTINUES = "\u0100"

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
    learned = _tokenizer(singles | _byte_pairs(lines, size - FIRST_PIECE, singles), LONGEST_WORD)
    # A pair that only led to longer pieces takes an id and a row of the embedding for nothing.
    used = {i - FIRST_PIECE for word in vocabulary for i in learned.encode(word)}
    pieces = list(zip(learned.pieces, learned.continues, strict=True))
    return _tokenizer(singles | {pieces[i] for i in used}, positions)


def _tokenizer(pieces: set[_Piece], positions: int) -> Tokenizer:
    ordered = sorted(pieces)
    texts, continues = tuple(text for text, _ in ordered), tuple(flag for _, flag in ordered)
    return Tokenizer("pieces", texts, continues, FIRST_PIECE + len(ordered), positions)


def _byte_pairs(lines: list[list[bytes]], room: int, singles: set[_Piece]) -> set[_Piece]:
    """The pieces of two bytes and more that fill `room` together with the single ones."""
    import tokenizers

    # The trainer counts a byte as beginning a word even where it only continues one: those places are free again.
    unseen = sum(continues and (byte, False) not in singles for byte, continues in singles)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=room + unseen, min_frequency=2, continuing_subword_prefix=_CONTINUES, show_progress=False
    )
    learner = tokenizers.Tokenizer(tokenizers.models.BPE(continuing_subword_prefix=_CONTINUES))
    learner.pre_tokenizer = tokenizers.pre_tokenizers.CharDelimiterSplit(" ")
    learner.train_from_iterator((b" ".join(line).decode("latin-1") for line in lines), trainer)
    pieces = {
        (piece.removeprefix(_CONTINUES).encode("latin-1"), piece.startswith(_CONTINUES))
        for piece in learner.get_vocab()
    }
    return {(text, continues) for text, continues in pieces if len(text) > 1}
