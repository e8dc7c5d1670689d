"""Softmax attention on integers: the fused and the plain form agree, and gradients are those of softmax."""

import pytest
import torch

from integer_tickets.integer import torch_ops
from integer_tickets.integer.rounding import exp_table
from integer_tickets.model.library import available
from integer_tickets.model.softmax import integer_softmax, softmax_factor, softmax_rule

TABLE = torch.from_numpy(exp_table()).int()
SHAPES = [(3, 2, 7, 4, 4), (1, 1, 1, 1, 3), (4, 4, 33, 16, 16), (2, 3, 20, 5, 32)]  # batch, heads, n, pairs, e
needs_kernel = pytest.mark.skipif(available() is not None, reason=str(available()))


def problem(shape, log_step, dtype=torch.float32, extreme=False):
    """q, k, v, factor and valid; the last sentence has no token where there are several."""
    batch, heads, n, pairs, e = shape
    rng = torch.Generator().manual_seed(sum(shape))

    def integers(width):
        if extreme:
            return (torch.randint(0, 2, (batch, heads, n, width), generator=rng) * 255 - 128).to(dtype)
        return torch.randint(-128, 128, (batch, heads, n, width), generator=rng).to(dtype)

    counts = torch.randint(1, n + 1, (batch,), generator=rng)
    if batch > 1:
        counts[-1] = 0
    factor = softmax_factor(torch.tensor(log_step), e)
    parts = integers(pairs), integers(pairs), integers(e), factor
    return *(part.requires_grad_() for part in parts), torch.arange(n) < counts[:, None]


def run(parts, gain, isa):
    q, k, v, factor, valid = parts
    out = integer_softmax(q, k, v, factor, valid, gain, TABLE, isa)
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out) * valid[:, None, :, None]
    return out, torch.autograd.grad((out * weight).sum(), (q, k, v, factor))


@needs_kernel
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("log_step", [-7.0, -4.0, -2.5, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_fused_and_plain_agree(shape, log_step, extreme):
    parts = problem(shape, log_step, extreme=extreme)
    for gain in (0, 3, 8):
        plain, plain_grads = run(parts, gain, None)
        for isa in ("avx2", "baseline"):
            if available(isa) is None:
                fused, grads = run(parts, gain, isa)
                assert torch.equal(fused, plain)
                for got, expected in zip(grads, plain_grads, strict=True):
                    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("gain", [0, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_softmax(shape, gain):
    """Against autograd, for a float weight that has the value of the integer one and grows as an exponential."""
    q, k, v, factor, valid = parts = problem(shape, -4.0, torch.float64)
    out, grads = run(parts, gain, None)
    scores = q @ k.transpose(-1, -2)
    x = scores * factor / 32
    rule = softmax_rule(factor)
    numbers = (torch.tensor([int(number)]) for number in (rule.pre_shift, rule.multiplier[0], rule.shift))
    exact = torch_ops.softmax_weights(scores.detach(), valid, *numbers, TABLE)
    weights = exact * torch.exp(x - x.detach())
    smooth = (weights @ v / weights.sum(-1, keepdim=True).clamp_min(1) * 2**gain).clamp(-128, 127)
    assert (out - smooth).abs().max() <= 0.5 + 1e-9
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out) * valid[:, None, :, None]
    for got, expected in zip(grads, torch.autograd.grad((smooth * weight).sum(), (q, k, v, factor)), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("isa", [None, pytest.param("avx2", marks=needs_kernel)])
def test_padding_does_not_count(isa):
    q, k, v, factor, valid = problem((4, 2, 9, 8, 8), -4.0)
    valid = torch.arange(9) < torch.tensor([5, 5, 2, 0])[:, None]
    full, short = (
        integer_softmax(*(t[:, :, :n] for t in (q, k, v)), factor, valid[:, :n], 2, TABLE, isa) for n in (9, 5)
    )
    assert torch.equal(full[:, :, :5], short)
    assert not full[3].any()
