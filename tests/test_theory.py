"""Properties of docs/theory.md that no other test checks, under its numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from integer_tickets.integer.bounds import linear_bound
from integer_tickets.integer.network import Linear
from integer_tickets.model.attention import inhibitor
from integer_tickets.tickets.ladder import scales_of
from integer_tickets.tickets.masks import dense_masks, prune
from integer_tickets.training.state import State

numbers = st.floats(-50, 50, allow_nan=False)


def draw(seed, n=5, d=4, scale=3.0):
    """q, k, v (1, 1, n, d) float64, gamma, delta."""
    random = np.random.default_rng(seed)
    q, k, v = (torch.from_numpy(random.normal(0, scale, (1, 1, n, d))) for _ in range(3))
    gamma, delta = torch.from_numpy(random.uniform(0.01, 1, (2, 1)))
    return q, k, v, gamma, delta


def mean(q, k, v, gamma, delta, signed=True):
    return inhibitor(q, k, v, gamma, delta, signed=signed)[0, 0] / q.shape[2]


# 1


@given(arrays(np.float64, 20, elements=numbers), st.floats(0, 40))
def test_soft_threshold(v, z):
    clamped = v - np.clip(v, -z, z)
    parts = np.maximum(np.maximum(v, 0) - z, 0) - np.maximum(np.maximum(-v, 0) - z, 0)
    assert clamped == pytest.approx(parts, abs=1e-12)
    assert clamped == pytest.approx(np.sign(v) * np.maximum(np.abs(v) - z, 0), abs=1e-12)

    def cost(x):
        return (x - v) ** 2 / 2 + z * np.abs(x)

    others = [v, np.zeros_like(v), clamped + 0.1, clamped - 0.1, v - z, v + z]
    assert all((cost(clamped) <= cost(x) + 1e-9).all() for x in others)


# 2


@given(st.integers(0, 2**32), st.floats(0.1, 10), st.booleans())
def test_shift_scale_and_sign(seed, scale, signed):
    q, k, v, gamma, delta = draw(seed)
    random = np.random.default_rng(seed)
    shift = torch.from_numpy(random.normal(0, 5, 4))
    sign = torch.from_numpy(random.choice([-1.0, 1.0], 4))
    order = torch.from_numpy(random.permutation(4))
    expected = mean(q, k, v, gamma, delta, signed)
    for one, two, g in (
        (q + shift, k + shift, gamma),
        (q * scale, k * scale, gamma / scale),
        (q * sign, k * sign, gamma),
        (q[..., order], k[..., order], gamma),
    ):
        assert mean(one, two, v, g, delta, signed).numpy() == pytest.approx(expected.numpy(), abs=1e-9)


@given(st.integers(0, 2**32), st.floats(0.1, 10))
def test_importance_does_not_see_the_scale(seed, scale):
    """W_q and W_k up and gamma down is the same network, and must be pruned alike."""
    random = np.random.default_rng(seed)
    weights = {name: torch.from_numpy(random.normal(size=(5, 10))) for name in ("query", "key", "down")}
    scaled = {name: weight if name == "down" else weight * scale for name, weight in weights.items()}

    def mask(own):
        scales = scales_of(State(0, own, {}, {}), own, list(own), "global")
        return prune(own, dense_masks(own, list(own)), scales, 0.2, "global")

    assert all(torch.equal(kept, mask(scaled)[name]) for name, kept in mask(weights).items())


# 3


@given(st.integers(0, 2**32), st.sampled_from([128, 255]))
def test_no_partial_sum_leaves_the_bound(seed, largest):
    random = np.random.default_rng(seed)
    weight = random.integers(-128, 128, (3, 30)).astype(np.int8)
    linear = Linear(weight, None, random.integers(-999, 999, 3).astype(np.int32), None, 8)
    inputs = random.choice([-largest, largest], 30) if seed % 2 else np.sign(weight[0].astype(int)) * largest
    order = random.permutation(31)
    terms = np.concatenate([weight.astype(np.int64) * inputs, linear.bias[:, None]], 1)[:, order]
    assert np.abs(np.cumsum(terms, 1)).max() <= linear_bound(linear, largest)
    single = (weight.astype(np.float32) @ inputs.astype(np.float32)).astype(np.int64)
    assert (single == weight.astype(np.int64) @ inputs).all()  # 255 * 128 * 30 is below 2^24


# 4


@given(st.integers(0, 2**32), st.integers(1, 5), st.booleans())
def test_padding_changes_nothing(seed, count, signed):
    q, k, v, gamma, delta = draw(seed)
    valid = torch.arange(5)[None] < count
    padded = inhibitor(q, k, v, gamma, delta, valid, signed)[:, :, :count]
    alone = inhibitor(q[:, :, :count], k[:, :, :count], v[:, :, :count], gamma, delta, signed=signed)
    assert padded.numpy() == pytest.approx(alone.numpy(), abs=1e-9)


# 5


@given(st.integers(0, 2**32), st.floats(1e-3, 30), st.booleans())
def test_lipschitz(seed, size, signed):
    q, k, v, gamma, delta = draw(seed)
    moved = [x + size * y for x, y in zip((q, k, v), draw(seed + 1)[:3], strict=True)]
    before, after = mean(q, k, v, gamma, delta, signed), mean(*moved, gamma, delta, signed)
    of_q, of_k, of_v = ((one - two).abs()[0, 0] for one, two in zip((q, k, v), moved, strict=True))
    bound = of_v.mean(0) + gamma * (of_q.sum(1, keepdim=True) + of_k.sum(1).mean())
    assert ((after - before).abs() <= bound + 1e-9).all()


def test_lipschitz_is_reached():
    """By one token, open to all of a change: neither constant can be lower."""
    q, k = torch.zeros(1, 1, 1, 4, dtype=torch.float64), torch.ones(1, 1, 1, 4, dtype=torch.float64)
    gamma, delta = torch.full((1,), 0.5, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    v = torch.full((1, 1, 1, 4), 9.0, dtype=torch.float64)
    base = mean(q, k, v, gamma, delta)
    for moved in ((q - 1, k, v), (q, k + 1, v)):
        assert mean(*moved, gamma, delta) == pytest.approx((base - 0.5 * 4).numpy())
    assert mean(q, k, v + 1, gamma, delta) == pytest.approx((base + 1).numpy())
