"""Tensors in as few bits as a prefix code of their bytes needs (Huffman, 1952); equal tensors give equal codes."""

import heapq
from collections.abc import Mapping

import numpy as np

from integer_tickets.integer.rounding import Array

LONGEST = 15
"""Bits of a code word, at most: a length fits into four bits."""

USED = 32
"""Bytes of the bitmap that says which of the 256 bytes occur."""

CHUNK = 1 << 18
"""Bits that are looked at together."""

CODED = ".huffman"
"""What the name of a coded tensor ends in."""

TYPES = tuple(np.dtype(name) for name in ("uint8", "int16", "int32"))
"""What a coded tensor may be of."""

HEAD = 5
"""Bytes before the code of a tensor: its type, and how many bytes it has."""


def shortened(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Each tensor, a row of numbers of one of TYPES, as it is or, where that saves more than its longer name, coded."""
    found: dict[str, Array] = {}
    for name, tensor in tensors.items():
        if stored_bytes(tensor) == tensor.nbytes:
            found[name] = tensor
        else:
            data = _bytes(tensor)
            head = bytes([TYPES.index(tensor.dtype)]) + data.size.to_bytes(4, "little")
            found[name + CODED] = np.concatenate([np.frombuffer(head, dtype=np.uint8), encode(data)])
    return found


def stored_bytes(tensor: Array) -> int:
    """How many bytes `shortened` makes of a tensor, its name not counted."""
    if tensor.size == 0:
        return 0
    counts = np.bincount(_bytes(tensor), minlength=256)
    words = int(counts @ _lengths(counts))
    code = HEAD + USED + (int(np.count_nonzero(counts)) + 1) // 2 + (words + 7) // 8
    return code if code + len(CODED) < tensor.nbytes else tensor.nbytes


def original(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors that were `shortened`. ValueError where one that is named as coded is not."""
    found = {}
    for name, tensor in tensors.items():
        if name.endswith(CODED):
            if tensor.dtype != np.uint8 or tensor.size < HEAD or tensor[0] >= len(TYPES):
                raise ValueError(f"{name!r} does not begin as a code does")
            count = int.from_bytes(tensor[1:HEAD].tobytes(), "little")
            little = TYPES[tensor[0]].newbyteorder("<")
            tensor = decode(tensor[HEAD:], count).view(little).astype(TYPES[tensor[0]])
        found[name.removesuffix(CODED)] = tensor
    return found


def _bytes(tensor: Array) -> Array:
    """Those of its numbers, the lowest first."""
    return tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).view(np.uint8)


def encode(data: Array) -> Array:
    """Bytes (n,) uint8, at least one, as: which bytes occur, the lengths of their code words, then these.

    Lengths take four bits each. The words of a length follow each other in the order of their bytes, shorter ones
    before longer ones, the highest bit of a word first; what is left of the last byte is filled with zeros.
    """
    lengths = _lengths(np.bincount(data, minlength=256))
    occurs = lengths > 0
    nibbles = lengths[occurs]
    table = np.packbits((nibbles[:, None] >> np.arange(4)) & 1, bitorder="little")
    words = _words(lengths)[data]
    own = lengths[data]
    starts = np.cumsum(own) - own
    bits = np.zeros(int(own.sum()), dtype=np.uint8)
    for k in range(int(own.max())):
        longer = own > k
        bits[starts[longer] + k] = (words[longer] >> (own[longer] - 1 - k)) & 1
    return np.concatenate([np.packbits(occurs, bitorder="little"), table, np.packbits(bits, bitorder="little")])


def decode(data: Array, count: int) -> Array:
    """The `count` bytes that `encode` encoded. ValueError where the data hold no such bytes."""
    if data.dtype != np.uint8 or data.ndim != 1 or data.size < USED or not 1 <= count <= 8 * data.size:
        raise ValueError(f"{data.size} bytes cannot be a code of {count}")
    symbols = np.flatnonzero(np.unpackbits(data[:USED], bitorder="little"))
    end = USED + (symbols.size + 1) // 2
    if end > data.size:
        raise ValueError("a code ends within the lengths of its words")
    nibbles = np.unpackbits(data[USED:end], bitorder="little").reshape(-1, 4) @ (1 << np.arange(4))
    lengths = np.zeros(256, dtype=np.int64)
    lengths[symbols] = nibbles[: symbols.size]
    if (lengths[symbols] == 0).any() or (2.0 ** -lengths[symbols]).sum() > 1:
        raise ValueError("the lengths of a code are those of no code")
    meaning = np.zeros(1 << LONGEST, dtype=np.uint8)  # of every next LONGEST bits
    length = np.zeros(1 << LONGEST, dtype=np.uint8)  # 0: of no code word
    words = _words(lengths)
    for symbol in symbols:
        free = LONGEST - int(lengths[symbol])
        span = slice(int(words[symbol]) << free, int(words[symbol] + 1) << free)
        meaning[span], length[span] = symbol, lengths[symbol]
    bits = np.concatenate([np.unpackbits(data[end:], bitorder="little"), np.zeros(LONGEST, dtype=np.uint8)])
    size, place, left, found = bits.size - LONGEST, 0, count, []
    for start in range(0, size, CHUNK):
        stop = min(start + CHUNK, size)
        window = np.zeros(stop - start, dtype=np.int32)
        for k in range(start, start + LONGEST):
            window = 2 * window + bits[k : k + window.size]
        steps, places = length[window].tobytes(), []
        while place < stop and left:
            step = steps[place - start]
            if step == 0:
                raise ValueError("bits that are no word of their code")
            places.append(place - start)
            place += step
            left -= 1
        found.append(meaning[window[places]])
    if left or not 0 <= size - place < 8:
        raise ValueError("a code does not end with its last byte")
    return np.concatenate(found)


def _lengths(counts: Array) -> Array:
    """Bits of the code word of each of 256 bytes, 0 where it does not occur."""
    counts = counts.copy()
    while True:
        lengths = np.zeros(256, dtype=np.int64)
        heap = [(int(counts[symbol]), int(symbol), [int(symbol)]) for symbol in np.flatnonzero(counts)]
        if len(heap) == 1:
            lengths[heap[0][1]] = 1
        heapq.heapify(heap)
        while len(heap) > 1:
            (first, order, low), (second, _, high) = heapq.heappop(heap), heapq.heappop(heap)
            lengths[low + high] += 1
            heapq.heappush(heap, (first + second, order, low + high))
        if lengths.max() <= LONGEST:
            return lengths
        counts = np.where(counts > 0, counts // 2 + 1, 0)  # flatter, so that the longest words become shorter


def _words(lengths: Array) -> Array:
    """The code word of each byte as a number."""
    words, word = np.zeros(256, dtype=np.int64), 0
    previous = 0
    for symbol in np.lexsort((np.arange(256), lengths)):
        if lengths[symbol] == 0:
            continue
        word <<= int(lengths[symbol]) - previous
        words[symbol], previous = word, int(lengths[symbol])
        word += 1
    return words
