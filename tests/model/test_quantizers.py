"""Quantizers: exact integers forwards, the gradient of the operation without rounding backwards."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from integer_tickets.errors import UserError
from integer_tickets.integer import rounding
from integer_tickets.model.library import ISA_FLAGS, available
from integer_tickets.model.quantizers import (
    HIGHEST,
    Format,
    best_log_step,
    inhibitor_rule,
    integer_product,
    multiplies_bytes,
    quantize_weight,
    quantized_linear,
    quantized_linears,
)
from integer_tickets.model.rows import through

BITS = [8, 4, 3, 2]
ISAS = [isa for isa in ISA_FLAGS if available(isa) is None]
LARGEST_DISTANCE = 255 * 128


def random(seed, *shape, scale=1.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, shape))


def slope(function, x, direction, eps=1e-6):
    """Central difference of a scalar function along a direction."""
    return (function(x + eps * direction) - function(x - eps * direction)).item() / (2 * eps)


def gradient_agrees(exact, smooth, *inputs):
    """The gradient of `exact` along random directions is the finite difference of `smooth`."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = exact(*leaves)
    weigh = random(99, *out.shape)
    (out * weigh).sum().backward()
    for i, leaf in enumerate(leaves):
        direction = random(i, *leaf.shape)

        def along(x, i=i):
            return (smooth(*inputs[:i], x, *inputs[i + 1 :]) * weigh).sum()

        expected = slope(along, inputs[i], direction)
        assert (leaf.grad * direction).sum().item() == pytest.approx(expected, rel=1e-4, abs=1e-6), i


@pytest.mark.parametrize("bits", BITS)
def test_weights_become_the_nearest_integers_of_their_grid(bits):
    weight, step = random(0, 50, 7, scale=3), torch.tensor(-0.7, dtype=torch.float64)
    high = HIGHEST[bits]
    expected = np.clip(np.rint(weight.numpy() / 2**-0.7), -high, high)
    assert np.array_equal(quantize_weight(weight, step, bits).numpy(), expected)
    assert quantize_weight(torch.zeros(3, 4), step, bits).eq(0).all()
    assert np.abs(expected).max() == min(high, np.abs(np.rint(weight.numpy() / 2**-0.7)).max())


@pytest.mark.parametrize("bits", BITS)
def test_gradients_of_weights_and_step_are_those_without_rounding(bits):
    room = HIGHEST[bits] + 0.5  # as far as a weight still rounds to the grid

    def smooth(weight, step):
        return (weight / 2**step).clamp(-room, room)

    for step in (torch.tensor(-3.3, dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)):
        weight = random(1, 20, 5, scale=HIGHEST[bits] * 2 ** step.item() * 0.7)
        gradient_agrees(lambda w, t: quantize_weight(w, t, bits), smooth, weight, step)
    outside = torch.full((4,), 1e3, requires_grad=True)
    quantize_weight(outside, torch.tensor(0.0), bits).sum().backward()
    assert outside.grad is not None and not outside.grad.any()


FORMS = {
    "s8": Format(8, 128, -128, 127),
    "u8": Format(4, 128, 0, 255),
    "around 128": Format(8, 128, 0, 255, 128),
    "s16": Format(3, 255, -32768, 32767),
    "real": Format(8, 128, 0, 0, real=True),
}


def layer(form, large_bias, seed=0):
    """x, weight, bias and the three grids, float32; weights pass the end of their grid, and sums that of the output."""
    log_step, log_in = -5.3, -4.2
    step = 2**log_step * HIGHEST[form.bits]
    weight, bias = random(seed, 10, 24, scale=0.7 * step), random(seed + 1, 10, scale=0.5)
    bias[0] += 2.0**25 * 2 ** (log_step + log_in) * large_bias
    x = random(seed + 2, 5, 3, 24, scale=50).round().clamp(0 if form.bound > 128 else -127, form.bound - 1)
    spread = 24**0.5 * 50 * HIGHEST[form.bits] * 0.7 * 2 ** (log_step + log_in)
    logs = (log_step, log_in, math.log2(spread / max(form.high - form.zero, 1)))
    return [t.float() for t in (x, weight, bias, *map(torch.tensor, logs))]


def without_rounding(x, weight, bias, log_step, log_in, log_out, form):
    """The layer as autograd sees it, in the type of its inputs: only weight and bias are rounded, straight through."""
    factor = 2 ** (log_step + log_in - log_out)
    extra = 0 if form.real else rounding.half(rounding.rule_for(factor.item(), form.high, form.zero))
    end = HIGHEST[form.bits] + 0.5
    weight = weight / 2**log_step
    weight = through(weight.detach().round().clamp(-end + 0.5, end - 0.5), weight.clamp(-end, end))
    bias = bias / 2 ** (log_step + log_in)
    y = (x @ weight.T + through(bias.detach().round() + extra, bias)) * factor
    return y if form.real else y.clamp(form.low - form.zero, form.high - form.zero)


