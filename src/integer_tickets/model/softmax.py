"""Softmax attention on integers for quantization-aware training: exact forwards, backwards as softmax in floats."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from integer_tickets.integer.rounding import Rule, rule_for
from integer_tickets.model.rows import gate_rows, softmax_divide, softmax_weights

TABLE_UNIT = 32  # entries of the exponential table to one unit of its argument (docs/arithmetic.md)


def softmax_factor(log_qk: Tensor, width: int) -> Tensor:
    """What one unit of q k is worth in entries of the exponential table: 32 steps^2 / sqrt(width of a head)."""
    return TABLE_UNIT * torch.exp2(2 * log_qk.double()) / math.sqrt(width)


def softmax_rule(factor: Tensor) -> Rule:
    """From how far a score lies below the highest one to its entry of the exponential table; factor is a scalar."""
    return rule_for(factor.item(), 255)


def integer_softmax(
    q: Tensor, k: Tensor, v: Tensor, factor: Tensor, valid: Tensor, gain: int, table: Tensor, isa: str | None = None
) -> Tensor:
    """What each token gathers, (batch, heads, n, e) in s8 on a grid finer by 2^gain; q, k and v hold integers.

    q, k (batch, heads, n, pairs), v (batch, heads, n, e), factor a scalar (`softmax_factor`), valid (batch, n).
    Gradients are those of 2^gain sum_j w_j v_j / sum_j w_j where it is not clamped, with dw_j = w_j dx_j: the weights
    are an exponential, which is its own derivative, and the integer ones take its place (straight through).
    """
    return _IntegerSoftmax.apply(q, k, v, factor, valid, gain, table, isa)


class _IntegerSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, factor: Tensor, valid: Tensor, gain: int, table: Tensor, isa: Any
    ) -> Tensor:
        weights = softmax_weights(q @ k.transpose(-1, -2), valid, softmax_rule(factor), table, isa)
        gathered, share = weights @ v, weights.sum(-1, keepdim=True)
        ctx.save_for_backward(q, k, v, factor, weights, gathered, share)
        ctx.gain, ctx.isa = gain, isa
        return softmax_divide(gathered, share, gain, isa)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, factor, weights, gathered, share = ctx.saved_tensors
        share = share.clamp_min(1)
        grad = gate_rows(gathered, grad, (2**ctx.gain / share).squeeze(-1), ctx.isa)
        unit = (factor / TABLE_UNIT).to(q.dtype)
        common = (grad * gathered).sum(-1, keepdim=True) / share
        scores = ((grad * unit) @ v.transpose(-1, -2) - common * unit) * weights
        grad_q, grad_k = scores @ k, scores.transpose(-1, -2) @ q
        grad_v = weights.transpose(-1, -2) @ grad
        grad_factor = (grad_q * q).sum().to(factor.dtype) / factor  # sum of scores dscores
        return grad_q, grad_k, grad_v, grad_factor, None, None, None, None
