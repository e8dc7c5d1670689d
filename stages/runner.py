"""What surrounds the work of a stage: a pinned environment, and no orphan."""

import ctypes
import os
import platform
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from integer_tickets.blocks import Runtime
from integer_tickets.errors import UserError


def pin(runtime: Runtime, *, pretrained: bool) -> None:
    """Fix threads and instruction set; to be called before NumPy and PyTorch are loaded, since they read it then.

    pretrained: whether models of Hugging Face take part, whose package others can do without. UserError where this
    machine or environment cannot give the bits that the parameters promise.
    """
    for name, expected in runtime.versions.items():
        if name == "transformers" and not pretrained:
            continue
        try:
            found = version(name).partition("+")[0]  # a build for some GPU is the same version
        except PackageNotFoundError:
            raise UserError(f"runtime.versions.{name}: {name} is not installed; make setup installs it") from None
        if found != expected:
            raise UserError(
                f"runtime.versions.{name} = {expected}, but {found} is installed; set it to {found} (maybe other bits)"
            )
    os.environ |= {
        "OMP_NUM_THREADS": str(runtime.threads),
        "MKL_NUM_THREADS": str(runtime.threads),
        "OPENBLAS_NUM_THREADS": str(runtime.threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # who spins takes a core from the threads of our kernels
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if runtime.isa == "avx2":
        if not _has_avx2():
            raise UserError(
                "runtime.isa = avx2, but this machine has no AVX2; set it to native (other bits, same method)"
            )
        os.environ |= {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
        os.environ |= {"OPENBLAS_CORETYPE": "Haswell"}


def die_with_parent() -> None:
    """A killed `dvc repro` must not leave a stage behind that goes on writing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _has_avx2() -> bool:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    info = Path("/proc/cpuinfo")
    return not info.exists() or "avx2" in info.read_text().split()