@pytest.mark.parametrize("isa", [None, *ISAS])
@pytest.mark.parametrize("large_bias", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", FORMS)
def test_a_linear_layer(name, large_bias, isa):
    """Integers of the rounding rule, and the gradient of the layer without rounding."""
    form = FORMS[name]
    inputs = layer(form, large_bias)
    ours, theirs = (
        [t.to(dtype, copy=True).requires_grad_() for t in inputs] for dtype in (torch.float32, torch.float64)
    )
    part = torch.nn.Linear(24, 10)
    part.weight, part.bias = map(torch.nn.Parameter, ours[1:3])
    out = quantized_linear(ours[0], part, *ours[3:], form, isa)
    log_step, log_in, log_out = (t.item() for t in inputs[3:])
    factor, bias = 2 ** (log_step + log_in - log_out), np.rint(inputs[2].double().numpy() * 2 ** -(log_step + log_in))
    weights = quantize_weight(inputs[1], inputs[3], form.bits)
    acc = inputs[0].double().numpy() @ weights.double().numpy().T + bias
    if form.real:
        assert np.array_equal(out.detach().numpy(), (acc * factor).astype(np.float32))
    else:
        rule = rounding.rule_for(factor, form.high, form.zero)
        expected = rounding.requantize(acc + rounding.half(rule), rule, form.low, form.high)
        assert np.array_equal(out.detach().numpy(), expected)
        assert (expected == form.low).any() and (expected == form.high).any()
    weigh = random(9, *out.shape)
    (out * weigh).sum().backward()
    (without_rounding(*theirs, form) * weigh).sum().backward()
    grads = [ours[0].grad, part.weight.grad, part.bias.grad, *(t.grad for t in ours[3:])]
    for grad, reference in zip(grads, theirs, strict=True):
        largest = reference.grad.abs().max().item()
        assert grad.isfinite().all() and largest > 0
        torch.testing.assert_close(grad.double(), reference.grad, rtol=1e-4, atol=1e-4 * largest)


@pytest.mark.parametrize("isa", [None, *ISAS])
@pytest.mark.parametrize("name", FORMS)
def test_narrow_products_change_gradients_by_their_rounding_alone(name, isa):
    form = FORMS[name]
    outs, gradients = [], []
    for narrow in (False, True):
        x, weight, bias, *logs = (t.clone().requires_grad_() for t in layer(form, False))
        part = torch.nn.Linear(24, 10)
        part.weight, part.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
        out = quantized_linear(x, part, *logs, form, isa, narrow)
        (out * random(9, *out.shape)).sum().backward()
        outs.append(out)
        gradients.append([x.grad, part.weight.grad, part.bias.grad, logs[0].grad, logs[2].grad])
    assert torch.equal(*outs)
    for wide, narrowed in zip(*gradients, strict=True):
        torch.testing.assert_close(narrowed, wide, rtol=0, atol=2**-7 * wide.abs().max().item())


@pytest.mark.parametrize("inputs", [(-128, 127), (0, 255)], ids=["s8", "u8"])
def test_products_of_bytes_are_exact(inputs, monkeypatch):
    """By int32 sums where the processor has them, and as told by PyTorch's own product elsewhere."""
    low, high = inputs
    draw = np.random.default_rng(0)
    rows = torch.from_numpy(draw.integers(low, high + 1, (37, 512))).float()
    rows[0], rows[1] = low, high
    weights = torch.from_numpy(draw.integers(-127, 128, (50, 512))).float()
    weights[0], weights[1] = -127, 127
    offset = torch.from_numpy(draw.integers(-9999, 9999, 50)).float()
    exact = rows.long() @ weights.long().T + offset.long()
    for bytes_too in (False, True):
        monkeypatch.setattr("integer_tickets.model.quantizers.multiplies_bytes", lambda isa, way=bytes_too: way)
        if bytes_too and not multiplies_bytes("native"):
            break  # they saturate here
        assert torch.equal(integer_product(rows, weights, offset, max(high, 128), "native").long(), exact)


@pytest.mark.parametrize("isa", [None, *ISAS])
def test_layers_of_one_input_are_what_each_is_alone(isa):
    """Also where one of them needs float64."""
    grids = [FORMS[name] for name in ("s8", "u8", "s8")]
    x, *_ = layer(grids[0], False)
    log_in = torch.tensor(-4.0, requires_grad=True)
    numbers, parts = [], []
    for index, form in enumerate(grids):
        _, weight, bias, log_step, _, log_out = layer(form, index == 2)
        part = torch.nn.Linear(24, 10)
        part.weight, part.bias = torch.nn.Parameter(weight + index * 1e-3), torch.nn.Parameter(bias)
        log_step, log_out = log_step.clone().requires_grad_(), log_out.clone().requires_grad_()
        numbers += [part.weight, part.bias, log_step, log_out]
        parts.append((part, log_step, log_out, form))
    leaves = [x.requires_grad_(), log_in, *numbers]
    together = quantized_linears(x, log_in, parts, isa)
    alone = [quantized_linear(x, part, log_step, log_in, log_out, form, isa) for part, log_step, log_out, form in parts]
    assert all(torch.equal(*pair) for pair in zip(together, alone, strict=True))
    weighs = [random(index, *out.shape) for index, out in enumerate(alone)]
    gradients = [
        torch.autograd.grad([(out * weigh).sum() for out, weigh in zip(outs, weighs, strict=True)], leaves)
        for outs in (together, alone)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * other.abs().max().item())


def test_nothing_passes_where_the_rounding_rule_saturates():
    part, zero = torch.nn.Linear(1, 1, bias=True), torch.zeros((), requires_grad=True)
    part.weight, part.bias = torch.nn.Parameter(torch.ones(1, 1)), torch.nn.Parameter(torch.zeros(1))
    x = torch.tensor([[-5000.0], [-129], [-128], [0], [127], [128], [5000]], requires_grad=True)
    out = quantized_linear(x, part, torch.zeros(()), torch.zeros(()), zero, Format(8, 5000, -128, 127))
    assert out.flatten().tolist() == [-128, -128, -128, 0, 127, 127, 127]
    out.sum().backward()
    assert x.grad is not None and x.grad.flatten().tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert zero.grad is not None and zero.grad.item() == pytest.approx(-math.log(2) * (-128 + 127))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("seed", range(3))
def test_the_best_step_is_the_best_of_its_candidates(bits, seed):
    weight = torch.from_numpy(np.random.default_rng(seed).standard_t(3, (30, 10)).astype(np.float32))
    high = HIGHEST[bits]
    alive = weight.double().numpy().ravel()

    def error(log_step):
        step = 2**log_step
        return ((np.clip(np.rint(alive / step), -high, high) * step - alive) ** 2).sum()

    best = best_log_step(weight, bits)
    widest = math.log2(np.abs(alive).max() / high)
    candidates = widest - np.arange(25) / 8
    assert np.abs(candidates - best).min() < 1e-12
    assert error(best) == pytest.approx(min(map(error, candidates)))
    pruned = torch.cat([weight, torch.zeros(500, 10)])
    assert best_log_step(pruned, bits) == best
    assert best_log_step(weight * 4, bits) == pytest.approx(best + 2)


def test_the_step_of_a_dead_layer_is_fine_enough_for_its_bias():
    assert 2 ** best_log_step(torch.zeros(3, 3), 4) / 16 < 1e-3


@settings(max_examples=300)
@given(st.floats(-16, 1), st.floats(-1000, 1000), st.integers(0, LARGEST_DISTANCE))
def test_inhibitions_are_within_one(log_gamma, delta, distance):
    gamma = np.float32(2**log_gamma).item()
    real = min(max(0.0, gamma * distance - delta), 255.0)
    assert abs(applied(gamma, delta, distance) - real) <= 1


@settings(max_examples=300)
@given(st.floats(-60, 13.999), st.floats(-(2.0**29) + 64, 2.0**29 - 64, width=32), st.integers(0, LARGEST_DISTANCE))
def test_every_inhibition_is_as_near_as_15_bits_allow_and_fits_32_bits(log_gamma, delta, distance):
    gamma = np.float32(2**log_gamma).item()
    rule = inhibitor_rule(torch.tensor([gamma]), torch.tensor([delta]))
    multiplier, offset, shift = (int(part) for part in (rule.multiplier, rule.offset, rule.shift))
    assert 0 <= multiplier < 2**15 and 0 <= shift <= 30
    assert LARGEST_DISTANCE * multiplier + abs(offset) < 2**31
    real = min(max(0.0, gamma * distance - delta), 255.0)
    assert abs(applied(gamma, delta, distance) - real) <= 0.5 + (0.5 + distance) * 2.0**-shift


def applied(gamma, delta, distance):
    """Z of docs/arithmetic.md in Python's integers."""
    rule = inhibitor_rule(torch.tensor([gamma]), torch.tensor([delta]))
    multiplier, offset, shift = (int(part) for part in (rule.multiplier, rule.offset, rule.shift))
    return min(max((distance * multiplier - offset) >> shift, 0), 255)


@pytest.mark.parametrize(
    ("gamma", "delta"),
    [
        (0, 1),
        (-1, 1),
        (2**14, 0),
        (math.inf, 0),
        (math.nan, 0),
        (1, math.nan),
        (1, -math.inf),
        (1, 2**31),
        (1, -(2**29)),
    ],
)
def test_a_head_without_integer_form_is_refused(gamma, delta):
    with pytest.raises(UserError, match="of an attention head have no integer form"):
        inhibitor_rule(torch.tensor([1.0, gamma]), torch.tensor([0.0, delta]))


WITHOUT_VNNI = """
from integer_tickets.model.quantizers import multiplies_bytes
print(multiplies_bytes("native"))
"""


def test_products_of_bytes_that_saturate_are_not_used():
    """As on a processor without VNNI, which oneDNN can be told to take this one for."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_VNNI], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
    assert not multiplies_bytes("avx2") and not multiplies_bytes(None)
