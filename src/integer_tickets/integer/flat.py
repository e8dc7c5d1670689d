"""An integer network as plain arrays: what the C sources read, one field for each of ticket.h."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from integer_tickets.errors import UserError
from integer_tickets.integer.network import Inhibitor, IntegerNetwork, Layer, Linear, roles
from integer_tickets.integer.rounding import Array
from integer_tickets.integer.tokenizer import FIRST_PIECE, Tokenizer

LARGEST_INDEX, LARGEST_TABLE = 2**16 - 1, 2**31 - 1
ROWS, TOGETHER, GROUP, TILE = 8, 4, 4, (16, 64)  # of products.h


@dataclass(frozen=True, eq=False)
class FlatLinear:
    """`ticket_linear`: int8 weights, row by row; where zeros are left out, uint16 columns and uint32 row starts.

    Rows that are computed together should be equally full: `order`, uint16, says which come first.
    """

    weight: Array
    column: Array | None
    start: Array | None
    order: Array | None
    bias: Array
    multiplier: Array | None
    rows: int
    columns: int
    per_row: int
    pre_shift: int
    shift: int


@dataclass(frozen=True, eq=False)
class FlatLayer:
    """`ticket_layer`."""

    query: FlatLinear
    key: FlatLinear
    value: FlatLinear
    output: FlatLinear
    up: FlatLinear
    down: FlatLinear
    multiplier: Array
    offset: Array | None
    shift: Array
    pre_shift: Array | None
    table: Array | None
    attention_gain: Array | None
    attention_offset: Array | None
    hidden_gain: Array | None
    hidden_offset: Array | None
    heads: int
    gain: int
    is_signed: int


@dataclass(frozen=True, eq=False)
class FlatTokenizer:
    """`ticket_tokenizer`."""

    bytes: Array
    start: Array
    id: Array
    begins: int
    count: int
    size: int
    truncates_left: int


@dataclass(frozen=True, eq=False)
class FlatNetwork:
    """`ticket`."""

    tokens: Array
    positions: Array
    layers: tuple[FlatLayer, ...]
    classifier: FlatLinear
    length_multiplier: Array
    length_shift: Array
    tokenizer: FlatTokenizer
    vocabulary: int
    length: int
    width: int
    head_width: int
    depth: int
    classes: int
    inner: int
    hidden: int
    token_shift: int
    position_shift: int
    pool_gain: int


@dataclass(frozen=True)
class Form:
    """How the steps in C want linear layers.

    layout: weights row by row ("rows"), or as products.h says by 8 rows and 4 columns ("groups", "groups of 16 bits")
    or by 32 rows and 64 columns ("tiles"); sparse: where at most this share of the groups (or of the weights) has a
    number that is not 0, only these are kept.
    """

    layout: Literal["rows", "groups", "groups of 16 bits", "tiles"]
    sparse: float


PLAIN = Form("rows", sparse=0.7)
NEVER = -1.0  # of `sparse`: a layer without a single weight is dense, too


def flatten(network: IntegerNetwork, tokenizer: Tokenizer | None, form: Form = PLAIN) -> FlatNetwork:
    """The network for steps of that form. Raises UserError where a number does not fit."""
    if network.tokens.weight.size > LARGEST_TABLE:
        raise UserError(f"tokens: {network.tokens.weight.size} numbers, at most {LARGEST_TABLE} for C")
    if tokenizer is not None and tokenizer.size > len(network.tokens.weight):
        raise UserError(f"tokenizer: {tokenizer.size} ids, but the network has {len(network.tokens.weight)} tokens")
    inner = [len(layer.value.weight) for layer in network.layers]
    hidden = [len(layer.up.weight) for layer in network.layers]
    return FlatNetwork(
        tokens=network.tokens.weight,
        positions=network.positions.weight,
        layers=tuple(_layer(layer, form) for layer in network.layers),
        classifier=_linear(network.classifier, 0, Form("rows", sparse=NEVER)),
        length_multiplier=network.length_multiplier.astype(np.int16),
        length_shift=network.length_shift.astype(np.uint8),
        tokenizer=_tokenizer(tokenizer),
        vocabulary=len(network.tokens.weight),
        length=len(network.positions.weight),
        width=network.width,
        head_width=network.head_width,
        depth=len(network.layers),
        classes=len(network.labels),
        inner=max(inner, default=0),
        hidden=max(hidden, default=0),
        token_shift=network.tokens.shift,
        position_shift=network.positions.shift,
        pool_gain=network.pool_gain,
    )


def _layer(layer: Layer, form: Form) -> FlatLayer:
    attention = layer.attention
    own = roles(attention)
    padded = {name: _padded(getattr(layer, name), layer) for name in ("query", "key")}
    linears = {
        # bytes from up are what they are; all others are kept 128 above
        name: _linear(padded.get(name) or getattr(layer, name), 0 if name == "down" else 128, form)
        for name in own
    }
    past = [
        None if numbers is None else numbers.astype(np.int16)
        for bypass in (layer.attention_bypass, layer.hidden_bypass)
        for numbers in ((None, None) if bypass is None else (bypass.gain, bypass.offset))
    ]
    return FlatLayer(
        **linears,
        multiplier=attention.multiplier.astype(np.int16),
        offset=attention.offset if isinstance(attention, Inhibitor) else None,
        shift=attention.shift.astype(np.uint8),
        pre_shift=None if isinstance(attention, Inhibitor) else attention.pre_shift.astype(np.uint8),
        table=None if isinstance(attention, Inhibitor) else attention.table,
        attention_gain=past[0],
        attention_offset=past[1],
        hidden_gain=past[2],
        hidden_offset=past[3],
        heads=layer.heads,
        gain=attention.gain,
        is_signed=int(isinstance(attention, Inhibitor) and attention.signed),
    )


def _padded(linear: Linear, layer: Layer) -> Linear:
    """q or k as wide as the heads: further coordinates in which all tokens are 0 (or the zero point) change nothing."""
    missing = len(layer.value.weight) // layer.heads - layer.pairs
    assert linear.rule is not None  # an IntegerNetwork has checked it

    def widen(rows: Array) -> Array:
        shaped = rows.reshape(layer.heads, layer.pairs, *rows.shape[1:])
        return np.pad(shaped, [(0, 0), (0, missing), *[(0, 0)] * (rows.ndim - 1)]).reshape(-1, *rows.shape[1:])

    multiplier = linear.rule.multiplier
    rule = replace(linear.rule, multiplier=widen(multiplier) if len(multiplier) > 1 else multiplier)
    return replace(linear, weight=widen(linear.weight), mask=None, bias=widen(linear.bias), rule=rule)


def _linear(linear: Linear, above: int, form: Form) -> FlatLinear:
    weight, rule = linear.weight, linear.rule
    # The bytes are `above` higher than the values; modulo 2^32, as in C.
    bias = (linear.bias.astype(np.int64) - above * weight.sum(1, dtype=np.int64)) & 0xFFFFFFFF
    values, column, start, order = (_in_rows if form.layout == "rows" else _in_groups)(weight, form)
    if order is not None:
        bias = bias[order]
    if form.layout != "rows":
        bias = np.pad(bias, (0, -len(bias) % ROWS))
    return FlatLinear(
        weight=values,
        column=column,
        start=start,
        order=order,
        bias=bias.astype(np.uint32).view(np.int32),
        multiplier=None if rule is None else rule.multiplier.astype(np.int16),
        rows=len(weight),
        columns=weight.shape[1],
        per_row=int(rule is not None and len(rule.multiplier) > 1),
        pre_shift=0 if rule is None else rule.pre_shift,
        shift=0 if rule is None else rule.shift,
    )


_Parts = tuple[Array, Array | None, Array | None, Array | None]
"""Weights, their columns (or those of groups), where rows begin, and the order of rows."""


def _in_rows(weight: Array, form: Form) -> _Parts:
    alive = weight != 0
    if alive.mean() > form.sparse or weight.shape[1] > LARGEST_INDEX + 1:
        return weight.reshape(-1), None, None, None
    start = np.concatenate([[0], np.cumsum(alive.sum(1))]).astype(np.uint32)
    return weight[alive], np.nonzero(alive)[1].astype(np.uint16), start, None


def _in_groups(weight: Array, form: Form) -> _Parts:
    rows, columns = weight.shape
    weight = np.pad(weight, ((0, -rows % ROWS), (0, -columns % GROUP)))
    groups = weight.reshape(len(weight), -1, GROUP)
    order = np.argsort(groups[:rows].any(-1).sum(-1), kind="stable")
    places = np.concatenate([order, np.arange(rows, len(weight))])
    alive = groups[places].any(-1).reshape(-1, TOGETHER, groups.shape[1])
    fullest = alive.sum(-1).max(-1)  # of every few rows that are computed together
    if fullest.mean() > form.sparse * groups.shape[1] or max(rows, groups.shape[1]) > LARGEST_INDEX + 1:
        if form.layout == "tiles":
            return _in_tiles(weight), None, None, None
        return _bytes(groups.reshape(-1, ROWS, *groups.shape[1:]).swapaxes(1, 2), form), None, None, None
    start = np.concatenate([[0], np.cumsum(fullest)]).astype(np.uint32)
    column = np.zeros((int(start[-1]), TOGETHER), np.uint16)
    kept = np.zeros((*column.shape, GROUP), np.int8)
    quads, rest, where = np.nonzero(alive)  # in the order of rows
    place = start[quads] + alive.cumsum(-1)[quads, rest, where] - 1
    column[place, rest] = where
    kept[place, rest] = groups[places].reshape(-1, TOGETHER, *groups.shape[1:])[quads, rest, where]
    return _bytes(kept, form), column.reshape(-1), start, order.astype(np.uint16)


def _in_tiles(weight: Array) -> Array:
    """Tiles of all rows and columns, two below each other, then those to the right, then the next two."""
    rows, columns = TILE
    weight = np.pad(weight, ((0, -len(weight) % (2 * rows)), (0, -weight.shape[1] % columns)))
    tiles = weight.reshape(-1, 2, rows, weight.shape[1] // columns, columns).transpose(0, 3, 1, 2, 4)
    return np.ascontiguousarray(tiles).reshape(-1)


def _bytes(groups: Array, form: Form) -> Array:
    """Groups of weights (..., 4) as the products read them."""
    if form.layout == "groups of 16 bits":
        groups = groups[..., [0, 2, 1, 3]].astype("<i2")
    return np.ascontiguousarray(groups).view(np.int8).reshape(-1)


def _tokenizer(tokenizer: Tokenizer | None) -> FlatTokenizer:
    left = int(tokenizer is not None and tokenizer.truncation_side == "left")
    if tokenizer is None or tokenizer.kind == "hash":
        none = np.zeros(0, np.uint8)
        size = FIRST_PIECE + 1 if tokenizer is None else tokenizer.size
        return FlatTokenizer(none, np.zeros(1, np.uint32), none.astype(np.uint16), 0, 0, size, left)
    if tokenizer.size > LARGEST_INDEX:
        raise UserError(f"tokenizer: {tokenizer.size} ids, at most {LARGEST_INDEX} for C")
    order = sorted(range(len(tokenizer.pieces)), key=lambda i: (tokenizer.continues[i], tokenizer.pieces[i]))
    pieces = [tokenizer.pieces[i] for i in order]
    return FlatTokenizer(
        bytes=np.frombuffer(b"".join(pieces), np.uint8),
        start=np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.uint32),
        id=(FIRST_PIECE + np.array(order)).astype(np.uint16),
        begins=sum(not continues for continues in tokenizer.continues),
        count=len(pieces),
        size=tokenizer.size,
        truncates_left=left,
    )
