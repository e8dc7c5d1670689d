"""Operations on rows of numbers, fused (rows.c) for float32 on the CPU, in plain PyTorch for everything else.

`isa` is the instruction set of the fused form, or None for the plain one. Both give the same integers. In quantized
operations tensors hold integers in floating point: exact integers forwards, backwards the gradient of the operation
without rounding (straight through), and none where it saturates.
"""

import ctypes
import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from integer_tickets.integer import torch_ops
from integer_tickets.integer.rounding import S8, S16, Rule
from integer_tickets.model.library import library

NORM_UNIT = 1 / 16  # value of one integer step after normalization (docs/arithmetic.md)
SMALLEST = 1e-6  # mean that a norm divides by
BLOCK = 1 << 14  # where rows mean nothing: numbers whose sum is taken at once


class _Rows(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("a", "b", "out")),
        *((name, ctypes.c_int64) for name in ("count", "d")),
        *((name, ctypes.c_float) for name in ("scale", "low", "high")),
        *((name, ctypes.c_int32) for name in ("pre_shift", "multiplier", "shift", "zero")),
        *((name, ctypes.c_void_p) for name in ("multipliers", "shifts", "scales", "valid")),
        ("group", ctypes.c_int64),
        ("table", ctypes.c_void_p),
        ("sum", ctypes.c_double),
        ("sums", ctypes.c_void_p),
    )


def is_fused(isa: str | None, *tensors: Tensor) -> bool:
    """Whether an operation on these tensors takes its fused form."""
    return isa is not None and False not in [t.dtype is torch.float32 and t.is_cpu for t in tensors]


def _fused(
    function: str,
    isa: str | None,
    a: Tensor,
    b: Tensor | None = None,
    d: int = BLOCK,
    scale: float = 0.0,
    low: float = 0.0,
    high: float = 0.0,
    rule: tuple[int, int, int, int] = (0, 0, 0, 0),
    multipliers: Tensor | None = None,
    shifts: Tensor | None = None,
    scales: Tensor | None = None,
    valid: Tensor | None = None,
    table: Tensor | None = None,
) -> tuple[Tensor, float]:
    """Call a function of rows.c: the new tensor, and the sum that it gives.

    rule: pre-shift, multiplier, shift and zero point; multipliers, shifts and scales hold one number per row, valid
    (sentences, d) one row per sentence.
    """
    assert isa is not None
    a, b = a.contiguous(), None if b is None else b.contiguous()
    out = torch.empty_like(a)
    task = _Rows(
        a.data_ptr(), None if b is None else b.data_ptr(), out.data_ptr(), a.numel(), d, scale, low, high,
        *rule, *(None if x is None else x.data_ptr() for x in (multipliers, shifts, scales, valid)),
        0 if valid is None else a.numel() // max(valid.numel(), 1), None if table is None else table.data_ptr(),
    )  # fmt: skip
    if getattr(library(isa), function)(ctypes.byref(task), torch.get_num_threads()):
        raise MemoryError(f"{function}: no memory left for its working space")
    return out, task.sum


def norm(x: Tensor, isa: str | None = None) -> Tensor:
    """Mean-absolute normalization without parameters over the last axis: x / mean |x|; zero stays zero.

    And has no gradient, where a true one would be huge: a token whose weights are all pruned is such a row.
    """
    if is_fused(isa, x):
        return _Norm.apply(x, 1.0, isa)
    mean = x.abs().mean(-1, keepdim=True)
    return torch.where(mean < SMALLEST, (x / SMALLEST).detach(), x / mean.clamp_min(SMALLEST))


def integer_norm(x: Tensor, isa: str | None = None) -> Tensor:
    """Mean-absolute normalization of integers, one unit = NORM_UNIT (docs/arithmetic.md)."""
    if is_fused(isa, x):
        return _Norm.apply(x, NORM_UNIT, isa)
    return through(torch_ops.norm(x.detach()), (norm(x) / NORM_UNIT).clamp(*S8))


class _Norm(torch.autograd.Function):
    """The float norm where unit = 1, else the integer one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unit: float, isa: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.unit, ctx.isa = unit, isa
        return _fused("norm_forward" if unit == 1 else "integer_norm", isa, x, d=x.shape[-1])[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        low, high = (-math.inf, math.inf) if ctx.unit == 1 else S8
        out, _ = _fused("norm_backward", ctx.isa, x, grad, d=x.shape[-1], scale=ctx.unit, low=low, high=high)
        return out, None, None


def requantize(acc: Tensor, rule: Rule, low: int, high: int, isa: str | None = None) -> Tensor:
    """acc (..., out) holding integers -> the rounding rule's integers, without gradient."""
    if is_fused(isa, acc) and len(rule.multiplier) == 1:
        numbers = rule.pre_shift, int(rule.multiplier[0]), rule.shift, rule.zero
        return _fused("requantize", isa, acc, low=low, high=high, rule=numbers)[0]
    multipliers = torch.from_numpy(rule.multiplier).to(acc.device)
    return torch_ops.requantize(acc, rule.pre_shift, multipliers, rule.shift, rule.zero, low, high)


