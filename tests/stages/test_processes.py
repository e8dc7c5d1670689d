"""Two processes that torchrun starts train as one does: the same losses, the same files, nothing twice."""

import csv
import json

import pytest

from tests.stages.conftest import Checkout

NAME = "inhibitor-float-0"
TWO = "torchrun --standalone --nproc-per-node 2 --no-python"
STAGES = [f"train_dense@{NAME}", f"prune_rewind@{NAME}-segment0", f"quantize@{NAME}-level1"]


@pytest.fixture(scope="module")
def both(fewer: tuple[Checkout, set[str]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, Checkout]:
    """The study made by one process, and its first stages made again by two."""
    made = fewer[0].copy(tmp_path_factory.mktemp("two") / "copy")
    made.change({"runtime": {"processes": 2}, "model": {"dropout": 0.0}})
    one = fewer[0].copy(tmp_path_factory.mktemp("one") / "copy")
    one.change({"model": {"dropout": 0.0}})
    for stage in STAGES:
        one.dvc("repro", "--single-item", stage)
        made.dvc("repro", "--single-item", stage, LAUNCH=TWO)
    return one, made


@pytest.mark.parametrize(
    "folder",
    [f"ladder/{NAME}/dense/level_0", f"ladder/{NAME}/upper/level_2", f"integer/{NAME}/level_2/int4"],
)
def test_two_processes_give_the_loss_curve_of_one(both, folder):
    histories = []
    for copy in both:
        path = copy.root / "artifacts" / folder
        assert not list(path.rglob(".*"))
        with (path / "history.csv").open() as file:
            histories.append(list(csv.DictReader(file)))
        assert json.loads((path / "info.json").read_text())["role"] in ("dense", "ticket")
    one, two = histories
    assert len(one) == len(two) > 0
    for mine, other in zip(one, two, strict=True):
        assert mine["step"] == other["step"] and mine["lr"] == other["lr"]
        assert float(mine["loss"]) == pytest.approx(float(other["loss"]), rel=2e-3)
    if "level_0" in folder:  # before rounding has grown: the first epoch of all
        assert float(one[0]["loss"]) == pytest.approx(float(two[0]["loss"]), rel=1e-5)


def test_the_benchmark_is_one_process_however_many_train(both):
    both[1].dvc("repro", "--single-item", "--force", "benchmark", LAUNCH=TWO)


def test_the_number_of_processes_is_that_of_the_parameters(both):
    one, two = both
    stage = ["stages", "train_dense", "--attention", "inhibitor", "--variant", "float", "--seed", "0"]
    done = two.python(*stage, check=False)
    assert done.returncode == 2 and "runtime.processes = 2, but 1 started" in done.stderr
    done = one.run(*TWO.split(), "python", "-m", *stage, check=False)
    assert done.returncode != 0 and "runtime.processes = 1, but 2 started; set it to 2" in done.stderr
