"""The code length of a ticket: a self-delimiting code of an integer network and its tokenizer, decoded to the same.

What every ticket shares is the decoder's and costs nothing: the order of the parts, the tables of lengths and of exp,
zero points, the names of the labels, the words of the built-in language. All else is in the code, any other
vocabulary too. What finding the ticket took (epochs,
levels, a teacher, how many were tried) is not, since a bound from the length holds for all tickets at once. A ticket
that was found on other data may be the decoder's, too: then a message says what differs from this prior ticket.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from integer_tickets.data.grammar import CONTENT_WORDS, vocabulary_words
from integer_tickets.information.coder import (
    RARE,
    Coder,
    Ideal,
    Reader,
    Writer,
    adaptive,
    choice,
    number,
    numbers,
)
from integer_tickets.information.forms import neighbours, symbols
from integer_tickets.integer.network import (
    BYPASSES,
    WEIGHT_BITS,
    Bypass,
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
from integer_tickets.integer.rounding import Rule, exp_table, half, length_table
from integer_tickets.integer.tokenizer import FIRST_PIECE, SIDES, Tokenizer

PARTS = ("masks", "values", "scales", "biases", "embedding", "tokenizer", "header")
LETTERS = 256
HASH, WORDS, PIECES, PRIOR = range(4)  # kinds of vocabularies; the last of the prior ticket's

Ticket = tuple[IntegerNetwork, Tokenizer]
Integers = NDArray[np.int64]


def code_bits(network: IntegerNetwork, tokenizer: Tokenizer, prior: Ticket | None = None) -> dict[str, float]:
    """Bits of each of PARTS, and their `total`: -log2 of the ticket's probability.

    prior: a ticket that the decoder has, as it was found on other data; then most of the bits are those of what differs
    from it.
    """
    ideal = Ideal()
    _ticket(ideal, (network, tokenizer), prior)
    return dict.fromkeys(PARTS, 0.0) | ideal.parts | {"total": ideal.bits}


def encode(network: IntegerNetwork, tokenizer: Tokenizer, prior: Ticket | None = None) -> NDArray[np.uint32]:
    """The stream, in words of 32 bits."""
    writer = Writer()
    _ticket(writer, (network, tokenizer), prior)
    return writer.words


def decode(words: NDArray[np.uint32], labels: tuple[str, ...], prior: Ticket | None = None) -> Ticket:
    """The ticket of a stream; its classes are named `labels`, which carry no information."""
    network, tokenizer = _ticket(Reader(words), None, prior)
    named = {f.name: getattr(network, f.name) for f in fields(network)} | {"labels": labels}
    return IntegerNetwork(**named), tokenizer


def _get(source: Any, name: str) -> Any:
    """An attribute by its path, None of None."""
    for part in name.split("."):
        source = None if source is None else getattr(source, part)
    return source


def _ticket(coder: Coder, source: Ticket | None, prior: Ticket | None) -> Ticket:
    network, tokenizer = source or (None, None)
    before, words_before = prior or (None, None)
    coder.part = "header"

    def shared(size: Callable[[IntegerNetwork], int]) -> int:
        known, earlier = (None if own is None else size(own) for own in (network, before))
        return _number(coder, known, earlier)

    vocabulary, width, heads = (
        shared(lambda n: len(n.tokens.weight)),
        shared(lambda n: n.width),
        shared(lambda n: n.heads),
    )
    classes, depth = shared(lambda n: len(n.labels)), shared(lambda n: len(n.layers))
    positions, pool_gain = shared(lambda n: len(n.positions.weight)), shared(lambda n: n.pool_gain)
    logit = shared(lambda n: n.logit_multiplier), shared(lambda n: n.logit_shift)
    post_norm = bool(choice(coder, None if network is None else network.post_norm, 2))
    tokens = _table(coder, _get(network, "tokens"), _get(before, "tokens"), (vocabulary, width))
    places = _table(coder, _get(network, "positions"), _get(before, "positions"), (positions, width))
    layers = tuple(
        _layer(
            coder,
            None if network is None else network.layers[i],
            None if before is None or i >= len(before.layers) else before.layers[i],
            width,
            width // heads,
            post_norm,
        )
        for i in range(depth)
    )
    classifier = _linear(coder, _get(network, "classifier"), _get(before, "classifier"), (classes, width), None)
    multiplier, shift = length_table(positions)
    decoded = IntegerNetwork(
        tokens, places, layers, classifier, pool_gain, multiplier, shift, heads,
        tuple(map(str, range(classes))), *logit,
    )  # fmt: skip
    return decoded, _tokenizer(coder, tokenizer, words_before, vocabulary, positions)


def _as_before(coder: Coder, source: Any, before: Any) -> bool:
    """Whether something is as in the prior ticket; no question where there is none."""
    if before is None:
        return False
    return bool(choice(coder, None if source is None else bool(np.array_equal(source, before)), 2))


def _number(coder: Coder, source: int | None, before: int | None) -> int:
    return before if _as_before(coder, source, before) and before is not None else number(coder, source)


def _numbers(
    coder: Coder, source: NDArray[np.int32] | None, before: NDArray[np.int32] | None, count: int
) -> NDArray[np.int32]:
    if _as_before(coder, source, before) and before is not None:
        return before
    return numbers(coder, None if source is None else source.astype(np.int64), count).astype(np.int32)


def _layer(
    coder: Coder, source: Layer | None, before: Layer | None, width: int, head_width: int, post_norm: bool
) -> Layer:
    coder.part = "header"
    heads, pairs = (_number(coder, _get(source, name), _get(before, name)) for name in ("heads", "pairs"))
    hidden = _number(coder, *(None if own is None else len(own.up.weight) for own in (source, before)))
    attention = _attention(coder, _get(source, "attention"), _get(before, "attention"), heads)
    expected = shapes(width, heads * pairs, heads * head_width, hidden)
    parts = {
        name: _linear(coder, _get(source, name), _get(before, name), expected[name], role.zero)
        for name, role in roles(attention).items()
    }  # fmt: skip
    coder.part = "scales"
    past: list[Bypass | None] = [None, None]
    if post_norm:
        past = [_bypass(coder, _get(source, name), _get(before, name), width) for name in BYPASSES]
    return Layer(**parts, attention=attention, attention_bypass=past[0], hidden_bypass=past[1])


def _bypass(coder: Coder, source: Bypass | None, before: Bypass | None, width: int) -> Bypass:
    gain = _numbers(coder, _get(source, "gain"), _get(before, "gain"), width)
    return Bypass(gain, _numbers(coder, _get(source, "offset"), _get(before, "offset"), width))


def _attention(
    coder: Coder, source: Inhibitor | Softmax | None, before: Inhibitor | Softmax | None, heads: int
) -> Inhibitor | Softmax:
    coder.part = "header"
    softmax = choice(coder, None if source is None else isinstance(source, Softmax), 2)
    gain = choice(coder, _get(source, "gain"), 9)
    signed = 0 if softmax else choice(coder, _get(source, "signed"), 2)
    coder.part = "scales"
    alike = before is not None and isinstance(before, Softmax) == softmax
    names = ("pre_shift", "multiplier", "shift") if softmax else ("multiplier", "offset", "shift")
    one, two, three = (
        _numbers(coder, _get(source, name), _get(before, name) if alike else None, heads) for name in names
    )
    if not softmax:
        return Inhibitor(one, two, three, gain, bool(signed))
    table = _get(source, "table")
    known = choice(coder, None if table is None else np.array_equal(table, exp_table()), 2)
    entries = None if known or table is None else table.astype(np.int64)
    own = exp_table() if known else adaptive(coder, entries, np.zeros(256, int), 256).astype(np.uint8)
    return Softmax(one, two, three, gain, own)


def _table(coder: Coder, source: Table | None, before: Table | None, shape: tuple[int, int]) -> Table:
    coder.part = "header"
    shift = choice(coder, _get(source, "shift"), 16)
    return Table(**_matrix(coder, source, before, shape, "embedding", "embedding", rows_stay=True), shift=shift)


def _linear(
    coder: Coder, source: Linear | None, before: Linear | None, shape: tuple[int, int], zero: int | None
) -> Linear:
    matrix = _matrix(coder, source, before, shape, "masks", "values")
    rule = None if zero is None else _rule(coder, _get(source, "rule"), _get(before, "rule"), shape[0], zero)
    coder.part = "biases"
    rounding = 0 if rule is None else half(rule)  # in every bias
    own, earlier = (None if linear is None else linear.bias - rounding for linear in (source, before))
    bias = _numbers(coder, own, earlier, shape[0]) + rounding
    return Linear(**matrix, bias=bias.astype(np.int32), rule=rule)


def _rule(coder: Coder, source: Rule | None, before: Rule | None, outputs: int, zero: int) -> Rule:
    coder.part = "scales"
    names = ("pre_shift", "multiplier", "shift")
    numbers_of = [
        None if rule is None else np.concatenate([np.atleast_1d(_get(rule, n)) for n in names])
        for rule in (source, before)
    ]
    if _as_before(coder, *numbers_of) and before is not None:
        return replace(before, zero=zero)
    pre_shift, shift = choice(coder, _get(source, "pre_shift"), 32), choice(coder, _get(source, "shift"), 31)
    each = choice(coder, None if source is None else len(source.multiplier) > 1, 2)
    multiplier = _numbers(coder, _get(source, "multiplier"), None, outputs if each else 1)
    return Rule(pre_shift, multiplier, shift, zero)


def _matrix(
    coder: Coder,
    source: Table | Linear | None,
    before: Table | Linear | None,
    shape: tuple[int, int],
    masks: str,
    values: str,
    rows_stay: bool = False,
) -> dict[str, Any]:
    """The mask, then the weights that live. Rows of a table stay where they are, outputs of a layer may swap places."""
    coder.part = "header"
    if before is not None and choice(coder, None if source is None else _same(source, before), 2):
        return {"weight": before.weight, "mask": before.mask, "bits": before.bits}
    bits = WEIGHT_BITS[choice(coder, None if source is None else WEIGHT_BITS.index(source.bits), len(WEIGHT_BITS))]
    pruned = choice(coder, None if source is None else source.mask is not None, 2)
    if before is not None and (before.weight.shape != shape or before.bits != bits):
        before = None
    mask = np.ones(shape, bool)
    if pruned:
        coder.part = masks
        known = None if source is None or source.mask is None else source.mask.reshape(-1).astype(np.int64)
        earlier = _get(before, "mask")
        beside = None if earlier is None else earlier.reshape(-1).astype(np.int64)
        above = neighbours(mask) if rows_stay else None
        mask = symbols(coder, known, mask.size, 2, above, beside).astype(bool).reshape(shape)
    coder.part = values
    low, high = weight_range(bits)
    living = None if source is None else source.weight[mask].astype(np.int64) - low
    beside = None if before is None else before.weight[mask].astype(np.int64) - low
    weight, above = np.zeros(shape, np.int8), neighbours(mask) if rows_stay else None
    weight[mask] = symbols(coder, living, int(mask.sum()), high - low + 1, above, beside) + low
    return {"weight": weight, "mask": mask if pruned else None, "bits": bits}


def _same(source: Table | Linear, before: Table | Linear) -> bool:
    """Whether weights, mask and bits are those of the prior ticket."""
    if source.bits != before.bits or not np.array_equal(source.weight, before.weight):
        return False
    if source.mask is None or before.mask is None:
        return source.mask is before.mask
    return np.array_equal(source.mask, before.mask)


def _tokenizer(
    coder: Coder, source: Tokenizer | None, before: Tokenizer | None, size: int, positions: int
) -> Tokenizer:
    """That of the prior ticket; or a fixed hash, the words of the built-in language, or its pieces, and which side of
    a text it truncates.

    Of pieces the lengths and whether they continue a word, then all letters in a row.
    """
    coder.part = "tokenizer"
    kinds = 3 if before is None else 4
    kind = choice(coder, None if source is None else PRIOR if source == before else _kind(source), kinds)
    if kind == PRIOR and before is not None:
        return before
    side = SIDES[choice(coder, None if source is None else SIDES.index(source.truncation_side), len(SIDES))]
    if kind == HASH:
        return Tokenizer("hash", (), (), size, positions, side)
    if kind == WORDS:
        listed = _lists()[size - FIRST_PIECE]
        return Tokenizer("pieces", listed, (False,) * len(listed), size, positions, side)
    count = size - FIRST_PIECE
    once = np.zeros(count, int)
    flags = adaptive(coder, None if source is None else np.array(source.continues, np.int64), once, 2)
    known = None if source is None else np.array([len(piece) for piece in source.pieces], np.int64)
    lengths = adaptive(coder, known, once, LETTERS, RARE)
    text = None if source is None else np.frombuffer(b"".join(source.pieces), np.uint8).astype(np.int64)
    letters = adaptive(coder, text, np.zeros(int(lengths.sum()), int), LETTERS, RARE).astype(np.uint8).tobytes()
    ends = np.cumsum(lengths)
    pieces = tuple(letters[end - length : end] for end, length in zip(ends, lengths, strict=True))
    return Tokenizer("pieces", pieces, tuple(flags.astype(bool).tolist()), size, positions, side)


def _kind(source: Tokenizer) -> int:
    if source.kind == "hash":
        return HASH
    listed = not any(source.continues) and _lists().get(len(source.pieces)) == source.pieces
    return WORDS if listed else PIECES


@cache
def _lists() -> dict[int, tuple[bytes, ...]]:
    """The lists of words that the built-in language can have, by their length."""
    lists = (tuple(word.encode() for word in vocabulary_words(size)) for size in range(1, CONTENT_WORDS + 1))
    return {len(words): words for words in lists}
