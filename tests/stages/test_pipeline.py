"""The pipeline as a whole: what runs again and what does not, and that every way to the results gives the same."""

import yaml

from tests.stages.conftest import FEWER

NAME = "inhibitor-float-0"
JUDGED = {"evaluate", "certify", "report"}  # what every change of the grid makes again
SECONDS = {"reports/timings.json", "reports/timings.md"}


def test_a_second_run_finds_nothing_to_do(copied):
    done = copied.python("stages", "run", "-j", "2")
    assert "up to date" in done.stdout and "[1/" not in done.stdout
    assert copied.git("status", "--porcelain") == ""


def test_a_fresh_clone_pulls_everything_and_has_nothing_to_do(copied, tmp_path):
    copied.dvc("remote", "add", "--default", "storage", tmp_path / "storage")
    copied.commit("A remote")
    copied.dvc("push")
    clone = copied.clone(tmp_path / "clone")
    clone.dvc("pull")
    assert "up to date" in clone.dvc("status").stdout
    assert clone.repro() == set()
    assert clone.content("artifacts") == copied.content("artifacts")
    assert clone.git("status", "--porcelain") == ""


def test_one_after_the_other_gives_the_same_lock(copied):
    """As the parallel runner, byte for byte; nearly everything comes from the run cache."""
    reports = copied.content("reports")
    copied.run("rm", "-r", "dvc.lock", "artifacts", "reports", ".work")
    assert copied.repro() <= {"benchmark", "report"}
    assert {line[3:] for line in copied.git("status", "--porcelain").splitlines()} <= SECONDS
    assert copied.content("reports").keys() == reports.keys()


def test_left_overs_of_an_earlier_grid_are_not_read(finished, fewer, tmp_path):
    reduced, ran = fewer
    assert ran == JUDGED
    assert not [name for name in reduced.content("artifacts") if "softmax" in name]
    assert b",softmax,float," not in reduced.content("reports")["results.csv"]
    clone = finished.clone(tmp_path / "clone", cache=True)
    clone.change(FEWER)
    assert clone.repro() <= JUDGED
    assert clone.lock == reduced.lock
    assert clone.content("artifacts") == reduced.content("artifacts")


def test_a_changed_parameter_reruns_what_depends_on_it(fewer, tmp_path):
    copied = fewer[0].copy(tmp_path / "copy")
    before = copied.locked()
    copied.git("switch", "--quiet", "--create", "warmer")
    copied.change({"lessons": {"temperature": 8.0}, "distill": {"lr": 0.02}})
    expected = {"lessons", f"distill@{NAME}-level0", f"analyze@{NAME}", *JUDGED}
    assert copied.repro() == expected
    after = copied.locked()
    assert {name for name in before if before[name] != after[name]} == expected
    copied.commit("Warmer")
    lines = copied.dvc("metrics", "diff", "main").stdout.splitlines()
    assert any("reports/metrics.json" in line and "inhibitor_int8_distilled_accuracy" in line for line in lines)
    copied.git("switch", "--quiet", "main")
    assert copied.repro() == set()
    assert copied.git("status", "--porcelain") == ""


def test_more_levels_compute_what_is_new(fewer, tmp_path):
    """A longer ladder, and another level made into integers, leave every finished item as it is; on any machine."""
    shared = fewer[0].copy(tmp_path / "shared")
    shared.dvc("remote", "add", "--default", "storage", tmp_path / "storage")
    shared.commit("A remote")
    shared.dvc("push")
    copied = shared.clone(tmp_path / "clone")
    copied.dvc("pull")
    before = copied.locked()
    segments = yaml.safe_load((copied.root / "params.yaml").read_text())["grid"]["segments"]
    copied.change({"grid": {"segments": [*segments, {"id": "last", "previous": "lower", "first": 4, "last": 4}]}})
    levels = [{"level": 0, "segment": "dense"}, {"level": 2, "segment": "upper"}, {"level": 3, "segment": "lower"}]
    copied.change({"quantize": {"levels": levels}})
    own = {f"analyze@{NAME}", *JUDGED}
    assert copied.repro() == {f"prune_rewind@{NAME}-segment2", f"quantize@{NAME}-level2", *own}
    after = copied.locked()
    assert {name for name in before if before[name] != after[name]} == own


def test_the_commands_of_dvc_that_a_study_is_read_with(fewer, tmp_path):
    copied = fewer[0].copy(tmp_path / "copy")
    done = copied.dvc("exp", "run", "--name", "surer", "--set-param", "evaluate.confidence=0.9")
    assert "surer" in done.stdout
    assert "evaluate.confidence" in copied.dvc("params", "diff", "main").stdout
    assert "inhibitor_float_dense_accuracy" in copied.dvc("metrics", "show").stdout
    shown = copied.dvc("exp", "show", "--csv").stdout
    assert "surer" in shown and "inhibitor_float_dense_accuracy" in shown and "evaluate.confidence" in shown
    assert "Accuracy" in copied.dvc("plots", "show", "--json").stdout


def test_a_stage_by_itself_gives_the_same(fewer, tmp_path):
    """`dvc repro -sf` of an item; all of them are covered by --force below."""
    copied = fewer[0].copy(tmp_path / "copy")
    for name in (f"train_dense@{NAME}", "report"):
        assert copied.repro("--single-item", "--force", name) == {name}
    assert copied.git("status", "--porcelain") == ""


def test_a_ladder_cut_elsewhere(fewer, tmp_path):
    """A segment that is given up leaves no trace; one with other levels is computed anew."""
    copied = fewer[0].copy(tmp_path / "copy")
    before = copied.locked()
    copied.change({"grid": {"segments": [{"id": "upper", "previous": "dense", "first": 1, "last": 2}]}})
    assert copied.repro() == {f"analyze@{NAME}", *JUDGED}  # float models of the ladder are analyzed, too
    assert {path.name for path in copied.root.glob("artifacts/ladder/*/*")} == {"dense", "upper"}
    assert copied.repro() == set()
    after = copied.locked()
    assert all(before[name] == after[name] for name in before if name.startswith(("controls", "quantize", "distill")))
    copied.change({"grid": {"segments": [{"id": "upper", "previous": "dense", "first": 1, "last": 3}]}})
    status = copied.dvc("status", f"prune_rewind@{NAME}-segment0", f"train_dense@{NAME}").stdout
    assert "prune_rewind" in status and "changed command" in status and "train_dense" not in status


def test_everything_made_again_is_the_same(fewer, tmp_path):
    copied = fewer[0].copy(tmp_path / "copy")
    assert copied.repro("--force") == {name for name in copied.locked() if "@softmax" not in name}
    assert {line[3:] for line in copied.git("status", "--porcelain").splitlines()} <= SECONDS
