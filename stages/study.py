"""Run a preset beside the default run: `python -m stages.study NAME`.

It works in a checkout of its own, `.study/NAME`, that shares the cache; params, lock, results and report are copied to
`reports/studies/NAME` (or --out). With --run a part of a long study is kept in `reports/studies/NAME/runs/RUN`, with
its answers and lock, and all runs that are there are judged as one. A checkout begins with the locks that are kept.
"""

import argparse
import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from integer_tickets.corpus_blocks import Data
from integer_tickets.errors import UserError
from integer_tickets.files import replacing, write_text
from integer_tickets.params import parse_params
from integer_tickets.report.study import MEASURED
from stages.judge import foreign, judge
from stages.presets import PRESETS, ROOT, whole, with_preset
from stages.run import JOBS

KEPT = ("params.yaml", "dvc.lock")
RUN = ("answers.npz", "answers.json", "masks.npz", "lines.csv", "zeros.csv")
LOCK = "dvc.lock.gz"  # of a run


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.study", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("name", help=f"a preset: {', '.join(sorted(path.stem for path in PRESETS.glob('*.yaml')))}")
    parser.add_argument("--data", type=Path, help="folder with the corpus, where the preset's source is files")
    parser.add_argument("--out", type=Path, help="where the results go (default: reports/studies/NAME)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, as in --set grid.seeds=[0]"
    )
    parser.add_argument(
        "--run",
        metavar="PART",
        help="keep this part of a study and judge all parts as one: one of those that the preset names, PART_N for the "
        "seed N of it alone, or with --set any name",
    )
    parser.add_argument("--pull", action="store_true", help="first get from the DVC remote what others have pushed")
    parser.add_argument("-j", "--jobs", type=int, default=2, choices=range(1, 65), metavar="N", help=JOBS)
    parser.add_argument("targets", nargs="*", help="stages to run (default: all)")
    arguments = parser.parse_intermixed_args()
    try:
        if not arguments.run:
            whole(arguments.name)
        values = with_preset(arguments.name, arguments.set, arguments.run or "")
        checkout = ROOT / ".study" / arguments.name
        out = arguments.out or ROOT / "reports" / "studies" / arguments.name
        if not (arguments.targets or arguments.run):
            check_replaceable(out)
        preset = f"presets/{arguments.name}.yaml"
        params = parse_params(values, f"{preset} over params.yaml")
        study = parse_params(with_preset(arguments.name, []), preset) if arguments.run else params
        if not arguments.targets and (what := foreign(params, study)):
            raise UserError(f"--run {arguments.run}: its {what} is not that of the study; change it in {preset}")
        work(checkout, values, params.data, arguments.data, arguments.jobs, arguments.targets, arguments.pull)
        if arguments.targets:
            return
        if arguments.run:
            copy_run(checkout, out / "runs" / arguments.run)
            judge(study, out)
        else:
            copy_results(checkout, out)
    except UserError as error:
        raise SystemExit(f"study: {error}") from None


