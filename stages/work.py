"""The folder in which a stage works, goes on after it was killed, and from which its finished output is moved."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from integer_tickets.errors import UserError
from integer_tickets.files import FIRST, write_json
from integer_tickets.training import processes
from stages.dependencies import ROOT, sources_of_stage

WORK = Path(".work")


def work_folder(stage: str, item: str, settings: Any, inputs: Iterable[Path]) -> Path:
    """The folder of unfinished work of one item, kept while code, settings and inputs are what they were.

    A run that was killed finds its finished parts there; anything made under other circumstances is removed.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in [*(ROOT / source for source in sources_of_stage(stage)), *_files(inputs)]:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    folder = WORK / stage / item
    if FIRST:
        _tidy(folder, {"key": digest.hexdigest()})
    processes.wait()
    return folder


def _tidy(folder: Path, value: dict[str, str]) -> None:
    """Keep of a folder of unfinished work what was made under this key and is whole."""
    key = folder / "key.json"
    if not key.exists() or json.loads(key.read_text()) != value:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(key, value)
    (folder / "out").mkdir(exist_ok=True)
    for half_written in folder.rglob(".*.tmp"):
        half_written.unlink()


def publish(work: Path, out: Path) -> None:
    """Move the finished output into its place and drop the unfinished work."""
    processes.wait()
    if not FIRST:
        return
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
