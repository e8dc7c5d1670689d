"""Faults of the user at the level of stages: exit code 2, one line that names the fault, nothing half-written."""

import shutil
from pathlib import Path

import pytest
import yaml

from integer_tickets.corpus_blocks import Data
from integer_tickets.errors import UserError
from integer_tickets.params import merge, parse_params
from stages import presets, study
from tests.stages.conftest import Checkout

ITEM = ["--attention", "inhibitor", "--variant", "float", "--seed", "0"]


@pytest.fixture
def bare(finished: Checkout, tmp_path: Path) -> Checkout:
    """The parameters and the data folder alone, with the sources of the finished project."""
    made = Checkout(tmp_path / "bare", finished.variables | {"PYTHONPATH": finished.environment()["PYTHONPATH"]})
    (made.root / "data").mkdir(parents=True)
    shutil.copy(finished.root / "params.yaml", made.root)
    return made


def refused(checkout: Checkout, *arguments: str) -> str:
    """The line that a command ends with."""
    before = sorted(checkout.root.rglob("*"))
    done = checkout.python(*arguments, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    after = [path for path in sorted(checkout.root.rglob("*")) if path not in before]
    assert not [path for path in after if "artifacts" in path.parts], after
    return done.stderr


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"train": {"epoch": 3}}, "unknown parameter train.epoch; did you mean epochs?"),
        ({"prune": {"keep": 1.5}}, "prune.keep = 1.5"),
        ({"runtime": {"versions": {"torch": "1.0"}}}, "runtime.versions.torch = 1.0, but 2.13.0 is installed"),
        ({"runtime": {"versions": {"torhc": "1.0"}}}, "runtime.versions.torhc: torhc is not installed"),
        ({"data": {"source": "files"}}, "data: no file for train"),
        ({"data": {"source": "files", "folder": "elsewhere"}}, "elsewhere: no such folder (data.folder)"),
    ],
)
def test_faults_of_parameters_and_data(bare, changes, line):
    bare.change(changes)
    assert line in refused(bare, "stages", "prepare")


def test_a_file_that_is_not_a_table(bare):
    bare.change({"data": {"source": "files"}})
    (bare.root / "data" / "train.tsv").write_bytes(b"sentence\tlabel\ngood\t1\nbad\n")
    assert "data/train.tsv, line 3" in refused(bare, "stages", "prepare")


@pytest.mark.parametrize("name", [[], ["nonsense"], ["no-name"], ["models"]])
def test_no_such_stage(bare, name):
    assert "expected the name of one, as in python -m stages prepare" in refused(bare, "stages", *name)


def test_a_folder_without_parameters(bare):
    (bare.root / "params.yaml").unlink()
    assert "params.yaml: no such file; run from the top folder" in refused(bare, "stages", "prepare")


def test_a_stage_whose_inputs_are_not_there(bare):
    assert "artifacts/data/corpus.safetensors: not there; an earlier stage makes it" in refused(
        bare, "stages", "train_dense", *ITEM
    )


