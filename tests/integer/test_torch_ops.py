"""The torch primitives give what the NumPy ones give, in each dtype that holds the integers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from integer_tickets.integer import torch_ops as ops
from integer_tickets.integer.rounding import Rule, exp_table, length_table, mean, norm, requantize

DTYPES = [torch.int32, torch.float32, torch.float64]
SEEDS = st.integers(0, 2**32 - 1)


def integers(rng, limit, shape):
    """Values of every magnitude up to the limit, the ends among them."""
    values = rng.integers(-limit, limit, shape, endpoint=True) >> rng.integers(0, limit.bit_length(), shape)
    values.flat[0], values.flat[-1] = limit, -limit
    return values


def same(result, expected, dtype):
    assert result.dtype == dtype
    assert np.array_equal(result.numpy().astype(np.int64), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=50)
@given(SEEDS)
def test_requantize(dtype, seed):
    rng = np.random.default_rng(seed)
    limit = 2**24 - 1 if dtype == torch.float32 else 2**31 - 1
    acc = integers(rng, limit, (3, 5, 4))
    multiplier = rng.integers(0, 2**15, 4 if rng.random() < 0.5 else 1).astype(np.int32)
    rule = Rule(int(rng.integers(0, 32)), multiplier, int(rng.integers(1, 31)), int(rng.choice([0, 128])))
    low, high = [(0, 255), (-128, 127), (-32768, 32767)][rng.integers(0, 3)]
    x = torch.tensor(acc, dtype=dtype)
    before = x.clone()
    m = torch.tensor(rule.multiplier)
    result = ops.requantize(x, rule.pre_shift, m, rule.shift, rule.zero, low, high)
    same(result, requantize(acc, rule, low, high), dtype)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 2, 7, 32, 64, 512, 1023])
def test_norm(dtype, d):
    rng = np.random.default_rng(d)
    x = np.clip(integers(rng, 32768, (200, d)), -32768, 32767)
    x[0], x[1], x[2] = 0, 32767, -32768
    same(ops.norm(torch.tensor(x, dtype=dtype)), norm(x), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_over(dtype):
    rng = np.random.default_rng(0)
    multiplier, shift = length_table(255)
    counts = np.arange(256)
    x = rng.integers(-128 * 255, 128 * 255, (256, 3, 5), endpoint=True)
    x = np.clip(x, -128 * counts[:, None, None], 128 * counts[:, None, None])
    table = torch.tensor(multiplier), torch.tensor(shift)
    for gain in range(9):
        result = ops.mean_over(torch.tensor(x, dtype=dtype), torch.tensor(counts), gain, *table)
        expected = np.stack([mean(x[n], int(multiplier[n]), int(shift[n]), gain) for n in counts])
        same(result, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_z_of(dtype):
    rng = np.random.default_rng(1)
    e, heads = 16, 6
    multiplier = np.array([0, 1, 20000, 32767, 32767, 5], dtype=np.int32)
    room = 2**31 - 1 - 255 * e * multiplier.astype(np.int64)
    offset = np.array([room[0], -room[1], 12345, room[3], -room[4], 0]).astype(np.int32)
    shift = np.array([0, 30, 15, 17, 20, 1], dtype=np.int32)
    sad = rng.integers(0, 255 * e, (2, heads, 7, 7), endpoint=True)
    sad[0, :, 0, 0] = 255 * e
    parameters = [torch.tensor(p) for p in (multiplier, offset, shift)]
    wide = [p.astype(np.int64)[:, None, None] for p in (multiplier, offset, shift)]
    expected = np.clip((sad * wide[0] - wide[1]) >> wide[2], 0, 255)
    same(ops.z_of(torch.tensor(sad, dtype=dtype), *parameters), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("n", [1, 9, 255])
def test_inhibit(dtype, signed, n):
    rng = np.random.default_rng(n)
    v = rng.integers(-128, 127, (2, 2, n, 3), endpoint=True)
    z = rng.integers(0, 255, (2, 2, n, n), endpoint=True) >> rng.integers(0, 8, (2, 2, n, n))
    v[0, 0], v[0, 1], z[0, 0, 0], z[0, 0, -1] = -128, 127, 0, 255
    values, limits = v[:, :, None], z[..., None]
    left = values - np.clip(values, -limits, limits) if signed else np.maximum(0, values - limits)
    result = ops.inhibit(torch.tensor(v, dtype=dtype), torch.tensor(z, dtype=dtype), signed)
    same(result, left.sum(axis=3), dtype)
    if signed:  # as two saturating subtractions of unsigned bytes
        two = np.maximum(0, np.maximum(values, 0) - limits) - np.maximum(0, np.maximum(-values, 0) - limits)
        assert np.array_equal(left, two)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(dtype):
    rng = np.random.default_rng(2)
    heads, n, e = 4, 6, 8
    pre_shift = np.array([0, 3, 8, 31], dtype=np.int32)
    multiplier = np.array([32767, 20000, 1, 0], dtype=np.int32)
    shift = np.array([22, 16, 1, 30], dtype=np.int32)
    table = exp_table()
    scores = rng.integers(-128 * 128 * e, 128 * 128 * e, (5, heads, n, n), endpoint=True)
    valid = np.arange(n) < np.array([6, 1, 3, 0, 5])[:, None]
    parameters = [torch.tensor(p) for p in (pre_shift, multiplier, shift, table)]
    weights = ops.softmax_weights(torch.tensor(scores, dtype=dtype), torch.tensor(valid), *parameters)
    expected = np.zeros_like(scores)
    for b, count in enumerate(valid.sum(axis=1)):
        for h in range(heads if count else 0):
            own = scores[b, h, :, :count]
            rule = Rule(int(pre_shift[h]), multiplier[h : h + 1], int(shift[h]))
            expected[b, h, :, :count] = table[requantize(own.max(axis=-1, keepdims=True) - own, rule, 0, 255)]
    same(weights, expected, dtype)

    weighted = rng.integers(-128, 127, (5, heads, n, e)) * expected.sum(axis=-1, keepdims=True) // 3
    total = torch.tensor(expected, dtype=dtype).sum(dim=-1, keepdim=True, dtype=dtype)
    for gain in (0, 5, 8):
        result = ops.softmax_divide(torch.tensor(weighted, dtype=dtype), total, gain)
        divisor = np.maximum(1, expected.sum(axis=-1, keepdims=True))
        exact = np.clip((weighted * 2 ** (gain + 1) + divisor) // (2 * divisor), -128, 127)
        same(result, exact, dtype)


def test_distances_by_cdist_are_exact():
    """The largest width and the largest values: a sum of 1023 differences of up to 255, in any order."""
    rng = np.random.default_rng(3)
    for width in (1, 3, 16, 64, 1023):
        q, k = (rng.integers(0, 256, (2, 9, width)) for _ in range(2))
        q[0], k[0] = 255, 0
        sad = torch.cdist(torch.tensor(q, dtype=torch.float32), torch.tensor(k, dtype=torch.float32), p=1.0)
        assert np.array_equal(sad.numpy().astype(np.int64), np.abs(q[:, :, None] - k[:, None]).sum(axis=-1))
