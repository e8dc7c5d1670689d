"""The code length of a ticket: a self-delimiting code of an integer network and its tokenizer, decoded to the same.

What every ticket shares is the decoder's and costs nothing: the order of the parts, the tables of lengths and of exp,
zero points, the names of the labels. All else is in the code, the vocabulary too. What finding the ticket took (epochs,
levels, a teacher, how many were tried) is not, since a bound from the length holds for all tickets at once.
"""

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from integer_tickets.information.coder import Coder, Ideal, Reader, Writer, adaptive, choice, measured, number, numbers
from integer_tickets.integer.network import (
    WEIGHT_BITS,
    Inhibitor,
    IntegerNetwork,
    Layer,
    Linear,
    Softmax,
    Table,
    roles,
    shapes,
    weight_range,
)
from integer_tickets.integer.rounding import Rule, exp_table, length_table
from integer_tickets.integer.tokenizer import FIRST_PIECE, Tokenizer

PARTS = ("masks", "values", "scales", "biases", "embedding", "tokenizer", "header")
LETTERS = 256
RARE = 1 / 16  # of letters: how much is expected of one that was not seen yet


def code_bits(network: IntegerNetwork, tokenizer: Tokenizer) -> dict[str, float]:
    """Bits of each of PARTS, and their `total`: -log2 of the ticket's probability."""
    counted = dict.fromkeys(PARTS, 0.0)
    _ticket(_Parts(Ideal(), counted), (network, tokenizer))
    return counted | {"total": sum(counted.values())}


def encode(network: IntegerNetwork, tokenizer: Tokenizer) -> NDArray[np.uint32]:
    """The stream, in words of 32 bits."""
    writer = Writer()
    _ticket(_Parts(writer), (network, tokenizer))
    return writer.words


def decode(words: NDArray[np.uint32], labels: tuple[str, ...]) -> tuple[IntegerNetwork, Tokenizer]:
    """The ticket of a stream; its classes are named `labels`, which carry no information."""
    network, tokenizer = _ticket(_Parts(Reader(words)), None)
    named = {f.name: getattr(network, f.name) for f in fields(network)} | {"labels": labels}
    return IntegerNetwork(**named), tokenizer


class _Parts:
    """A coder that counts the bits of an Ideal one by part; `part` says what the next symbols belong to."""

    def __init__(self, coder: Coder, counted: dict[str, float] | None = None) -> None:
        self.coder, self.counted, self.part = coder, counted, "header"

    def symbol(self, value: int | None, chances: NDArray[np.float64]) -> int:
        before = self.coder.bits if isinstance(self.coder, Ideal) else 0.0
        found = self.coder.symbol(value, chances)
        if self.counted is not None and isinstance(self.coder, Ideal):
            self.counted[self.part] += self.coder.bits - before
        return found


def _get(source: Any, name: str) -> Any:
    """An attribute by its path, None of None."""
    for part in name.split("."):
        source = None if source is None else getattr(source, part)
    return source