def work(
    checkout: Path,
    values: dict[str, Any],
    settings: Data,
    data: Path | None,
    jobs: int,
    targets: list[str],
    pull: bool = False,
) -> None:
    """Run the pipeline in the checkout, or some stages of it, with these parameters; data: the folder of the corpus."""
    check_out(checkout)
    write_text(checkout / "params.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    place_data(settings, data, checkout)
    if pull:
        print("pulling what the remote has", flush=True)
        _run([sys.executable, "-m", "dvc", "pull", "--quiet", "--allow-missing"], cwd=checkout)
    environment = {**os.environ, "PYTHONPATH": f"{checkout}{os.pathsep}{checkout / 'src'}"}
    command = [sys.executable, "-m", "stages", "run", "-j", str(jobs), *targets]
    if subprocess.run(command, cwd=checkout, env=environment).returncode:
        raise UserError("the pipeline stopped; run the same command again to go on from there")


def check_out(checkout: Path) -> None:
    """The tracked and new files of this project as they are now, in a Git worktree that shares the DVC cache."""
    git = ["git", "-C", str(ROOT)]
    if not checkout.exists():
        if subprocess.run([*git, "rev-parse", "--verify", "HEAD"], capture_output=True).returncode:
            raise UserError("a study works in a Git worktree: make this folder a Git repository with a commit first")
        _run([*git, "worktree", "prune"])
        _run([*git, "worktree", "add", "--quiet", "--detach", str(checkout)])
    for file in _files(ROOT) | _files(checkout):
        source, target = ROOT / file, checkout / file
        if not source.is_file():
            target.unlink(missing_ok=True)
        elif not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    earlier = ROOT / "reports" / "studies" / checkout.name
    if not (checkout / ".study-began").exists():  # a fresh checkout holds the lock and reports of the default run
        shutil.rmtree(checkout / "reports", ignore_errors=True)
        (checkout / "dvc.lock").unlink(missing_ok=True)
        (checkout / "reports").mkdir()
        for name in ("timings.json", "timings.md"):
            if (earlier / name).exists():
                shutil.copy2(earlier / name, checkout / "reports" / name)
        place_lock(earlier, checkout / "dvc.lock")
        (checkout / ".study-began").touch()
    cache = str(ROOT / ".dvc" / "cache")
    _run([sys.executable, "-m", "dvc", "cache", "dir", "-q", "--local", cache], cwd=checkout)


def place_lock(study: Path, path: Path) -> None:
    """The lock of a study: that of the whole, or what those of its runs hold, any of which can then be gone on with."""
    if (study / "dvc.lock").exists():
        shutil.copy2(study / "dvc.lock", path)
        return
    locked: dict[str, Any] = {"schema": "2.0", "stages": {}}
    for run in sorted(study.glob(f"runs/*/{LOCK}")):
        locked["stages"] |= yaml.safe_load(gzip.decompress(run.read_bytes()))["stages"]
    if locked["stages"]:
        write_text(path, yaml.safe_dump(locked, sort_keys=False, allow_unicode=True))


def check_replaceable(out: Path) -> None:
    """UserError where results would replace the runs of a study, or a folder that is no study."""
    if (out / "runs").exists():
        raise UserError(f"{out / 'runs'} holds parts of this study: add one with --run, or name another folder, --out")
    if out.exists() and any(out.iterdir()) and not (out / "params.yaml").exists():
        raise UserError(f"{out} is not empty and holds no study; name another folder")


def _files(top: Path) -> set[str]:
    """Files that Git tracks or would, but for what a study makes itself."""
    command = ["git", "-C", str(top), "ls-files", "-z", "-co", "--exclude-standard"]
    listed = _run(command).split("\0")
    own = ("reports/", "dvc.lock", ".study-began")
    return {file for file in listed if file and not file.startswith(own)}


def _run(command: list[str], cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"{' '.join(command[:4])} ... failed: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}"
        )
    return done.stdout


def place_data(settings: Data, data: Path | None, checkout: Path) -> None:
    """Copy the files of a corpus to where the checkout's parameters look for them."""
    if settings.source != "files":
        return
    folder = checkout / settings.folder
    if checkout.resolve() not in folder.resolve().parents:
        raise UserError(f"data.folder = {settings.folder!r}: a study wants a folder inside the project, as data is")
    if data is None:
        if not any(path.name != "README.md" for path in folder.glob("*")):
            raise UserError("this preset reads files: name their folder, as in make study NAME=... DATA=/path/to/it")
        return
    if not data.is_dir():
        raise UserError(f"{data}: no such folder")
    if data.resolve() == folder.resolve():
        return
    if folder.resolve() in data.resolve().parents:
        raise UserError(f"{data}: lies in {folder}, whose content this folder's would replace; name another place")
    with replacing(folder) as new:  # a split of another corpus must not stay, nor a part of this one
        new.mkdir()
        for path in sorted(path for path in data.iterdir() if path.is_file()):
            shutil.copy2(path, new / path.name)
        if (folder / "README.md").exists():
            shutil.copy2(folder / "README.md", new / "README.md")
        shutil.rmtree(folder, ignore_errors=True)


def copy_results(checkout: Path, out: Path) -> None:
    with replacing(out) as new:
        shutil.copytree(checkout / "reports", new, ignore=shutil.ignore_patterns("studies"))
        for name in KEPT:
            shutil.copy2(checkout / name, new / name)
        shutil.rmtree(out, ignore_errors=True)
    print(f"results: {out / 'report.md'}")


def copy_run(checkout: Path, out: Path) -> None:
    """What a part of a study found, as far as it is needed to judge it with others."""
    with replacing(out) as new:
        new.mkdir()
        for name in RUN:
            shutil.copy2(checkout / "artifacts" / "evaluation" / name, new / name)
        for name in MEASURED:  # the largest tables, which judge alone reads
            packed = gzip.compress((checkout / "reports" / f"{name}.csv").read_bytes(), mtime=0)
            (new / f"{name}.csv.gz").write_bytes(packed)
        shutil.copy2(checkout / "artifacts" / "data" / "statistics.json", new / "statistics.json")
        shutil.copy2(checkout / "params.yaml", new / "params.yaml")
        (new / LOCK).write_bytes(gzip.compress((checkout / "dvc.lock").read_bytes(), mtime=0))
        shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
