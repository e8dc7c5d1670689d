"""The C sources of this folder, compiled at first use into one shared library for each instruction set."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
# No -ffast-math, here or for speed: it would let the compiler reorder sums, and linking with it makes the whole
# process flush subnormal numbers to zero.
FLAGS = ("-std=gnu99", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-pthread")
FUNCTIONS = (  # each takes what to do, and the number of threads
    *("inhibitor_forward", "inhibitor_backward", "norm_forward", "norm_backward", "integer_norm"),
    *("requantize", "quantize", "add_saturating", "gate"),
)
ISA_FLAGS: dict[str, tuple[str, ...]] = {"baseline": (), "avx2": ("-mavx2", "-mfma"), "native": ("-march=native",)}


def _compiled(isa: str) -> Path:
    """The shared library for `isa`, from the cache folder or compiled into it. Raises OSError with a reason."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("no C compiler found (cc or gcc)")
    command = [compiler, *FLAGS, *ISA_FLAGS[isa]]

    def run(*arguments: str) -> bytes:
        done = subprocess.run([*command, *arguments], capture_output=True, check=False)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").splitlines()
            reason = next((line for line in lines if "error" in line), f"exit code {done.returncode}")
            raise OSError(f"{compiler} failed for instruction set {isa!r}: {reason}")
        return done.stdout

    # The predefined macros name the version of the compiler and, for native, this processor's instructions.
    macros = run("-dM", "-E", "-x", "c", os.devnull)
    sources = sorted(FOLDER.glob("*.[ch]"))
    parts = (*(path.read_bytes() for path in sources), " ".join(command).encode(), macros)
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]
    folder = os.environ.get("INTEGER_TICKETS_CACHE") or Path.home() / ".cache" / "integer-tickets"
    path = Path(folder) / f"kernels-{isa}-{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as own:  # several processes may build at the same time
            built = Path(own) / path.name
            run("-o", str(built), *(str(source) for source in sources if source.suffix == ".c"))
            os.replace(built, path)
    return path


@cache
def _load(isa: str) -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and the reason why there is none."""
    if isa not in ISA_FLAGS:
        raise ValueError(f"instruction set {isa!r}: expected one of {', '.join(ISA_FLAGS)}")
    try:
        loaded = ctypes.CDLL(str(_compiled(isa)))
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
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
    """The compiled kernels; built at first use into $INTEGER_TICKETS_CACHE or ~/.cache/integer-tickets.

    Raises OSError where `available(isa)` gives a reason, ValueError for an unknown `isa`.
    """
    loaded, reason = _load(isa)
    if loaded is None:
        raise OSError(reason)
    return loaded
