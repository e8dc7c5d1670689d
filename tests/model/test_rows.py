"""Operations on rows: fused and plain give the same integers and gradients, the fused ones the same bits everywhere."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from integer_tickets.integer import rounding
from integer_tickets.model.library import ISA_FLAGS, available
from integer_tickets.model.rows import (
    NORM_UNIT,
    add_saturating,
    gate,
    integer_norm,
    mean_over,
    norm,
    quantize,
    requantize,
    through,
)

pytestmark = pytest.mark.skipif(available("baseline") is not None, reason=str(available("baseline")))
ISAS = [isa for isa in ISA_FLAGS if available(isa) is None]
SHAPES = [
    (0, 5),
    (1, 1),
    (5, 1),
    (3, 7),
    (2, 2, 16),
    (4, 17),
    (9, 33),
    (7, 64),
    (3, 128),
    (2, 130),
    (600, 64),
    (1, 1023),
]
ENDS = [-32768.0, -32767, -1, 0, 1, 32766, 32767]


def integers(seed, shape, spread=32767):
    """Integers of all sizes up to `spread`, rows of zeros, and rows at the ends."""
    rng = np.random.default_rng(seed)
    x = np.rint(rng.uniform(-1, 1, shape) * float(spread) ** rng.uniform(0, 1, (*shape[:-1], 1)))
    x[rng.random(shape[:-1]) < 0.1] = 0
    ends = rng.random(shape[:-1]) < 0.1
    x[ends] = rng.choice([-spread - 1, spread], shape)[ends]
    return torch.from_numpy(x).float()


def gradients(function, *inputs):
    """The result and what a random gradient of it gives for the inputs, all as they are computed."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = function(*leaves)
    weigh = torch.from_numpy(np.random.default_rng(0).normal(size=tuple(out.shape)))
    out.backward(weigh.float().to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def near(ours, theirs, least=0.0):
    for a, b in zip(ours, theirs, strict=True):
        largest = b.abs().max().item() if b.numel() else 0.0
        torch.testing.assert_close(a.double(), b.double(), rtol=1e-5, atol=2e-6 * largest + least)


def everywhere(function):
    """A list of tensors, found to have the same bits by each instruction set and number of threads."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first, *others = (function(isa) for isa in ISAS)
        torch.set_num_threads(3)
        others.append(function(ISAS[-1]))
    finally:
        torch.set_num_threads(threads)
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
    return first


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_norm(shape):
    x = torch.from_numpy(np.random.default_rng(1).normal(size=shape)).float()
    ours = everywhere(lambda isa: gradients(lambda x: norm(x, isa), x))
    near(ours, gradients(norm, x.double()), 1e-6 if shape[-1] == 1 else 0.0)  # there x / |x|: no gradient is left


@pytest.mark.parametrize("isa", [None, *ISAS])
def test_norm_of_zeros_and_of_what_is_not_a_number(isa):
    x = torch.tensor([[0.0, 0, 0], [1e-7, 0, 0], [1e30, -1e30, 2e30], [1.0, torch.nan, 2]])
    out, grad = gradients(lambda x: norm(x, isa), x)
    assert out[0].eq(0).all() and out[3].isnan().all() and grad[3].isnan().all()
    near([out[:3]], [norm(x[:3].double())])
    assert grad[:2].eq(0).all() and grad[2].abs().max() < 1e-29


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_integer_norm(shape):
    x = integers(2, shape)
    out, grad = everywhere(lambda isa: gradients(lambda x: integer_norm(x, isa), x))
    assert np.array_equal(out.numpy(), rounding.norm(x.numpy()))
    alive = (x != 0).any(-1)
    plain = gradients(integer_norm, x.double())
    assert torch.equal(out.double(), plain[0])
    near([grad[alive]], [plain[1][alive]], 1e-6 if shape[-1] == 1 else 0.0)
    assert grad[~alive].eq(0).all() and plain[1][~alive].eq(0).all()  # a true one would be huge


def test_integer_norm_has_the_gradient_of_the_quotient():
    x = torch.from_numpy(np.random.default_rng(3).normal(size=(6, 16)) * 2000).round().requires_grad_()
    smooth = (x / x.abs().mean(-1, keepdim=True) / NORM_UNIT).clamp(-128, 127)
    weigh = torch.from_numpy(np.random.default_rng(4).normal(size=(6, 16)))
    (expected,) = torch.autograd.grad((smooth * weigh).sum(), x)
    (grad,) = torch.autograd.grad((integer_norm(x) * weigh).sum(), x)
    torch.testing.assert_close(grad, expected)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(SHAPES),
    log_factor=st.floats(-16, 2),
    output=st.sampled_from([(-128, 127, 0), (0, 255, 0), (0, 255, 128), (-32768, 32767, 0)]),
)
def test_the_rounding_rule_is_exact(seed, shape, log_factor, output):
    low, high, zero = output
    rule = rounding.rule_for(2.0**log_factor, high, zero)
    acc = integers(seed, shape, 2**24 - 1)
    expected = rounding.requantize(acc.numpy(), rule, low, high)
    (fused,) = everywhere(lambda isa: [requantize(acc, rule, low, high, isa)])
    assert np.array_equal(fused.numpy(), expected)
    assert np.array_equal(requantize(acc.double(), rule, low, high, ISAS[0]).numpy(), expected)  # plain


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([*SHAPES, (3, 20_000)]),
    log_step=st.floats(-20, 3),
    high=st.sampled_from([127, 7, 3, 1]),
)
def test_weights_and_gates(seed, shape, log_step, high):
    rng = np.random.default_rng(seed)
    step = torch.tensor(log_step).exp2()
    x, grad = (torch.from_numpy(rng.normal(size=shape)).float() for _ in range(2))
    x = x * step * high
    x.view(-1)[::3] = (x.view(-1)[::3] / step * 2).round() * step / 2  # halves: ties
    (fused,) = everywhere(lambda isa: [quantize(x, step, high, isa)])
    assert torch.equal(fused, quantize(x, step, high))

    scale = 1 / step.item()
    out, total = everywhere(lambda isa: gate(x, grad, scale, -high - 0.25, high + 0.25, isa))
    plain, reference = gate(x, grad, scale, -high - 0.25, high + 0.25)
    assert torch.equal(out, plain)
    assert total == pytest.approx(reference, rel=1e-4, abs=1e-5 * (x * grad).abs().sum().item())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_residual_addition(shape):
    x, y = integers(5, shape), integers(6, shape)
    x.view(-1)[: len(ENDS)] = torch.tensor(ENDS)[: x.numel()]
    y.view(-1)[: len(ENDS)] = torch.tensor([0.0, 0, 0, 0, 0, 0, 1])[: y.numel()]
    y[..., ::2] *= 10 / 9  # what dropout does
    ours = everywhere(lambda isa: gradients(lambda x, y: add_saturating(x, y, isa), x, y))
    plain = gradients(add_saturating, x, y)
    total = x + y.round()
    assert all(map(torch.equal, ours, plain))
    assert torch.equal(ours[0], total.clamp(-32768, 32767))
    inside = (total > -32768) & (total < 32767)
    assert torch.equal(ours[1] != 0, inside) and torch.equal(ours[1], ours[2])


@pytest.mark.parametrize("gain", [0, 3, 8])
@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 7), (8, 12, 40), (8, 2, 3, 4)], ids=str)
def test_the_mean_over_tokens(shape, gain):
    counts = torch.tensor([0, 1, 2, 3, 12, 127, 200, 255])
    table = rounding.length_table(255)
    multiplier, shift = map(torch.from_numpy, table)
    limits = (128 * counts).reshape(-1, *[1] * (len(shape) - 1)).numpy()
    total = torch.from_numpy(np.rint(np.random.default_rng(7).uniform(-1, 1, shape) ** 3 * limits)).float()
    options = (counts, gain, multiplier, shift)
    ours = everywhere(lambda isa: gradients(lambda x: mean_over(x, *options, isa), total))
    for row, n in enumerate(counts.tolist()):
        expected = rounding.mean(total[row].numpy(), int(table[0][n]), int(table[1][n]), gain)
        assert np.array_equal(ours[0][row].numpy(), expected)
    assert all(map(torch.equal, ours, gradients(lambda x: mean_over(x, *options), total)))
    smooth = lambda x: x / counts.clamp_min(1).reshape(limits.shape) * 2**gain  # noqa: E731
    expected = gradients(lambda x: smooth(x).clamp(-128, 127), total.double())[1]
    ends = (smooth(total) - 127).abs().minimum((smooth(total) + 128).abs()) < 1e-3
    near([ours[1][~ends]], [expected[~ends]])


def test_an_empty_batch_has_a_mean():
    multiplier, shift = map(torch.from_numpy, rounding.length_table(5))
    none = torch.zeros(0, dtype=torch.int64)
    for isa in (None, *ISAS):
        out, grad = gradients(lambda x, isa=isa: mean_over(x, none, 2, multiplier, shift, isa), torch.zeros(0, 3))
        assert out.shape == grad.shape == (0, 3)


@pytest.mark.parametrize("isa", ISAS)
def test_any_layout_of_memory(isa):
    x = integers(8, (6, 5, 20))
    across = x.transpose(0, 1).contiguous().transpose(0, 1)
    for function in (norm, integer_norm):
        assert all(map(torch.equal, *(gradients(lambda x, f=function: f(x, isa), y) for y in (x, across))))
    ones = torch.ones(()).expand(6, 5, 20)  # a gradient without strides
    assert gate(across, ones, 1.0, -math.inf, math.inf, isa)[0].eq(1).all()


def test_through_is_one_value_and_the_other_gradient():
    x = torch.tensor([0.3, 2.0], requires_grad=True)
    out = through(torch.tensor([7.0, -1.0]), x * x)
    assert out.tolist() == [7, -1]
    out.sum().backward()
    assert x.grad is not None and x.grad.tolist() == pytest.approx([0.6, 4])
