"""One copy of the project at a very small size, its pipeline run once; tests work on copies and clones of it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from integer_tickets.params import merge
from stages import distill, lessons, prepare, prune_rewind, quantize, teacher, train_dense
from stages.presets import with_preset

ROOT = Path(__file__).resolve().parents[2]
PROBE = Path(__file__).with_name("probe")

SMALL: dict[str, Any] = {
    "grid": {
        "seeds": [0],
        "segments": [
            {"id": "upper", "previous": "dense", "first": 1, "last": 2},
            {"id": "lower", "previous": "upper", "first": 3, "last": 3},
        ],
    },
    "language": {"train": 300, "selection": 80, "validation": 80, "test": 100, "unlabelled": 60},
    "tokenizer": {"size": 300},
    "controls": {"levels": [{"level": 2, "segment": "upper", "before": "upper/level_1"}]},
    "connectivity": {"levels": [{"level": 2, "segment": "upper"}]},
    "quantize": {"epochs": 2, "levels": [{"level": 0, "segment": "dense"}, {"level": 2, "segment": "upper"}]},
    "distill": {"levels": [{"level": 2, "segment": "upper"}]},
    "benchmark": {"batches": [1], "rounds": 1},
}
"""Over presets/tiny.yaml: one seed, and a segment of two levels."""

FEWER: dict[str, Any] = {"grid": {"attentions": ["inhibitor"]}}


def run_stage(stage: ModuleType, *arguments: str) -> None:
    """A stage in this process, in the current folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stages", *arguments])
        stage.main()


def write_params(folder: Path, preset: str, *changes: dict[str, Any]) -> None:
    """params.yaml of a preset, with changes over it."""
    values = with_preset(preset, [])
    for more in changes:
        values = merge(values, more)
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def run_lessons() -> None:
    """The stages that all trainings begin with."""
    for stage in (prepare, teacher, lessons):
        run_stage(stage)


def run_ladder(*item: str) -> None:
    """A dense model and a segment `upper` of two levels, first and last as integers, the last one distilled."""
    run_stage(train_dense, *item)
    run_stage(prune_rewind, *item, "--segment", "upper", "--levels", "1-2")
    for level in ("0", "2"):
        run_stage(quantize, *item, "--level", level)
    run_stage(distill, *item, "--level", "2")


@dataclass(frozen=True)
class Checkout:
    """A copy of the project in which commands run with its own src and stages."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(
        self, *command: str | Path, check: bool = True, **variables: str | Path
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; its output is in the message where it fails against expectation."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.root,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def environment(self, **variables: str | Path) -> dict[str, str]:
        """Of the tests, less what belongs to an enclosing Git or DVC command, with this copy and the probe in front."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "DVC_", "PROBE_")) and k != "LAUNCH"}
        own = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
            "PYTHONPATH": os.pathsep.join(map(str, (self.root, self.root / "src", PROBE))),
            "PYTHONDONTWRITEBYTECODE": "",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            **{f"GIT_{who}_{what}": "tests@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        return kept | own | self.variables | {name: str(value) for name, value in variables.items()}

    def python(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-m", *arguments, **options)

    def dvc(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-m", "dvc", *arguments, **options)

    def git(self, *arguments: str | Path) -> str:
        return self.run("git", *arguments).stdout

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def repro(self, *options: str) -> set[str]:
        """Bring everything up to date, one item after the other; those that really ran."""
        output = self.dvc("repro", *options).stdout
        return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")}

    def change(self, changes: dict[str, Any]) -> None:
        """Lay changes over params.yaml."""
        path = self.root / "params.yaml"
        path.write_text(yaml.safe_dump(merge(yaml.safe_load(path.read_text()), changes), sort_keys=False))

    @property
    def lock(self) -> bytes:
        return (self.root / "dvc.lock").read_bytes()

    def locked(self) -> dict[str, Any]:
        """What dvc.lock says of each item."""
        return yaml.safe_load(self.lock)["stages"]

    def content(self, folder: str) -> dict[str, bytes]:
        """The bytes of every file below a folder."""
        top = self.root / folder
        return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}

    def copy(self, root: Path) -> "Checkout":
        shutil.copytree(self.root, root, symlinks=True)
        return Checkout(root, self.variables)

    def clone(self, root: Path, cache: bool = False) -> "Checkout":
        """A clone by Git, with an empty cache of DVC or with that of this copy."""
        self.git("clone", "--quiet", self.root, root)
        made = Checkout(root, self.variables)
        if cache:
            made.dvc("cache", "dir", "--local", self.root / ".dvc" / "cache")
        return made


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The project, its pipeline run to the end and committed. Not to be changed: tests work on copies."""
    top = tmp_path_factory.mktemp("finished")
    probes = top / "probes"
    probes.mkdir()
    made = Checkout(top / "project", {"DVC_SITE_CACHE_DIR": str(top / "site"), "HF_HUB_OFFLINE": "1"})
    made.root.mkdir()
    made.git("init", "--quiet", "--initial-branch", "main")
    listed = made.git(f"--work-tree={ROOT}", "-C", ROOT, f"--git-dir={made.root / '.git'}",
                      "ls-files", "-z", "--others", "--exclude-standard")  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if not name.startswith(("reports/", "tests/")) and name != "dvc.lock":
            (made.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, made.root / name)
    made.change(yaml.safe_load((ROOT / "presets" / "tiny.yaml").read_text()))
    made.change(SMALL)
    made.commit("The project")
    made.python("stages", "run", "-j", "2", PROBE_OUT=probes)
    made.commit("Its results")
    return made


@pytest.fixture
def copied(finished: Checkout, tmp_path: Path) -> Checkout:
    """A copy that a test may change."""
    return finished.copy(tmp_path / "copy")


@pytest.fixture(scope="session")
def fewer(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, set[str]]:
    """A copy brought up to date and committed after half of the grid was given up, and the items that ran."""
    made = finished.copy(tmp_path_factory.mktemp("fewer") / "copy")
    made.change(FEWER)
    ran = made.repro()
    made.commit("One attention")
    return made, ran
