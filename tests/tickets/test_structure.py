"""Heads and neurons: which are pruned on any values, and small models that compute what the large ones do."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from integer_tickets.errors import UserError
from integer_tickets.model.transformer import Transformer, initialise, linear_names
from integer_tickets.seeds import generator
from integer_tickets.tickets.controls import CONTROLS, Ticket
from integer_tickets.tickets.ladder import rewound
from integer_tickets.tickets.masks import dense_masks, density
from integer_tickets.tickets.structure import (
    cut,
    masks_of,
    prune_units,
    shuffled_units,
    sizes_of,
    structured_names,
    units_of,
)
from integer_tickets.training.state import State, fresh_state, masked, weights_of
from tests.model.conftest import KINDS, float_model, quantized_model, sentences, shape_of
from tests.tickets.conftest import moved, point_of
from tests.tickets.test_masks import GRIDS, relaxed

WIDTH, HEADS, E = 4, 2, 2
SCOPES = ["global", "layerwise"]


def shapes_of(hidden):
    """Weights of a layer of 2 heads, by the end of their names."""
    scored = {f"attention.{part}.weight": (HEADS * E, WIDTH) for part in ("query", "key", "value")}
    return {
        **scored,
        "attention.output.weight": (WIDTH, HEADS * E),
        "up.weight": (hidden, WIDTH),
        "down.weight": (WIDTH, hidden),
    }


@st.composite
def layers(draw):
    """Units of one or two layers, weights from one grid of those that live, and the scale of each weight matrix."""
    values = draw(st.sampled_from(sorted(GRIDS)).map(GRIDS.__getitem__))
    units, weights, scales = {}, {}, {}
    for layer in range(draw(st.integers(1, 2))):
        hidden = draw(st.integers(1, 5))
        for group, size in ((f"layers.{layer}.attention", HEADS), (f"layers.{layer}", hidden)):
            lives = draw(arrays.arrays(bool, size))
            lives[draw(st.integers(0, size - 1))] = True
            units[group] = torch.from_numpy(lives)
        for end, shape in shapes_of(hidden).items():
            name = f"layers.{layer}.{end}"
            weights[name] = torch.from_numpy(draw(arrays.arrays("float32", shape, elements=values)))
            scales[name] = draw(st.sampled_from([0.25, 1.0, 3.0]))
    return cut(State(0, weights, {}, {}), units).weights, units, scales


def importance(weights, scales, group, number):
    """Of the living unit with this number: mean of (w / scale)^2 over its weights, summed one by one; their count."""
    squares = []
    for name, scale in scales.items():
        if name.rpartition(".")[0].rpartition(".")[0] == group:
            matrix = weights[name] if "output" not in name and "down" not in name else weights[name].T
            size = E if group.endswith("attention") else 1
            squares += [
                (w / scale) ** 2 for w in matrix[size * number : size * (number + 1)].double().flatten().tolist()
            ]
    return sum(squares) / len(squares), len(squares)


def alive(units):
    return {(group, index) for group, lives in units.items() for index in lives.nonzero().flatten().tolist()}


def in_exact_grids(weights, scales):
    """The weights on a grid on which no sum rounds, so that ties are ties."""
    return {name: (weights[name] * 4).round() * scales[name] for name in weights}


@relaxed
@given(layers(), st.floats(0.05, 0.95), st.sampled_from(SCOPES))
def test_the_least_important_go_until_few_enough_weights_are_left(layer, keep, scope):
    weights, units, scales = layer
    weights = in_exact_grids(weights, scales)
    found = {}
    for group, lives in units.items():
        for number, index in enumerate(lives.nonzero().flatten().tolist()):
            found[group, index] = importance(weights, scales, group, number)
    expected = set(found)
    for pool in [set(units)] if scope == "global" else [{group} for group in units]:
        own = [place for place in found if place[0] in pool]
        target = keep * sum(found[place][1] for place in own)
        for place in sorted(reversed(own), key=lambda place: found[place][0]):
            alone = sum(group == place[0] for group, _ in expected) == 1
            if sum(found[other][1] for other in expected if other[0] in pool) > target and not alone:
                expected.remove(place)
    if expected == set(found):
        with pytest.raises(UserError, match="down to one head and one neuron, nothing is left to prune; shorten"):
            prune_units(weights, units, scales, keep, scope)
        return
    before = {group: lives.clone() for group, lives in units.items()}
    kept = prune_units(weights, units, scales, keep, scope)
    assert alive(kept) == expected and list(kept) == list(units)
    assert all(lives.any() for lives in kept.values())
    assert all(torch.equal(units[group], lives) for group, lives in before.items())


@relaxed
@given(layers(), st.sampled_from([2.0**-10, 0.5, 8.0, 2.0**20]))
def test_the_size_of_a_layer_means_nothing(layer, factor):
    weights, units, scales = layer
    if all(lives.sum() == 1 for lives in units.values()):
        return
    name = next(iter(scales))
    larger = {**weights, name: weights[name].double() * factor}, units, {**scales, name: scales[name] * factor}
    assert alive(prune_units(*larger, 0.5, "global")) == alive(prune_units(weights, units, scales, 0.5, "global"))


@relaxed
@given(layers(), st.integers(0, 2**63 - 1))
def test_shuffled_units_keep_the_count_of_each_group(layer, seed):
    _, units, _ = layer
    moved_units = shuffled_units(units, seed)
    assert {group: int(lives.sum()) for group, lives in moved_units.items()} == {
        group: int(lives.sum()) for group, lives in units.items()
    }
    assert alive(shuffled_units(units, seed)) == alive(moved_units)


def some_units(hidden=24, heads=4):
    units = {"layers.0.attention": [1, 0, 1, 1], "layers.1.attention": [0, 1, 0, 0]}
    made = {group: torch.tensor(lives[:heads]).bool() for group, lives in units.items()}
    return made | {f"layers.{i}": torch.arange(hidden) % (3 + i) == 1 for i in range(2)}


def test_masks_and_units_say_the_same():
    model, units = float_model("inhibitor", heads=4), some_units()
    shapes = dense_masks(weights_of(model), structured_names(model))
    assert set(shapes) == set(linear_names(model)) - {"classifier.weight"}
    masks = masks_of(units, shapes)
    assert list(masks) == list(shapes) and alive(units_of(masks, 4)) == alive(units)
    assert density(masks) == (4 * (4 * 4 * 16) + (8 + 6) * 2 * 16) / (8 * (4 * 4 * 16) + 48 * 2 * 16)
    assert sizes_of(units) == [(3, 8), (1, 6)]
    assert masks["layers.1.attention.key.weight"].any(1).nonzero().flatten().tolist() == [4, 5, 6, 7]
    assert masks["layers.1.down.weight"].all(0).nonzero().flatten().tolist() == [1, 5, 9, 13, 17, 21]


@pytest.mark.parametrize("kind", KINDS)
def test_the_small_model_computes_what_the_large_one_does_with_zeros(kind):
    model, units = float_model(kind, heads=4), some_units()
    masks = masks_of(units, dense_masks(weights_of(model), structured_names(model)))
    rewind = point_of(model)
    small = Transformer(**shape_of(kind, heads=4, sizes=sizes_of(units))).eval()
    start = cut(rewind, units)
    small.load_state_dict(start.weights)
    model.load_state_dict(masked(rewind, masks).weights)
    batch = sentences([12, 3, 1, 7])
    assert torch.allclose(small(*batch), model(*batch), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(small(*batch), float_model(kind, heads=4)(*batch), rtol=1e-2, atol=1e-2)
    for name, parameter in small.named_parameters():
        assert start.first[name].shape == start.second[name].shape == parameter.shape
        assert start.first[name].unique().tolist() == [1.0] and start.second[name].unique().tolist() == [2.0]
    assert start.step == rewind.step


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", ["float", "quantized"])
def test_a_ladder_shrinks_until_one_of_each_is_left(kind, scope):
    make = quantized_model if kind == "quantized" else float_model
    model = make("inhibitor", heads=4)
    rewind = point_of(model)
    masks = dense_masks(rewind.weights, structured_names(model))
    trained, seen = moved(rewind.weights), []
    with pytest.raises(UserError, match="every layer is down to one head and one neuron, nothing is left to prune"):
        while True:
            masks, start = rewound(trained, masks, rewind, 0.63, scope, heads=4)
            seen.append(density(masks))
            small = make("inhibitor", heads=4, sizes=sizes_of(units_of(masks, 4)))
            small.load_state_dict(start.weights)
            for name in ("weight_steps", "activation_steps", "gains") if kind == "quantized" else ():
                assert torch.equal(start.weights[name], rewind.weights[name])
            trained = moved(start.weights, len(seen))
    # Layer by layer, a layer with one head keeps it; else only the last level may stop short.
    limit, levels = (0.63, seen[:-1]) if scope == "global" else (1.0, seen)
    assert len(seen) > 2 and all(after <= limit * before for before, after in pairwise([1.0, *levels]))
    assert sizes_of(units_of(masks, 4)) == [(1, 1), (1, 1)]


def test_controls_have_the_tickets_sizes():
    model = Transformer(**shape_of("inhibitor", heads=4))
    initialise(model, generator("initial", 3))
    rewind, units = point_of(model), some_units()
    masks = masks_of(units, dense_masks(rewind.weights, structured_names(model)))
    ticket = Ticket(masks, rewind, rewind.weights, rewind.weights, masks, "global", 4, 1)
    moved_masks, start = CONTROLS["shuffled"](ticket, model, 3)
    places = units_of(moved_masks, 4)
    assert sizes_of(places) == sizes_of(units) and alive(places) != alive(units)
    expected = cut(rewind, places)
    for part in ("weights", "first", "second"):
        mine, theirs = getattr(start, part), getattr(expected, part)
        assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items())
    kept, start = CONTROLS["reinit"](ticket, model, 3)
    fresh = Transformer(**shape_of("inhibitor", heads=4))
    initialise(fresh, generator("reinit", 3))
    assert kept == masks and start.step == 0
    expected = cut(fresh_state(fresh), units).weights
    assert all(torch.equal(start.weights[name], tensor) for name, tensor in expected.items())