def _ticket(coder: _Parts, source: tuple[IntegerNetwork, Tokenizer] | None) -> tuple[IntegerNetwork, Tokenizer]:
    network, tokenizer = source or (None, None)
    coder.part = "header"
    vocabulary, width, heads, classes, depth = (
        number(coder, None if network is None else size(network))
        for size in (
            lambda n: len(n.tokens.weight), lambda n: n.width, lambda n: n.heads, lambda n: len(n.labels),
            lambda n: len(n.layers),
        )
    )  # fmt: skip
    positions = number(coder, None if network is None else len(network.positions.weight))
    pool_gain, *logit = (number(coder, _get(network, n)) for n in ("pool_gain", "logit_multiplier", "logit_shift"))
    tokens = _table(coder, _get(network, "tokens"), (vocabulary, width), "embedding")
    places = _table(coder, _get(network, "positions"), (positions, width), "embedding")
    layers = tuple(
        _layer(coder, None if network is None else network.layers[i], width, width // heads) for i in range(depth)
    )
    classifier = _linear(coder, _get(network, "classifier"), (classes, width), None)
    multiplier, shift = length_table(positions)
    decoded = IntegerNetwork(
        tokens, places, layers, classifier, pool_gain, multiplier, shift, heads,
        tuple(map(str, range(classes))), *logit,
    )  # fmt: skip
    return decoded, _tokenizer(coder, tokenizer, vocabulary, positions)


def _layer(coder: _Parts, source: Layer | None, width: int, head_width: int) -> Layer:
    coder.part = "header"
    heads, pairs = number(coder, _get(source, "heads")), number(coder, _get(source, "pairs"))
    hidden = number(coder, None if source is None else len(source.up.weight))
    attention = _attention(coder, _get(source, "attention"), heads)
    expected = shapes(width, heads * pairs, heads * head_width, hidden)
    parts = {
        name: _linear(coder, _get(source, name), expected[name], role.zero)
        for name, role in roles(attention).items()
    }  # fmt: skip
    return Layer(**parts, attention=attention)


def _attention(coder: _Parts, source: Inhibitor | Softmax | None, heads: int) -> Inhibitor | Softmax:
    coder.part = "header"
    softmax = choice(coder, None if source is None else isinstance(source, Softmax), 2)
    gain = choice(coder, _get(source, "gain"), 9)
    signed = 0 if softmax else choice(coder, _get(source, "signed"), 2)
    coder.part = "scales"
    names = ("pre_shift", "multiplier", "shift") if softmax else ("multiplier", "offset", "shift")
    one, two, three = (numbers(coder, _get(source, name), heads).astype(np.int32) for name in names)
    if not softmax:
        return Inhibitor(one, two, three, gain, bool(signed))
    table = _get(source, "table")
    known = choice(coder, None if table is None else np.array_equal(table, exp_table()), 2)
    entries = None if known or table is None else table.astype(np.int64)
    own = exp_table() if known else adaptive(coder, entries, np.zeros(256, int), 256).astype(np.uint8)
    return Softmax(one, two, three, gain, own)


def _table(coder: _Parts, source: Table | None, shape: tuple[int, int], part: str) -> Table:
    coder.part = "header"
    shift = choice(coder, _get(source, "shift"), 16)
    return Table(**_matrix(coder, source, shape, part, part), shift=shift)


def _linear(coder: _Parts, source: Linear | None, shape: tuple[int, int], zero: int | None) -> Linear:
    matrix = _matrix(coder, source, shape, "masks", "values")
    coder.part = "biases"
    bias = numbers(coder, _get(source, "bias"), shape[0]).astype(np.int32)
    if zero is None:
        return Linear(**matrix, bias=bias, rule=None)
    coder.part = "scales"
    rule = _get(source, "rule")
    pre_shift, shift = choice(coder, _get(rule, "pre_shift"), 32), choice(coder, _get(rule, "shift"), 31)
    each = choice(coder, None if rule is None else len(rule.multiplier) > 1, 2)
    multiplier = numbers(coder, _get(rule, "multiplier"), shape[0] if each else 1).astype(np.int32)
    return Linear(**matrix, bias=bias, rule=Rule(pre_shift, multiplier, shift, zero))


def _matrix(
    coder: _Parts, source: Table | Linear | None, shape: tuple[int, int], masks: str, values: str
) -> dict[str, Any]:
    """The mask, then the weights that live."""
    coder.part = "header"
    bits = WEIGHT_BITS[choice(coder, None if source is None else WEIGHT_BITS.index(source.bits), len(WEIGHT_BITS))]
    pruned = choice(coder, None if source is None else source.mask is not None, 2)
    mask = np.ones(shape, bool)
    if pruned:
        coder.part = masks
        known = None if source is None or source.mask is None else source.mask.reshape(-1).astype(np.int64)
        mask = adaptive(coder, known, np.zeros(mask.size, int), 2).astype(bool).reshape(shape)
    coder.part = values
    low, high = weight_range(bits)
    living = None if source is None else source.weight[mask].astype(np.int64)
    weight = np.zeros(shape, np.int8)
    weight[mask] = _weights(coder, living, int(mask.sum()), low, high)
    return {"weight": weight, "mask": mask if pruned else None, "bits": bits}


def _weights(coder: Coder, source: NDArray[np.int64] | None, count: int, low: int, high: int) -> NDArray[np.int64]:
    """By the frequency of each value, or of each length in bits: where there are few, 256 values are not learned."""

    def by_value(own: Coder) -> NDArray[np.int64]:
        known = None if source is None else source - low
        return adaptive(own, known, np.zeros(count, int), high - low + 1) + low

    def by_length(own: Coder) -> NDArray[np.int64]:
        return numbers(own, source, count)

    forms = by_value, by_length
    shorter = None if source is None else int(np.argmin([measured(form) for form in forms]))
    return forms[choice(coder, shorter, len(forms))](coder)


def _tokenizer(coder: _Parts, source: Tokenizer | None, size: int, positions: int) -> Tokenizer:
    """A fixed hash, or its pieces: of each the length and whether it continues a word, then all letters in a row."""
    coder.part = "tokenizer"
    hashed = choice(coder, None if source is None else source.kind == "hash", 2)
    if hashed:
        return Tokenizer("hash", (), (), size, positions)
    count = size - FIRST_PIECE
    once = np.zeros(count, int)
    flags = adaptive(coder, None if source is None else np.array(source.continues, np.int64), once, 2)
    known = None if source is None else np.array([len(piece) for piece in source.pieces], np.int64)
    lengths = adaptive(coder, known, once, LETTERS, RARE)
    text = None if source is None else np.frombuffer(b"".join(source.pieces), np.uint8).astype(np.int64)
    letters = adaptive(coder, text, np.zeros(int(lengths.sum()), int), LETTERS, RARE).astype(np.uint8).tobytes()
    ends = np.cumsum(lengths)
    pieces = tuple(letters[end - length : end] for end, length in zip(ends, lengths, strict=True))
    return Tokenizer("pieces", pieces, tuple(flags.astype(bool).tolist()), size, positions)
