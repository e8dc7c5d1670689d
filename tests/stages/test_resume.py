"""Stages that are killed: nothing half-written is taken for finished, and the next run goes on and ends the same."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from integer_tickets.files import write_json
from stages.work import publish, work_folder
from tests.stages.conftest import Checkout

NAME = "inhibitor-float-0"
ITEM = ["--attention", "inhibitor", "--variant", "float", "--seed", "0"]
KILLED_AT = [
    ("teacher", "teacher", "out/predictions"),
    ("train_dense", f"ladder/{NAME}/dense", "run/checkpoint"),
    ("controls", f"controls/{NAME}/level_2/shuffled", "run/checkpoint"),
    ("connectivity", f"controls/{NAME}/level_2/order", "out/predictions"),
    ("quantize", f"integer/{NAME}/level_2", "out/int8/ticket"),
    ("distill", f"distilled/{NAME}/level_2", "out/int4/master"),
]
"""Stages, their outputs below artifacts/, and a part of the path of the file during whose writing they are killed."""


def killed(checkout: Checkout, at: str, *stage: str) -> None:
    """Run a stage until kill -9 hits it just before a file whose path contains `at` gets its name."""
    assert checkout.python("stages", *stage, check=False, PROBE_KILL=at).returncode == -signal.SIGKILL


def test_a_killed_ladder_goes_on_and_repeats_no_finished_level(copied):
    stage = ["prune_rewind", *ITEM, "--segment", "upper", "--levels", "1-2"]
    out, work = copied.root / f"artifacts/ladder/{NAME}/upper", copied.root / f".work/prune_rewind/{NAME}-upper"
    expected = copied.content(f"artifacts/ladder/{NAME}/upper")
    shutil.rmtree(out)
    killed(copied, "run_2/checkpoint", *stage)  # in the first epoch of the second level
    first = (work / "out/level_1/model.safetensors").stat()
    killed(copied, "out/level_2/predictions", *stage)  # with a part of the second level written
    assert list((work / "out/level_2").glob(".*.tmp")) and not out.exists()
    copied.python("stages", *stage)
    assert copied.content(f"artifacts/ladder/{NAME}/upper") == expected
    again = (out / "level_1/model.safetensors").stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert not work.exists()


def test_every_stage_goes_on_where_it_was_killed(finished, tmp_path):
    def check(stage: str, out: str, at: str) -> bool:
        copied = finished.copy(tmp_path / stage)
        expected = copied.content(f"artifacts/{out}")
        shutil.rmtree(copied.root / "artifacts" / out)
        level = ["--level", "2"] if "level_" in out else []
        kind = ["--kind", "shuffled"] if stage == "controls" else []
        arguments = [] if stage == "teacher" else [*ITEM, *level, *kind]
        killed(copied, at, stage, *arguments)
        half = (copied.root / "artifacts" / out).exists()
        copied.python("stages", stage, *arguments)
        return not half and copied.content(f"artifacts/{out}") == expected

    with ThreadPoolExecutor(2) as pool:
        same = list(pool.map(check, *zip(*KILLED_AT, strict=True)))
    assert [stage for (stage, _, _), well in zip(KILLED_AT, same, strict=True) if not well] == []


def test_what_the_default_run_lacks_goes_on_where_it_was_killed(copied):
    copied.change(
        {
            "transfer": {
                "levels": [{"level": 2, "segment": "upper"}],
                "sources": [{"id": "softmax", "attention": "inhibitor", "prefix": "artifacts/ladder/softmax"}],
            },
            "supermask": {"kinds": ["signs"], "width": 16, "epochs": 2},
        }
    )
    supermask = ["supermask", "--attention", "inhibitor", "--seed", "0", "--kind", "signs"]
    for stage, out in (
        (["transfer", *ITEM, "--level", "2", "--kind", "softmax"], f"controls/{NAME}/level_2/from_softmax"),
        (supermask, "controls/inhibitor-supermask-0/signs"),
    ):
        copied.python("stages", *stage)
        expected = copied.content(f"artifacts/{out}")
        shutil.rmtree(copied.root / "artifacts" / out)
        killed(copied, "run/checkpoint", *stage)
        assert not (copied.root / "artifacts" / out).exists()
        copied.python("stages", *stage)
        assert copied.content(f"artifacts/{out}") == expected


def test_the_lock_is_in_order_after_a_killed_runner(copied):
    """Which leaves new items as they ended, and what was known before it began."""
    expected = copied.lock
    lock = yaml.safe_load(expected)
    names = list(lock["stages"])
    lock["stages"] = {name: lock["stages"][name] for name in [names[0], *reversed(names[1:])]}
    (copied.root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    write_json(copied.root / ".work" / "known.json", names[:1])
    copied.python("stages", "run")
    assert copied.lock == expected and not (copied.root / ".work" / "known.json").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux alone ends a process with its parent")
@pytest.mark.parametrize(
    "runner_of_items", [["dvc", "repro", "--single-item", "--force"], ["stages", "run"]], ids=lambda words: words[0]
)
def test_what_is_killed_takes_its_stage_along(copied, runner_of_items):
    lock = copied.lock
    item = f"train_dense@{NAME}"
    shutil.rmtree(copied.root / "artifacts" / "ladder" / NAME / "dense")
    shutil.rmtree(copied.root / ".dvc" / "cache")  # else nothing runs
    command = ["python", "-m", *runner_of_items, item]
    environment = copied.environment(SHELL="/bin/sh", PROBE_HANG="run/checkpoint")
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=copied.root, env=environment, stdin=quiet, stdout=quiet, stderr=quiet) as parent:
        note = copied.root / "hanging.pid"
        wait_for(lambda: parent.poll() is not None or (note.exists() and note.read_text() != ""))
        assert parent.poll() is None
        stage = int(note.read_text())
        assert alive(stage)
        parent.kill()
    try:
        wait_for(lambda: not alive(stage))
    finally:
        if alive(stage):
            os.kill(stage, signal.SIGKILL)
    # Where nobody waits for orphans, a killed DVC stays in the list of processes, and the next one takes it for alive.
    (copied.root / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
    copied.dvc("repro", "--single-item", item)
    assert copied.lock == lock


def alive(process: int) -> bool:
    """Whether it runs; one that ended and that nobody asked about yet does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited a minute in vain")


