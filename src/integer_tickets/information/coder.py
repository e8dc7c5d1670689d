"""Codes whose length is a probability: one description of a code counts its bits, writes its stream and reads it.

A code is a function that hands each symbol, with the probabilities of all symbols at that place, to a `Coder`. Given
`Ideal` it is measured, given `Writer` it becomes words of a range coder, given `Reader` the symbols come back: the
function cannot tell, so what is counted is what is decoded. As the probabilities of each symbol depend on earlier
symbols alone, those of all messages sum to at most 1: lengths need not be whole, nor the end be marked.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CLASSES = 33  # of numbers by their length in bits, 0 to 32
RARE = 1 / 16  # what is expected of a symbol that was not seen yet, where few of many will be


class Coder(Protocol):
    """`symbol` takes a symbol, or None where it is not known, and gives the symbol; `part` says what it belongs to."""

    part: str

    def symbol(self, value: int | None, chances: Floats) -> int: ...


class Ideal:
    """Counts bits, -log2 of the probability of each symbol, by part.

    What a code of many symbols takes is known without going through them one by one (`adaptive_bits`); `add` adds it.
    """

    def __init__(self) -> None:
        self.part = ""
        self.parts: dict[str, float] = {}

    @property
    def bits(self) -> float:
        return sum(self.parts.values())

    def add(self, bits: float) -> None:
        self.parts[self.part] = self.parts.get(self.part, 0.0) + bits

    def symbol(self, value: int | None, chances: Floats) -> int:
        assert value is not None
        self.add(-math.log2(chances[value] / chances.sum()))
        return value


class Writer:
    """Writes a stream of 32-bit words, `words`."""

    def __init__(self) -> None:
        self.part = ""
        self._coder = constriction.stream.queue.RangeEncoder()

    def symbol(self, value: int | None, chances: Floats) -> int:
        assert value is not None
        self._coder.encode(value, _model(chances))
        return value

    @property
    def words(self) -> NDArray[np.uint32]:
        words: NDArray[np.uint32] = self._coder.get_compressed()
        return words


class Reader:
    """Reads what a Writer wrote."""

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self.part = ""
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def symbol(self, value: int | None, chances: Floats) -> int:
        return int(self._coder.decode(_model(chances)))


def _model(chances: Floats) -> Any:
    return constriction.stream.model.Categorical(chances, perfect=False)


def measured(code: Callable[[Coder], Any]) -> float:
    """The bits of a code that knows its message."""
    ideal = Ideal()
    code(ideal)
    return ideal.bits


def choice(coder: Coder, value: int | None, options: int) -> int:
    """One of equally likely options."""
    known = None if value is None else int(value)
    return coder.symbol(known, np.full(options, 1 / options)) if options > 1 else 0


def number(coder: Coder, value: int | None) -> int:
    """A number below 2^32: its length in bits, all equally likely, then what follows its first bit."""
    length = choice(coder, None if value is None else int(value).bit_length(), CLASSES)
    return _mantissa(coder, value, length)


def numbers(coder: Coder, values: Integers | None, count: int) -> Integers:
    """`count` signed numbers whose lengths in bits are learned on the way; a sign where a number is not 0."""
    if isinstance(coder, Ideal):
        assert values is not None
        lengths = np.array([int(value).bit_length() for value in np.abs(values)], np.int64)
        coder.add(adaptive_bits(np.bincount(lengths, minlength=CLASSES), RARE))
        coder.add(float(lengths.sum()))  # of a number that is not 0 all but its first bit, and a sign
        return values
    seen = np.full(CLASSES, RARE)
    found = np.zeros(count, np.int64)
    for i in range(count):
        value = None if values is None else int(values[i])
        length = coder.symbol(None if value is None else abs(value).bit_length(), seen)
        seen[length] += 1
        magnitude = _mantissa(coder, None if value is None else abs(value), length)
        negative = choice(coder, None if value is None else int(value < 0), 2) if magnitude else 0
        found[i] = -magnitude if negative else magnitude
    return found


def adaptive(coder: Coder, values: Integers | None, contexts: Integers, alphabet: int, alpha: float = 0.5) -> Integers:
    """Symbols 0 .. alphabet - 1, one for each context (n,), at frequencies that are learned in each context.

    A symbol seen c times among m has the probability (c + alpha) / (m + alphabet alpha) (Krichevsky, Trofimov, 1981).
    """
    if isinstance(coder, Ideal):
        return _count(coder, values, contexts, alphabet, alpha)
    found, count = np.zeros(len(contexts), np.int64), int(contexts.max(initial=0)) + 1
    return _learn(coder, values, contexts.tolist(), count, alphabet, alpha, found)


def following(coder: Coder, values: Integers | None, earlier: Integers, alphabet: int) -> Integers:
    """Symbols as above, each in the context of an earlier one: earlier (n,) says which, -1 where there is none."""
    if isinstance(coder, Ideal):
        assert values is not None
        return _count(coder, values, np.append(values, -1)[earlier] + 1, alphabet, 0.5)
    found = np.zeros(len(earlier), np.int64)
    contexts = (int(found[i]) + 1 if i >= 0 else 0 for i in earlier.tolist())
    return _learn(coder, values, contexts, alphabet + 1, alphabet, 0.5, found)


def _count(coder: Ideal, values: Integers | None, contexts: Integers, alphabet: int, alpha: float) -> Integers:
    """What `_learn` takes, whose order does not matter."""
    assert values is not None
    size = int(contexts.max(initial=0)) + 1
    counts = np.bincount(contexts * alphabet + values, minlength=size * alphabet).reshape(size, alphabet)
    coder.add(sum(adaptive_bits(own, alpha) for own in counts if own.any()))
    return values


def _learn(
    coder: Coder,
    values: Integers | None,
    contexts: Iterable[int],
    count: int,
    alphabet: int,
    alpha: float,
    found: Integers,
) -> Integers:
    """Fills `found`, from which contexts may be drawn on the way."""
    seen = np.full((count, alphabet), alpha)
    for i, context in enumerate(contexts):
        symbol = coder.symbol(None if values is None else int(values[i]), seen[context])
        seen[context, symbol] += 1
        found[i] = symbol
    return found


def adaptive_bits(counts: Integers, alpha: float = 0.5) -> float:
    """What `adaptive` takes in one context for symbols that occur so often, in whatever order."""
    total, size = int(counts.sum()), len(counts)
    nats = math.lgamma(total + size * alpha) - math.lgamma(size * alpha)
    return float(nats - (gammaln(counts + alpha) - math.lgamma(alpha)).sum()) / math.log(2)


def _mantissa(coder: Coder, value: int | None, length: int) -> int:
    """The number of that length in bits: 0, or a one and length - 1 bits, in pieces of 16 at most."""
    if length == 0:
        return 0
    result, left = 1, length - 1
    while left:
        size = min(left, 16)
        left -= size
        piece = choice(coder, None if value is None else (value >> left) & ((1 << size) - 1), 1 << size)
        result = result << size | piece
    return result
