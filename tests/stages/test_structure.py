"""Ladders of heads, pairs and neurons through the stages, in this process: small models and small integer networks."""

import contextlib
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from integer_tickets.blocks import Kind
from integer_tickets.errors import UserError
from integer_tickets.files import read_json
from integer_tickets.integer import artefact
from integer_tickets.model.transformer import LayerSize
from integer_tickets.params import merge
from integer_tickets.tickets.masks import density
from integer_tickets.tickets.structure import sizes_of, units_of
from integer_tickets.training.state import load_model, load_state, save_model
from stages import (
    analyze,
    certify,
    connectivity,
    controls,
    evaluate,
    prune_rewind,
    report,
    supermask,
    transfer,
)
from tests.stages.conftest import SMALL, run_ladder, run_lessons, run_stage, write_params

HEADS = 4
KINDS = list(get_args(Kind))
CHANGES = {
    "grid": {"variants": ["structure", "int8"], "segments": [SMALL["grid"]["segments"][0]]},
    "variants": {
        "structure": {"rewind": 4},
        "int8": {
            **{"weights": "int8", "embedding_bits": 8, "pattern": "structure", "scope": "layerwise"},
            **{"embedding": False, "rewind": 4},
        },
    },
    "model": {"layers": 2, "heads": HEADS},
    "controls": {"kinds": KINDS},
    "connectivity": {"levels": [{"level": 0, "segment": "dense"}, {"level": 2, "segment": "upper"}]},
    "transfer": {
        "levels": [{"level": 2, "segment": "upper"}],
        "sources": [{"id": "softmax", "attention": "inhibitor", "prefix": "artifacts/ladder/softmax"}],
    },
    "supermask": {"kinds": ["signs", "integers"], "width": 16, "epochs": 1},
    "quantize": {"bits": [4]},
    "distill": {"bits": [4]},
}
"""Over SMALL: floats pruned over all layers and then made integers, and integers pruned layer by layer."""

