"""Operations and bytes of weights that one sentence of n tokens costs, counted from formulas; nothing is run.

Counted is what docs/arithmetic.md writes down, step by step, at batch size 1 and without padding: for every weight
that is not zero one multiplication and one addition (a ternary weight needs the addition alone), and every operation
of rounding, attention, normalization, residual sums and pooling. Clamping is two comparisons. Rows of the embedding
tables are memory traffic (see the bytes below), a look-up is one into a small table. Loop counters and addresses are
not counted.

The peer is the dense softmax Transformer of the same shape in float32, computed as model/transformer.py does; its
exponential is a polynomial of degree 5 with range reduction, counted as seven multiplications and seven additions.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from integer_tickets.integer.layout import network_tensors
from integer_tickets.integer.network import Inhibitor, IntegerNetwork, Linear, Softmax, roles
from integer_tickets.integer.rounding import Array, Rule

Counts = Counter[tuple[str, str, str]]
"""How many, by part of the network, operation and type of number."""

EXPONENTIAL = 7


@dataclass(frozen=True)
class Shape:
    """What the operations of a dense Transformer depend on."""

    width: int
    layers: int
    heads: int
    hidden: int
    classes: int


def average(count: Callable[[int], Counts], lengths: Array) -> dict[tuple[str, str, str], float]:
    """Mean counts over sentences of these lengths."""
    total: Counter[tuple[str, str, str]] = Counter()
    for length, times in zip(*np.unique(lengths, return_counts=True), strict=True):
        for key, value in count(int(length)).items():
            total[key] += value * int(times)
    return {key: value / len(lengths) for key, value in sorted(total.items())}


def integer_operations(network: IntegerNetwork, n: int) -> Counts:
    """Operations of an integer network on one sentence of n tokens."""
    counts: Counts = Counter()
    d, e = network.width, network.head_width
    _count(counts, "embedding", n * d, {("shift", "int32"): 2, ("add", "int32"): 1, ("compare", "int32"): 2})
    for layer in network.layers:
        _norm(counts, n, d)
        _norm(counts, n, d)
        for name in roles(layer.attention):
            _linear(counts, getattr(layer, name), n)
        if isinstance(layer.attention, Inhibitor):
            _inhibitor(counts, layer.attention, n, layer.heads, layer.pairs, e)
        else:
            _softmax(counts, layer.attention, n, layer.heads, layer.pairs, e)
        _count(counts, "residual", 2 * n * d, {("add", "int32"): 1, ("compare", "int32"): 2})
        if network.post_norm:
            past = {("multiply", "int16"): 1, ("add", "int32"): 1, ("compare", "int32"): 2}
            _count(counts, "residual", 2 * n * d, past)
    _norm(counts, n, d)
    _count(counts, "pooling", n * d, {("add", "int16"): 1})
    _mean(counts, "pooling", d)
    _linear(counts, network.classifier, 1)
    return counts


def dense_operations(shape: Shape, n: int) -> Counts:
    """Operations of the dense float32 softmax Transformer of a shape on one sentence of n tokens."""
    counts: Counts = Counter()
    d, pairs = shape.width, n * n * shape.heads

    def count(part: str, times: int, **operations: int) -> None:
        _count(counts, part, times, {(name, "float32"): each for name, each in operations.items()})

    count("embedding", n * d, add=1)
    for _ in range(shape.layers):
        count("linear", n * (4 * d * d + 2 * d * shape.hidden), multiply=1, add=1)
        count("linear", n * (5 * d + shape.hidden), add=1)
        count("linear", n * shape.hidden, compare=1)
        count("attention", pairs * (d // shape.heads), multiply=2, add=2)
        count("attention", pairs, multiply=1 + EXPONENTIAL, add=2 + EXPONENTIAL, compare=1)
        count("attention", n * shape.heads, division=1)
        count("attention", n * d, multiply=1)
        count("residual", 2 * n * d, add=1)
    norms = n * (2 * shape.layers + 1)
    count("normalization", norms * d, add=1, multiply=1)
    count("normalization", norms, multiply=1, division=1)
    count("pooling", n * d, add=1)
    count("pooling", d, multiply=1)
    count("pooling", 1, division=1)
    count("linear", shape.classes * d, multiply=1, add=1)
    count("linear", shape.classes, add=1)
    return counts


def integer_bytes(network: IntegerNetwork, n: float) -> float:
    """Bytes of parameters read for one sentence of n tokens, each once and packed as in a file before they are coded.

    Kept weights, masks (as bitmaps or gaps), biases, multipliers and shifts; n rows of the two embedding tables, at
    the average size of their rows; one entry of the table that divides by n.
    """
    vocabulary, positions = len(network.tokens.weight), len(network.positions.weight)
    shares = {"tokens": n / vocabulary, "positions": n / positions}
    shares |= dict.fromkeys(("length_multiplier", "length_shift"), 1 / (positions + 1))
    tensors = network_tensors(network).items()
    return sum(tensor.nbytes * shares.get(name.partition(".")[0], 1.0) for name, tensor in tensors)


def dense_bytes(shape: Shape, n: float) -> float:
    """The same for the dense float32 softmax Transformer."""
    d, hidden = shape.width, shape.hidden
    layer = 4 * d * d + 2 * d * hidden + 5 * d + hidden
    return 4.0 * (2 * n * d + shape.layers * layer + shape.classes * (d + 1))


def _count(counts: Counts, part: str, times: int, operations: dict[tuple[str, str], int]) -> None:
    for (operation, number), each in operations.items():
        counts[part, operation, number] += times * each


def _linear(counts: Counts, linear: Linear, n: int) -> None:
    alive, outputs = int(np.count_nonzero(linear.weight)), linear.weight.shape[0]
    _count(counts, "linear", n * alive, {("multiply", "int8"): int(linear.bits > 2), ("add", "int32"): 1})
    _count(counts, "linear", n * outputs, {("add", "int32"): 1})
    if linear.rule is not None:
        _requantize(counts, "linear", n * outputs, linear.rule)


def _requantize(counts: Counts, part: str, values: int, rule: Rule) -> None:
    """The rounding rule: shift, clamp to 16 bits, multiply, round, shift, zero point, clamp."""
    _count(
        counts,
        part,
        values,
        {
            ("shift", "int32"): 1 + int(rule.pre_shift > 0),
            ("compare", "int32"): 4,
            ("multiply", "int16"): 1,
            ("add", "int32"): 1 + int(rule.zero > 0),
        },
    )


def _mean(counts: Counts, part: str, values: int) -> None:
    """Division by the number of tokens: multiply, round, shift, clamp; the two entries of the table once."""
    _count(counts, part, 1, {("look-up", "int8"): 3})
    _count(
        counts,
        part,
        values,
        {("multiply", "int16"): 1, ("add", "int32"): 1, ("shift", "int32"): 1, ("compare", "int32"): 2},
    )


def _norm(counts: Counts, n: int, d: int) -> None:
    """Sum of absolute values, one division, then multiply, round, shift and clamp each value."""
    _count(counts, "normalization", n, {("division", "int64"): 1, ("shift", "int32"): 1, ("add", "int32"): 1})
    _count(
        counts,
        "normalization",
        n * d,
        {
            ("absolute difference", "int16"): 1,
            ("add", "int32"): 2,
            ("multiply", "int16"): 1,
            ("shift", "int32"): 1,
            ("compare", "int32"): 2,
        },
    )


def _inhibitor(counts: Counts, attention: Inhibitor, n: int, heads: int, coordinates: int, e: int) -> None:
    pairs = n * n * heads
    _count(counts, "attention", pairs * coordinates, {("absolute difference", "int8"): 1, ("add", "int16"): 1})
    score = {("multiply", "int16"): 1, ("add", "int32"): 1, ("shift", "int32"): 1, ("compare", "int32"): 2}
    _count(counts, "attention", pairs, score)
    if attention.signed:  # v - clamp(v, -Z, Z), and -Z once
        _count(counts, "attention", pairs, {("add", "int8"): 1})
        _count(counts, "attention", pairs * e, {("compare", "int8"): 2, ("add", "int8"): 1, ("add", "int16"): 1})
    else:  # max(0, v - Z)
        _count(counts, "attention", pairs * e, {("compare", "int8"): 1, ("add", "int8"): 1, ("add", "int16"): 1})
    _mean(counts, "attention", n * heads * e)


def _softmax(counts: Counts, attention: Softmax, n: int, heads: int, coordinates: int, e: int) -> None:
    pairs = n * n * heads
    _count(counts, "attention", pairs * (coordinates + e), {("multiply", "int8"): 1, ("add", "int32"): 1})
    # The largest score, the distance from it, the table, and the sum of the weights.
    _count(counts, "attention", pairs, {("compare", "int32"): 1, ("add", "int32"): 2, ("look-up", "int8"): 1})
    for head in range(heads):
        rule = Rule(int(attention.pre_shift[head]), attention.multiplier[head : head + 1], 1)
        _requantize(counts, "attention", n * n, rule)
    _count(counts, "attention", n * heads, {("shift", "int32"): 1})
    _count(
        counts,
        "attention",
        n * heads * e,
        {("shift", "int32"): 1, ("add", "int32"): 1, ("division", "int64"): 1, ("compare", "int32"): 2},
    )
