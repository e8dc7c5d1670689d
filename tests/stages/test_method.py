"""The method that docs/design.md describes ("Tickets") is what a run does: facts read off a finished study.

That every training sees the same order of the data is asserted in tests/training/test_loop.py.
"""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from integer_tickets.files import read_json
from integer_tickets.params import Params, load_params, merge
from integer_tickets.training.loop import Result, Schedule
from integer_tickets.training.state import State, load_model, load_state
from stages import prune_rewind, train_dense
from stages.fit import fit
from stages.models import Job
from tests.stages.conftest import run_stage
from tests.tickets.conftest import assert_begins_at

LEVELS = {0: "dense/level_0", 1: "upper/level_1", 2: "upper/level_2"}
INTEGER = {
    weights: {
        **{"weights": weights, "embedding_bits": 8, "pattern": "weight", "scope": "global"},
        **{"embedding": False, "rewind": 4, "epochs": 3},
    }
    for weights in ("int8", "ternary")
}


@dataclass(frozen=True)
class Ladder:
    params: Params
    variant: str
    folder: Path


STARTS: dict[tuple[str, int], State] = {}
"""Of integer weights: with what each level of each ladder began, by the ladder's folder and the level."""


@pytest.fixture(scope="module")
def integers(finished, tmp_path_factory) -> Path:
    """A folder with ladders of integer weights on the data of the finished study."""

    def watched(job: Job, start: State, *arguments: Any, level: int, **options: Any) -> Result:
        STARTS[f"{job.item.attention}-{job.item.variant}-0", level] = start
        return fit(job, start, *arguments, level=level, **options)

    folder = tmp_path_factory.mktemp("integers")
    values = yaml.safe_load((finished.root / "params.yaml").read_text())
    values = merge(values, {"variants": INTEGER, "grid": {"variants": list(INTEGER)}})
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    shutil.copytree(finished.root / "artifacts" / "data", folder / "artifacts" / "data")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(prune_rewind, "fit", watched)
        for attention in ("inhibitor", "softmax"):
            for variant in INTEGER:
                item = ["--attention", attention, "--variant", variant, "--seed", "0"]
                run_stage(train_dense, *item)
                run_stage(prune_rewind, *item, "--segment", "upper", "--levels", "1-2")
    return folder


@pytest.fixture(params=[(a, v) for a in ("inhibitor", "softmax") for v in ("float", *INTEGER)], ids="-".join)
def ladder(request, finished, integers):
    attention, variant = request.param
    root = finished.root if variant == "float" else integers
    params = load_params(root / "params.yaml")
    return Ladder(params, variant, root / "artifacts" / "ladder" / f"{attention}-{variant}-0")


def test_every_level_has_the_whole_schedule_whose_rate_ends_at_0(ladder):
    own = ladder.params.train
    epochs = ladder.params.variants[ladder.variant].epochs or own.epochs
    schedule = Schedule(epochs, own.batch, own.tokens, own.lr, own.warmup, own.weight_decay, 0)
    histories = [pd.read_csv(ladder.folder / place / "history.csv") for place in LEVELS.values()]
    for history in histories:
        steps = int(history["step"].iloc[-1])
        assert history["epoch"].tolist() == list(range(1, epochs + 1))
        assert history["lr"].tolist() == [schedule.rate(step - 1, steps) for step in history["step"]]
        assert schedule.rate(steps, steps) == 0 and history["lr"].iloc[-1] < 0.15 * own.lr
        assert history[["step", "lr"]].equals(histories[0][["step", "lr"]])


def test_each_level_removes_the_same_share_exactly(ladder):
    keep, alive = ladder.params.prune.keep, None
    for place in LEVELS.values():
        layers = read_json(ladder.folder / place / "info.json")["layers"]
        kept = sum(layer["kept"] for layer in layers.values())
        alive = kept if alive is None else int(np.floor(keep * alive + 0.5))
        assert kept == alive
        # Every linear layer is prunable, the classifier too; tables, biases, gamma and delta are not.
        assert "classifier.weight" in layers and len(layers) == 6 + 1
        assert not any(name.startswith(("tokens", "positions")) or name.endswith("bias") for name in layers)


def test_what_is_pruned_is_zero_and_stays_pruned(ladder):
    before = None
    for place in LEVELS.values():
        weights, masks = load_model(ladder.folder / place / "model.safetensors")
        assert all(not weights[name][~mask].any() for name, mask in masks.items())
        if before is not None:
            assert all(not (mask & ~before[name]).any() for name, mask in masks.items())
        before = masks


def test_every_level_begins_at_the_rewind_point(integers):
    for (name, level), start in STARTS.items():
        folder = integers / "artifacts" / "ladder" / name
        rewind, _, _ = load_state(folder / "dense" / "rewind.safetensors")
        _, masks = load_model(folder / LEVELS[level] / "model.safetensors")
        assert_begins_at(start, rewind, masks)
    assert len(STARTS) == 2 * len(INTEGER) * 2


def test_the_rewind_point_holds_weights_moments_and_step(ladder):
    state, _, _ = load_state(ladder.folder / "dense" / "rewind.safetensors")
    assert state.step == ladder.params.variants[ladder.variant].rewind
    assert state.first.keys() == state.second.keys() and "classifier.weight" in state.weights
    assert any(tensor.any() for tensor in state.second.values())
    trained, _ = load_model(ladder.folder / LEVELS[0] / "model.safetensors")
    assert not torch.equal(trained["classifier.weight"], state.weights["classifier.weight"])
