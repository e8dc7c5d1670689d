"""The C sources of this folder, compiled at first use into one shared library for each instruction set."""

import ctypes
from functools import cache
from pathlib import Path

from integer_tickets.integer.building import ISA_FLAGS, shared_library

FOLDER = Path(__file__).parent
# No -ffast-math, here or for speed: it would let the compiler reorder sums, and linking with it makes the whole
# process flush subnormal numbers to zero.
FLAGS = ("-std=gnu99", "-O3", "-ffp-contract=off", "-pthread")
FUNCTIONS = (  # each takes what to do, and the number of threads
    *("inhibitor_forward", "inhibitor_backward", "norm_forward", "norm_backward", "integer_norm"),
    *("requantize", "quantize", "add_saturating", "gate", "softmax_weights", "softmax_divide"),
)


@cache
def _load(isa: str) -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and the reason why there is none."""
    if isa not in ISA_FLAGS:
        raise ValueError(f"instruction set {isa!r}: expected one of {', '.join(ISA_FLAGS)}")
    try:
        loaded = shared_library(f"kernels-{isa}", FOLDER, (*FLAGS, *ISA_FLAGS[isa]))
    except OSError as error:
        return None, str(error)
    if not loaded.runs_here():
        return None, f"this processor lacks the instruction set {isa!r}"
    for function in FUNCTIONS:
        getattr(loaded, function).argtypes = (ctypes.c_void_p, ctypes.c_int64)
    loaded.inhibitor_width.restype = ctypes.c_int64
    loaded.inhibitor_width.argtypes = (ctypes.c_int64,)
    return loaded, ""


def available(isa: str = "avx2") -> str | None:
    """None where the kernels run here for `isa` (avx2, native, baseline), else the reason in one line."""
    loaded, reason = _load(isa)
    return reason if loaded is None else None


def library(isa: str = "avx2") -> ctypes.CDLL:
    """The compiled kernels.

    Raises OSError where `available(isa)` gives a reason, ValueError for an unknown `isa`.
    """
    loaded, reason = _load(isa)
    if loaded is None:
        raise OSError(reason)
    return loaded
