"""Coded tensors come back as they were, in nearly as few bits as there can be; what is no code is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from integer_tickets.integer.huffman import (
    CHUNK,
    LONGEST,
    TYPES,
    USED,
    decode,
    encode,
    original,
    shortened,
    stored_bytes,
)

BYTES = arrays(np.uint8, st.integers(1, 300), elements=st.integers(0, 255) | st.sampled_from([0, 1, 255]))


def entropy(data):
    shares = np.bincount(data)[np.unique(data)] / data.size
    return float(-(shares * np.log2(shares)).sum())


@given(BYTES)
def test_bytes_come_back(data):
    code = encode(data)
    assert np.array_equal(decode(code, data.size), data) and np.array_equal(encode(data), code)
    words = code.size - USED - (np.unique(data).size + 1) // 2
    assert data.size * entropy(data) / 8 <= words <= data.size * (entropy(data) + 1) / 8 + 1  # Shannon (1948)


@pytest.mark.parametrize("density", [0.05, 0.1, 0.3])
def test_masks_take_hardly_more_than_their_entropy(density):
    mask = np.random.default_rng(0).random(400_000) < density
    least = -(density * np.log2(density) + (1 - density) * np.log2(1 - density))
    assert 8 * encode(np.packbits(mask)).size < 1.05 * least * mask.size


def test_no_word_is_longer_than_its_length_can_say():
    counts = (1.618 ** np.arange(29)).astype(int)  # would need words of 28 bits
    data = np.repeat(np.arange(29, dtype=np.uint8), counts)
    code = encode(data)
    nibbles = np.unpackbits(code[USED : USED + 15], bitorder="little").reshape(-1, 4) @ (1 << np.arange(4))
    assert nibbles.max() == LONGEST and data.size > 3 * CHUNK / 8
    assert np.array_equal(decode(code, data.size), data)


def test_a_code_is_laid_out_as_documented():
    """7 three times, 9 once, 200 once: words 0, 10, 11, the highest bit of a word in the lowest bit that is left."""
    code = encode(np.array([7, 200, 7, 9, 7], dtype=np.uint8))
    occurs = np.zeros(USED, dtype=np.uint8)
    occurs[[0, 1, 25]] = 0x80, 0x02, 0x01
    assert code.tolist() == [*occurs, 0x21, 0x02, 0b0010110]
    tensors = shortened({"a": np.array([5] * 300, dtype=np.int16), "b": np.arange(9, dtype=np.int32)})
    assert list(tensors) == ["a.huffman", "b"] and tensors["a.huffman"][:5].tolist() == [1, 600 & 255, 600 >> 8, 0, 0]


@given(st.sampled_from(TYPES), st.integers(0, 200), st.integers(1, 1 << 30), st.integers(0, 99))
def test_tensors_come_back(dtype, size, largest, seed):
    values = np.random.default_rng(seed).integers(-largest, largest, size).astype(dtype)
    tensors = {"x": values, "layers.0.y": np.zeros(size, dtype=dtype)}
    stored = shortened(tensors)
    assert [stored_bytes(tensor) for tensor in tensors.values()] == [tensor.nbytes for tensor in stored.values()]
    assert {name.removesuffix(".huffman"): stored[name].nbytes <= tensors[name.removesuffix(".huffman")].nbytes
            for name in stored} == dict.fromkeys(tensors, True)  # fmt: skip
    back = original(stored)
    assert back.keys() == tensors.keys()
    assert all(back[name].dtype == dtype and np.array_equal(back[name], tensors[name]) for name in tensors)


@given(arrays(np.uint8, st.integers(0, 80)), st.integers(0, 700))
def test_whatever_else_is_refused_or_is_so_many_bytes(data, count):
    try:
        assert decode(data, count).size == count
    except ValueError as error:
        assert "code" in str(error)


def test_broken_codes_are_refused():
    data = np.frombuffer(b"as if there were no end to it", dtype=np.uint8)
    code = encode(data)
    for broken, count in ((code[:-1], data.size), (code, data.size - 9), (code, data.size + 9), (code[:20], 5),
                          (np.append(code, code[-1]), data.size), (code.astype(np.int32), data.size)):  # fmt: skip
        with pytest.raises(ValueError, match="code"):
            decode(broken, count)
    twice = code.copy()
    twice[USED:] = 0x11  # words of one bit each
    with pytest.raises(ValueError, match="those of no code"):
        decode(twice, data.size)
    with pytest.raises(ValueError, match="does not begin"):
        original({"a.huffman": np.array([9, 1, 0, 0, 0, 1], dtype=np.uint8)})
