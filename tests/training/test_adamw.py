"""The optimiser against PyTorch's class of the same name, the rows of the token table, and what it must not load."""

import subprocess
import sys

import pytest
import torch

from integer_tickets.model.transformer import Transformer
from integer_tickets.training.adamw import TABLE, AdamW
from integer_tickets.training.state import fresh_state, weights_of
from tests.model.conftest import float_model, quantized_model, random_masks, shape_of


def drawn(model: Transformer, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, generator=generator) for name, p in model.named_parameters()}


def give(optimizer: AdamW, gradients: dict[str, torch.Tensor], used: torch.Tensor) -> None:
    rows = optimizer.begin(used)
    rows.grad = gradients[TABLE][used]
    for name, parameter in optimizer.model.named_parameters():
        if name != TABLE and name in gradients:
            assert parameter.grad is not None and not parameter.grad.any()
            parameter.grad += gradients[name]


def everything(model: Transformer) -> torch.Tensor:
    return torch.arange(model.tokens.num_embeddings)


@pytest.mark.parametrize("make", [float_model, quantized_model])
@pytest.mark.parametrize("kind", ["inhibitor", "softmax"])
def test_every_step_is_that_of_the_class(make, kind):
    ours, theirs = make(kind), make(kind)
    named = list(theirs.named_parameters())
    matrices = [parameter for name, parameter in named if name.endswith(".weight")]
    others = [parameter for name, parameter in named if not name.endswith(".weight")]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    expected = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    optimizer = AdamW(ours, fresh_state(ours), 0.1, {})
    for step in range(6):
        if step == 3:  # go on from a snapshot
            optimizer = AdamW(ours, optimizer.snapshot(), 0.1, {})
        gradients = drawn(ours, step)
        give(optimizer, gradients, everything(ours))
        for name, parameter in named:
            parameter.grad = gradients[name]
        optimizer.step(0.01 / (step + 1))
        for group in expected.param_groups:
            group["lr"] = 0.01 / (step + 1)
        expected.step()
    state = optimizer.snapshot()
    assert state.step == 6
    for name, parameter in named:  # where a tensor ends inside a vector, PyTorch may round in another way
        same = {"rtol": 2e-6, "atol": 1e-9}
        torch.testing.assert_close(state.weights[name], parameter.detach(), **same)
        torch.testing.assert_close(state.first[name], expected.state[parameter]["exp_avg"], **same)
        torch.testing.assert_close(state.second[name], expected.state[parameter]["exp_avg_sq"], **same)


def test_a_table_of_positions_that_does_not_learn_is_in_every_snapshot():
    model = Transformer(**shape_of("inhibitor", layers=1), places=False)
    optimizer = AdamW(model, fresh_state(model), 0.1, {})
    for step in range(4):
        if step == 2:
            optimizer = AdamW(model, optimizer.snapshot(), 0.1, {})
        gradients = {name: drawn(model, step)[name] for name, p in model.named_parameters() if p.requires_grad}
        give(optimizer, gradients, everything(model))
        optimizer.step(0.01)
    state = optimizer.snapshot()
    names = set(dict(model.named_parameters()))
    assert set(state.first) == set(state.second) == names and names <= set(state.weights)
    assert not state.weights["positions.weight"].any()


def test_rows_of_the_token_table_rest_where_they_do_not_occur():
    model = float_model("inhibitor")
    optimizer = AdamW(model, fresh_state(model), 0.1, {})
    before = optimizer.snapshot()
    used = torch.tensor([1, 4, 5])
    for step in range(3):
        give(optimizer, drawn(model, step), used)
        optimizer.step(0.01)
    after = optimizer.snapshot()
    occurs = torch.zeros(model.tokens.num_embeddings, dtype=torch.bool)
    occurs[used] = True
    for part in ("weights", "first", "second"):
        old, new = getattr(before, part)[TABLE], getattr(after, part)[TABLE]
        assert torch.equal(old[~occurs], new[~occurs]) and (old != new)[occurs].all(), part


def test_masked_places_stay_zero_and_what_is_not_zero_is_told():
    model = float_model("softmax")
    masks = random_masks(model, 0.4, embedding=True)
    state = fresh_state(model)
    for name, mask in masks.items():
        state.weights[name][~mask] = 0
    optimizer = AdamW(model, state, 0.1, masks)
    for step in range(3):
        give(optimizer, drawn(model, step), torch.tensor([0, 2, 3]))
        optimizer.step(0.01)
        assert optimizer.revived() == 0
        now = optimizer.snapshot()
        for name, mask in masks.items():
            for tensors in (now.weights, now.first, now.second):
                assert not tensors[name][~mask].any(), name
    for name in masks:
        with torch.no_grad():
            model.get_parameter(name)[~masks[name]] += 1e-20
        assert optimizer.revived() > 0
        with torch.no_grad():
            model.get_parameter(name)[~masks[name]] = 0
    assert optimizer.revived() == 0


def test_a_snapshot_is_a_copy():
    model = float_model("inhibitor")
    optimizer = AdamW(model, fresh_state(model), 0.1, {})
    give(optimizer, drawn(model, 0), everything(model))
    before, weights = optimizer.snapshot(), weights_of(model)
    optimizer.step(0.1)
    assert all(not moment.any() for moment in before.first.values())
    assert all(torch.equal(before.weights[name], weights[name]) for name in weights)


def test_a_training_step_does_not_load_the_compiler_of_pytorch():
    code = """
import sys, torch
from integer_tickets.model.transformer import Transformer
from integer_tickets.training.adamw import AdamW
from integer_tickets.training.state import fresh_state
model = Transformer(vocabulary=4, positions=2, classes=2, width=4, layers=1, heads=1, hidden=4, dropout=0.0,
                    attention="softmax", kernel="plain")
optimizer = AdamW(model, fresh_state(model), 0.1, {})
rows = optimizer.begin(torch.arange(2))
model(torch.tensor([[0, 1]]), torch.tensor([2]), rows).sum().backward()
optimizer.step(0.1)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_does_not_learn_does_not_decay():
    model = float_model("inhibitor")
    model.positions.weight.requires_grad_(False)
    start = fresh_state(model)
    optimizer = AdamW(model, start, 0.1, {})
    for _ in range(3):
        rows = optimizer.begin(everything(model))
        rows.grad = torch.ones_like(rows)
        optimizer.step(0.1)
    state = optimizer.snapshot()
    assert state.weights["positions.weight"].equal(start.weights["positions.weight"])
    for name in (TABLE, "layers.0.up.weight"):
        assert not state.weights[name].equal(start.weights[name])
