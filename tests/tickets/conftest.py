"""Rewind points and trained weights, made up."""

import torch

from integer_tickets.training.state import State, fresh_state


def point_of(model, step=60):
    """A rewind point of the model with moments that are zero nowhere."""
    state = fresh_state(model)
    moments = [{name: tensor + 1 + i for name, tensor in state.first.items()} for i in range(2)]
    return State(step, state.weights, *moments)


def moved(weights, seed=0):
    """The weights as if they had been trained on."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }


def assert_begins_at(start, rewind, masks):
    """Step, weights and moments of the rewind point, exact zeros where pruned."""
    assert start.step == rewind.step
    for part in ("weights", "first", "second"):
        mine, theirs = getattr(start, part), getattr(rewind, part)
        assert mine.keys() == theirs.keys()
        for name, tensor in mine.items():
            mask = masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
            assert torch.equal(tensor[mask], theirs[name][mask]), (part, name)
            assert not tensor[~mask].any(), (part, name)
