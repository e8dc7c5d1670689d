"""Quantization-aware Transformer: the float weights of a Transformer, run as the integer network they will become.

In evaluation mode every tensor holds exactly the integers of docs/arithmetic.md, so its accuracy is the deployed one.
In training, dropout is applied to the residual stream and rounded.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from integer_tickets.errors import UserError
from integer_tickets.integer import torch_ops
from integer_tickets.integer.rounding import Rule, exp_table, half, length_table, rule_for
from integer_tickets.model.quantizers import (
    best_log_step,
    inhibitor_rule,
    quantize_weight,
    requantize,
    through,
)
from integer_tickets.model.transformer import NORM_UNIT, Attention, Layer, Transformer, token_mask

LINEARS = ("query", "key", "value", "output", "up", "down")  # order of the rows of `weight_steps`
QK, VALUE, HIDDEN = range(3)  # columns of `activation_steps`


class QuantizedTransformer(Transformer):
    """A Transformer whose forward pass is integer; real logits come out, integer logits times their unit.

    Grids are learned as log2 of their step: one per weight matrix (`weight_steps`, `classifier_step`, `token_step`)
    and per layer for q and k, v, and the hidden layer (`activation_steps`). Shifts and gains are powers of two fixed
    by `calibrate`.
    """

    gains: Tensor
    pool_gain: Tensor
    token_shift: Tensor
    position_shift: Tensor
    length_multiplier: Tensor
    length_shift: Tensor
    exp_table: Tensor

    def __init__(self, *, bits: int, embedding_bits: int, **shape: object) -> None:
        super().__init__(**shape)  # type: ignore[arg-type]
        self.bits, self.embedding_bits = bits, embedding_bits
        count = len(self.layers)
        self.weight_steps = nn.Parameter(torch.zeros(count, len(LINEARS)))
        self.activation_steps = nn.Parameter(torch.zeros(count, 3))
        self.classifier_step = nn.Parameter(torch.zeros(1))
        self.token_step = nn.Parameter(torch.zeros(1))
        for name in ("gains", "pool_gain", "token_shift", "position_shift"):
            self.register_buffer(name, torch.zeros(count if name == "gains" else 1, dtype=torch.int64))
        multiplier, shift = length_table(self.positions.num_embeddings)
        self.register_buffer("length_multiplier", torch.from_numpy(multiplier), persistent=False)
        self.register_buffer("length_shift", torch.from_numpy(shift), persistent=False)
        self.register_buffer("exp_table", torch.from_numpy(exp_table()).int(), persistent=False)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[tuple[Tensor, Tensor]], headroom: float = 1.0) -> None:
        """Set every grid from the float weights and from what the float model computes on a few batches.

        `headroom` widens the grids of activations, for a model that still has most of its training ahead.
        """
        largest: dict[str, float] = {}

        def observe(name: str, x: Tensor) -> None:
            share = 1.0 if name.startswith("residual") else 0.9999
            magnitude = torch.quantile(x.abs().flatten()[: 1 << 20].float(), share).item()
            largest[name] = max(largest.get(name, 1e-3), magnitude)  # where all is zero, any grid that has a rule

        was_training = self.training
        self.eval()
        self.observe = observe
        for ids, counts in batches:
            Transformer.forward(self, ids, counts)
        self.observe = None
        self.train(was_training)

        self.classifier_step.fill_(best_log_step(self.classifier.weight, self.bits))
        residual = max(value for name, value in largest.items() if name.startswith("residual"))
        finest = math.log2(2 * headroom * residual / 32767)
        self.token_step.fill_(max(best_log_step(self.tokens.weight, self.embedding_bits), finest))
        room = math.floor(self.token_step.item() - finest)
        self.token_shift.fill_(min(max(room, 0), 16 - self.embedding_bits))
        unit = self.token_step.item() - self.token_shift.item()
        reach = math.log2(max(self.positions.weight.abs().max().item(), 1e-6) / 127) - unit
        self.position_shift.fill_(min(max(math.ceil(reach), 0), 8))
        for index, layer in enumerate(self.blocks()):
            for column, name in enumerate(LINEARS):
                self.weight_steps[index, column] = best_log_step(part_of(layer, name).weight, self.bits)
            for column, name, high in ((QK, "qk", 127), (VALUE, "value", 127), (HIDDEN, "hidden", 255)):
                self.activation_steps[index, column] = math.log2(headroom * largest[f"{name}.{index}"] / high)
            value = 127 * 2 ** self.activation_steps[index, VALUE].item()
            self.gains[index] = _gain(value / (headroom * largest[f"context.{index}"]))
        self.pool_gain.fill_(_gain(127 * NORM_UNIT / (headroom * largest["pooled"])))

    def integers(
        self, part: nn.Linear, log_step: Tensor, log_unit: Tensor, bound: int, extra: int
    ) -> tuple[Tensor, Tensor]:
        """Integer weight and bias (+ extra) of a layer whose inputs reach `bound` and whose sums have this unit.

        float32 where every sum is proved to stay below 2^24, where float32 counts exactly, else float64.
        """
        weight = quantize_weight(part.weight, log_step, self.bits)
        bias = part.bias.double() * torch.exp2(-log_unit)
        bias = through(bias.detach().round(), bias) + extra
        reach = (weight.detach().abs().sum(1).double() * bound + bias.detach().abs()).max().item()
        if not reach < 2**31:
            raise UserError(f"a layer could overflow 32 bits: its largest sum is {reach:.4g}")
        kind = torch.float32 if reach < 2**24 else torch.float64
        return weight.to(kind), bias.to(kind)

    def project(
        self,
        x: Tensor,
        part: nn.Linear,
        log_step: Tensor,
        log_in: Tensor,
        log_out: Tensor,
        low: int,
        high: int,
        zero: int = 0,
        bound: int = 128,
    ) -> Tensor:
        """A linear layer and its rounding rule: integers in, integers on the grid 2^log_out out."""
        log_unit = log_step.double() + log_in.double()
        factor = torch.exp2(log_unit - log_out.double())
        rule = layer_rule(factor, high, zero)
        weight, bias = self.integers(part, log_step, log_unit, bound, half(rule))
        return requantize(F.linear(x.to(weight.dtype), weight, bias), factor, rule, low, high).to(x.dtype)

    def forward(self, ids: Tensor, counts: Tensor) -> Tensor:
        valid = token_mask(ids, counts)
        token_shift, position_shift = int(self.token_shift), int(self.position_shift)
        log_residual = self.token_step - token_shift
        log_norm = torch.tensor(math.log2(NORM_UNIT))
        tokens = quantize_weight(self.tokens(ids), self.token_step, self.embedding_bits)
        places = self.positions.weight[: ids.shape[1]]
        places = quantize_weight(places, log_residual + position_shift, 8)
        x = clamp16(self._drop(tokens * 2**token_shift + places * 2**position_shift))
        for index, layer in enumerate(self.blocks()):
            part = layer.attention
            steps = dict(zip(LINEARS, self.weight_steps[index], strict=True))
            log_qk, log_v, log_f = self.activation_steps[index]
            u = integer_norm(x)
            low, high, zero = (0, 255, 128) if part.kind == "inhibitor" else (-128, 127, 0)
            q = self.project(u, part.query, steps["query"], log_norm, log_qk, low, high, zero)
            k = self.project(u, part.key, steps["key"], log_norm, log_qk, low, high, zero)
            v = self.project(u, part.value, steps["value"], log_norm, log_v, -128, 127)
            gain = int(self.gains[index])
            q, k, v = part.split(q), part.split(k), part.split(v)
            attend = self.inhibitor if part.kind == "inhibitor" else self.softmax
            c = attend(part, q, k, v, valid, counts, log_qk, log_v, gain).transpose(1, 2).flatten(2)
            r = self.project(c, part.output, steps["output"], log_v - gain, log_residual, -32768, 32767)
            x = clamp16(x + self._drop(r))
            f = self.project(integer_norm(x), layer.up, steps["up"], log_norm, log_f, 0, 255)
            r = self.project(f, layer.down, steps["down"], log_f, log_residual, -32768, 32767, bound=255)
            x = clamp16(x + self._drop(r))
        total = (integer_norm(x) * valid[..., None]).sum(1)
        pooled = self._mean(total, counts, int(self.pool_gain))
        log_pooled = log_norm - int(self.pool_gain)
        log_unit = self.classifier_step.double() + log_pooled.double()
        weight, bias = self.integers(self.classifier, self.classifier_step, log_unit, 128, 0)
        return (F.linear(pooled.to(weight.dtype), weight, bias) * torch.exp2(log_unit)).to(x.dtype)

    def inhibitor(
        self,
        part: Attention,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        valid: Tensor,
        counts: Tensor,
        log_qk: Tensor,
        log_v: Tensor,
        gain: int,
    ) -> Tensor:
        gamma = part.log_gamma.exp() * torch.exp2(log_qk - log_v)
        delta = part.delta * torch.exp2(-log_v)
        rule = inhibitor_rule(gamma.detach(), delta.detach())
        total = part.inhibit(q, k, v, gamma, delta, valid, rule=rule)
        return self._mean(total, counts, gain)

    def softmax(
        self,
        part: Attention,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        valid: Tensor,
        counts: Tensor,
        log_qk: Tensor,
        log_v: Tensor,
        gain: int,
    ) -> Tensor:
        factor = softmax_factor(log_qk, q.shape[-1])
        rule = softmax_rule(factor, self.heads)
        scores = q @ k.transpose(-1, -2)
        exact = torch_ops.softmax_weights(scores.detach(), valid, *rule, self.exp_table)
        keys = valid[:, None, None, :]
        below = scores.masked_fill(~keys, -(2.0**30)).amax(-1, keepdim=True) - scores
        smooth = 255 * torch.exp(-(below * factor.to(below.dtype) / 32).clamp(0, 60)) * keys
        weights = through(exact, smooth)
        gathered, share = weights @ v, weights.sum(-1, keepdim=True)
        smooth = (gathered / share.clamp_min(1) * 2**gain).clamp(-128, 127)
        return through(torch_ops.softmax_divide(gathered.detach(), share.detach(), gain), smooth)

    def _mean(self, total: Tensor, counts: Tensor, gain: int) -> Tensor:
        number = counts.clamp_min(1).reshape(-1, *[1] * (total.ndim - 1))
        smooth = (total / number * 2**gain).clamp(-128, 127)
        exact = torch_ops.mean_over(total.detach(), counts, gain, self.length_multiplier, self.length_shift)
        return through(exact, smooth)

    def _drop(self, x: Tensor) -> Tensor:
        if not self.training or self.dropout.p == 0:
            return x
        kept = self.dropout(x)
        return through(kept.detach().round(), kept)


def clamp16(x: Tensor) -> Tensor:
    return x.clamp(-32768, 32767)


def integer_norm(x: Tensor) -> Tensor:
    """Mean-absolute normalization of integers, one unit = NORM_UNIT (docs/arithmetic.md)."""
    smooth = (x / (x.abs().mean(-1, keepdim=True).clamp_min(1e-6) * NORM_UNIT)).clamp(-128, 127)
    return through(torch_ops.norm(x.detach()), smooth)


def layer_rule(factor: Tensor, high: int, zero: int) -> Rule:
    return rule_for(factor.detach().double().cpu().numpy(), high, zero)


def softmax_factor(log_qk: Tensor, width: int) -> Tensor:
    """What one unit of q k is worth in entries of the exponential table: 32 steps^2 / sqrt(width of a head)."""
    return 32 * torch.exp2(2 * log_qk.double()) / math.sqrt(width)


def softmax_rule(factor: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pre-shift, multiplier and shift, int32 (heads,), of a factor that all heads share."""
    rule = layer_rule(factor, 255, 0)
    numbers = rule.pre_shift, int(rule.multiplier[0]), rule.shift
    pre_shift, multiplier, shift = (
        torch.full((heads,), number, dtype=torch.int32, device=factor.device) for number in numbers
    )
    return pre_shift, multiplier, shift


def part_of(layer: Layer, name: str) -> nn.Linear:
    part: nn.Linear = getattr(layer if name in ("up", "down") else layer.attention, name)
    return part


def _gain(room: float) -> int:
    return min(max(math.floor(math.log2(max(room, 1e-6))), 0), 8)
