"""The optimiser against PyTorch's class of the same name, and what it must not load."""

import subprocess
import sys

import pytest
import torch

from integer_tickets.model.transformer import Transformer
from integer_tickets.training.adamw import AdamW
from integer_tickets.training.state import fresh_state, weights_of
from tests.model.conftest import float_model, quantized_model


def give_gradients(model: Transformer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("make", [float_model, quantized_model])
@pytest.mark.parametrize("kind", ["inhibitor", "softmax"])
def test_every_step_is_that_of_the_class(make, kind):
    ours, theirs = make(kind), make(kind)
    named = list(theirs.named_parameters())
    matrices = [parameter for name, parameter in named if name.endswith(".weight")]
    others = [parameter for name, parameter in named if not name.endswith(".weight")]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    expected = torch.optim.AdamW(groups, fused=True)
    optimizer = AdamW(ours, fresh_state(ours), 0.1)
    for step in range(6):
        if step == 3:  # go on from a snapshot
            optimizer = AdamW(ours, optimizer.snapshot(), 0.1)
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimizer.step(0.01 / (step + 1))
        for group in expected.param_groups:
            group["lr"] = 0.01 / (step + 1)
        expected.step()
    state = optimizer.snapshot()
    assert state.step == 6
    for name, parameter in named:
        assert torch.equal(state.weights[name], parameter.detach()), name
        assert torch.equal(state.first[name], expected.state[parameter]["exp_avg"]), name
        assert torch.equal(state.second[name], expected.state[parameter]["exp_avg_sq"]), name


def test_a_snapshot_is_a_copy():
    model = float_model("inhibitor")
    optimizer = AdamW(model, fresh_state(model), 0.1)
    give_gradients(model, 0)
    before, weights = optimizer.snapshot(), weights_of(model)
    optimizer.step(0.1)
    assert all(not moment.any() for moment in before.first.values())
    assert all(torch.equal(before.weights[name], weights[name]) for name in weights)


def test_a_training_step_does_not_load_the_compiler_of_pytorch():
    code = """
import sys, torch
from integer_tickets.training.adamw import AdamW
from integer_tickets.training.state import fresh_state
model = torch.nn.Linear(2, 2)
optimizer = AdamW(model, fresh_state(model), 0.1)
model.zero_grad(set_to_none=True)
model(torch.ones(1, 2)).sum().backward()
optimizer.step(0.1)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