@pytest.fixture
def unfinished(tmp_path, monkeypatch):
    """A function that opens the folder of unfinished work, after a run that was killed while it wrote."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "weights").write_bytes(b"1")

    def open_folder(settings: object = (1, "a"), stage: str = "train_dense") -> Path:
        return work_folder(stage, "item", settings, [Path("input")])

    work = open_folder()
    (work / "out" / "level_0").mkdir()
    (work / "out" / "level_0" / "model").write_text("whole")
    (work / "out" / "level_0" / ".info.json.17.tmp").write_text("hal")
    return open_folder


def test_unfinished_work_is_taken_up_without_what_is_half_written(unfinished, tmp_path):
    out = unfinished() / "out" / "level_0"
    assert [path.name for path in out.iterdir()] == ["model"]
    published = tmp_path / "artifacts" / "item"
    published.mkdir(parents=True)
    (published / "old").write_text("old")
    publish(unfinished(), published)
    assert [path.name for path in sorted(published.rglob("*"))] == ["level_0", "model"]
    assert not (tmp_path / ".work" / "train_dense" / "item").exists()


@pytest.mark.parametrize("other", ["settings", "input", "code"])
def test_unfinished_work_under_other_circumstances_is_thrown_away(unfinished, tmp_path, monkeypatch, other):
    settings: object = (1, "a")
    if other == "settings":
        settings = (1, "b")
    elif other == "input":
        (tmp_path / "input" / "weights").write_bytes(b"2")
    else:
        monkeypatch.setattr("stages.work.sources_of_stage", lambda stage: ["stages/runner.py"])
    assert list((unfinished(settings) / "out").iterdir()) == []
