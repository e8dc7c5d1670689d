"""C sources compiled at first use into a shared library, kept by sources, compiler and flags."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

ISA_FLAGS: dict[str, tuple[str, ...]] = {
    "baseline": (),
    "avx2": ("-mavx2", "-mfma"),
    "native": ("-march=native",),
}


def shared_library(name: str, folder: Path, flags: Sequence[str]) -> ctypes.CDLL:
    """The C files of `folder` as one library, from $INTEGER_TICKETS_CACHE or ~/.cache/integer-tickets or built into it.

    Raises OSError with a reason in one line: no compiler, an error of it, nowhere to write.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("no C compiler found (cc or gcc)")
    command = [compiler, "-fPIC", "-shared", *flags]

    def run(*arguments: str) -> bytes:
        done = subprocess.run([*command, *arguments], capture_output=True, check=False)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").splitlines()
            reason = next((line for line in lines if "error" in line), f"exit code {done.returncode}")
            raise OSError(f"{compiler} failed for {name}: {reason}")
        return done.stdout

    # The predefined macros name the version of the compiler and, for native, this processor's instructions.
    macros = run("-dM", "-E", "-x", "c", os.devnull)
    sources = sorted(folder.glob("*.[ch]"))
    parts = (*(path.read_bytes() for path in sources), " ".join(command).encode(), macros)
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]
    path = _cache() / f"{name}-{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as own:  # several processes may build at the same time
            built = Path(own) / path.name
            run("-o", str(built), *(str(source) for source in sources if source.suffix == ".c"))
            os.replace(built, path)
    return ctypes.CDLL(str(path))


def _cache() -> Path:
    named = os.environ.get("INTEGER_TICKETS_CACHE")
    try:
        return Path(named) if named else Path.home() / ".cache" / "integer-tickets"
    except RuntimeError as error:  # no home folder
        raise OSError(str(error)) from None
