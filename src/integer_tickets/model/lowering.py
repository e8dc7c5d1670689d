"""From a quantization-aware Transformer to the integer network that it simulates."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from integer_tickets.errors import UserError
from integer_tickets.integer.network import Bypass as IntegerBypass
from integer_tickets.integer.network import Inhibitor, IntegerNetwork, Linear, Softmax, Table, roles
from integer_tickets.integer.network import Layer as IntegerLayer
from integer_tickets.integer.rounding import Array, Rule, exp_table, half, length_table, rule_for
from integer_tickets.model.quantized import QuantizedTransformer, bypass_numbers, part_of
from integer_tickets.model.quantizers import channel_rule, inhibitor_rule, integer_bias, power, quantize_weight
from integer_tickets.model.rows import NORM_UNIT
from integer_tickets.model.softmax import softmax_factor, softmax_rule
from integer_tickets.model.transformer import Bypass


@torch.no_grad()
def lower(model: QuantizedTransformer, masks: Mapping[str, Tensor], labels: Sequence[str]) -> IntegerNetwork:
    """The integer network whose logits times their unit are the model's logits in evaluation mode."""
    log_residual = model.token_step - int(model.token_shift)
    log_norm = torch.tensor(math.log2(NORM_UNIT))
    layers = []
    for index, (layer, steps) in enumerate(zip(model.blocks(), model.grids(), strict=True)):
        attention = layer.attention
        log_qk, log_v, log_f = model.activation_steps[index]
        gain = int(model.gains[index])
        ins = {"output": log_v - gain, "down": log_f}
        outs = {"query": log_qk, "key": log_qk, "value": log_v, "up": log_f}
        if attention.kind == "inhibitor":
            rule = inhibitor_rule(*model.head_numbers(attention, log_qk, log_v))
            of_heads = (rule.multiplier.numpy(), rule.offset.numpy(), rule.shift.numpy())
            lowered: Inhibitor | Softmax = Inhibitor(*of_heads, gain, attention.signed)
        else:
            shared = softmax_rule(softmax_factor(log_qk, model.width // model.heads))
            numbers = shared.pre_shift, shared.multiplier[0], shared.shift
            pre_shift, multiplier, shift = (np.full(attention.heads, x, np.int32) for x in numbers)
            lowered = Softmax(pre_shift, multiplier, shift, gain, exp_table())
        linears = {}
        for name, role in roles(lowered).items():
            prefix = "" if name in ("up", "down") else "attention."
            log_in, log_out = ins.get(name, log_norm), outs.get(name, log_residual)
            log_unit: float | Tensor
            if steps[name].numel() > 1:
                log_unit, _, rule_of_layer = channel_rule(steps[name], log_in, log_out, role.high, role.zero)
            else:
                log_unit = steps[name].item() + log_in.item()
                rule_of_layer = rule_for(power(log_unit - log_out.item()), role.high, role.zero)
            mask = masks.get(f"layers.{index}.{prefix}{name}.weight")
            linears[name] = _linear(model, part_of(layer, name), steps[name], log_unit, rule_of_layer, mask)
        past = [_bypass(own, log_residual) for own in (layer.attention_bypass, layer.hidden_bypass)]
        layers.append(IntegerLayer(**linears, attention=lowered, attention_bypass=past[0], hidden_bypass=past[1]))

    log_unit = model.classifier_step.item() + log_norm.item() - int(model.pool_gain)
    classifier = _linear(model, model.classifier, model.classifier_step, log_unit, None, masks.get("classifier.weight"))
    token_weight = _int8(quantize_weight(model.tokens.weight, model.token_step, model.embedding_bits))
    places = quantize_weight(model.positions.weight, log_residual + int(model.position_shift), 8)
    length_multiplier, length_shift = length_table(len(places))
    logit_multiplier, logit_shift = _unit(log_unit)
    token_mask = _mask(masks.get("tokens.weight"))
    return IntegerNetwork(
        tokens=Table(token_weight, token_mask, model.embedding_bits, int(model.token_shift)),
        positions=Table(_int8(places), _mask(masks.get("positions.weight")), 8, int(model.position_shift)),
        layers=tuple(layers),
        classifier=classifier,
        pool_gain=int(model.pool_gain),
        length_multiplier=length_multiplier,
        length_shift=length_shift,
        heads=model.heads,
        labels=tuple(labels),
        logit_multiplier=logit_multiplier,
        logit_shift=logit_shift,
    )


def _linear(
    model: QuantizedTransformer,
    part: nn.Linear,
    step: Tensor,
    log_unit: float | Tensor,
    rule: Rule | None,
    mask: Tensor | None,
) -> Linear:
    weight = _int8(quantize_weight(part.weight, step[:, None] if step.numel() > 1 else step, model.bits))
    bias = integer_bias(part.bias, log_unit) + (half(rule) if rule else 0)
    return Linear(weight, _mask(mask), bias.numpy().astype(np.int32), rule, model.bits)


def _bypass(bypass: Bypass | None, log_residual: Tensor) -> IntegerBypass | None:
    if bypass is None:
        return None
    return IntegerBypass(*(part.round().numpy().astype(np.int32) for part in bypass_numbers(bypass, log_residual)))


def _int8(values: Tensor) -> Array:
    return values.numpy().astype(np.int8)


def _mask(mask: Tensor | None) -> Array | None:
    """None where everything is kept: then no mask is stored."""
    return None if mask is None or bool(mask.all()) else mask.numpy()


def _unit(log_unit: float) -> tuple[int, int]:
    """2^log_unit as a multiplier of 31 bits over a power of two."""
    shift = 30 - math.floor(log_unit)
    if not 0 <= shift <= 62:
        raise UserError(f"the unit of the logits, 2^{log_unit:.2f}, has no integer form")
    return min(math.floor(2.0 ** (log_unit + shift) + 0.5), 2**31 - 1), shift
