"""Quantized linear layers and their grids: exact integers forwards, straight-through estimates backwards."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from integer_tickets.errors import UserError
from integer_tickets.integer.rounding import Rule, half, rule_for
from integer_tickets.model.attention import IntegerRule
from integer_tickets.model.rows import gate, quantize, requantize, through

HIGHEST = {8: 127, 4: 7, 3: 3, 2: 1}  # largest weight of a symmetric grid; 2 bits are ternary


def power(exponent: float) -> float:
    """2^exponent, and a number too large for any rule where float64 has none."""
    return math.exp2(min(exponent, 1023.0))


def quantize_weight(weight: Tensor, log_step: Tensor, bits: int, isa: str | None = None) -> Tensor:
    """Integers of a weight of any shape on the grid 2^log_step (a scalar tensor)."""
    return _QuantizeWeight.apply(weight, log_step, HIGHEST[bits], isa)


class _QuantizeWeight(torch.autograd.Function):
    """Round w / 2^t to the integers -high..high; gradients for w and t as in TQT (Jain et al., arXiv 1903.08066)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, log_step: Tensor, high: int, isa: str | None) -> Tensor:
        step = torch.exp2(log_step)
        ctx.save_for_backward(weight, step)
        ctx.high, ctx.isa = high, isa
        return quantize(weight, step, high, isa)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        weight, step = ctx.saved_tensors
        grad_weight, slope = weight_gradient(weight, grad, step.item(), ctx.high, ctx.isa)
        return grad_weight, torch.full_like(step, slope), None, None


def weight_gradient(weight: Tensor, grad: Tensor, step: float, high: int, isa: str | None) -> tuple[Tensor, float]:
    """Gradients of a weight and of log2 of its step, from that of its integers."""
    grad_weight, slope = gate(weight, grad, 1 / step, -high - 0.5, high + 0.5, isa)
    return grad_weight, -math.log(2) * slope / step


def integer_bias(bias: Tensor, log_unit: float | Tensor) -> Tensor:
    """A bias in whole units 2^log_unit, one for all or (out,) float64; float64."""
    scale = torch.exp2(-log_unit) if isinstance(log_unit, Tensor) else power(-log_unit)
    return (bias.double() * scale).round()


def channel_rule(
    log_step: Tensor, log_in: Tensor, log_out: Tensor, high: int, zero: int
) -> tuple[Tensor, Tensor, Rule]:
    """log2 of the units of sums and the factors to the grid of the output, (out,) float64, and the rounding rule.

    For weights with a step for each output, log_step (out,).
    """
    log_unit = log_step.double() + log_in.double()
    factor = torch.exp2(log_unit - log_out.double())
    return log_unit, factor, rule_for(factor.detach().cpu().numpy(), high, zero)


@dataclass(frozen=True)
class Format:
    """What a quantized linear layer takes and gives."""

    bits: int  # of a weight
    bound: int  # largest magnitude that comes in: 128, or 255 of numbers that are never negative
    low: int
    high: int
    zero: int = 0
    real: bool = False  # no rounding: numbers in units of 2^log_out come out


def integer_weights(
    weight: Tensor, bias: Tensor, step: Tensor, log_unit: float, form: Format, extra: int, isa: str | None
) -> tuple[Tensor, Tensor]:
    """Integer weight and bias (+ extra) of a linear layer whose sums have the unit 2^log_unit.

    float32 where every sum is proved to stay below 2^24, where float32 counts exactly, else float64.
    """
    integers, biases = quantize(weight, step, HIGHEST[form.bits], isa), integer_bias(bias, log_unit) + extra
    reach = HIGHEST[form.bits] * weight.shape[1] * form.bound + biases.abs().max().item()
    if not reach < 2**24:  # what the grid allows; the weights themselves reach less far
        reach = (integers.abs().sum(1).double() * form.bound + biases.abs()).max().item()
    kind = exact_type(reach)
    return integers.to(kind), biases.to(kind)