def test_an_item_that_the_grid_does_not_have(bare):
    done = bare.python("stages", "train_dense", *ITEM[:-1], "7", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m stages train_dense") and "invalid choice: 7" in done.stderr


def test_a_failing_stage_stops_the_run_and_its_message_is_shown(copied):
    copied.change({"data": {"source": "files"}})
    done = copied.python("stages", "run", check=False)
    assert done.returncode == 1
    assert "prepare failed" in done.stderr and "prepare: data: no file for train" in done.stderr
    assert "teacher" not in done.stdout + done.stderr


def test_an_unknown_preset(finished):
    done = finished.python("stages.study", "nonsense", check=False)
    assert done.returncode == 1 and done.stderr == "study: presets/nonsense.yaml: no such preset\n"
    assert not (finished.root / ".study").exists()


def test_an_unknown_target(finished):
    done = finished.python("stages", "run", "nonsense", check=False)
    assert done.returncode == 1 and done.stderr.startswith("run: ") and "nonsense" in done.stderr


def test_a_study_outside_git(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(study, "ROOT", tmp_path)
    with pytest.raises(UserError, match="a study works in a Git worktree"):
        study.check_out(tmp_path / ".study" / "tiny")
    assert not list(tmp_path.iterdir())


PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("preset", sorted(path.stem for path in presets.PRESETS.glob("*.yaml")))
def test_every_preset_holds_true_differences(preset):
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    merged = presets.with_preset(preset, [])
    parse_params(merged, preset)
    assert merged != values
    own = presets.read_preset(preset)
    for name, changes in (own.parts | own.ablations).items():
        parse_params(merge(merged, changes), f"{name} of {preset}")


def test_a_preset_replaces_what_it_names_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setattr(presets, "ROOT", tmp_path)
    monkeypatch.setattr(presets, "PRESETS", tmp_path)
    (tmp_path / "params.yaml").write_text("a: {x: 1, y: [1, 2]}\nb: 3\n")
    preset = tmp_path / "preset.yaml"
    preset.write_text("a: {y: [5]}\n")
    assert presets.with_preset("preset", []) == {"a": {"x": 1, "y": [5]}, "b": 3}
    assert presets.with_preset("preset", ["a.x=[7, 8]", "b=2"]) == {"a": {"x": [7, 8], "y": [5]}, "b": 2}
    for setting in ("a.x", "a.x=["):
        with pytest.raises(UserError, match="expected NAME=VALUE"):
            presets.with_preset("preset", [setting])
    preset.write_text("")
    assert presets.with_preset("preset", []) == {"a": {"x": 1, "y": [1, 2]}, "b": 3}
    presets.whole("preset")
    with pytest.raises(UserError, match=r"^--run part: preset.yaml has no parts$"):
        presets.with_preset("preset", [], "part")
    assert presets.with_preset("preset", ["b=4"], "anything")["b"] == 4
    (tmp_path / "other.yaml").write_text("preset: preset\nb: 5\n")
    preset.write_text("a: {x: 2}\n")
    assert presets.with_preset("other", []) == {"a": {"x": 2, "y": [1, 2]}, "b": 5}
    for text, where in (("preset: preset\n", "preset.yaml: preset"), ("preset: other\n", "other.yaml: preset")):
        preset.write_text(text)
        with pytest.raises(UserError, match=rf"^{where} = preset, which is where it came from$"):
            presets.with_preset("preset", [])
    for text, fault in (("a: [", "not valid YAML"), ("- a\n", "expected blocks of parameters")):
        preset.write_text(text)
        with pytest.raises(UserError, match=f"^preset.yaml: {fault}"):
            presets.with_preset("preset", [])


def test_a_part_of_a_preset_and_one_seed_of_it(monkeypatch, tmp_path):
    monkeypatch.setattr(presets, "ROOT", tmp_path)
    monkeypatch.setattr(presets, "PRESETS", tmp_path)
    (tmp_path / "params.yaml").write_text("grid: {seeds: [0, 1], variants: [a, b]}\n")
    (tmp_path / "preset.yaml").write_text(
        "parts: {b: {grid: {variants: [b]}}, b_3: {grid: {variants: [c], seeds: [3]}}}\n"
    )
    assert presets.with_preset("preset", []) == {"grid": {"seeds": [0, 1], "variants": ["a", "b"]}}
    assert presets.with_preset("preset", [], "b") == {"grid": {"seeds": [0, 1], "variants": ["b"]}}
    assert presets.with_preset("preset", [], "b_12") == {"grid": {"seeds": [12], "variants": ["b"]}}
    assert presets.with_preset("preset", [], "b_3") == {"grid": {"seeds": [3], "variants": ["c"]}}  # named as it is
    assert presets.with_preset("preset", ["grid.seeds=[5]"], "b_12")["grid"]["seeds"] == [5]
    for run in ("c", "b_", "b_x", "a_1"):
        with pytest.raises(UserError, match=rf"^--run {run}: the parts of preset.yaml are b, b_3 \(PART_N"):
            presets.with_preset("preset", [], run)
    with pytest.raises(UserError, match=r"^preset: the parts of preset.yaml are b, b_3 .*; name one, as in --run b$"):
        presets.whole("preset")


def test_results_of_a_study_replace_neither_its_runs_nor_what_is_none(tmp_path):
    study.check_replaceable(tmp_path / "new")
    (tmp_path / "runs" / "int8").mkdir(parents=True)
    with pytest.raises(UserError, match="runs holds parts of this study"):
        study.check_replaceable(tmp_path)
    with pytest.raises(UserError, match="is not empty and holds no study"):
        study.check_replaceable(tmp_path / "runs")
    (tmp_path / "runs" / "params.yaml").touch()
    study.check_replaceable(tmp_path / "runs")


def data_settings(**changes: str) -> Data:
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())["data"]
    return Data.model_validate(values | changes)


def test_the_files_of_a_study_are_placed_where_its_parameters_look(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.tsv").write_text("text\tlabel\n")
    checkout = tmp_path / "checkout"
    study.place_data(data_settings(source="files", folder="data/reviews"), source, checkout)
    assert (checkout / "data" / "reviews" / "train.tsv").read_text() == "text\tlabel\n"
    study.place_data(data_settings(source="files", folder="data/reviews"), None, checkout)  # as placed before


def test_a_study_of_files_asks_for_them(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "README.md").write_text("Put a corpus here.\n")
    with pytest.raises(UserError, match="this preset reads files: name their folder"):
        study.place_data(data_settings(source="files"), None, tmp_path)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        study.place_data(data_settings(source="files"), tmp_path / "nowhere", tmp_path)
    study.place_data(data_settings(source="builtin"), None, tmp_path)
