"""Quantization-aware Transformer: the float weights of a Transformer, run as the integer network they will become.

In evaluation mode every tensor holds exactly the integers of docs/arithmetic.md, so its accuracy is the deployed one.
In training, dropout is applied to the residual stream and rounded.
"""

import math
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from integer_tickets.integer.rounding import S8, S16, U8, exp_table, length_table
from integer_tickets.model.quantizers import (
    Format,
    best_log_step,
    inhibitor_rule,
    quantize_weight,
    quantized_linear,
    quantized_linears,
)
from integer_tickets.model.rows import NORM_UNIT, add_saturating, integer_norm, mean_over, through
from integer_tickets.model.softmax import integer_softmax, softmax_factor
from integer_tickets.model.transformer import Attention, Bypass, Layer, Transformer, token_mask

LINEARS = ("query", "key", "value", "output", "up", "down")  # order of the rows of `weight_steps`
QK, VALUE, HIDDEN = range(3)  # columns of `activation_steps`
WIDEST = 5.0  # octaves between the steps of a layer's outputs after calibration: all share one shift


class QuantizedTransformer(Transformer):
    """A Transformer whose forward pass is integer; real logits come out, integer logits times their unit.

    Grids are learned as log2 of their step: one per weight matrix (`weight_steps`, `classifier_step`, `token_step`),
    with `per_channel` one for each output of every linear layer but the classifier; and per layer for q and k, v, and
    the hidden layer (`activation_steps`). Shifts and gains are powers of two fixed by `calibrate`. With `power_of_two`
    the gamma of every Inhibitor head is rounded to one on the integer grid.
    """

    gains: Tensor
    pool_gain: Tensor
    token_shift: Tensor
    position_shift: Tensor
    length_multiplier: Tensor
    length_shift: Tensor
    exp_table: Tensor

    def __init__(
        self,
        *,
        bits: int,
        embedding_bits: int,
        power_of_two: bool = False,
        per_channel: bool = False,
        **shape: object,
    ) -> None:
        super().__init__(**shape)  # type: ignore[arg-type]
        self.bits, self.embedding_bits, self.power_of_two = bits, embedding_bits, power_of_two
        count = len(self.layers)
        self.rows = [len(part_of(layer, name).weight) for layer in self.blocks() for name in LINEARS]
        self.per_channel = per_channel
        self.weight_steps = nn.Parameter(torch.zeros(sum(self.rows) if per_channel else (count, len(LINEARS))))
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
            magnitude = _high_quantile(x.abs().flatten()[: 1 << 20].float(), share)
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
        for index, (layer, grids) in enumerate(zip(self.blocks(), self.grids(), strict=True)):
            for name, log_step in grids.items():
                weight = part_of(layer, name).weight
                rows = weight if log_step.numel() > 1 else weight[None]
                steps = torch.tensor([best_log_step(row, self.bits) for row in rows])
                log_step.copy_(steps.clamp_min(steps.max().item() - WIDEST).view_as(log_step))
            for column, name, high in ((QK, "qk", 127), (VALUE, "value", 127), (HIDDEN, "hidden", 255)):
                self.activation_steps[index, column] = math.log2(headroom * largest[f"{name}.{index}"] / high)
            value = 127 * 2 ** self.activation_steps[index, VALUE].item()
            self.gains[index] = _gain(value / (headroom * largest[f"context.{index}"]))
        self.pool_gain.fill_(_gain(127 * NORM_UNIT / (headroom * largest["pooled"])))

    def forward(self, ids: Tensor, counts: Tensor, rows: Tensor | None = None) -> Tensor:
        """Under autocast the backward products of linear layers are in bfloat16; integers are exact all the same."""
        narrow = torch.is_autocast_enabled(ids.device.type)
        with torch.autocast(ids.device.type, enabled=False):
            return self._logits(ids, counts, rows, narrow)

    def _logits(self, ids: Tensor, counts: Tensor, rows: Tensor | None, narrow: bool) -> Tensor:
        linear = partial(quantized_linear, isa=self.isa, narrow=narrow)
        valid = token_mask(ids, counts)
        gains, pool_gain = self.gains.tolist(), int(self.pool_gain)
        token_shift, position_shift = int(self.token_shift), int(self.position_shift)
        log_residual = self.token_step - token_shift
        log_norm = torch.tensor(math.log2(NORM_UNIT))
        grids = self.grids()
        activation_steps = self.activation_steps.flatten().unbind()
        grid = partial(quantize_weight, log_step=self.token_step, bits=self.embedding_bits, isa=self.isa)
        tokens = grid(self.embed(ids, None)) if rows is None else self.embed(ids, grid(rows))  # the fewer numbers
        places = self.positions.weight[: ids.shape[1]]
        places = quantize_weight(places, log_residual + position_shift, 8, self.isa)
        x = self.dropout(tokens * 2**token_shift + places * 2**position_shift)
        x = add_saturating(torch.zeros_like(x), x, self.isa)
        for index, (layer, gain) in enumerate(zip(self.blocks(), gains, strict=True)):
            part = layer.attention
            steps = grids[index]
            log_qk, log_v, log_f = activation_steps[3 * index : 3 * index + 3]
            values = Format(self.bits, 128, *S8)
            near = Format(self.bits, 128, *U8, zero=128) if part.kind == "inhibitor" else values  # of q and k
            sums, wide = Format(self.bits, 128, *S16), Format(self.bits, 255, *S16)
            u = integer_norm(x, self.isa)
            queries, keys = (part.query, steps["query"], log_qk, near), (part.key, steps["key"], log_qk, near)
            ins = queries, keys, (part.value, steps["value"], log_v, values)
            q, k, v = quantized_linears(u, log_norm, ins, self.isa, narrow)
            c = self.context(part, q, k, v, valid, counts, log_qk, log_v, gain)
            r = linear(c, part.output, steps["output"], log_v - gain, log_residual, sums)
            x = add_saturating(self._past(layer.attention_bypass, x, u, log_residual), self.dropout(r), self.isa)
            u, hidden = integer_norm(x, self.isa), Format(self.bits, 128, *U8)
            f = linear(u, layer.up, steps["up"], log_norm, log_f, hidden)
            r = linear(f, layer.down, steps["down"], log_f, log_residual, wide)
            x = add_saturating(self._past(layer.hidden_bypass, x, u, log_residual), self.dropout(r), self.isa)
        total = (integer_norm(x, self.isa) * valid[..., None]).sum(1)
        pooled = self._mean(total, counts, pool_gain)
        form = Format(self.bits, 128, 0, 0, real=True)
        return linear(pooled, self.classifier, self.classifier_step, log_norm - pool_gain, torch.zeros(()), form)

    def _past(self, bypass: Bypass | None, x: Tensor, u: Tensor, log_residual: Tensor) -> Tensor:
        """What a part of a layer adds to, on the grid of the residual stream."""
        if bypass is None:
            return x
        gain, offset = bypass_numbers(bypass, log_residual)
        whole = u * through(gain.detach().round(), gain) + through(offset.detach().round(), offset)
        return add_saturating(torch.zeros_like(x), whole, self.isa)

    def grids(self) -> list[dict[str, Tensor]]:
        """log2 of the steps of each layer's weights by name: a scalar, or (out,) with `per_channel`; views."""
        parts = self.weight_steps.split(self.rows) if self.per_channel else self.weight_steps.flatten().unbind()
        size = len(LINEARS)
        return [dict(zip(LINEARS, parts[i : i + size], strict=True)) for i in range(0, len(parts), size)]

    def context(
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
        """q, k (batch, n, heads pairs), v (batch, n, heads e) -> what each token gathers, shaped as v."""
        q, k, v = part.split(q), part.split(k), part.split(v)
        if part.kind == "inhibitor":
            gamma, delta = self.head_numbers(part, log_qk, log_v)
            rule = inhibitor_rule(gamma.detach(), delta.detach())
            total = part.inhibit(q, k, v, gamma, delta, valid, rule=rule)
            return self._mean(total.transpose(1, 2).flatten(2), counts, gain)
        factor = softmax_factor(log_qk, v.shape[-1])
        c = integer_softmax(q, k, v, factor, valid, gain, self.exp_table, self.isa)
        return c.transpose(1, 2).flatten(2)

    def head_numbers(self, part: Attention, log_qk: Tensor, log_v: Tensor) -> tuple[Tensor, Tensor]:
        """gamma and delta of the heads (heads,) on the grids of distances and of V."""
        gamma = part.log_gamma.exp() * torch.exp2(log_qk - log_v)
        if self.power_of_two:
            gamma = through(torch.exp2(torch.log2(gamma.detach()).round()), gamma)
        return gamma, part.delta * torch.exp2(-log_v)

    def _mean(self, total: Tensor, counts: Tensor, gain: int) -> Tensor:
        return mean_over(total, counts, gain, self.length_multiplier, self.length_shift, self.isa)


def bypass_numbers(bypass: Bypass, log_residual: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and offset (d,) on the grids of normalized numbers and of the residual stream, before they are rounded."""
    unit = torch.exp2(-log_residual)
    gain, offset = bypass.gain * (NORM_UNIT * unit), bypass.bias * unit
    return gain.clamp(-S16[1], S16[1]), offset.clamp(-S16[1], S16[1])


def part_of(layer: Layer, name: str) -> nn.Linear:
    part: nn.Linear = getattr(layer if name in ("up", "down") else layer.attention, name)
    return part


def _gain(room: float) -> int:
    return min(max(math.floor(math.log2(max(room, 1e-6))), 0), 8)


def _high_quantile(x: Tensor, share: float) -> float:
    """What torch.quantile gives, for a share near 1 many times sooner: no need to sort more than the top."""
    position = share * (len(x) - 1)
    top = x.topk(len(x) - math.floor(position)).values
    return torch.lerp(top[-1], top[-2:][0], position % 1).item()
