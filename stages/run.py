"""Run the pipeline with several items at a time: `integer-tickets run -j 2` gives what `dvc repro` gives, sooner.

DVC runs one stage after the other. Here every item whose inputs are ready is started as its own
`dvc --wait-for-lock repro --single-item ITEM`, of several that one from which the longest way leads to the report;
dvc.lock is the same as after `dvc repro`, byte for byte.
"""

import argparse
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import dvc.cli
import dvc.lock
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, plan_repro
from dvc.utils.serialize import load_yaml, modify_yaml

from integer_tickets.errors import UserError
from integer_tickets.files import read_json, write_json
from integer_tickets.params import load_params
from stages.dependencies import TIMED
from stages.runner import die_with_parent

LOCK = Path("dvc.lock")
WORK = Path(".work")
LOGS = WORK / "logs"
KNOWN = WORK / "known.json"  # while a run lasts
JOBS = "items at a time (default: 2)"
DVC = [sys.executable, "-m", "dvc"]
WARM = multiprocessing.get_context("forkserver")  # of a process that has loaded DVC and nothing else
WARM.set_forkserver_preload(["stages.run", "dvc.commands.repro", "dvc.repo.reproduce"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="integer-tickets run", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-j", "--jobs", type=int, default=2, choices=range(1, 65), metavar="N", help=JOBS)
    parser.add_argument("targets", nargs="*", help="stages or items and what they need (default: all)")
    arguments = parser.parse_intermixed_args()
    begin = time.monotonic()
    # Stages call `python`: let it be this one, whether or not its environment is activated.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    try:
        params = load_params()  # a fault in params.yaml is said once, before anything starts
        Path("artifacts/controls").mkdir(parents=True, exist_ok=True)  # evaluate depends on it, be it empty
        # `dvc repro` alone would leave those of an earlier grid, and all training depends on the whole folder.
        for folder in Path("artifacts/adopted").glob("*/"):
            if folder.name not in params.adopt.attentions:
                shutil.rmtree(folder)
        # First of all the hashes of the code: they tell which items a change of code concerns at all.
        subprocess.run([*DVC, "repro", "--quiet", "--single-item", "sources"], check=True)
        waiting, order, commands = stale_items(arguments.targets)
    except (DvcException, UserError) as error:
        raise SystemExit(f"run: {error}") from None
    except subprocess.CalledProcessError as error:  # DVC has said why
        raise SystemExit(error.returncode) from None
    if waiting:
        said = [f"{len(waiting)} items to run, {arguments.jobs} at a time", *cost(waiting, commands, arguments.jobs)]
        print(": ".join(said), flush=True)
    known = known_items()
    try:
        if waiting and not run(waiting, arguments.jobs):
            raise SystemExit(1)
    finally:
        order_lock(known, order)
    KNOWN.unlink(missing_ok=True)
    status = subprocess.run([*DVC, "repro", *arguments.targets]).returncode
    if not arguments.targets and len(waiting) == len(locked_items()) - 1:  # every item, of which sources has run before
        seconds = round(time.monotonic() - begin, 1)
        write_json(WORK / "run.json", {"items": len(waiting), "jobs": arguments.jobs, "seconds": seconds})
    raise SystemExit(status)


def cost(waiting: Iterable[str], commands: Mapping[str, str], jobs: int) -> list[str]:
    """What the stage cost says of these items, nothing where none of them trains."""
    own = "\n".join(commands[name] for name in waiting)
    command = [sys.executable, "-m", "stages", "cost", str(jobs)]
    done = subprocess.run(command, input=own, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else ["what they cost is not known"]


def stale_items(targets: list[str]) -> tuple[dict[str, set[str]], list[str], dict[str, str]]:
    """Items that must run, or whose inputs are about to change, each with those of them it waits for; all items; and
    the command of each.

    In the order of `dvc repro`. DvcException where a target is none.
    """
    with Repo(".") as repo:
        graph = repo.index.graph
        order = [stage.addressing for stage in plan_repro(graph, collect_stages(repo, targets or ["dvc.yaml"]))]
        needs = {stage.addressing: {up.addressing for up in graph.successors(stage)} for stage in graph}
        commands = {stage.addressing: str(stage.cmd or "") for stage in graph}
        changed = repo.status()
    stale: set[str] = set()
    for name in order:
        if name in changed or needs[name] & stale:
            stale.add(name)
    return {name: needs[name] & stale for name in order if name in stale}, order, commands


def distances(needs: dict[str, set[str]]) -> dict[str, int]:
    """How many items follow one after the other from each on; `needs` is in an order in which they can run."""
    far = dict.fromkeys(needs, 0)
    for name in reversed(needs):
        for needed in needs[name]:
            far[needed] = max(far[needed], far[name] + 1)
    return far


def locked_items() -> list[str]:
    return list(load_yaml(LOCK)["stages"]) if LOCK.exists() else []


def known_items() -> set[str]:
    """What dvc.lock held before this run; after a run that was killed, before that one."""
    if not KNOWN.exists():
        write_json(KNOWN, locked_items())
    return set(read_json(KNOWN))


def order_lock(known: set[str], order: list[str]) -> None:
    """DVC appends a new item to dvc.lock when it ends; put those that were not `known` into their order."""
    locked = locked_items()
    new = [name for name in order if name in locked and name not in known]
    if [name for name in locked if name not in known] == new:
        return
    with Repo(".") as repo, repo.lock, repo.scm_context() as changes:
        with modify_yaml(LOCK) as lock:
            for name in new:
                lock["stages"][name] = lock["stages"].pop(name)
        changes.track_file(str(LOCK))


def run(waiting: dict[str, set[str]], jobs: int) -> bool:
    """Start items as their inputs get ready; after a failure nothing new is started. True if all went well."""
    total, done, failed, begin = len(waiting), 0, False, time.monotonic()
    waiting, far = dict(waiting), distances(waiting)
    running: dict[Future[float], str] = {}
    LOGS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        while running or (waiting and not failed):
            ready = [name for name, needed in waiting.items() if not needed]
            ready.sort(key=lambda name: -far[name])
            while ready and len(running) < jobs and not failed:
                name = ready.pop(0)
                if running and TIMED & {_stage(name), *map(_stage, running.values())}:
                    continue  # what is timed runs alone
                del waiting[name]
                running[pool.submit(reproduce, name)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                done += 1
                try:
                    print(f"[{done}/{total}] {name}: {future.result():.0f} s{_left(begin, done, total)}", flush=True)
                except subprocess.CalledProcessError:
                    failed = True
                    print(f"[{done}/{total}] {name} failed:\n{_tail(name)}", file=sys.stderr, flush=True)
                for needed in waiting.values():
                    needed.discard(name)
    return not failed


def reproduce(name: str) -> float:
    """Run one item, its output in a log file; seconds it took."""
    begin = time.monotonic()
    child = WARM.Process(target=_repro, args=(name,))
    child.start()
    child.join()
    if child.exitcode:
        raise subprocess.CalledProcessError(child.exitcode, name)
    return time.monotonic() - begin


def _repro(name: str) -> None:
    """`dvc --wait-for-lock repro --single-item NAME`; ends with the runner, however that is ended."""
    die_with_parent()
    threading.Thread(target=_end_with_runner, daemon=True).start()
    with _log(name).open("w") as log, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    dvc.lock.DEFAULT_TIMEOUT = 0.3  # it looks six times in this many seconds whether the lock is free
    raise SystemExit(dvc.cli.main(["--wait-for-lock", "repro", "--single-item", name]))


def _end_with_runner() -> None:
    """The parent of an item is the process that it was forked from, which lives on while an item does."""
    runner = multiprocessing.parent_process()
    assert runner is not None
    runner.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _left(begin: float, done: int, total: int) -> str:
    """A guess from the items so far; later ones are dearer (training from integers) and cheaper (no training)."""
    if not 5 <= done < total:
        return ""
    minutes = (time.monotonic() - begin) * (total - done) / done / 60
    return f", about {max(1, round(minutes))} min left"


def _stage(name: str) -> str:
    return name.partition("@")[0]


def _log(name: str) -> Path:
    return LOGS / f"{name.replace('@', '.')}.log"


def _tail(name: str) -> str:
    return "\n".join(_log(name).read_text(errors="replace").splitlines()[-12:])
