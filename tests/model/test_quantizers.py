"""Quantizers: exact integers forwards, the gradient of the operation without rounding backwards."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from integer_tickets.errors import UserError
from integer_tickets.integer import rounding
from integer_tickets.model.quantized import integer_norm
from integer_tickets.model.quantizers import (
    HIGHEST,
    best_log_step,
    inhibitor_rule,
    quantize_weight,
    requantize,
    through,
)

BITS = [8, 4, 3, 2]
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


@pytest.mark.parametrize(("low", "high", "zero"), [(-128, 127, 0), (0, 255, 0), (0, 255, 128), (-32768, 32767, 0)])
def test_the_rounding_rule_has_the_gradient_of_its_factor(low, high, zero):
    factor = torch.tensor([0.02], dtype=torch.float64)
    rule = rounding.rule_for(factor.numpy(), min(high, 32767), zero)
    acc = random(2, 30, 8, scale=high / 0.02).round()

    def exact(acc, factor):
        return requantize(acc, factor, rule, low, high)

    assert np.array_equal(exact(acc, factor).numpy(), rounding.requantize(acc.numpy(), rule, low, high))
    gradient_agrees(exact, lambda acc, factor: (acc * factor).clamp(low - zero, high - zero), acc, factor)


def test_nothing_passes_where_the_rounding_rule_saturates():
    factor = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    rule = rounding.rule_for([1.0], 127)
    acc = torch.tensor([[-5000.0, -129, -128, 0, 127, 128, 5000]], dtype=torch.float64, requires_grad=True)
    out = requantize(acc, factor, rule, -128, 127)
    assert out.tolist() == [[-128, -128, -128, 0, 127, 127, 127]]
    out.sum().backward()
    assert acc.grad is not None and acc.grad.tolist() == [[0, 0, 1, 1, 1, 0, 0]]
    assert factor.grad is not None and factor.grad.item() == -128 + 127


def test_normalization_has_the_gradient_of_the_quotient():
    x = random(3, 6, 16, scale=2000).round()

    def smooth(x):
        return (16 * x / x.abs().mean(-1, keepdim=True)).clamp(-128, 127)

    assert np.array_equal(integer_norm(x).numpy(), rounding.norm(x.numpy()))
    gradient_agrees(integer_norm, smooth, x)
    assert integer_norm(torch.zeros(2, 4)).eq(0).all()


def test_through_is_one_value_and_the_other_gradient():
    x = torch.tensor([0.3, 2.0], requires_grad=True)
    out = through(torch.tensor([7.0, -1.0]), x * x)
    assert out.tolist() == [7, -1]
    out.sum().backward()
    assert x.grad is not None and x.grad.tolist() == pytest.approx([0.6, 4])


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


@settings(max_examples=300, deadline=None)
@given(st.floats(-16, 1), st.floats(-1000, 1000), st.integers(0, LARGEST_DISTANCE))
def test_inhibitions_are_within_one(log_gamma, delta, distance):
    gamma = np.float32(2**log_gamma).item()
    real = min(max(0.0, gamma * distance - delta), 255.0)
    assert abs(applied(gamma, delta, distance) - real) <= 1


@settings(max_examples=300, deadline=None)
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
