"""States on disk: everything comes back, equal states give equal bytes, and a broken file is one clear line."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from integer_tickets.errors import UserError
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.training.state import (
    State,
    fresh_state,
    load_model,
    load_state,
    load_tensors,
    masked,
    save_model,
    save_state,
    save_tensors,
    weights_of,
)
from tests.model.conftest import float_model, quantized_model, random_masks, shape_of

PROGRESS = {"epoch": 2, "history": [{"epoch": 1, "loss": 0.1 + 0.2, "lr": 1e-7 / 3}]}


def state_of(model, step=7):
    """A state with random moments."""
    generator = torch.Generator().manual_seed(step)
    state = fresh_state(model)
    first, second = (
        {name: torch.rand(tensor.shape, generator=generator) for name, tensor in state.first.items()} for _ in range(2)
    )
    return State(step, state.weights, first, second)


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(tensor, other[name]) and tensor.dtype == other[name].dtype for name, tensor in one.items()
    )


@pytest.mark.parametrize("model", [float_model("inhibitor"), quantized_model("softmax")], ids=["float", "quantized"])
def test_a_state_comes_back(tmp_path, model):
    state, path = state_of(model), tmp_path / "deep" / "rewind.safetensors"
    save_state(path, state)
    loaded, best, progress = load_state(path)
    assert loaded.step == 7 and best == {} and progress is None
    for part in ("weights", "first", "second"):
        assert same(getattr(loaded, part), getattr(state, part)), part
    save_state(path, state, weights_of(model), PROGRESS)
    loaded, best, progress = load_state(path)
    assert same(best, state.weights) and same(loaded.first, state.first) and progress == PROGRESS
    assert [file.name for file in path.parent.iterdir()] == ["rewind.safetensors"]


def test_equal_states_give_equal_bytes_with_one_key_of_metadata(tmp_path):
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        save_state(path, state_of(float_model("inhibitor")), weights_of(float_model("softmax")), PROGRESS)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with safe_open(paths[0], "pt") as file:
        metadata = file.metadata()
    assert metadata == {"meta": json.dumps({"progress": PROGRESS, "step": 7})}
    save_tensors(paths[0], {"x": torch.ones(2)})
    with safe_open(paths[0], "pt") as file:
        assert file.metadata() is None
    assert load_tensors(paths[0])[1] is None


def test_a_model_comes_back_with_its_masks(tmp_path):
    model = float_model("inhibitor")
    masks = random_masks(model, 0.4)
    path = tmp_path / "model.safetensors"
    save_model(path, weights_of(model), masks)
    weights, loaded = load_model(path)
    assert same(weights, weights_of(model)) and same(loaded, masks)
    assert load_tensors(path)[0]["mask.classifier.weight"].dtype == torch.uint8


def test_tensors_need_not_be_contiguous(tmp_path):
    x = torch.arange(6).reshape(2, 3).T
    save_tensors(tmp_path / "x", {"x": x}, meta=[1])
    assert torch.equal(load_tensors(tmp_path / "x")[0]["x"], x) and load_tensors(tmp_path / "x")[1] == [1]


def test_broken_and_foreign_files_are_named_in_one_line(tmp_path):
    path = tmp_path / "rewind.safetensors"
    save_state(path, state_of(float_model("inhibitor")))
    whole = path.read_bytes()
    faults = {"truncated": whole[:-10], "empty": b"", "text": b"weights: none\n" * 9, "header": whole[:100]}
    for name, content in faults.items():
        (tmp_path / name).write_bytes(content)
    save_model(tmp_path / "a model", weights_of(float_model("inhibitor")), {})
    save_file({"x": torch.ones(1)}, tmp_path / "no json", {"meta": "{step"})
    save_tensors(tmp_path / "a list", {"x": torch.ones(1)}, [3])
    save_tensors(tmp_path / "other tensors", {"x": torch.ones(1)}, {"step": 3, "progress": None})
    messages = {
        **dict.fromkeys([*faults, "no json"], "not a whole safetensors file"),
        **dict.fromkeys(["a model", "a list", "other tensors"], "not a training state"),
        "absent": "no such file",
    }
    for name, message in messages.items():
        with pytest.raises(UserError) as error:
            load_state(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: {message}") and "\n" not in str(error.value), name


def test_a_fresh_state_is_a_copy_without_moments():
    model = QuantizedTransformer(bits=8, embedding_bits=8, **shape_of("inhibitor"))
    state = fresh_state(model)
    assert state.step == 0 and same(state.weights, weights_of(model))
    assert {"gains", "pool_gain", "token_shift", "position_shift"} <= state.weights.keys()
    parameters = dict(model.named_parameters())
    for moments in (state.first, state.second):
        assert moments.keys() == parameters.keys()
        assert all(not tensor.any() and tensor.shape == parameters[name].shape for name, tensor in moments.items())
    with torch.no_grad():
        model.tokens.weight.fill_(9)
    assert not state.weights["tokens.weight"].eq(9).any()


def test_masked_zeroes_weights_and_moments_where_pruned():
    model = float_model("inhibitor")
    state, masks = state_of(model), random_masks(model, 0.5)
    state.weights["classifier.weight"][:] = -1.0
    pruned = masked(state, masks)
    assert pruned.step == state.step
    for part in ("weights", "first", "second"):
        before, after = getattr(state, part), getattr(pruned, part)
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            mask = masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
            assert torch.equal(after[name][mask], tensor[mask]) and not after[name][~mask].any()
            assert not torch.signbit(after[name][~mask]).any()
    assert state.weights["classifier.weight"].eq(-1).all()
