"""Run the pipeline with several items at a time: `python -m stages.run -j 2` gives what `dvc repro` gives, sooner.

DVC runs one stage after the other. Here every item whose inputs are ready is started as its own
`dvc --wait-for-lock repro --single-item ITEM`; dvc.lock is the same as after `dvc repro`.
"""

import argparse
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from dvc.repo import Repo

LOGS = Path(".work/logs")
DVC = [sys.executable, "-m", "dvc"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.run", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("-j", "--jobs", type=int, default=2, help="items at a time (default: 2)")
    parser.add_argument("targets", nargs="*", help="stages or items and what they need (default: all)")
    arguments = parser.parse_intermixed_args()
    waiting = stale_items(arguments.targets)
    if waiting and not run(waiting, arguments.jobs):
        raise SystemExit(1)
    raise SystemExit(subprocess.run([*DVC, "repro", *arguments.targets]).returncode)


def stale_items(targets: list[str]) -> dict[str, set[str]]:
    """Items that must run, or whose inputs are about to change, each with those of them it waits for."""
    with Repo(".") as repo:
        graph = repo.index.graph
        needs = {stage.addressing: {up.addressing for up in graph.successors(stage)} for stage in graph}
        changed = {name for name in repo.status() if name in needs}
    wanted = set(needs)
    if targets:
        wanted = {name for name in needs if name in targets or name.partition("@")[0] in targets}
        while more := {up for name in wanted for up in needs[name]} - wanted:
            wanted |= more
    stale = changed & wanted
    while more := {name for name in wanted if needs[name] & stale} - stale:
        stale |= more
    return {name: needs[name] & stale for name in needs if name in stale}


def run(waiting: dict[str, set[str]], jobs: int) -> bool:
    """Start items as their inputs get ready; after a failure nothing new is started. True if all went well."""
    total, done, failed = len(waiting), 0, False
    waiting = dict(waiting)
    running: dict[Future[float], str] = {}
    LOGS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        while running or (waiting and not failed):
            ready = [name for name, needed in waiting.items() if not needed]
            while ready and len(running) < jobs and not failed:
                name = ready.pop(0)
                del waiting[name]
                running[pool.submit(reproduce, name)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                done += 1
                try:
                    print(f"[{done}/{total}] {name}: {future.result():.0f} s", flush=True)
                except subprocess.CalledProcessError:
                    failed = True
                    print(f"[{done}/{total}] {name} failed:\n{_tail(name)}", file=sys.stderr, flush=True)
                for needed in waiting.values():
                    needed.discard(name)
    return not failed


def reproduce(name: str) -> float:
    """Run one item, its output in a log file; seconds it took."""
    begin = time.monotonic()
    with _log(name).open("w") as log:
        command = [*DVC, "--wait-for-lock", "repro", "--single-item", name]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
    return time.monotonic() - begin


def _log(name: str) -> Path:
    return LOGS / f"{name.replace('@', '.')}.log"


def _tail(name: str) -> str:
    return "\n".join(_log(name).read_text(errors="replace").splitlines()[-12:])


if __name__ == "__main__":
    main()