def quantize(x: Tensor, step: Tensor, high: float, isa: str | None = None) -> Tensor:
    """x / step, rounded to the integers -high..high, without gradient; step is a scalar tensor."""
    if is_fused(isa, x, step):
        return _fused("quantize", isa, x, scale=step.item(), low=-high, high=high)[0]
    return (x / step).round().clamp_(-high, high)


def gate(
    x: Tensor, grad: Tensor, scale: float, low: float, high: float, isa: str | None = None
) -> tuple[Tensor, float]:
    """scale * grad where low <= scale * x <= high, else 0; and the sum of x * grad there.

    The gradients of clamp(scale * x, low, high) for x and for scale.
    """
    if is_fused(isa, x, grad):
        return _fused("gate", isa, x, grad, scale=scale, low=low, high=high)
    y = x * scale
    inside = grad * ((y >= low) & (y <= high))
    return inside * scale, (inside * x).sum().item()


def add_saturating(x: Tensor, y: Tensor, isa: str | None = None) -> Tensor:
    """The residual addition x + round(y), clamped to 16 bits."""
    return _AddSaturating.apply(x, y, isa)


class _AddSaturating(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, isa: str | None) -> Tensor:
        if is_fused(isa, x, y):
            out, _ = _fused("add_saturating", isa, x, y, low=S16[0], high=S16[1])
        else:
            out = (x + y.round()).clamp_(*S16)
        ctx.save_for_backward(out)
        ctx.isa = isa
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (out,) = ctx.saved_tensors
        both, _ = gate(out, grad, 1.0, S16[0] + 1, S16[1] - 1, ctx.isa)
        return both, both, None


def mean_over(
    total: Tensor, counts: Tensor, gain: int, multiplier: Tensor, shift: Tensor, isa: str | None = None
) -> Tensor:
    """Sums (batch, ...) over `counts` tokens to means in s8 on a grid finer by 2^gain, by the length table."""
    return _MeanOver.apply(total, counts, gain, multiplier, shift, isa)


class _MeanOver(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, total: Tensor, counts: Tensor, gain: int, multiplier: Tensor, shift: Tensor, isa: str | None
    ) -> Tensor:
        ctx.save_for_backward(total, counts)
        ctx.gain, ctx.isa = gain, isa
        if not is_fused(isa, total):
            return torch_ops.mean_over(total, counts, gain, multiplier, shift)
        d, multipliers, shifts = total.shape[1:].numel(), multiplier[counts], shift[counts] - gain
        out, _ = _fused("requantize", isa, total, None, d, 0.0, *S8, multipliers=multipliers, shifts=shifts)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        total, counts = ctx.saved_tensors
        scales = (2**ctx.gain / counts.clamp_min(1)).to(total.dtype)
        return gate_rows(total, grad, scales, ctx.isa), *(None,) * 5


def gate_rows(x: Tensor, grad: Tensor, scales: Tensor, isa: str | None) -> Tensor:
    """scales * grad where scales * x lies in s8, else 0: one number of `scales` (...) for each row of x (..., *)."""
    if is_fused(isa, x, grad):
        d = x.shape[scales.ndim :].numel()
        return _fused("gate", isa, x, grad, d, low=S8[0], high=S8[1], scales=scales.contiguous())[0]
    scales = scales.reshape(*scales.shape, *[1] * (x.ndim - scales.ndim))
    y = x * scales
    return grad * scales * ((y >= S8[0]) & (y <= S8[1]))


def softmax_weights(scores: Tensor, valid: Tensor, rule: Rule, table: Tensor, isa: str | None = None) -> Tensor:
    """Integer scores (batch, heads, n, n) to weights in u8, 0 for keys that are not valid (batch, n); no gradient."""
    numbers = rule.pre_shift, int(rule.multiplier[0]), rule.shift
    if is_fused(isa, scores):
        d, own = scores.shape[-1], (*numbers, 0)
        return _fused("softmax_weights", isa, scores, d=d, rule=own, valid=valid.contiguous(), table=table)[0]
    pre_shift, multiplier, shift = torch.tensor(numbers, dtype=torch.int32, device=scores.device)[:, None]
    return torch_ops.softmax_weights(scores, valid, pre_shift, multiplier, shift, table)


def softmax_divide(weighted: Tensor, share: Tensor, gain: int, isa: str | None = None) -> Tensor:
    """Weighted sums of values (..., e) over the sums of their weights (..., 1), in s8 finer by 2^gain; no gradient."""
    if is_fused(isa, weighted, share):
        numbers, d = (0, 2 ** (gain + 1), 0, 0), weighted.shape[-1]
        return _fused("softmax_divide", isa, weighted, None, d, 0.0, *S8, numbers, scales=share.contiguous())[0]
    return torch_ops.softmax_divide(weighted, share, gain)


def through(exact: Tensor, smooth: Tensor) -> Tensor:
    """The value of `exact` with the gradient of `smooth`."""
    return _Through.apply(exact, smooth)


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exact: Tensor, smooth: Tensor) -> Tensor:
        return exact.view_as(exact)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad
