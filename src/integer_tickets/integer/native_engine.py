"""The native engine: the C sources of `native`, compiled at first use; bit for bit what the reference computes."""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from threading import local
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from integer_tickets.integer.building import ISA_FLAGS, shared_library
from integer_tickets.integer.flat import PLAIN, FlatLayer, FlatLinear, FlatNetwork, FlatTokenizer, Form, flatten
from integer_tickets.integer.network import IntegerNetwork
from integer_tickets.integer.rounding import Array
from integer_tickets.integer.tokenizer import Input, Tokenizer, to_bytes

FOLDER = Path(__file__).parent / "native"
FLAGS = ("-std=c99", "-O3", "-Wall", "-Wextra", "-Werror")
AVX512 = tuple(f"-m{name}" for name in ("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"))
ISAS = {**ISA_FLAGS, "avx512": AVX512}
"""What the sources can be compiled for: `avx512` leaves out the tiles (AMX) that `native` uses where they are there."""
LANES = 64
"""Tokens that are computed side by side."""
TILES = 3
"""The form of the steps (ticket.h) that multiplies in tiles."""
FEWEST = 16
"""Sentences that are worth a thread: handing over takes as long as a few of them."""
BYTES = ("per_row", "pre_shift", "shift", "gain", "is_signed", "token_shift", "position_shift", "pool_gain")


def _structure(flat: type) -> type[ctypes.Structure]:
    """The C structure of a flat dataclass: arrays as pointers, numbers as int32 but for the small ones of `BYTES`."""

    def kind(name: str, annotation: Any) -> Any:
        if annotation is int:
            return ctypes.c_uint8 if name in BYTES else ctypes.c_int32
        return _STRUCTURES.get(annotation, ctypes.c_void_p)

    members = [(field.name, kind(field.name, field.type)) for field in fields(flat)]
    return type(flat.__name__, (ctypes.Structure,), {"_fields_": members})


_STRUCTURES: dict[type, type[ctypes.Structure]] = {}
for _flat in (FlatLinear, FlatLayer, FlatTokenizer, FlatNetwork):
    _STRUCTURES[_flat] = _structure(_flat)


