"""The pieces of a tokenizer: learned from train text, a pretrained vocabulary cut to it, or a list of words."""

from collections import Counter
from collections.abc import Iterable

from integer_tickets.errors import UserError
from integer_tickets.integer.tokenizer import FIRST_PIECE, LONGEST_WORD, Tokenizer, words

_Piece = tuple[bytes, bool]
"""The bytes of a piece, and whether it continues a word."""


def learn_tokenizer(
    texts: Iterable[str], kind: str, size: int, positions: int, vocabulary: Iterable[str] = ()
) -> Tokenizer:
    """A tokenizer with at most `size` ids, learned from `texts`; there is nothing to learn for the kinds `hash` and
    `words`, which are those of `vocabulary` in its order.

    For the kind `pieces` they are the byte pairs of Sennrich, Haddow and Birch (2016) over the words of the normaliser;
    for `pretrained` those lines of the WordPiece `vocabulary` ("##" marks a continuing piece) that encode the texts
    most often. Either way only as far as encoding the texts uses them, and with every single byte seen, as beginning or
    continuing a word as it was seen, so that no word of the texts is unknown. Both give a tokenizer of the kind
    `pieces`; the same texts give the same pieces. Raises UserError if `size` has no room for the single bytes, or for
    the words.
    """
    if kind == "hash":
        return Tokenizer("hash", (), (), size, positions)
    if kind == "words":
        listed = tuple(word.encode() for word in vocabulary)
        if FIRST_PIECE + len(listed) > size:
            raise UserError(f"tokenizer.size = {size}: the words and reserved ids are {FIRST_PIECE + len(listed)}")
        return Tokenizer("pieces", listed, (False,) * len(listed), FIRST_PIECE + len(listed), positions)
    # Longer words are unknown whatever the pieces.
    lines = [[word for word in words(text) if len(word) <= LONGEST_WORD] for text in texts]
    counts = Counter(word for line in lines for word in line)
    singles = {(word[i : i + 1], i > 0) for word in counts for i in range(len(word))}
    if FIRST_PIECE + len(singles) > size:
        raise UserError(
            f"tokenizer.size = {size}: the bytes of train and the reserved ids alone need {FIRST_PIECE + len(singles)}"
        )
    if kind == "pretrained":
        pieces = singles | _most_used(map(_piece, vocabulary), singles, counts, size - FIRST_PIECE - len(singles))
    else:
        pieces = _byte_pairs(lines, size - FIRST_PIECE)
    # A piece that is never used, as a pair that only led to longer ones, takes an id and a row of the embedding.
    return _tokenizer(singles | _uses(pieces, counts).keys(), positions)


def _piece(line: str) -> _Piece:
    text = line.encode()
    return (text[2:], True) if text.startswith(b"##") and len(text) > 2 else (text, False)


def _most_used(pieces: Iterable[_Piece], singles: set[_Piece], counts: Counter[bytes], count: int) -> set[_Piece]:
    """The `count` pieces beside the single bytes that the words use most often, the earlier one at a tie.

    What the normaliser never gives, as capitals or [CLS], is in no word and so is not used.
    """
    fitting = dict.fromkeys(piece for piece in pieces if len(piece[0]) <= LONGEST_WORD and piece not in singles)
    uses = _uses(singles | fitting.keys(), counts)
    return set(sorted((piece for piece in fitting if piece in uses), key=lambda piece: -uses[piece])[:count])


def _uses(pieces: set[_Piece], counts: Counter[bytes]) -> Counter[_Piece]:
    """How often each piece occurs in the words, which occur `counts` times; pieces that do not are left out."""
    tokenizer = _tokenizer(pieces, LONGEST_WORD)
    uses: Counter[_Piece] = Counter()
    for word, count in counts.items():
        for i in tokenizer.encode(word):
            uses[tokenizer.pieces[i - FIRST_PIECE], tokenizer.continues[i - FIRST_PIECE]] += count
    return uses


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