def exact_type(reach: float) -> torch.dtype:
    """The type that counts exactly up to `reach`, the largest sum of a layer; UserError where 32 bits could not."""
    if not reach < 2**31:
        raise UserError(f"a layer could overflow 32 bits: its largest sum is {reach:.4g}")
    return torch.float32 if reach < 2**24 else torch.float64


def quantized_linear(
    x: Tensor,
    part: nn.Linear,
    log_step: Tensor,
    log_in: Tensor,
    log_out: Tensor,
    form: Format,
    isa: str | None = None,
    narrow: bool = False,
) -> Tensor:
    """A linear layer and its rounding rule: integers on the grid 2^log_in in, integers on the grid 2^log_out out.

    The three grids are scalar tensors; the gradient is that of the layer without rounding, by products in bfloat16
    where they are to be `narrow`.
    """
    return quantized_linears(x, log_in, [(part, log_step, log_out, form)], isa, narrow)[0]


def quantized_linears(
    x: Tensor,
    log_in: Tensor,
    parts: Sequence[tuple[nn.Linear, Tensor, Tensor, Format]],
    isa: str | None = None,
    narrow: bool = False,
) -> tuple[Tensor, ...]:
    """Several such layers of one input, each with its step, grid and format, by one product.

    Or one by one, and slower, where a layer has a step for each output.
    """
    if any(log_step.numel() > 1 for _, log_step, _, _ in parts):
        return tuple(_by_channel(x, log_in, *own, isa) for own in parts)
    numbers = [number for part, log_step, log_out, _ in parts for number in (part.weight, part.bias, log_step, log_out)]
    forms = [form for *_, form in parts]
    outputs: tuple[Tensor, ...] = _QuantizedLinears.apply(x, log_in, forms, isa, narrow, *numbers)
    return outputs


@cache
def multiplies_bytes(isa: str | None) -> bool:
    """Whether PyTorch's products of 8-bit integers are exact here, and several times faster than float32.

    With VNNI they are; other instructions for them saturate sums of two products.
    """
    can = torch.cpu.get_capabilities()
    if isa != "native" or not (can.get("avx512_vnni") or can.get("avx_vnni")):
        return False
    largest = torch.full((64, 64), 127, dtype=torch.int8)
    exact = [torch._int_mm(largest, sign * largest) == sign * 64 * 127**2 for sign in (1, -1)]
    return all(bool(sums.all()) for sums in exact)  # not so where oneDNN is told to do without


def integer_product(rows: Tensor, weights: Tensor, offset: Tensor, bound: int, isa: str | None) -> Tensor:
    """rows weights^T + offset, exact integers in the type of the weights, or int32 by products of bytes.

    rows (count, in) hold -128..127, or 0..255 where `bound` is 255; weights (out, in) at most 127; offset (out,).
    """
    if weights.dtype is not torch.float32 or not rows.is_cpu or not multiplies_bytes(isa):
        return torch.addmm(offset, rows.to(weights.dtype), weights.T)
    if bound > 128:
        rows, offset = rows - 128, offset + 128 * weights.sum(1)
    return torch._int_mm(rows.to(torch.int8), weights.to(torch.int8).T).add_(offset.int())


def _by_channel(
    x: Tensor, log_in: Tensor, part: nn.Linear, log_step: Tensor, log_out: Tensor, form: Format, isa: str | None
) -> Tensor:
    """A layer with a step for each output (out,), in plain PyTorch."""
    step, high = torch.exp2(log_step)[:, None], HIGHEST[form.bits]
    weight = part.weight / step
    weight = through(quantize(part.weight.detach(), step.detach(), high), weight.clamp(-high - 0.5, high + 0.5))
    log_unit, factor, rule = channel_rule(log_step, log_in, log_out, form.high, form.zero)
    whole = integer_bias(part.bias.detach(), log_unit.detach()) + half(rule)
    bias = through(whole, part.bias.double() * torch.exp2(-log_unit))
    reach = (weight.detach().abs().sum(1).double() * form.bound + whole.abs()).max().item()
    kind = exact_type(reach)
    acc = functional.linear(x.to(kind), weight.to(kind), bias.to(kind))
    smooth = (acc * factor.to(kind)).clamp(form.low - form.zero, form.high - form.zero)
    return through(requantize(acc.detach(), rule, form.low, form.high, isa), smooth).to(x.dtype)