ITEMS = [(attention, variant) for attention in ("inhibitor", "softmax") for variant in ("structure", "int8")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage but benchmark has run."""
    folder = tmp_path_factory.mktemp("structure")
    write_params(folder, "tiny", SMALL, CHANGES)
    with contextlib.chdir(folder):
        run_lessons()
        for attention, variant in ITEMS:
            item = ["--attention", attention, "--variant", variant, "--seed", "0"]
            run_ladder(*item)
            for level in ("0", "2"):
                run_stage(connectivity, *item, "--level", level)
            for kind in KINDS:
                run_stage(controls, *item, "--level", "2", "--kind", kind)
        for attention, variant in ITEMS:
            if attention == "inhibitor":
                item = ["--attention", attention, "--variant", variant, "--seed", "0"]
                run_stage(transfer, *item, "--level", "2", "--kind", "softmax")
        for attention in ("inhibitor", "softmax"):
            for kind in ("signs", "integers"):
                run_stage(supermask, "--attention", attention, "--seed", "0", "--kind", kind)
        run_stage(evaluate)
        for attention, variant in ITEMS:
            run_stage(analyze, "--attention", attention, "--variant", variant, "--seed", "0")
        run_stage(certify)
        run_stage(report)
    return folder


def sizes(masks) -> list[LayerSize]:
    return sizes_of(units_of(masks, HEADS))


@pytest.mark.parametrize(("attention", "variant"), ITEMS)
def test_the_longer_control_is_dense_and_has_the_epochs_of_the_whole_ladder(study, attention, variant):
    item = f"{attention}-{variant}-0"
    folder, dense = (
        study / "artifacts" / where for where in (f"controls/{item}/level_2/longer", f"ladder/{item}/dense")
    )
    epochs = [len(pd.read_csv(one / "history.csv")) for one in (folder, dense / "level_0")]
    assert epochs[0] == 3 * epochs[1]  # dense and two levels
    info = read_json(folder / "info.json")
    assert info["density"] == 1 and info["rewind"] == 0 and info["mask_from"] == ""
    assert info["parameters"] == read_json(dense / "level_0" / "info.json")["parameters"]


@pytest.mark.parametrize(("attention", "variant"), ITEMS)
def test_the_small_control_says_what_it_was_planned_to_take(study, attention, variant):
    results = pd.read_csv(study / "artifacts" / "evaluation" / "results.csv")
    own = results[(results["attention"] == attention) & (results["variant"] == variant) & (results["role"] == "small")]
    info = read_json(study / "artifacts" / "controls" / f"{attention}-{variant}-0" / "level_2" / "small" / "info.json")
    assert set(own["bits"]) == {info["planned_bits"]}
    if variant == "structure":  # floats: 32 bits for each weight, but 8 at most for the tables
        assert info["planned_bits"] <= 32 * info["parameters"]


@pytest.mark.parametrize(("attention", "variant"), ITEMS)
def test_models_hold_what_lives(study, attention, variant):
    item = f"{attention}-{variant}-0"
    ladder = study / "artifacts" / "ladder" / item
    rewind = load_state(ladder / "dense" / "rewind.safetensors")[0].weights
    others = [study / "artifacts" / "controls" / item / "level_2" / kind for kind in ("redrawn", "shuffled")]
    folders = [ladder / "dense" / "level_0", ladder / "upper" / "level_1", ladder / "upper" / "level_2", *others]
    found = []
    for folder in folders:
        weights, masks = load_model(folder / "model.safetensors")
        info = read_json(folder / "info.json")
        found.append(sizes(masks))
        assert info["pattern"] == "structure" and info["density"] == round(density(masks), 6)
        assert "classifier.weight" not in masks
        for name, mask in masks.items():
            rows, columns = mask.any(1), mask.any(0)
            assert mask.shape == rewind[name].shape and torch.equal(mask, rows[:, None] & columns)
            assert weights[name].shape == (rows.sum(), columns.sum())
        steps = sum(weights[name].numel() for name in weights if name.endswith("_steps"))
        buffers = sum(weights[name].numel() for name in weights if not weights[name].is_floating_point())
        assert info["parameters"] == sum(tensor.numel() for tensor in weights.values()) - steps - buffers
    dense, first, second, redrawn, shuffled = (np.array(each).sum() for each in found)
    assert dense == 2 * (HEADS + 4 + 16) and dense > first > second == redrawn == shuffled
    assert found[2] == found[3] == found[4]


@pytest.mark.parametrize(("attention", "variant"), ITEMS)
def test_integer_networks_are_small_and_have_no_masks(study, attention, variant):
    item, bits = f"{attention}-{variant}-0", {"structure": "int4", "int8": "int8"}[variant]
    expected = sizes(load_model(study / "artifacts" / "ladder" / item / "upper" / "level_2" / "model.safetensors")[1])
    for stage in ("integer", "distilled"):
        folder = study / "artifacts" / stage / item / "level_2" / bits
        network = artefact.load(folder / "ticket.safetensors").network
        assert [(layer.heads, layer.pairs, len(layer.up.weight)) for layer in network.layers] == expected
        assert network.heads == HEADS and all(matrix.mask is None for _, matrix in network.matrices())
        assert sizes(load_model(folder / "master.safetensors")[1]) == expected
        assert read_json(folder / "info.json")["density"] < 0.75


def test_the_results_say_what_was_pruned(study):
    results = pd.read_csv(study / "artifacts" / "evaluation" / "results.csv")
    rows = results[(results["split"] == "test") & (results["metric"] == "accuracy")]
    ladder = rows[rows["variant"].notna() & (rows["role"] != "supermask")]
    assert set(ladder["pattern"]) == {"structure"} and len(ladder) == len(ITEMS) * (8 + len(KINDS)) + 2
    own = ladder[(ladder["variant"] == "structure") & (ladder["attention"] == "inhibitor")].set_index(["role", "level"])
    floats = own[own["weights"] == "float"]
    assert floats.loc[("dense", 0), "bits"] > floats.loc[("ticket", 1), "bits"] > floats.loc[("ticket", 2), "bits"]
    info = read_json(study / "artifacts/ladder/inhibitor-structure-0/upper/level_2/info.json")
    assert floats.loc[("ticket", 2), "bits"] == 32 * info["parameters"]
    text = (study / "reports" / "report.md").read_text()
    assert "global pruning of the heads, q/k pairs and hidden neurons, rewound to optimiser step 4" in text


@pytest.mark.parametrize("variant", ["structure", "int8"])
def test_a_mask_of_the_other_attention(study, variant):
    artifacts = study / "artifacts"
    place = artifacts / "controls" / f"inhibitor-{variant}-0" / "level_2" / "from_softmax"
    _, masks = load_model(place / "model.safetensors")
    _, other = load_model(artifacts / "ladder" / f"softmax-{variant}-0" / "upper" / "level_2" / "model.safetensors")
    assert sizes(masks) == sizes(other)
    assert all(torch.equal(masks[name], mask) for name, mask in other.items())
    info = read_json(place / "info.json")
    assert info["role"] == "from_softmax" and info["mask_from"] == f"artifacts/ladder/softmax-{variant}-0/upper/level_2"


def test_masks_of_another_shape_are_refused(study, tmp_path, monkeypatch):
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    folder = Path("artifacts/ladder/softmax-structure-0/upper/level_2")
    weights, masks = load_model(folder / "model.safetensors")
    save_model(folder / "model.safetensors", weights, {name: mask[:1] for name, mask in masks.items()})
    item = ["--attention", "inhibitor", "--variant", "structure", "--seed", "0", "--level", "2", "--kind", "softmax"]
    with pytest.raises(
        UserError, match="softmax-structure-0/upper/level_2: its masks are not those of a model of this"
    ):
        run_stage(transfer, *item)


@pytest.mark.parametrize("kind", ["signs", "integers"])
def test_a_supermask_is_a_seed_and_a_mask(study, kind):
    folder = study / "artifacts" / "controls" / "inhibitor-supermask-0" / kind
    network, info = artefact.load(folder / "ticket.safetensors").network, read_json(folder / "info.json")
    places = 0
    for name, linear in network.linears():
        values = np.unique(np.abs(linear.weight[linear.mask]))
        assert values.tolist() == ([1] if kind == "signs" else [1, 2, 3]) and linear.mask.mean() == 0.5, name
        places += linear.mask.size
    assert info["seed_and_mask_bits"] == 64 + places and info["density"] == 0.5
    text = (study / "reports" / "report.md").read_text()
    assert f"| inhibitor, {kind} | 50.0 | {(64 + places) / 8000:.1f} |" in text


def test_a_ladder_that_cannot_go_further_says_so(study, tmp_path, monkeypatch):
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    values = merge(yaml.safe_load(Path("params.yaml").read_text()), {"prune": {"keep": 0.01}})
    Path("params.yaml").write_text(yaml.safe_dump(values))
    item = ["--attention", "inhibitor", "--variant", "structure", "--seed", "0"]
    with pytest.raises(UserError, match="every layer is down to one head, one q/k pair and one neuron, nothing is"):
        run_stage(prune_rewind, *item, "--segment", "upper", "--levels", "1-2")
