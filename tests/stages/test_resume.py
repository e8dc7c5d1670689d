"""Stages that are killed: nothing half-written is taken for finished, and the next run goes on and ends the same."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.stages.conftest import Checkout

ITEM = ["--attention", "inhibitor", "--variant", "float", "--seed", "0"]
NAME = "inhibitor-float-0"


def killed(checkout: Checkout, at: str, *stage: str) -> None:
    """Run a stage until kill -9 hits it just before a file whose path contains `at` gets its name."""
    assert checkout.python("stages", *stage, check=False, PROBE_KILL=at).returncode == -signal.SIGKILL


def without(checkout: Checkout, folder: str) -> Path:
    """Remove an output; where it was."""
    shutil.rmtree(checkout.root / folder)
    return checkout.root / folder


def test_a_killed_ladder_goes_on_and_repeats_no_finished_level(copied):
    stage = ["prune_rewind", *ITEM, "--segment", "upper"]
    expected = copied.content(f"artifacts/ladder/{NAME}/upper")
    out = without(copied, f"artifacts/ladder/{NAME}/upper")
    work = copied.root / ".work" / "prune_rewind" / f"{NAME}-upper"
    killed(copied, "run_02/checkpoint", *stage)  # in the first epoch of the second level
    first = (work / "out" / "level_01" / "model.safetensors").stat()
    killed(copied, "out/level_02/predictions", *stage)  # with a part of the second level written
    assert not out.exists()
    assert list((work / "out" / "level_02").glob(".*.tmp"))
    copied.python("stages", *stage)
    assert copied.content(f"artifacts/ladder/{NAME}/upper") == expected
    again = (out / "level_01" / "model.safetensors").stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert not work.exists()


@pytest.mark.parametrize(
    ("stage", "out", "at"),
    [
        ("teacher", "teacher", "out/predictions"),
        ("train_dense", f"ladder/{NAME}/dense", "run/checkpoint"),
        ("controls", f"controls/{NAME}", "run_shuffled_02/checkpoint"),
        ("quantize", f"integer/{NAME}", "out/level_02_int8/ticket"),
        ("distill", f"distilled/{NAME}", "out/level_02_int4/master"),
    ],
)
def test_every_stage_goes_on_where_it_was_killed(copied, stage, out, at):
    expected = copied.content(f"artifacts/{out}")
    without(copied, f"artifacts/{out}")
    arguments = [] if stage == "teacher" else ITEM
    killed(copied, at, stage, *arguments)
    assert not (copied.root / "artifacts" / out).exists()
    copied.python("stages", stage, *arguments)
    assert copied.content(f"artifacts/{out}") == expected


def test_unfinished_work_under_other_settings_is_not_taken_up(copied):
    out = without(copied, f"artifacts/ladder/{NAME}/lower")
    stage = ["prune_rewind", *ITEM, "--segment", "lower"]
    killed(copied, "out/level_03/info.json", *stage)
    work = copied.root / ".work" / "prune_rewind" / f"{NAME}-lower"
    before = (work / "key.json").read_text()
    copied.change({"prune": {"keep": 0.5}})
    killed(copied, "run_03/checkpoint", *stage)
    assert (work / "key.json").read_text() != before
    assert not list((work / "out").iterdir()) and not out.exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux alone ends a process with its parent")
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_killed_dvc_takes_its_stage_along(copied, shell):
    if not Path(shell).exists():
        pytest.skip(f"no {shell}")
    lock = copied.lock
    item = f"train_dense@{NAME}"
    command = ["python", "-m", "dvc", "repro", "--single-item", "--force", item]
    environment = copied.environment(SHELL=shell, PROBE_HANG="run/checkpoint")
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=copied.root, env=environment, stdin=quiet, stdout=quiet, stderr=quiet) as parent:
        note = copied.root / "hanging.pid"
        wait_for(lambda: parent.poll() is not None or (note.exists() and note.read_text()))
        assert parent.poll() is None
        stage = int(note.read_text())
        assert alive(stage)
        parent.kill()
    wait_for(lambda: not alive(stage))
    copied.dvc("repro", "--single-item", item)
    assert copied.lock == lock


def alive(process: int) -> bool:
    """Whether it runs; one that ended and that nobody asked about yet does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def wait_for(condition) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited a minute in vain")
