"""Supermasks: what is random stays, the largest scores are there, and the integers are those of the engine."""

import numpy as np
import pytest
import torch

from integer_tickets.integer import reference
from integer_tickets.model.lowering import lower
from integer_tickets.model.supermask import SCORE, Supermask
from integer_tickets.training.adamw import AdamW
from integer_tickets.training.state import fresh_state
from tests.model.conftest import shape_of

IDS, COUNTS = torch.arange(3, 27).view(3, 8), torch.tensor([8, 5, 1])


def supermask(kind="signs", attention="inhibitor", seed=0, keep=0.3):
    model = Supermask(kind=kind, keep=keep, seed=seed, **shape_of(attention))
    model.calibrate([(IDS, COUNTS)], 2.0)
    return model


def trained(model, steps=3):
    optimizer = AdamW(model, fresh_state(model), 0.0, {})
    for _ in range(steps):
        rows = optimizer.begin(torch.arange(27))
        logits = model(IDS, COUNTS, rows)
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0])).backward()
        optimizer.step(0.05)
    return model


@pytest.mark.parametrize("attention", ["inhibitor", "softmax"])
@pytest.mark.parametrize("kind", ["signs", "integers"])
def test_scores_alone_are_trained(kind, attention):
    model, before = supermask(kind, attention), supermask(kind, attention).state_dict()
    masks = model.masks()
    trained(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (not name.endswith(SCORE)), name
    assert any(not torch.equal(mask, masks[name]) for name, mask in model.masks().items())
    for name, mask in model.masks().items():
        assert int(mask.sum()) == max(1, round(0.3 * mask.numel())), name


@pytest.mark.parametrize("attention", ["inhibitor", "softmax"])
@pytest.mark.parametrize("kind", ["signs", "integers"])
def test_the_integer_network_is_the_simulation(kind, attention):
    model = trained(supermask(kind, attention)).eval()
    network = lower(model, model.masks(), [str(i) for i in range(model.classifier.out_features)])
    rows = [row[:count].tolist() for row, count in zip(IDS, COUNTS, strict=True)]
    unit = network.logit_multiplier / 2**network.logit_shift
    with torch.no_grad():
        simulated = np.rint(model(IDS, COUNTS).double().numpy() / unit)
    assert np.array_equal(simulated, reference.logits(network, rows))


def test_a_seed_and_a_mask_are_the_weights():
    """Another model of the seed with scores that say nothing but the mask computes the same, given the same grids."""
    model = trained(supermask(seed=7)).eval()
    again = supermask(seed=7).eval()
    masks = model.masks()
    with torch.no_grad():
        for name, mask in masks.items():
            again.part(name).parametrizations.weight.original.copy_(mask.float())
    assert all(torch.equal(again.part(name).weight, model.part(name).weight) for name in masks)
    assert torch.equal(again.tokens.weight, model.tokens.weight)
    # What is left are the grids that calibration has set.
    again.load_state_dict(
        {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(SCORE)}, strict=False
    )
    assert torch.equal(again(IDS, COUNTS), model(IDS, COUNTS))
    assert all(torch.equal(mask, masks[name]) for name, mask in again.masks().items())
    assert not torch.equal(supermask(seed=8).eval()(IDS, COUNTS), supermask(seed=7).eval()(IDS, COUNTS))


def test_of_equal_scores_the_first_are_kept():
    model = supermask()
    name = model.masked[0]
    with torch.no_grad():
        model.part(name).parametrizations.weight.original.fill_(0.5)
    mask = model.masks()[name].flatten()
    count = int(mask.sum())
    assert mask[:count].all() and not mask[count:].any()
