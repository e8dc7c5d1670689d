"""The pipeline as a whole: what runs again and what does not, and that every way to the results gives the same."""

from typing import Any

import pytest

from tests.stages.conftest import Checkout, ran

FEWER: dict[str, Any] = {"grid": {"attentions": ["inhibitor"]}}


@pytest.fixture(scope="session")
def fewer(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, set[str]]:
    """A copy brought up to date after half of the grid was given up, and the items that ran."""
    made = finished.copy(tmp_path_factory.mktemp("fewer") / "copy")
    made.change(FEWER)
    return made, made.repro()


def test_a_second_run_finds_nothing_to_do(copied):
    assert copied.repro() == set()
    assert "up to date" in copied.dvc("repro").stdout
    assert copied.git("status", "--porcelain") == ""


def test_a_fresh_clone_pulls_everything_and_has_nothing_to_do(copied, tmp_path):
    copied.dvc("remote", "add", "--default", "storage", tmp_path / "storage")
    copied.commit("A remote")
    copied.dvc("push")
    clone = copied.clone(tmp_path / "clone")
    clone.dvc("pull")
    assert "up to date" in clone.dvc("status").stdout
    assert ran(clone.dvc("repro").stdout) == set()
    assert clone.content("artifacts") == copied.content("artifacts")
    assert clone.git("status", "--porcelain") == ""


def test_a_changed_parameter_reruns_what_depends_on_it(copied):
    before = copied.locked()
    copied.git("switch", "--quiet", "--create", "warmer")
    copied.change({"distill": {"temperature": 8.0, "lr": 0.02}})
    assert copied.repro() == {"distill@inhibitor-float-0", "distill@softmax-float-0", "evaluate", "report"}
    after = copied.locked()
    assert {name for name in before if before[name] != after[name]} == copied.repro() | {
        "distill@inhibitor-float-0",
        "distill@softmax-float-0",
        "evaluate",
        "report",
    }
    copied.commit("Warmer")
    lines = copied.dvc("metrics", "diff", "main").stdout.splitlines()
    assert any("reports/metrics.json" in line and "inhibitor_int8_distilled_accuracy" in line for line in lines)
    copied.git("switch", "--quiet", "main")
    assert copied.repro() == set()  # from the run cache
    assert copied.git("status", "--porcelain") == ""


def test_one_after_the_other_gives_the_same_lock(copied):
    lock, reports = copied.lock, copied.content("reports")
    for name in ("dvc.lock", "artifacts", "reports", ".work"):
        copied.run("rm", "-r", name)
    assert ran(copied.dvc("repro").stdout) == {"benchmark"}  # the rest comes from the run cache
    assert copied.lock == lock
    timings = {"timings.json", "timings.md"}
    now = copied.content("reports")
    assert {name for name in reports if now[name] != reports[name]} <= timings and now.keys() == reports.keys()


def test_left_overs_of_an_earlier_grid_are_not_read(finished, fewer, tmp_path):
    reduced, executed = fewer
    assert executed == {"evaluate", "report"}
    assert not [name for name in reduced.content("artifacts") if "softmax" in name]
    assert not [line for line in reduced.content("reports")["results.csv"].splitlines() if b",softmax,float" in line]
    assert reduced.repro() == set()
    clone = finished.clone(tmp_path / "clone", cache=True)
    clone.change(FEWER)
    assert clone.repro() <= {"evaluate", "report"}
    assert clone.lock == reduced.lock
    assert clone.content("artifacts") == reduced.content("artifacts")


def test_everything_made_again_is_the_same(fewer, tmp_path):
    reduced = fewer[0].copy(tmp_path / "copy")
    reduced.commit("Fewer")
    items = [name for name in reduced.locked() if "@softmax" not in name]
    assert ran(reduced.dvc("repro", "--force").stdout) == set(items)
    changed = {line.split()[-1] for line in reduced.git("status", "--porcelain").splitlines()}
    assert changed <= {"reports/timings.json", "reports/timings.md"}
