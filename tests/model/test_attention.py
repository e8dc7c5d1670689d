"""The plain Inhibitor attention: its values against independent forms, its gradients against finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from integer_tickets.model.attention import IntegerRule, inhibitor


def loops(q, k, v, gamma, delta, valid, signed):
    """The definition, one number at a time."""
    batch, heads, n, d = q.shape
    h = np.zeros(q.shape)
    for b, a, i, j in np.ndindex(batch, heads, n, n):
        if valid[b, j]:
            z = max(0.0, gamma[a] * sum(abs(q[b, a, i, c] - k[b, a, j, c]) for c in range(d)) - delta[a])
            for c in range(d):
                x = v[b, a, j, c]
                h[b, a, i, c] += x - min(max(x, -z), z) if signed else max(0.0, x - z)
    return h


def integer_form(q, k, v, valid, signed, multiplier, offset, shift):
    """H of the integer rule in int64, from u8 and s8 operands."""
    q, k, v = (x.astype(np.int64) for x in (q, k, v))
    distance = np.abs(q[:, :, :, None] - k[:, :, None]).sum(-1)
    m, o, s = (x.astype(np.int64)[:, None, None] for x in (multiplier, offset, shift))
    z = np.clip((distance * m - o) >> s, 0, 255)[..., None]
    x = v[:, :, None]
    passed = np.maximum(x - z, 0) - np.maximum(-x - z, 0) if signed else np.maximum(x - z, 0)
    return (passed * valid[:, None, None, :, None]).sum(3)


def some(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("signed", [True, False])
def test_is_the_definition(signed):
    q, k, v = (some(seed, 2, 2, 5, 3) for seed in (1, 2, 3))
    gamma, delta = torch.tensor([0.3, 0.8], dtype=torch.float64), torch.tensor([0.1, -0.2], dtype=torch.float64)
    valid = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0]], dtype=torch.bool)
    h = inhibitor(q, k, v, gamma, delta, valid, signed)
    expected = loops(*(t.numpy() for t in (q, k, v, gamma, delta, valid)), signed)
    np.testing.assert_allclose(h.numpy(), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(
        inhibitor(q, k, v, gamma, delta, None, signed)[:1], h[:1], rtol=0, atol=0
    )  # no mask = all valid


@pytest.mark.parametrize("signed", [True, False])
def test_is_the_closed_form_with_cdist(signed):
    q, k, v = (some(seed, 3, 2, 9, 4) for seed in (1, 2, 3))
    gamma, delta = torch.full((2,), 0.2, dtype=torch.float64), torch.full((2,), 0.1, dtype=torch.float64)
    z = (gamma[:, None, None] * torch.cdist(q, k, p=1) - delta[:, None, None]).relu()
    columns = v.transpose(-1, -2)
    if signed:
        total = v.sum(-2, keepdim=True)
        expected = (total + torch.cdist(z, columns.relu(), 1) - torch.cdist(z, (-columns).relu(), 1)) / 2
    else:
        expected = (v.sum(-2, keepdim=True) - z.sum(-1, keepdim=True) + torch.cdist(z, columns, 1)) / 2
    torch.testing.assert_close(inhibitor(q, k, v, gamma, delta, None, signed), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("signed", [True, False])
def test_gradients_are_finite_differences(signed):
    q, k, v = (some(seed, 2, 2, 4, 3).requires_grad_() for seed in (4, 5, 6))
    gamma = torch.tensor([0.11, 0.07], dtype=torch.float64, requires_grad=True)
    delta = torch.tensor([0.05, -0.02], dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0]], dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda *t: inhibitor(*t, valid, signed), (q, k, v, gamma, delta), eps=1e-7)


def test_ties_pass_no_gradient():
    q = torch.tensor([[[[1.0, 2.0]]]], requires_grad=True)
    k = torch.tensor([[[[1.0, 5.0]]]], requires_grad=True)
    v = torch.tensor([[[[3.0, 4.0]]]], requires_grad=True)
    one, zero = torch.ones(1), torch.zeros(1)
    h = inhibitor(q, k, v, one, zero)  # Z = 3: v = 3 is a tie, and so is q = k = 1
    h.sum().backward()
    assert h.tolist() == [[[[0.0, 1.0]]]]
    assert v.grad is not None and v.grad.tolist() == [[[[0.0, 1.0]]]]
    assert q.grad is not None and q.grad.tolist() == [[[[0.0, 1.0]]]]
    assert k.grad is not None and k.grad.tolist() == [[[[0.0, -1.0]]]]


def test_padding_is_never_seen():
    q, k, v = (some(seed, 1, 2, 6, 3) for seed in (1, 2, 3))
    valid = torch.tensor([[1, 0, 1, 1, 0, 0]], dtype=torch.bool)
    k[:, :, ~valid[0]] = torch.nan
    v[:, :, ~valid[0]] = torch.nan
    k.requires_grad_()
    v.requires_grad_()
    gamma, delta = torch.full((2,), 0.2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    h = inhibitor(q, k, v, gamma, delta, valid)
    h.sum().backward()
    assert h.isfinite().all()
    for t in (k, v):
        assert t.grad is not None and (t.grad[:, :, ~valid[0]] == 0).all() and t.grad.isfinite().all()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    d=st.integers(1, 40),
    signed=st.booleans(),
    shift=st.integers(0, 20),
    spread=st.sampled_from([1, 3, 255]),
)
def test_integer_rule_is_exact(seed, n, d, signed, shift, spread):
    rng = np.random.default_rng(seed)
    q, k = rng.integers(0, spread + 1, (2, 2, 2, n, d))
    v = rng.integers(-127, 128, (2, 2, n, d))
    valid = rng.random((2, n)) < 0.7
    multiplier = rng.integers(0, 2**30 // (255 * d), 2)
    offset = rng.integers(-(2**30), 2**31, 2)
    values = (multiplier, offset, np.full(2, shift))
    rule = IntegerRule(*(torch.from_numpy(x.astype(np.int32)) for x in values))
    one = torch.ones(2)
    h = inhibitor(
        *(torch.from_numpy(x.astype(np.float32)) for x in (q, k, v)), one, one, torch.from_numpy(valid), signed, rule
    )
    assert (h.numpy() == integer_form(q, k, v, valid, signed, *values)).all()


def test_integer_rule_passes_gradients_straight_through():
    q = torch.tensor([[[[10.0], [0.0]]]], requires_grad=True)
    k = torch.tensor([[[[4.0], [0.0]]]], requires_grad=True)
    v = torch.tensor([[[[100.0], [-50.0]]]], requires_grad=True)
    gamma, delta = torch.tensor([0.5], requires_grad=True), torch.tensor([0.7], requires_grad=True)
    rule = IntegerRule(*(torch.tensor([x], dtype=torch.int32) for x in (2, 3, 2)))
    h = inhibitor(q, k, v, gamma, delta, None, True, rule)
    # D = [[6, 10], [4, 0]], so Z = (2 D - 3) >> 2 = [[2, 4], [1, 0]]: -3 >> 2 = -1 is clamped to 0 and passes nothing
    assert h.tolist() == [[[[98.0 - 46.0], [99.0 - 50.0]]]]
    h.sum().backward()
    # dZ = -sign(v): [[-1, 1], [-1, 0]]
    assert gamma.grad is not None and gamma.grad.tolist() == [-6.0 + 10.0 - 4.0]
    assert delta.grad is not None and delta.grad.tolist() == [1.0]
    assert q.grad is not None and q.grad.tolist() == [[[[0.5 * (-1 + 1)], [0.5 * 1]]]]
    assert k.grad is not None and k.grad.tolist() == [[[[0.5 * (1 - 1)], [0.5 * -1]]]]
    assert v.grad is not None and v.grad.tolist() == [[[[2.0], [2.0]]]]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("q", torch.ones(2, 3), "q has shape (2, 3), expected (batch, heads, n, d)"),
        ("q", torch.ones(1, 2, 0, 3), "q has shape (1, 2, 0, 3), expected (batch, heads, n, d)"),
        ("q", torch.ones(1, 2, 4, 3, dtype=torch.bfloat16), "q is torch.bfloat16, expected torch.float32"),
        ("k", torch.ones(1, 2, 5, 3), "k is torch.float32 of shape (1, 2, 5, 3), expected torch.float32 of"),
        ("v", torch.ones(1, 2, 4, 3, dtype=torch.float64), "v is torch.float64 of shape (1, 2, 4, 3), expected"),
        ("gamma", torch.ones(1), "gamma is torch.float32 of shape (1,), expected torch.float32 of shape (2,)"),
        ("delta", torch.ones(2, 1), "delta is torch.float32 of shape (2, 1)"),
        ("valid", torch.ones(1, 4), "valid is torch.float32 of shape (1, 4), expected torch.bool of shape (1, 4)"),
        ("rule", IntegerRule(torch.ones(2), torch.ones(2), torch.ones(2)), "rule.multiplier is torch.float32"),
    ],
)
def test_what_does_not_fit_is_named(name, value, message):
    arguments = {x: torch.ones(1, 2, 4, 3) for x in "qkv"} | {x: torch.ones(2) for x in ("gamma", "delta")}
    with pytest.raises(ValueError) as error:
        inhibitor(**{**arguments, name: value})
    assert message in str(error.value)
