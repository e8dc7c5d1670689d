"""The primitives of docs/arithmetic.md on torch tensors, for the engine and quantization-aware training.

Every tensor that goes in holds integers: as int32, or as float32 or float64 that hold them exactly. What
comes out has the same dtype. The arithmetic is that of the contract, in int32 (and float64 where it names 64
bits); no gradient flows. Parameters of the network (multipliers, shifts, tables) are int32 tensors on the
same device.
"""

import torch
from torch import Tensor

from integer_tickets.integer.rounding import S8, S16


def requantize(acc: Tensor, pre_shift: int, multiplier: Tensor, shift: int, zero: int, low: int, high: int) -> Tensor:
    """The rounding rule: sums (..., out), multiplier (1,) or (out,), values in low..high."""
    y = _integers(acc)
    y >>= pre_shift
    y.clamp_(*S16).mul_(multiplier).add_(1 << (shift - 1))
    y >>= shift
    if zero:
        y += zero
    return _like(y.clamp_(low, high), acc)


def add_saturating(x: Tensor, y: Tensor) -> Tensor:
    """The residual addition: sat16(x + y)."""
    return (x + y).clamp_(*S16)


def bypass(u: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """What goes past a part of a post-norm layer: s8 (..., d) times gain plus offset (d,), to s16; exact in float32."""
    return (u * gain).add_(offset).clamp_(*S16)


def norm(x: Tensor) -> Tensor:
    """Mean-absolute normalization over the last axis, s16 (..., d) to s8."""
    d = x.shape[-1]
    y = _integers(x)
    total = y.abs().sum(dim=-1, keepdim=True, dtype=torch.int32).clamp_(min=1)
    # Per row from here on, in float64: numbers below 2^40 and a quotient below 2^15, so the floor is exact.
    t = torch.frexp(total.double()).exponent + (14 - d.bit_length())
    reciprocal = torch.floor(torch.ldexp(torch.full_like(total, d, dtype=torch.float64), t) / total)
    y *= reciprocal.to(torch.int32)
    y += torch.bitwise_left_shift(torch.ones_like(t), t - 5)
    y >>= t - 4
    return _like(y.clamp_(*S8), x)


def mean_over(x: Tensor, counts: Tensor, gain: int, length_multiplier: Tensor, length_shift: Tensor) -> Tensor:
    """Sums (batch, ...) over `counts` tokens (batch,), int64, to means in s8 on a grid finer by 2^gain."""
    per_sentence = (-1, *[1] * (x.dim() - 1))
    shift = (length_shift[counts] - gain).view(per_sentence)
    y = _integers(x)
    y *= length_multiplier[counts].view(per_sentence)
    y += torch.bitwise_left_shift(torch.ones_like(shift), shift - 1)
    y >>= shift
    return _like(y.clamp_(*S8), x)


def z_of(sad: Tensor, multiplier: Tensor, offset: Tensor, shift: Tensor) -> Tensor:
    """Distances (..., heads, n, n) to inhibitions Z in u8, by the numbers of each head (heads,)."""
    y = _integers(sad)
    y *= multiplier[:, None, None]
    y -= offset[:, None, None]
    y >>= shift[:, None, None]
    return _like(y.clamp_(0, 255), sad)


def inhibit(v: Tensor, z: Tensor, signed: bool) -> Tensor:
    """Sums over keys of what the inhibition leaves of the values, before the mean.

    v: s8 (batch, heads, n, e), zero at keys that are padding; z: u8 (batch, heads, n, n); n <= 255, so that every sum
    fits int16. The batch is the innermost axis here and keys are taken one at a time: contiguous, and nothing has
    five axes.
    """
    values = v.detach().permute(1, 2, 3, 0).to(torch.int16).contiguous()
    high = z.detach().permute(1, 2, 3, 0).to(torch.int16).contiguous()
    low = -high if signed else torch.full_like(high[:1, :1, :1, :1], -128)
    low = low.expand_as(high)
    removed = torch.zeros_like(values)
    for j in range(values.shape[1]):
        removed += torch.clamp(values[:, j, None], low[:, :, j, None], high[:, :, j, None])
    kept = values.sum(dim=1, keepdim=True, dtype=torch.int16) - removed
    return kept.permute(3, 0, 1, 2).to(v.dtype).contiguous()


def softmax_weights(
    scores: Tensor, valid: Tensor, pre_shift: Tensor, multiplier: Tensor, shift: Tensor, table: Tensor
) -> Tensor:
    """Scores (batch, heads, n, n) to weights in u8; keys that are not valid (batch, n) get the weight 0."""
    y = _integers(scores)
    keys = valid[:, None, None, :]
    y.masked_fill_(~keys, -(2**30))
    y = y.amax(dim=-1, keepdim=True) - y
    y >>= pre_shift[:, None, None]
    y.clamp_(*S16).mul_(multiplier[:, None, None])
    y += torch.bitwise_left_shift(torch.ones_like(shift), shift - 1)[:, None, None]
    y >>= shift[:, None, None]
    return table[y.clamp_(0, 255)].mul_(keys).to(scores.dtype)


def softmax_divide(weighted: Tensor, total: Tensor, gain: int) -> Tensor:
    """Weighted sums of values, and the sums of the weights (broadcast; 0 where no key is valid), to s8."""
    total = total.double().clamp_(min=1)
    # Below 2^34 over at most 2^18: float64 gives the exact floor.
    y = torch.floor((weighted.double() * 2 ** (gain + 1) + total) / (2 * total))
    return y.clamp_(*S8).to(weighted.dtype)


def _integers(x: Tensor) -> Tensor:
    """A copy in int32, to be worked on in place."""
    return x.detach().to(torch.int32, copy=True)


def _like(y: Tensor, x: Tensor) -> Tensor:
    """Our own int32 tensor `y` in the dtype of `x`; float32 in place, as fresh pages cost more than the rule."""
    return y.view(torch.float32).copy_(y) if x.dtype == torch.float32 else y.to(x.dtype)
