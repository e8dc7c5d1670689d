"""What surrounds the work of a stage: a pinned environment, no orphan, and a folder in which it can resume."""

import ctypes
import hashlib
import json
import os
import platform
import shutil
import signal
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from integer_tickets.errors import UserError
from integer_tickets.files import write_json
from integer_tickets.params import Runtime
from stages.dependencies import ROOT, sources_of_stage

WORK = Path(".work")


def pin(runtime: Runtime) -> None:
    """Fix threads and instruction set; to be called before NumPy and PyTorch are loaded, since they read it then.

    UserError where this machine or environment cannot give the bits that the parameters promise.
    """
    for name, expected in runtime.versions.items():
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


def work_folder(stage: str, item: str, settings: Any, inputs: Iterable[Path]) -> Path:
    """The folder of unfinished work of one item, kept while code, settings and inputs are what they were.

    A run that was killed finds its finished parts there; anything made under other circumstances is removed.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in [*(ROOT / source for source in sources_of_stage(stage)), *_files(inputs)]:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    folder = WORK / stage / item
    key = folder / "key.json"
    value = {"key": digest.hexdigest()}
    if not key.exists() or json.loads(key.read_text()) != value:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(key, value)
    (folder / "out").mkdir(exist_ok=True)
    for half_written in folder.rglob(".*.tmp"):
        half_written.unlink()
    return folder


def publish(work: Path, out: Path) -> None:
    """Move the finished output into its place and drop the unfinished work."""
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    os.replace(work / "out", out)
    shutil.rmtree(work)


def _files(inputs: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path}: not there; an earlier stage makes it, run dvc repro")
        found += sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    return found
