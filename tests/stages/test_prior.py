"""Training that begins with a ticket of other data, and certificates that count only what differs from it."""

import contextlib
from pathlib import Path

import pandas as pd
import pytest
import yaml

from integer_tickets.errors import UserError
from integer_tickets.params import merge
from integer_tickets.training.state import load_model
from stages import certify, prepare, train_dense
from tests.stages.conftest import run_ladder, run_lessons, run_stage, write_params
from tests.stages.test_shuffled import CHANGES

ITEM = ["--attention", "inhibitor", "--variant", "ternary", "--seed", "0"]
TICKET = Path("artifacts/integer/inhibitor-ternary-0/level_2/ternary")


def checkout(folder: Path, changes: dict) -> None:
    folder.mkdir()
    write_params(folder, "shuffled", CHANGES, changes)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket, and beside it a study of other sentences that begins with it."""
    top = tmp_path_factory.mktemp("prior")
    shared = {"data": {"shuffled": False}, "grid": {"attentions": ["inhibitor"]}}
    second = {
        "language": {"seed": 1},
        "variants": {"ternary": {"rewind": 0, "epochs": 1}},
        "train": {"lr": 0.001, "weight_decay": 0.0, "start": f"../first/{TICKET}"},
    }
    checkout(top / "first", shared)
    checkout(top / "second", merge(shared, second))
    for name in ("first", "second"):
        with contextlib.chdir(top / name):
            run_lessons()
            run_ladder(*ITEM)
            run_stage(certify)
    return top


def test_training_goes_on_from_the_prior_and_changes_weights_alone(study):
    before, masks = load_model(study / "first" / TICKET / "master.safetensors")
    after, own = load_model(study / "second" / "artifacts/ladder/inhibitor-ternary-0/dense/level_0/model.safetensors")
    assert all((own[name] == mask).all() for name, mask in masks.items())
    changed = {name for name in after if not after[name].equal(before[name])}
    assert changed and all(name.endswith(".weight") or name == "classifier.bias" for name in changed)
    assert "positions.weight" not in changed
    for name, mask in own.items():
        assert (after[name][~mask] == 0).all()


def test_what_is_as_in_the_prior_takes_next_to_nothing(study):
    found = {name: pd.read_csv(study / name / "artifacts" / "certificates.csv") for name in ("first", "second")}
    alone = found["first"].query("stage == 'quantize' and level == 2").iloc[0]
    beside = found["second"].query("stage == 'quantize' and level == 0").iloc[0]
    assert beside["bits"] < alone["bits"] / 3 and beside["symmetry"] == 0
    assert beside["bits_tokenizer"] == 2 and beside["error"] < alone["error"]


def test_a_prior_of_another_shape_is_named(study, tmp_path, monkeypatch):
    values = yaml.safe_load((study / "second" / "params.yaml").read_text())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    prior = str(study / "first" / TICKET)
    Path("params.yaml").write_text(yaml.safe_dump(merge(values, {"train": {"start": prior}, "model": {"hidden": 24}})))
    run_stage(prepare)
    with pytest.raises((UserError, SystemExit), match=r"train.start: .* holds a model of another shape"):
        run_stage(train_dense, *ITEM)
