"""Quantizers with gradients: exact integers forwards, straight-through estimates backwards.

Tensors hold integers in floating point. An integer result is written `exact + (smooth - smooth.detach())`: its value
is `exact`, its gradient that of `smooth`, the same operation without rounding.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from integer_tickets.errors import UserError
from integer_tickets.integer import torch_ops
from integer_tickets.integer.rounding import Rule
from integer_tickets.model.attention import IntegerRule

HIGHEST = {8: 127, 4: 7, 3: 3, 2: 1}  # largest weight of a symmetric grid; 2 bits are ternary


def through(exact: Tensor, smooth: Tensor) -> Tensor:
    """The value of `exact` with the gradient of `smooth`."""
    return exact + (smooth - smooth.detach())


class _QuantizeWeight(torch.autograd.Function):
    """Round w / 2^t to the integers -high..high; gradients for w and t as in TQT (Jain et al., arXiv 1903.08066)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, log_step: Tensor, high: int) -> Tensor:
        scaled = weight / torch.exp2(log_step)
        ctx.save_for_backward(scaled, log_step)
        ctx.high = high
        return scaled.round().clamp_(-high, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        scaled, log_step = ctx.saved_tensors
        inside = grads[0] * (scaled.abs() <= ctx.high + 0.5)
        step = torch.exp2(log_step)
        return inside / step, -math.log(2) * (inside * scaled).sum().reshape(log_step.shape), None


class _Requantize(torch.autograd.Function):
    """The rounding rule; the gradient is that of acc * factor, zero where the output saturates."""

    @staticmethod
    def forward(ctx: Any, acc: Tensor, factor: Tensor, rule: Rule, low: int, high: int) -> Tensor:
        multiplier = torch.from_numpy(rule.multiplier).to(acc.device)
        out = torch_ops.requantize(acc, rule.pre_shift, multiplier, rule.shift, rule.zero, low, high)
        ctx.save_for_backward(acc, factor)
        ctx.range = low - rule.zero, high - rule.zero
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        acc, factor = ctx.saved_tensors
        scale = factor.to(acc.dtype)
        smooth = acc * scale
        low, high = ctx.range
        inside = grads[0] * ((smooth >= low) & (smooth <= high))
        return inside * scale, (inside * acc).sum().to(factor.dtype).reshape(factor.shape), None, None, None


def quantize_weight(weight: Tensor, log_step: Tensor, bits: int) -> Tensor:
    """Integers of a weight of any shape on the grid 2^log_step (a scalar tensor)."""
    result: Tensor = _QuantizeWeight.apply(weight, log_step, HIGHEST[bits])
    return result


def requantize(acc: Tensor, factor: Tensor, rule: Rule, low: int, high: int) -> Tensor:
    """acc (..., out) holding integers -> the rounding rule's integers; `factor` is what the rule approximates."""
    result: Tensor = _Requantize.apply(acc, factor, rule, low, high)
    return result


def best_log_step(weight: Tensor, bits: int) -> float:
    """log2 of the step with the least squared rounding error over the weights that are not zero."""
    alive = weight.detach().double().flatten()
    alive = alive[alive != 0]
    if alive.numel() == 0:
        return -12.0  # nothing but a bias is left, and this is fine enough for it
    high = HIGHEST[bits]
    widest = alive.abs().max().item() / high
    candidates = [widest * 2 ** (-octave / 8) for octave in range(0, 25)]
    errors = [((alive / step).round().clamp(-high, high) * step - alive).square().sum().item() for step in candidates]
    return math.log2(candidates[int(np.argmin(errors))])


def inhibitor_rule(gamma: Tensor, delta: Tensor) -> IntegerRule:
    """The integers behind Z = max(0, gamma SAD - delta), for gamma and delta (heads,) on the grid of V."""
    multipliers, offsets, shifts = [], [], []
    for g, d in zip(gamma.tolist(), delta.tolist(), strict=True):
        if not (0 < g < 2**14 and abs(d) < 2**29):
            raise UserError(f"gamma {g:g} and delta {d:g} of an attention head have no integer form")
        shift = 14 - math.floor(math.log2(g))
        shift = min(shift, 30, 29 - math.ceil(math.log2(max(abs(d), 1.0))))
        multipliers.append(min(math.floor(g * 2.0**shift + 0.5), 2**15 - 1))
        offsets.append(math.floor(d * 2.0**shift + 0.5) - ((1 << shift) >> 1))
        shifts.append(shift)
    parts = (multipliers, offsets, shifts)
    return IntegerRule(*(torch.tensor(part, dtype=torch.int32, device=gamma.device) for part in parts))
