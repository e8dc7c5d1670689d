"""The rounding rule and the other primitives against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.errors import UserError
from integer_tickets.integer.rounding import (
    Rule,
    exp_table,
    half,
    length_table,
    mean,
    norm,
    requantize,
    rule_for,
)

INT32 = st.integers(-(2**31) + 1, 2**31 - 1)
OUTPUTS = [(-128, 127, 128, 0), (0, 255, 128, 128), (0, 255, 255, 0), (-32768, 32767, 32767, 0)]


@st.composite
def factors(draw, least=1e-7, most=4.0, ratio=64.0):
    """One factor, or several within `ratio` of each other."""
    first = math.exp(draw(st.floats(math.log(least), math.log(most / ratio))))
    rest = draw(st.lists(st.floats(1.0, ratio), max_size=4))
    return np.array([first, *(first * r for r in rest)])


def nearest(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


@given(factors(), st.sampled_from(OUTPUTS), st.lists(INT32, min_size=1, max_size=20))
def test_a_rule_multiplies_by_its_factor(factor, output, accs):
    low, high, magnitude, zero = output
    rule = rule_for(factor, magnitude, zero)
    assert 0 <= rule.pre_shift <= 31 and 1 <= rule.shift <= 30
    assert rule.multiplier.dtype == np.int32 and rule.multiplier.min() >= 0 and rule.multiplier.max() < 2**15
    # A bias that no sum can push beyond int32 carries the half of the first shift.
    accs = [min(acc, 2**31 - 1 - half(rule)) for acc in accs]
    out = requantize(np.array(accs)[:, None] + half(rule), rule, low, high)
    # 8-bit outputs keep the error of the final rounding alone; 16-bit ones also those of 16-bit y and 15-bit m.
    worst = 1 if magnitude <= 255 else 1 + 2 * factor.max() / factor.min()
    for row, acc in zip(out.tolist(), accs, strict=True):
        for value, own in zip(row, factor, strict=True):
            exact = min(max(nearest(acc * Fraction(float(own))) + zero, low), high)
            assert abs(value - exact) <= worst


@given(factors(), st.sampled_from(OUTPUTS), st.lists(INT32, min_size=1, max_size=20))
def test_saturating_to_16_bits_changes_no_result(factor, output, accs):
    low, high, magnitude, zero = output
    rule = rule_for(factor, magnitude, zero)
    out = requantize(np.array(accs)[:, None], rule, low, high)
    for row, acc in zip(out.tolist(), accs, strict=True):
        for value, m in zip(row, rule.multiplier.tolist(), strict=True):
            wide = (((acc >> rule.pre_shift) * m + (1 << (rule.shift - 1))) >> rule.shift) + zero
            assert value == min(max(wide, low), high)


RULES = st.builds(
    lambda a, m, s, z: Rule(a, np.array([m], dtype=np.int32), s, z),
    st.integers(0, 31),
    st.integers(0, 2**15 - 1),
    st.integers(1, 30),
    st.sampled_from([0, 128]),
)


@given(RULES, st.lists(INT32, min_size=2, max_size=30))
def test_any_rule_is_monotone_saturates_and_stays_in_int32(rule, accs):
    accs = np.array(sorted(accs))
    out = requantize(accs, rule, 0, 255)
    assert (np.diff(out) >= 0).all() and out.min() >= 0 and out.max() <= 255
    y = np.clip(accs >> rule.pre_shift, -32768, 32767)
    inner = y * rule.multiplier + (1 << (rule.shift - 1))
    assert np.abs(inner).max() < 2**31


@pytest.mark.parametrize(
    "factor", [0.0, -1.0, math.nan, math.inf, [], [[1.0]], [1.0, 0.0], 1e-300, 40000.0, [1e-4, 1e4]]
)
def test_a_factor_without_a_rule_is_refused(factor):
    with pytest.raises(UserError, match="scale factor"):
        rule_for(factor, 128)


def test_rule_by_hand():
    rule = rule_for(1.0, 32767)
    assert (rule.pre_shift, rule.shift, rule.multiplier.tolist()) == (0, 14, [16384])
    rule = rule_for(1 / 1024, 32767)
    assert (rule.pre_shift, rule.shift, rule.multiplier.tolist(), half(rule)) == (10, 14, [16384], 512)
    # 2^15 after rounding: one bit less.
    rule = rule_for(1 - 2.0**-20, 128)
    assert (rule.shift, rule.multiplier.tolist()) == (14, [16384])
    rule = Rule(0, np.array([1], dtype=np.int32), 1)
    assert requantize(np.array([-3, -2, -1, 0, 1, 2, 3]), rule, -128, 127).tolist() == [-1, -1, 0, 0, 1, 1, 2]


def test_length_table_divides():
    multiplier, shift = length_table(255)
    assert multiplier.dtype == shift.dtype == np.int32 and len(multiplier) == len(shift) == 256
    assert (multiplier[0], shift[0]) == (0, 14)
    for n in range(1, 256):
        t = 14 + math.ceil(math.log2(n))
        assert (multiplier[n], shift[n]) == (math.floor(Fraction(2**t, n) + Fraction(1, 2)), t)
        assert 2**14 <= multiplier[n] < 2**15
        total = np.array([-128 * n, 127 * n, 128 * n, 1, 0, -1, n // 2])
        for gain in (0, 3, 8):
            out = mean(total, int(multiplier[n]), int(shift[n]), gain)
            exact = [min(max(nearest(Fraction(x * 2**gain, n)), -128), 127) for x in total.tolist()]
            assert np.abs(out - exact).max() <= 1
        assert np.abs(total * int(multiplier[n])).max() + 2 ** (int(shift[n]) - 1) < 2**31
    assert mean(np.zeros(3, dtype=np.int64), 0, 14, 8).tolist() == [0, 0, 0]


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=70), st.integers(0, 15))
def test_norm_is_within_one_of_exact_arithmetic(row, shift):
    x = np.array(row) >> shift
    y = norm(x)
    total = int(np.abs(x).sum())
    if total == 0:
        assert not y.any()
        return
    for value, own in zip(y.tolist(), x.tolist(), strict=True):
        exact = min(max(nearest(Fraction(16 * len(row) * own, total)), -128), 127)
        assert abs(value - exact) <= 1


@pytest.mark.parametrize("d", [1, 2, 3, 31, 32, 33, 64, 511, 512, 1023])
def test_norm_keeps_its_promises_at_every_width(d):
    rng = np.random.default_rng(d)
    rows = [np.full(d, value) for value in (0, 1, -1, 32767, -32768)]
    rows += [np.eye(1, d, d // 2, dtype=np.int64)[0] * value for value in (1, -1, 7, 32767, -32768)]
    rows += [rng.integers(-(2**k), 2**k, d) for k in range(1, 16)]
    x = np.stack(rows)
    y = norm(x)
    assert y.min() >= -128 and y.max() <= 127 and not y[0].any()
    assert (np.sign(y) * np.sign(x) >= 0).all()
    for row in x[x.any(axis=1)]:
        total = int(np.abs(row).sum())
        t = 14 + total.bit_length() - d.bit_length()
        reciprocal = (d << t) // total
        assert 5 <= t <= 29 and 2**13 <= reciprocal < 2**15
        assert int(np.abs(row).max()) * reciprocal + (1 << (t - 5)) < 2**31


def test_exp_table():
    table = exp_table()
    assert table.dtype == np.uint8 and table[0] == 255 and table[32] == round(255 / math.e) and table[255] == 0
    assert (np.diff(table.astype(int)) <= 0).all()