class _QuantizedLinears(torch.autograd.Function):
    """One node for whole layers: their many small steps cost more than their arithmetic."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, log_in: Tensor, forms: Sequence[Format], isa: str | None, narrow: bool, *numbers: Tensor
    ) -> tuple[Tensor, ...]:
        weights, biases, log_steps, log_outs = (numbers[column::4] for column in range(4))
        steps, log_units, rules, integers, offsets = [], [], [], [], []
        for weight, bias, log_step, log_out, form in zip(weights, biases, log_steps, log_outs, forms, strict=True):
            steps.append(torch.exp2(log_step))
            log_units.append(log_step.item() + log_in.item())
            factor = power(log_units[-1] - log_out.item())
            rule = None if form.real else rule_for(factor, form.high, form.zero)
            rules.append((factor, rule))
            extra = half(rule) if rule else 0
            both = integer_weights(weight, bias, steps[-1], log_units[-1], form, extra, isa)
            integers.append(both[0])
            offsets.append(both[1])
        together, offset, rows = _one(integers), _one(offsets), x.flatten(0, -2)
        acc = integer_product(rows, together, offset, max(form.bound for form in forms), isa)
        sums = [part.to(together.dtype).contiguous() for part in acc.split([len(weight) for weight in weights], -1)]
        kind = torch.bfloat16 if narrow else together.dtype  # integers up to 256 are exact in both
        ctx.save_for_backward(rows.to(kind), together.to(kind), *sums, *weights, *biases, *steps)
        ctx.numbers = log_units, [factor for factor, _ in rules], forms, isa
        ctx.shapes = log_in.shape, [x.shape for x in log_steps], [x.shape for x in log_outs]
        outputs = (
            requantize(part, rule, form.low, form.high, isa) if rule else part.double() * factor
            for part, (factor, rule), form in zip(sums, rules, forms, strict=True)
        )
        return tuple(out.to(x.dtype).unflatten(0, x.shape[:-1]) for out in outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        rows, together, *saved = ctx.saved_tensors
        log_units, factors, forms, isa = ctx.numbers
        shape_in, shapes_step, shapes_out = ctx.shapes
        count = len(forms)
        sums, weights, biases, steps = (saved[part * count : (part + 1) * count] for part in range(4))
        grad_accs, slopes = [], []
        for grad, acc, factor, form in zip(grads, sums, factors, forms, strict=True):
            low, high = (-math.inf, math.inf) if form.real else (form.low - form.zero, form.high - form.zero)
            grad_acc, slope = gate(acc, grad.flatten(0, -2).to(acc.dtype), factor, low, high, isa)
            grad_accs.append(grad_acc)
            slopes.append(slope)
        grad_all = _one(grad_accs, -1)
        sizes = [len(weight) for weight in weights]
        grad_offsets = grad_all.sum(0).double().split(sizes)
        grad_all = grad_all.to(rows.dtype)
        grad_integers = (grad_all.T @ rows).to(weights[0].dtype).split(sizes)
        by_in, others = 0.0, []
        for index, (weight, bias, step, form) in enumerate(zip(weights, biases, steps, forms, strict=True)):
            grad_weight, by_step = weight_gradient(weight, grad_integers[index], step.item(), HIGHEST[form.bits], isa)
            grad_bias = grad_offsets[index] * power(-log_units[index])
            by_out = -math.log(2) * factors[index] * slopes[index]
            by_unit = -by_out - math.log(2) * torch.dot(grad_bias, bias.double()).item()
            by_in += by_unit
            by_logs = step.new_full(shapes_step[index], by_unit + by_step), step.new_full(shapes_out[index], by_out)
            others += [grad_weight, grad_bias.to(bias.dtype), *by_logs]
        grad_x = (grad_all @ together).to(grads[0].dtype).unflatten(0, grads[0].shape[:-1])
        return grad_x, step.new_full(shape_in, by_in), None, None, None, *others


def _one(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors one after the other, in the widest of their types."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), axis)


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
