"""Weights as a stream of b-bit numbers and masks as a bitmap or as gaps, each a one-dimensional array of bytes."""

from collections.abc import Callable

import numpy as np

from integer_tickets.integer.rounding import Array

ESCAPE = 255


def pack_values(values: Array, bits: int) -> Array:
    """Signed integers of `bits` bits (1 to 8) to bytes: two's complement, from the lowest bit of each byte upwards."""
    unsigned = values.astype(np.int8).view(np.uint8).reshape(-1, 1)
    single = np.unpackbits(unsigned, axis=1, count=bits, bitorder="little")
    return np.packbits(single.reshape(-1), bitorder="little")


def unpack_values(data: Array, bits: int, count: int) -> Array:
    """The `count` values (int8) that `pack_values` packed. ValueError if the number of bytes does not fit."""
    if not 1 <= bits <= 8:
        raise ValueError(f"{bits} bits, expected 1 to 8")
    if data.dtype != np.uint8 or data.shape != ((count * bits + 7) // 8,):
        raise ValueError(f"{count} values of {bits} bits do not fill {data.size} bytes")
    single = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits)
    unsigned = np.packbits(single, axis=1, bitorder="little").reshape(-1).astype(np.int16)
    return (unsigned - ((unsigned >> (bits - 1)) << bits)).astype(np.int8)


def pack_mask(mask: Array, size: Callable[[Array], int] = len) -> tuple[str, Array]:
    """A flat bool mask as ("bitmap", bytes) or ("gaps", bytes), whichever is smaller by `size`.

    A gap is the number of pruned positions before the next kept one, 0 to 254; the byte 255 means 255 pruned
    positions and no kept one. Nothing is stored for what follows the last kept position.
    """
    bitmap = np.packbits(mask, bitorder="little")
    kept = np.flatnonzero(mask)
    gaps = np.diff(kept, prepend=-1) - 1
    escapes = gaps // ESCAPE
    encoded = np.full(gaps.size + int(escapes.sum()), ESCAPE, dtype=np.uint8)
    encoded[np.cumsum(escapes + 1) - 1] = gaps % ESCAPE
    return ("gaps", encoded) if size(encoded) < size(bitmap) else ("bitmap", bitmap)


def unpack_mask(encoding: str, data: Array, count: int) -> Array:
    """The flat bool mask of `count` positions that `pack_mask` packed. ValueError if the bytes do not fit."""
    if data.dtype != np.uint8 or data.ndim != 1:
        raise ValueError("a mask must be a row of bytes")
    if encoding == "bitmap":
        if data.size != (count + 7) // 8:
            raise ValueError(f"a bitmap of {count} positions does not fill {data.size} bytes")
        return np.unpackbits(data, count=count, bitorder="little").astype(np.bool_)
    escape = data == ESCAPE
    after = np.cumsum(data.astype(np.int64) + ~escape)  # positions passed after each byte
    if data.size and after[-1] > count:
        raise ValueError(f"the gaps of a mask run beyond its {count} positions")
    mask = np.zeros(count, dtype=np.bool_)
    mask[after[~escape] - 1] = True
    return mask
