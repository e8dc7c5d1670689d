"""The rounding rule and the other primitives of docs/arithmetic.md, on NumPy integers.

Everything is computed in int64, so that a test can see that nothing leaves the int32 that the contract
promises.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from integer_tickets.errors import UserError

Array = NDArray[Any]
"""A NumPy array; the integer types are stated where they matter."""

S8 = (-128, 127)
U8 = (0, 255)
S16 = (-32768, 32767)


@dataclass(frozen=True, eq=False)
class Rule:
    """How a wide sum becomes a narrow value: pre-shift `a`, multiplier `m`, shift `s`, zero point `z`.

    `multiplier` is int32 of shape (1,), or (out,) with one number per output channel, each in 0..2^15 - 1;
    `pre_shift` lies in 0..31, `shift` in 1..30, `zero` is 0 or 128.
    """

    pre_shift: int
    multiplier: Array
    shift: int
    zero: int = 0


def clamp(x: Array, low: ArrayLike, high: ArrayLike) -> Array:
    """What np.clip does, in half the time for small arrays."""
    return np.minimum(np.maximum(x, low), high)


def requantize(acc: Array, rule: Rule, low: int, high: int) -> Array:
    """The rounding rule: sums (..., out) to values in low..high, int64 of the same shape."""
    y = clamp(acc.astype(np.int64) >> rule.pre_shift, *S16)
    scaled = (y * rule.multiplier.astype(np.int64) + (1 << (rule.shift - 1))) >> rule.shift
    return clamp(scaled + rule.zero, low, high)


def rule_for(factor: ArrayLike, high: int, zero: int = 0) -> Rule:
    """The rule that multiplies by `factor`, a positive number or one per output channel.

    `high` is the largest magnitude that the output can hold: 128 for s8 and for u8 with zero point 128, 255 for
    u8, 32767 for s16. For the first shift to round to nearest, add `half(rule)` to the bias.
    Outputs of 8 bits are within 1 of the rounded product as long as the factors lie within 64 of each other,
    outputs of 16 bits within 1 + 2 (largest / smallest factor). Raises UserError where no rule exists.
    """
    if isinstance(factor, float) and 0 < factor < math.inf:  # training asks for a dozen of these at every step
        factors, smallest, largest = [factor], factor, factor
    else:
        m = np.atleast_1d(np.asarray(factor, dtype=np.float64))
        if m.ndim != 1 or m.size == 0 or not np.isfinite(m).all() or not (m > 0).all():
            raise UserError("a scale factor must be positive and finite (one number, or one per output channel)")
        factors, smallest, largest = m.tolist(), float(m.min()), float(m.max())
    pre_shift = max(0, math.frexp(high / smallest / 32767)[1] - 1)
    pre_shift += high / smallest > 32767 * 2.0**pre_shift
    if pre_shift > 31:
        raise UserError(f"scale factor {smallest:g} is too small for an output up to {high}")
    shift = 14 - (math.frexp(largest * 2.0**pre_shift)[1] - 1)  # frexp: floor(log2) without rounding
    if math.floor(largest * 2.0 ** (pre_shift + shift) + 0.5) == 2**15:
        shift -= 1
    if not 1 <= shift <= 30:
        raise UserError(f"scale factors {smallest:g} to {largest:g} cannot be represented for an output up to {high}")
    multipliers = [math.floor(m * 2.0 ** (pre_shift + shift) + 0.5) for m in factors]
    return Rule(pre_shift, np.array(multipliers, np.int32), shift, zero)


def half(rule: Rule) -> int:
    """What the bias of a layer with this rule gets added, so that the first shift rounds to nearest."""
    return (1 << rule.pre_shift) >> 1


def length_table(positions: int) -> tuple[Array, Array]:
    """Multipliers and shifts (int32, positions + 1 each) that divide by a number of tokens 0..positions."""
    shift = [14] + [14 + (n - 1).bit_length() for n in range(1, positions + 1)]
    multiplier = [0] + [((2 << shift[n]) + n) // (2 * n) for n in range(1, positions + 1)]
    return np.array(multiplier, dtype=np.int32), np.array(shift, dtype=np.int32)


def mean(total: Array, multiplier: int, shift: int, gain: int) -> Array:
    """A sum over n tokens, |sum| <= 128 n, to its mean in s8, on a grid finer by 2^gain.

    `multiplier` and `shift` are the entries of the length table for n.
    """
    shift -= gain
    return clamp((total.astype(np.int64) * multiplier + (1 << (shift - 1))) >> shift, *S8)


def norm(x: Array) -> Array:
    """Mean-absolute normalization over the last axis: s16 (..., d) to s8, one unit = 1/16 of the mean |x|."""
    x = x.astype(np.int64)
    d = x.shape[-1]
    total = np.maximum(np.abs(x).sum(axis=-1, keepdims=True), 1)  # all zero: any divisor gives zero
    t = 14 + _bits(total) - d.bit_length()
    reciprocal = (d << t) // total
    return clamp((x * reciprocal + (1 << (t - 5))) >> (t - 4), *S8)


def _bits(positive: Array) -> Array:
    """Length in binary of numbers in 1..2^31 - 1."""
    return np.searchsorted(1 << np.arange(31, dtype=np.int64), positive, side="right")


def exp_table() -> Array:
    """The table of softmax attention: round(255 exp(-i / 32)) for i = 0..255, u8."""
    return np.array([round(255 * math.exp(-i / 32)) for i in range(256)], dtype=np.uint8)