class Prepared:
    """A network as the C sources want it, with all memory that it points into."""

    def __init__(self, flat: FlatNetwork, tokenizer: Tokenizer | None = None) -> None:
        self.alive: list[Any] = [tokenizer]  # by whose identity this one is found again
        self.own = local()
        self.structure = self._filled(flat)
        self.address = ctypes.addressof(self.structure)
        self.flat = flat

    def space(self, loaded: ctypes.CDLL) -> int:
        """Address of the working space of this thread, made once, as fresh pages cost more than a short sentence."""
        if not hasattr(self.own, "space"):
            self.own.space = np.empty(loaded.ticket_batch_space(self.address, LANES) + 64, np.uint8)
            self.own.address = -(-self.own.space.ctypes.data // 64) * 64
        address: int = self.own.address
        return address

    def _filled(self, flat: Any) -> Any:
        filled = _STRUCTURES[type(flat)]()
        for field in fields(flat):
            setattr(filled, field.name, self._member(getattr(flat, field.name)))
        return filled

    def _member(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = np.ascontiguousarray(value)
            self.alive.append(value)
            return value.ctypes.data
        if isinstance(value, tuple):
            array = (_STRUCTURES[FlatLayer] * len(value))(*map(self._filled, value))
            self.alive.append(array)
            return ctypes.addressof(array)
        return self._filled(value) if is_dataclass(value) else value


@cache
def _load(isa: str) -> ctypes.CDLL | str:
    """The library, or the reason in one line why there is none."""
    try:
        loaded = shared_library(f"engine-{isa}", FOLDER, (*FLAGS, *ISAS[isa]))
    except OSError as error:
        return str(error)
    if not loaded.ticket_runs_here():
        if isa == "native" and loaded.ticket_form() == TILES:  # of a kernel that gives no leave to use them
            return _load("avx512")
        return f"this processor lacks the instruction set {isa!r}"
    pointer, size, int32 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32
    loaded.ticket_batch_space.argtypes, loaded.ticket_batch_space.restype = (pointer, int32), size
    loaded.ticket_batch.argtypes = (pointer, pointer, pointer, ctypes.c_int64, int32, pointer, pointer)
    loaded.ticket_encode.argtypes = (pointer, pointer, pointer, pointer, ctypes.c_int64, pointer, pointer)
    loaded.ticket_padded.argtypes = (pointer, pointer, pointer, ctypes.c_int64, ctypes.c_int64, int32, pointer, pointer)
    loaded.ticket_batch.restype = loaded.ticket_encode.restype = None
    return loaded


def available(isa: str = "native") -> str | None:
    """None where the engine runs here, else the reason in one line."""
    loaded = _load(isa)
    return loaded if isinstance(loaded, str) else None


def library(isa: str) -> ctypes.CDLL:
    loaded = _load(isa)
    if isinstance(loaded, str):
        raise OSError(loaded)
    return loaded


FORMS = (
    PLAIN,
    Form("groups of 16 bits", sparse=0.55),
    Form("groups", sparse=0.55),
    Form("tiles", sparse=0.2),
)
"""What the steps in plain C want, those for AVX2, those for AVX-512, and those for AMX.

On AVX-512 leaving groups out pays from a share of about 0.5 on; beside tiles from 0.1 on at a width of 128, of 0.2 at
256 (reports/engines.md): between the two the smaller network may lose a tenth, the larger one gains a third.
"""

_prepared: WeakKeyDictionary[IntegerNetwork, dict[tuple[str, int], Prepared]] = WeakKeyDictionary()


def form_of(isa: str) -> Form:
    """What the steps want that are compiled for an instruction set."""
    return FORMS[library(isa).ticket_form()]


def has_tiles() -> bool:
    """Whether `native` multiplies in the tiles of AMX."""
    return available() is None and library("native").ticket_form() == TILES


def prepared(network: IntegerNetwork, isa: str, tokenizer: Tokenizer | None = None) -> Prepared:
    """The network for a library, made once; UserError where it (or the tokenizer) does not fit."""
    known, key = _prepared.setdefault(network, {}), (isa, id(tokenizer))
    if key not in known:
        known[key] = Prepared(flatten(network, tokenizer, form_of(isa)), tokenizer)
    return known[key]


def logits(network: IntegerNetwork, batch: Sequence[Sequence[int]], threads: int = 1, isa: str = "native") -> Array:
    """int32 logits (batch, classes) of sentences given as token ids, 0 to `positions` of them each."""
    own = prepared(network, isa)
    ends = np.cumsum([len(ids) for ids in batch], dtype=np.int64)
    ids = np.fromiter(chain.from_iterable(batch), np.int32, ends[-1] if len(ends) else 0)
    if len(ids) and not (ids.min() >= 0 and ids.max() < own.flat.vocabulary):
        raise ValueError(f"token ids must lie in 0..{own.flat.vocabulary - 1}")
    if len(ends) and np.diff(ends, prepend=0).max() > own.flat.length:
        raise ValueError(f"a sentence has more than {own.flat.length} tokens")
    return _logits(own, library(isa), ids, ends, threads)


def padded_logits(network: IntegerNetwork, ids: Array, counts: Array, threads: int = 1, isa: str = "native") -> Array:
    """The same of a right-padded batch: ids (batch, n) and counts (batch,), the tokens of each sentence."""
    return run_padded(prepared(network, isa), ids, counts, threads, isa)


def run_padded(own: Prepared, ids: Array, counts: Array, threads: int, isa: str) -> Array:
    """`padded_logits` of what was prepared for that instruction set."""
    loaded, (sentences, n) = library(isa), ids.shape
    ids, counts = np.ascontiguousarray(ids, np.int64), np.ascontiguousarray(counts, np.int64)
    if len(counts) != sentences:
        raise ValueError(f"{len(counts)} counts for {sentences} sentences")
    classes = own.flat.classes
    result = np.empty((sentences, classes), np.int32)
    at = _address(ids), _address(counts), _address(result)

    def run(first: int, last: int) -> None:
        batch = at[0] + 8 * n * first, at[1] + 8 * first, last - first, n, LANES
        if not loaded.ticket_padded(own.address, *batch, at[2] + 4 * classes * first, own.space(loaded)):
            most = min(n, own.flat.length)
            raise ValueError(f"token ids must lie in 0..{own.flat.vocabulary - 1}, counts in 0..{most}")

    _over_threads(run, sentences, threads)
    return result


def _address(array: Array) -> int:
    """`array.ctypes.data` in a third of its time, a microsecond being a 20th of a short sentence."""
    if array.size and array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]  # it is a buffer
    address: int = array.ctypes.data
    return address


def encode(
    network: IntegerNetwork, tokenizer: Tokenizer, texts: Sequence[Input], isa: str = "native"
) -> tuple[Array, Array]:
    """Token ids of texts and pairs, one after the other (int32), and where each one ends (int64)."""
    own = prepared(network, isa, tokenizer)
    parts = [to_bytes(part) for text in texts for part in (text if isinstance(text, tuple) else (text, b""))]
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    pairs = np.array([isinstance(text, tuple) for text in texts], np.uint8)
    ids, id_ends = np.empty((len(texts) + 1) * own.flat.length, np.int32), np.empty(len(texts), np.int64)
    joined = b"".join(parts)
    library(isa).ticket_encode(
        own.address, joined, ends.ctypes.data, pairs.ctypes.data, len(texts), ids.ctypes.data, id_ends.ctypes.data
    )
    return ids[: id_ends[-1] if len(texts) else 0], id_ends


def text_logits(
    network: IntegerNetwork, tokenizer: Tokenizer, texts: Sequence[Input], threads: int = 1, isa: str = "native"
) -> Array:
    """`logits` of texts and pairs of texts."""
    own, loaded = prepared(network, isa, tokenizer), library(isa)
    result = np.empty((len(texts), own.flat.classes), np.int32)

    def run(first: int, last: int) -> None:
        ids, ends = encode(network, tokenizer, texts[first:last], isa)
        result[first:last] = _logits(own, loaded, ids, ends, 1)

    _over_threads(run, len(texts), threads)
    return result


def _logits(own: Prepared, loaded: ctypes.CDLL, ids: Array, ends: Array, threads: int) -> Array:
    """Of sentences one after the other."""
    result = np.empty((len(ends), own.flat.classes), np.int32)

    def run(first: int, last: int) -> None:
        before = int(ends[first - 1]) if first else 0
        part = np.ascontiguousarray(ends[first:last] - before)
        loaded.ticket_batch(
            own.address, ids[before:].ctypes.data, part.ctypes.data, last - first, LANES, result[first:].ctypes.data,
            own.space(loaded),
        )  # fmt: skip

    _over_threads(run, len(ends), threads)
    return result


def _over_threads(run: Callable[[int, int], None], count: int, threads: int) -> None:
    """Call `run` for as many parts of 0..count at most; C runs without Python's lock."""
    threads = min(threads, count // FEWEST)
    if threads <= 1:
        return run(0, count)
    bounds = [count * part // threads for part in range(threads + 1)]
    list(_pool(threads).map(run, bounds, bounds[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Kept, as each thread has a working space."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not come along
