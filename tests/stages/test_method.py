"""The method that docs/design.md describes ("Tickets") is what a run does: facts read off a finished study.

That every training sees the same order of the data is asserted in tests/training/test_loop.py.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from integer_tickets.files import read_json
from integer_tickets.params import load_params
from integer_tickets.training.loop import Schedule
from integer_tickets.training.state import load_model, load_state

LEVELS = {0: "dense/level_0", 1: "upper/level_1", 2: "upper/level_2"}


@pytest.fixture(params=["inhibitor", "softmax"])
def ladder(request, finished):
    return finished.root / "artifacts" / "ladder" / f"{request.param}-float-0"


def test_every_level_has_the_whole_schedule_whose_rate_ends_at_0(finished, ladder):
    own = load_params(finished.root / "params.yaml").train
    schedule = Schedule(own.epochs, own.batch, own.tokens, own.lr, own.warmup, own.weight_decay, 0)
    histories = [pd.read_csv(ladder / place / "history.csv") for place in LEVELS.values()]
    for history in histories:
        steps = int(history["step"].iloc[-1])
        assert history["epoch"].tolist() == list(range(1, own.epochs + 1))
        assert history["lr"].tolist() == [schedule.rate(step - 1, steps) for step in history["step"]]
        assert schedule.rate(steps, steps) == 0 and history["lr"].iloc[-1] < 0.15 * own.lr
        assert history[["step", "lr"]].equals(histories[0][["step", "lr"]])


def test_each_level_removes_the_same_share_exactly(finished, ladder):
    keep, alive = load_params(finished.root / "params.yaml").prune.keep, None
    for place in LEVELS.values():
        layers = read_json(ladder / place / "info.json")["layers"]
        kept = sum(layer["kept"] for layer in layers.values())
        alive = kept if alive is None else int(np.floor(keep * alive + 0.5))
        assert kept == alive
        # Every linear layer is prunable, the classifier too; tables, biases, gamma and delta are not.
        assert "classifier.weight" in layers and len(layers) == 6 + 1
        assert not any(name.startswith(("tokens", "positions")) or name.endswith("bias") for name in layers)


def test_what_is_pruned_is_zero_and_stays_pruned(ladder):
    before = None
    for place in LEVELS.values():
        weights, masks = load_model(ladder / place / "model.safetensors")
        assert all(not weights[name][~mask].any() for name, mask in masks.items())
        if before is not None:
            assert all(not (mask & ~before[name]).any() for name, mask in masks.items())
        before = masks


def test_the_rewind_point_holds_weights_moments_and_step(finished, ladder):
    params = load_params(finished.root / "params.yaml")
    state, _, _ = load_state(ladder / "dense" / "rewind.safetensors")
    assert state.step == params.variants["float"].rewind
    assert state.first.keys() == state.second.keys() and "classifier.weight" in state.weights
    assert any(tensor.any() for tensor in state.second.values())
    trained, _ = load_model(ladder / LEVELS[0] / "model.safetensors")
    assert not torch.equal(trained["classifier.weight"], state.weights["classifier.weight"])
