"""Several runs of a study judged as one give what one run of all of it gives."""

import contextlib
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import stages.judge
from integer_tickets.errors import UserError
from integer_tickets.files import write_text
from integer_tickets.report.study import MEASURED
from stages import evaluate
from stages.ablations import base_of, check_texts, compared
from stages.judge import judge
from stages.study import copy_run
from tests.evaluation.fake_study import fake_checkout, fake_params
from tests.report.conftest import run_stages

RUNS = {
    "first": {"grid": {"seeds": [0, 1]}},
    "inhibitor": {"grid": {"seeds": [2], "attentions": ["inhibitor"]}},
    "softmax": {"grid": {"seeds": [2], "attentions": ["softmax"]}},
}


def evaluated(folder: Path, changes: dict | None = None) -> Path:
    fake_checkout(folder, changes)
    (folder / "dvc.lock").write_text("stages: {}\n")
    with contextlib.chdir(folder):
        evaluate.main()
    for name in MEASURED:
        write_text(folder / "reports" / f"{name}.csv", "name\n")
    return folder


def reported(folder: Path, changes: dict) -> Path:
    fake_checkout(folder, changes)
    (folder / "dvc.lock").write_text("stages: {}\n")
    run_stages(folder)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, Path]:
    """The evaluation of all at once, and the folder of the runs judged as one."""
    top = tmp_path_factory.mktemp("judge")
    whole = evaluated(top / "whole")
    for name, changes in RUNS.items():
        make = evaluated if name == "first" else reported
        copy_run(make(top / name, changes), top / "study" / "runs" / name)
    for name in MEASURED:
        (top / "study" / "runs" / "first" / f"{name}.csv.gz").unlink()  # as of a run from before there were such
    other = top / "study" / "runs" / "softmax" / "params.yaml"  # as if by a processor that has such products
    other.write_text(other.read_text().replace("autocast: false", "autocast: true"))
    judge(fake_params(), top / "study")
    return whole / "artifacts" / "evaluation", top / "study"


def rows(path: Path, split: str = "test") -> pd.DataFrame:
    frame = pd.read_csv(path)
    frame = frame[frame["split"] == split]
    return frame.sort_values([column for column in ("name", "family", "a", "b", "metric") if column in frame])


@pytest.mark.parametrize("name", ["summary", "comparisons"])
def test_the_numbers_are_those_of_one_run(study, name):
    whole, parts = (rows(folder / f"{name}.csv").reset_index(drop=True) for folder in study)
    pd.testing.assert_frame_equal(whole, parts)


def test_the_page_and_the_figures(study):
    _, folder = study
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "Judged as one: 3 runs (first, inhibitor, softmax), 3 seeds a ladder" in text
    assert "**Does a winning ticket exist, and down to which density?** A winning ticket matches" in text
    assert "| `inhibitor float` | not shown |" in text
    assert "in bfloat16 (`runtime.autocast`) in softmax, with products in float32 in first and inhibitor;" in text
    assert "## What layers keep" in text and "## Certificates" in text
    certified = pd.read_csv(folder / "certificates.csv")
    assert set(certified.loc[certified["stage"] != "baseline", "seed"]) == {2}
    for name in ("accuracy_density", "controls", "connectivity", "layers", "bounds", "mask_bits"):
        assert f"figures/{name}.svg" in text and (folder / "figures" / f"{name}.svg").exists()


def test_runs_that_are_missing_are_named(tmp_path):
    with pytest.raises(UserError, match="no runs"):
        judge(fake_params(), tmp_path)


def test_a_run_with_other_parameters_is_refused(study):
    _, folder = study
    for changes, what in (
        ({"train": {"epochs": 9}}, "its train is"),
        ({"variants": {"float": {"rewind": 9}}}, "its variant float is"),
    ):
        with pytest.raises(UserError, match=rf"runs/first/params.yaml: .*{what}.* not that of the study"):
            judge(fake_params(changes), folder)


def test_a_table_is_written_with_all_others_or_not_at_all(study, tmp_path, monkeypatch):
    _, folder = study
    shutil.copytree(folder, tmp_path / "study")
    before = {path: path.read_bytes() for path in (tmp_path / "study").rglob("*") if path.is_file()}
    monkeypatch.setattr(stages.judge, "page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        judge(fake_params({"evaluate": {"bootstrap": 150}}), tmp_path / "study")
    assert {path: path.read_bytes() for path in (tmp_path / "study").rglob("*") if path.is_file()} == before


def test_ablations_are_compared_on_the_texts_of_the_run(study):
    whole, folder = study
    checkout, run = whole.parents[1], folder / "runs" / "first"
    params = fake_params(RUNS["first"])
    base = base_of(params, checkout, run, fake_params())
    assert len(list(compared(params, checkout, base))) == 4  # two attentions, two seeds
    check_texts(checkout, base)
    with pytest.raises(UserError, match="the test of this corpus has other labels than the run"):
        check_texts(checkout, base._replace(labels=base.labels[::-1]))
    with pytest.raises(UserError, match="its train is not that of the study"):
        base_of(params, checkout, run, fake_params({"train": {"epochs": 9}}))


def test_masks_of_other_runs_are_compared_and_seeds_in_two_runs_count_once(study, tmp_path):
    _, folder = study
    overlaps = pd.read_csv(folder / "overlaps.csv")
    assert (overlaps["pairs"] == 3).all()  # seeds 0 and 1 of one run, seed 2 of another
    shutil.copytree(folder / "runs", tmp_path / "runs")
    shutil.copytree(folder / "runs" / "first", tmp_path / "runs" / "again")
    shutil.copytree(folder / "runs" / "softmax", tmp_path / "runs" / "twice")
    judge(fake_params(), tmp_path)
    for name in ("overlaps", "densities", "lines", "zeros", "summary", "comparisons", "certificates", "mask_bits"):
        assert len(pd.read_csv(tmp_path / f"{name}.csv")) == len(pd.read_csv(folder / f"{name}.csv"))


def test_masks_from_elsewhere_stand_beside_the_tickets_own(tmp_path):
    changes = {
        "grid": {"attentions": ["inhibitor"]},
        "transfer": {
            "levels": [{"level": 2, "segment": "upper"}],
            "sources": [{"id": "sst2", "attention": "inhibitor", "prefix": "elsewhere"}],
        },
    }
    copy_run(reported(tmp_path / "whole", changes), tmp_path / "study" / "runs" / "seeds")
    judge(fake_params(changes), tmp_path / "study")
    text = (tmp_path / "study" / "report.md").read_text(encoding="utf-8")
    assert "How much that mask shares with the ticket's own of the same seed" in text
    # made-up masks of a seed and a level are all the same
    assert re.search(r"\| inhibitor float level 2, mask of sst2 \| 100\.0 \| 3\d\.\d \|", text)
    assert re.search(r"\| inhibitor float level 2 \| 3\d\.\d \| 3\d\.\d \|", text)
