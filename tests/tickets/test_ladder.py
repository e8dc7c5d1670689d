"""The ladder: what a level prunes, and where it begins again."""

import numpy as np
import pytest
import torch

from integer_tickets.model.transformer import Transformer, initialise, linear_names
from integer_tickets.seeds import generator
from integer_tickets.tickets.ladder import rewound
from integer_tickets.tickets.masks import dense_masks, density, prune
from integer_tickets.training.state import State, fresh_state, weights_of
from tests.model.conftest import float_model, quantized_model, shape_of
from tests.tickets.conftest import assert_begins_at, moved, point_of


@pytest.mark.parametrize("scope", ["global", "layerwise", "raw"])
@pytest.mark.parametrize("model", [float_model("inhibitor"), quantized_model("softmax")], ids=["float", "quantized"])
def test_a_level_prunes_what_was_trained_and_begins_at_the_rewind_point(model, scope):
    rewind, trained = point_of(model), moved(weights_of(model))
    masks = dense_masks(trained, linear_names(model, embedding=True))
    total = sum(mask.numel() for mask in masks.values())
    for _ in range(3):
        before, alive = masks, sum(int(mask.sum()) for mask in masks.values())
        masks, start = rewound(trained, masks, rewind, 0.63, scope)
        assert all(not (mask & ~before[name]).any() for name, mask in masks.items())
        if scope != "layerwise":
            assert density(masks) * total == pytest.approx(np.floor(0.63 * alive + 0.5))
        assert_begins_at(start, rewind, masks)


def test_importance_is_measured_in_units_of_the_rewind_point():
    model = float_model("inhibitor")
    rewind, trained = point_of(model), moved(weights_of(model))
    names = linear_names(model)
    masks = dense_masks(trained, names)
    scales = {name: rewind.weights[name].double().square().mean().sqrt().item() for name in names}
    survivors, _ = rewound(trained, masks, rewind, 0.4, "global")
    expected = prune(trained, masks, scales, 0.4, "global")
    assert all(torch.equal(survivors[name], expected[name]) for name in names)

    factors = {name: 4.0 ** (i % 3 - 1) for i, name in enumerate(names)}  # a layer in another unit throughout
    trained = {name: tensor * factors.get(name, 1) for name, tensor in trained.items()}
    other = {name: tensor * factors.get(name, 1) for name, tensor in rewind.weights.items()}
    again, _ = rewound(trained, masks, State(60, other, rewind.first, rewind.second), 0.4, "global")
    assert all(torch.equal(again[name], survivors[name]) for name in names)
    raw, _ = rewound(trained, masks, rewind, 0.4, "raw")
    kept = torch.cat([trained[name][raw[name]].abs() for name in names])
    assert kept.min() >= max(trained[name][~raw[name]].abs().max() for name in names if not raw[name].all())


@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_a_layer_that_is_zero_at_the_rewind_point_is_pruned_by_size_all_the_same(scope):
    """The classifier at step 0: it has no unit there, and takes that of its trained weights."""
    model = Transformer(**shape_of("inhibitor"))
    initialise(model, generator("initial", 0))
    rewind, trained = fresh_state(model), moved(weights_of(model))
    name = "classifier.weight"
    assert not rewind.weights[name].any()
    masks, start = rewound(trained, dense_masks(trained, linear_names(model)), rewind, 0.5, scope)
    size, kept = trained[name].abs(), masks[name]
    assert kept.any() and not kept.all() and size[kept].min() >= size[~kept].max()
    assert not start.weights[name].any()
    still, _ = rewound(rewind.weights, dense_masks(trained, [name]), rewind, 0.5, scope)
    assert still[name].flatten().tolist() == [True] * 24 + [False] * 24
