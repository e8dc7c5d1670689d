"""The list of models that the parameters call for, and what is said about folders that do not fit it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from integer_tickets.errors import UserError
from integer_tickets.evaluation.collect import expected, masks, read_model, stale
from integer_tickets.files import read_json, write_json
from tests.evaluation.fake_study import INT8, fake_params

ROWS = {"selection": 60, "validation": 60, "test": 200}
ARTIFACTS = Path("artifacts")


def test_expected_folders_are_exactly_these():
    params = fake_params({"grid": {"attentions": ["inhibitor"], "seeds": [7]}, "quantize": {"bits": [8, 4]}})
    folders = [entry.folder.as_posix() for entry in expected(params, ARTIFACTS)]
    assert folders == [
        "artifacts/teacher",
        "artifacts/ladder/inhibitor-float-7/dense/level_0",
        "artifacts/ladder/inhibitor-float-7/upper/level_1",
        "artifacts/ladder/inhibitor-float-7/upper/level_2",
        "artifacts/ladder/inhibitor-float-7/lower/level_3",
        "artifacts/controls/inhibitor-float-7/level_2/reinit",
        "artifacts/controls/inhibitor-float-7/level_2/shuffled",
        "artifacts/controls/inhibitor-float-7/level_0/order",
        "artifacts/controls/inhibitor-float-7/level_2/order",
        "artifacts/integer/inhibitor-float-7/level_0/int8",
        "artifacts/integer/inhibitor-float-7/level_0/int4",
        "artifacts/integer/inhibitor-float-7/level_2/int8",
        "artifacts/integer/inhibitor-float-7/level_2/int4",
        "artifacts/distilled/inhibitor-float-7/level_2/int8",
        "artifacts/distilled/inhibitor-float-7/level_2/int4",
    ]


def test_an_integer_ladder_is_lowered_to_its_own_bits():
    params = fake_params({"grid": {"variants": ["float", "int8"]}, "variants": {"int8": INT8}})
    own = [entry for entry in expected(params, ARTIFACTS) if entry.configuration.variant == "int8"]
    assert {entry.configuration.weights for entry in own} == {"int8"}
    names = [entry.name for entry in expected(params, ARTIFACTS)]
    assert len(set(names)) == len(names)


def test_every_folder_of_the_study_is_read(copied):
    for entry in expected(fake_params(), ARTIFACTS):
        model = read_model(entry, ROWS, 2)
        assert {name: len(column) for name, column in model.predictions.items()} == ROWS
        assert len(model.history) == 2
        if entry.configuration.stage in ("quantize", "distill"):
            assert model.bits == 8 * (entry.folder / "ticket.safetensors").stat().st_size
        elif entry.configuration.stage != "teacher":
            pruned = sum((~mask).sum() for mask in masks(entry).values())
            assert model.bits == 32 * (5000 - pruned)


def test_nothing_is_stale_in_a_whole_study(copied):
    assert stale(fake_params(), ARTIFACTS) == []


def test_what_an_earlier_grid_left_is_stale(copied):
    (ARTIFACTS / "ladder/inhibitor-float-0/deepest/level_9").mkdir(parents=True)
    (ARTIFACTS / "integer/.inhibitor-float-0.123.tmp").write_text("half")
    (ARTIFACTS / "controls/softmax-float-1/level_1/reinit").mkdir(parents=True)
    found = stale(fake_params({"grid": {"seeds": [0, 1]}}), ARTIFACTS)
    assert [path.as_posix() for path in found] == sorted(
        [f"artifacts/{stage}/{attention}-float-2" for stage in ("ladder", "controls", "integer", "distilled")
         for attention in ("inhibitor", "softmax")]
        + ["artifacts/integer/.inhibitor-float-0.123.tmp", "artifacts/ladder/inhibitor-float-0/deepest",
           "artifacts/controls/softmax-float-1/level_1"]
    )  # fmt: skip


def test_a_model_without_its_pruned_heads_counts_what_it_has(copied):
    entry = next(entry for entry in expected(fake_params(), ARTIFACTS) if entry.folder.name == "level_2")
    _change(entry.folder, "pattern", "structure")
    assert read_model(entry, ROWS, 2).bits == 32 * 5000


def test_a_ladder_of_integers_has_no_size_of_its_own(copied):
    entry = next(entry for entry in expected(fake_params(), ARTIFACTS) if entry.folder.name == "level_2")
    _change(entry.folder, "weights", "int8")
    integer = replace(entry, configuration=replace(entry.configuration, weights="int8"))
    assert read_model(integer, ROWS, 2).bits is None


def damaged(what):
    """A fault and the message it must lead to."""
    return {
        "missing": (lambda folder: (folder / "info.json").unlink(), "the stage prune_rewind makes it"),
        "foreign": (lambda folder: _change(folder, "seed", 9), r"seed is not 0; not the model"),
        "not json": (lambda folder: (folder / "info.json").write_text("{"), "not valid JSON"),
        "other data": (lambda folder: _predict(folder, np.zeros((9, 2))), r"has shape \(9, 2\), expected \(60, 2\)"),
        "diverged": (lambda folder: _predict(folder, np.full((60, 2), np.nan)), "the training diverged"),
        "truncated": (lambda folder: _truncate(folder), "not a whole safetensors file"),
        "no history": (lambda folder: (folder / "history.csv").unlink(), "history.csv: no such file"),
    }[what]


def _change(folder, key, value):
    write_json(folder / "info.json", read_json(folder / "info.json") | {key: value})


def _predict(folder, logits):
    path = folder / "predictions.safetensors"
    save_file(load_file(path) | {"selection": logits.astype(np.float32)}, path)


def _truncate(folder):
    path = folder / "predictions.safetensors"
    path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize(
    "what", ["missing", "foreign", "not json", "other data", "diverged", "truncated", "no history"]
)
def test_a_folder_that_does_not_fit_is_named(copied, what):
    entry = next(e for e in expected(fake_params(), ARTIFACTS) if e.folder.name == "level_2")
    damage, message = damaged(what)
    damage(entry.folder)
    with pytest.raises(UserError, match=message) as raised:
        read_model(entry, ROWS, 2)
    assert str(raised.value).startswith(entry.folder.as_posix())
    assert "\n" not in str(raised.value)
