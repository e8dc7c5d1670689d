"""The integer network: what docs/arithmetic.md describes, as frozen data that is checked when it is made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from integer_tickets.errors import UserError
from integer_tickets.integer.rounding import S8, S16, U8, Array, Rule, length_table

MAX_WIDTH = 1023
MAX_POSITIONS = 255
WEIGHT_BITS = (8, 4, 3, 2)
BYPASSES = ("attention_bypass", "hidden_bypass")
"""Of a post-norm layer, by the names of its fields."""


@dataclass(frozen=True, eq=False)
class Linear:
    """`acc = weight @ x + bias`, then the rounding rule (none for the classifier).

    weight: int8 (out, in), within `bits` bits (2 bits mean -1, 0, 1); mask: bool (out, in), True where a
    weight lives, or None when nothing is pruned; bias: int32 (out,).
    """

    weight: Array
    mask: Array | None
    bias: Array
    rule: Rule | None
    bits: int


@dataclass(frozen=True, eq=False)
class Table:
    """An embedding table: int8 (rows, width), worth `weight << shift` on the grid of the residual stream."""

    weight: Array
    mask: Array | None
    bits: int
    shift: int


@dataclass(frozen=True, eq=False)
class Inhibitor:
    """Attention by Manhattan distance: multiplier, offset, shift are int32 (heads,); gain 0..8."""

    multiplier: Array
    offset: Array
    shift: Array
    gain: int
    signed: bool


@dataclass(frozen=True, eq=False)
class Softmax:
    """Dot-product attention: pre_shift, multiplier, shift int32 (heads,); gain 0..8; table u8 (256,)."""

    pre_shift: Array
    multiplier: Array
    shift: Array
    gain: int
    table: Array


@dataclass(frozen=True, eq=False)
class Bypass:
    """What goes past a part of a post-norm layer: its normalized input times `gain` plus `offset`, both int32 (d,)."""

    gain: Array
    offset: Array


@dataclass(frozen=True, eq=False)
class Layer:
    """One Transformer layer of h heads, each e = d / `heads` wide; shapes as in `shapes`.

    q and k of a head have p numbers, at most e. The residual stream itself goes past attention and feed-forward part
    (pre-norm); or, in a post-norm layer, two bypasses do.
    """

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    up: Linear
    down: Linear
    attention: Inhibitor | Softmax
    attention_bypass: Bypass | None = None
    hidden_bypass: Bypass | None = None

    @property
    def heads(self) -> int:
        """h, from 1 to the `heads` of the network."""
        return len(self.attention.multiplier)

    @property
    def pairs(self) -> int:
        """p, from 1 to the width of a head."""
        return len(self.query.weight) // self.heads


def shapes(d: int, scored: int, inner: int, hidden: int) -> dict[str, tuple[int, int]]:
    """The shape of each weight of a layer: of all heads, q and k are `scored` = h p and v is `inner` = h e wide."""
    attention = {"query": (scored, d), "key": (scored, d), "value": (inner, d), "output": (d, inner)}
    return attention | {"up": (hidden, d), "down": (d, hidden)}


@dataclass(frozen=True)
class Role:
    """What the place of a linear layer fixes: the range of its inputs and outputs, and the zero point."""

    largest_input: int
    low: int
    high: int
    zero: int


def roles(attention: Inhibitor | Softmax) -> dict[str, Role]:
    """The role of each linear layer of a Transformer layer, by name, in the order of the computation."""
    scored = Role(128, *U8, 128) if isinstance(attention, Inhibitor) else Role(128, *S8, 0)
    return {
        "query": scored,
        "key": scored,
        "value": Role(128, *S8, 0),
        "output": Role(128, *S16, 0),
        "up": Role(128, *U8, 0),
        "down": Role(255, *S16, 0),
    }


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """From token ids to integer logits. Raises UserError, naming the part that breaks the contract.

    tokens: (vocabulary, d); positions: (L, d); length_multiplier, length_shift: `length_table(L)`;
    heads: the most that a layer may have, d / heads is the width of one;
    logit * logit_multiplier / 2^logit_shift is the real logit.
    """

    tokens: Table
    positions: Table
    layers: tuple[Layer, ...]
    classifier: Linear
    pool_gain: int
    length_multiplier: Array
    length_shift: Array
    heads: int
    labels: tuple[str, ...]
    logit_multiplier: int
    logit_shift: int

    @property
    def width(self) -> int:
        return int(self.tokens.weight.shape[1])

    @property
    def post_norm(self) -> bool:
        """Whether layers have bypasses: all of them, or none."""
        return any(layer.attention_bypass is not None for layer in self.layers)

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def linears(self) -> Iterator[tuple[str, Linear]]:
        """Every linear layer by name (`layers.0.query`, ..., `classifier`), in the order of computation."""
        for i, layer in enumerate(self.layers):
            for role in roles(layer.attention):
                yield f"layers.{i}.{role}", getattr(layer, role)
        yield "classifier", self.classifier

    def matrices(self) -> Iterator[tuple[str, Table | Linear]]:
        """Everything that has a weight and a mask: the two tables, then the linear layers."""
        yield "tokens", self.tokens
        yield "positions", self.positions
        yield from self.linears()

    def __post_init__(self) -> None:
        for name, matrix in self.matrices():
            _check_weight(name, matrix)
        d, length = self.width, self.positions.weight.shape[0]
        _require(1 <= d <= MAX_WIDTH, f"tokens: width {d}, expected 1 to {MAX_WIDTH}")
        _require(1 <= length <= MAX_POSITIONS, f"positions: {length} of them, expected 1 to {MAX_POSITIONS}")
        _require(self.positions.weight.shape[1] == d, f"positions: width is not that of the tokens, {d}")
        for name, table in (("tokens", self.tokens), ("positions", self.positions)):
            _require(0 <= table.shift <= 15, f"{name}: shift {table.shift}, expected 0 to 15")
        _require(self.heads >= 1 and d % self.heads == 0, f"{self.heads} heads do not divide the width {d}")
        for i, layer in enumerate(self.layers):
            _check_layer(f"layers.{i}", layer, d, self.head_width)
            some = [bypass is not None for bypass in (layer.attention_bypass, layer.hidden_bypass)]
            _require(some == [self.post_norm] * 2, f"layers.{i}: expected two bypasses in every layer, or none in any")
        _require(len(self.labels) >= 2, "labels: expected at least two")
        _require(all(isinstance(label, str) for label in self.labels), "labels: expected names")
        _require(len(set(self.labels)) == len(self.labels), "labels: one occurs twice")
        _check_linear("classifier", self.classifier, (len(self.labels), d), None)
        _check_gain("pool", self.pool_gain)
        table_of_lengths = length_table(length)
        for name, own, expected in zip(
            ("length_multiplier", "length_shift"),
            (self.length_multiplier, self.length_shift),
            table_of_lengths,
            strict=True,
        ):
            _require(
                own.dtype == np.int32 and np.array_equal(own, expected),
                f"{name}: not the table for {length} tokens",
            )
        _require(1 <= self.logit_multiplier < 2**31, "logit_multiplier: expected 1 to 2^31 - 1")
        _require(0 <= self.logit_shift <= 62, "logit_shift: expected 0 to 62")


def density(matrix: Table | Linear) -> float:
    """The fraction of weights that live."""
    return 1.0 if matrix.mask is None else float(matrix.mask.mean())


@dataclass(frozen=True)
class Zeros:
    """Weights of the linear layers: all of them, those that a mask has pruned, and those that live but became 0."""

    size: int
    pruned: int
    rounded: int


def zeros(network: IntegerNetwork) -> Zeros:
    linears = [linear for _, linear in network.linears()]
    size = sum(linear.weight.size for linear in linears)
    pruned = sum(int((~linear.mask).sum()) for linear in linears if linear.mask is not None)
    return Zeros(size, pruned, size - pruned - sum(int(np.count_nonzero(linear.weight)) for linear in linears))


def padded(rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """Sentences as one batch: token ids (batch, n), right-padded with 0, n >= 1, and counts (batch,), both int64."""
    counts = np.array([len(row) for row in rows], np.int64)
    ids = np.zeros((len(rows), max(1, counts.max())), np.int64)
    ids[np.arange(ids.shape[1]) < counts[:, None]] = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return ids, counts


def weight_range(bits: int) -> tuple[int, int]:
    """The weights that `bits` bits may hold; two bits are ternary."""
    return (-1, 1) if bits == 2 else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _check_weight(name: str, matrix: Table | Linear) -> None:
    weight, mask = matrix.weight, matrix.mask
    _require(weight.dtype == np.int8 and weight.ndim == 2, f"{name}: weight must be an int8 matrix")
    _require(weight.size > 0, f"{name}: weight is empty")
    _require(matrix.bits in WEIGHT_BITS, f"{name}: {matrix.bits} bits, expected one of {WEIGHT_BITS}")
    low, high = weight_range(matrix.bits)
    _require(
        bool(low <= int(weight.min()) and int(weight.max()) <= high),
        f"{name}: weights outside {low}..{high}, the range of {matrix.bits} bits",
    )
    if mask is not None:
        _require(
            mask.dtype == np.bool_ and mask.shape == weight.shape,
            f"{name}: mask must be bool, shaped as the weight",
        )
        _require(not weight[~mask].any(), f"{name}: a pruned weight is not zero")


def _check_linear(name: str, linear: Linear, shape: tuple[int, int], role: Role | None) -> None:
    _require(linear.weight.shape == shape, f"{name}: weight has shape {linear.weight.shape}, expected {shape}")
    _require(
        linear.bias.dtype == np.int32 and linear.bias.shape == shape[:1],
        f"{name}: bias must be int32 ({shape[0]},)",
    )
    rule = linear.rule
    if rule is None or role is None:
        _require(rule is None and role is None, f"{name}: the classifier alone has no rounding rule")
        return
    _require(0 <= rule.pre_shift <= 31, f"{name}: pre-shift {rule.pre_shift}, expected 0 to 31")
    _require(1 <= rule.shift <= 30, f"{name}: shift {rule.shift}, expected 1 to 30")
    _require(rule.zero == role.zero, f"{name}: zero point {rule.zero}, expected {role.zero}")
    _require(rule.multiplier.shape in ((1,), shape[:1]), f"{name}: multiplier must be (1,) or ({shape[0]},)")
    _check_integers(name, "multiplier", rule.multiplier, 0, 2**15 - 1)


def _check_layer(name: str, layer: Layer, d: int, head_width: int) -> None:
    scored, inner, hidden = (len(part.weight) for part in (layer.query, layer.value, layer.up))
    _require(
        inner % head_width == 0 and inner <= d,
        f"{name}.value: {inner} rows, expected whole heads of {head_width}, at most {d}",
    )
    heads, expected = inner // head_width, shapes(d, scored, inner, hidden)
    _require(
        scored % heads == 0 and scored <= inner,
        f"{name}.query: {scored} rows, expected as many for each of {heads} heads, at most {inner}",
    )
    for part, role in roles(layer.attention).items():
        _check_linear(f"{name}.{part}", getattr(layer, part), expected[part], role)
    for part, bypass in ((part, getattr(layer, part)) for part in BYPASSES):
        for vector, values in () if bypass is None else vars(bypass).items():
            _require(values.shape == (d,), f"{name}.{part}: {vector} must be ({d},)")
            _check_integers(f"{name}.{part}", vector, values, -(2**15) + 1, 2**15 - 1)
    attention = layer.attention
    name = f"{name}.attention"
    _check_gain(name, attention.gain)
    vectors = {"multiplier": (0, 2**15 - 1)}
    if isinstance(attention, Inhibitor):
        vectors |= {"offset": (-(2**31) + 1, 2**31 - 1), "shift": (0, 30)}
    else:
        vectors |= {"pre_shift": (0, 31), "shift": (1, 30)}
        table = attention.table
        _require(table.dtype == np.uint8 and table.shape == (256,), f"{name}: table must be 256 unsigned bytes")
        _require(table[0] == 255, f"{name}: table must begin with 255")  # so that no sum of weights is zero
    for vector, (low, high) in vectors.items():
        values = getattr(attention, vector)
        _require(values.shape == (heads,), f"{name}: {vector} must have one number per head ({heads})")
        _check_integers(name, vector, values, low, high)


def _check_integers(name: str, vector: str, values: Array, low: int, high: int) -> None:
    _require(values.dtype == np.int32, f"{name}: {vector} must be int32")
    _require(low <= int(values.min()) and int(values.max()) <= high, f"{name}: {vector} outside {low}..{high}")


def _check_gain(name: str, gain: int) -> None:
    _require(0 <= gain <= 8, f"{name}: gain {gain}, expected 0 to 8")
