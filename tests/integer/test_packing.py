"""Packed weights and masks come back as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from integer_tickets.integer.network import WEIGHT_BITS, weight_range
from integer_tickets.integer.packing import pack_mask, pack_values, unpack_mask, unpack_values


@given(st.data(), st.sampled_from(WEIGHT_BITS))
def test_values_round_trip(data, bits):
    low, high = weight_range(bits)
    values = np.array(data.draw(st.lists(st.integers(low, high), max_size=70)), dtype=np.int8)
    packed = pack_values(values, bits)
    assert packed.dtype == np.uint8 and packed.size == (values.size * bits + 7) // 8
    back = unpack_values(packed, bits, values.size)
    assert back.dtype == np.int8 and np.array_equal(back, values)


def test_values_are_laid_out_as_documented():
    assert pack_values(np.array([1, -1, 0, -4], dtype=np.int8), 3).tolist() == [0b00111001, 0b1000]
    assert pack_values(np.array([-128, 127], dtype=np.int8), 8).tolist() == [128, 127]


@given(st.one_of(arrays(np.bool_, st.integers(0, 300)), st.just(np.zeros(9000, dtype=np.bool_))), st.integers(0, 3000))
def test_masks_round_trip(mask, gap):
    mask = np.concatenate([mask, np.zeros(gap, dtype=np.bool_), mask])
    encoding, packed = pack_mask(mask)
    assert packed.dtype == np.uint8 and packed.size <= (mask.size + 7) // 8
    assert np.array_equal(unpack_mask(encoding, packed, mask.size), mask)


@pytest.mark.parametrize("gap", [0, 1, 253, 254, 255, 256, 509, 510, 511, 765])
def test_gaps_of_every_size(gap):
    mask = np.zeros(8000, dtype=np.bool_)
    mask[[gap, 2 * gap + 1]] = True
    encoding, packed = pack_mask(mask)
    assert encoding == "gaps" and packed.tolist() == ([255] * (gap // 255) + [gap % 255]) * 2
    assert np.array_equal(unpack_mask(encoding, packed, mask.size), mask)


def test_the_shorter_encoding_is_used():
    dense = np.ones(80, dtype=np.bool_)
    assert pack_mask(dense)[0] == "bitmap"
    assert pack_mask(~dense) == ("gaps", pytest.approx([]))


def test_bytes_that_do_not_fit_are_refused():
    data = np.zeros(3, dtype=np.uint8)
    with pytest.raises(ValueError, match="fill"):
        unpack_values(data, 4, 7)
    with pytest.raises(ValueError, match="fill"):
        unpack_mask("bitmap", data, 9)
    with pytest.raises(ValueError, match="beyond"):
        unpack_mask("gaps", data, 2)
    with pytest.raises(ValueError, match="bytes"):
        unpack_mask("gaps", data.astype(np.int16), 2)
