"""Heads, pairs and neurons: which are pruned on any values, and small models that compute what the large ones do."""

from collections import Counter
from itertools import pairwise

import numpy as np
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
    random_units,
    shuffled_units,
    sizes_of,
    structured_names,
    units_of,
)
from integer_tickets.training.state import State, fresh_state, masked, weights_of
from tests.model.conftest import KINDS, float_model, quantized_model, sentences, shape_of
from tests.tickets.conftest import moved, point_of
from tests.tickets.test_masks import GRIDS

WIDTH, HEADS, E = 4, 2, 3
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

    def living(size):
        lives = draw(arrays.arrays(bool, size))
        lives[draw(st.integers(0, size - 1))] = True
        return torch.from_numpy(lives)

    values = draw(st.sampled_from(sorted(GRIDS)).map(GRIDS.__getitem__))
    units, weights, scales = {}, {}, {}
    for layer in range(draw(st.integers(1, 2))):
        hidden = draw(st.integers(1, 5))
        heads = living(HEADS)
        pairs, count = torch.zeros(HEADS, E, dtype=torch.bool), draw(st.integers(1, E))
        for head in heads.nonzero().flatten().tolist():
            pairs[head, draw(st.permutations(range(E)))[:count]] = True
        units |= {f"layers.{layer}.attention": heads, f"layers.{layer}.attention.pairs": pairs}
        units[f"layers.{layer}"] = living(hidden)
        for end, shape in shapes_of(hidden).items():
            name = f"layers.{layer}.{end}"
            weights[name] = torch.from_numpy(draw(arrays.arrays("float32", shape, elements=values)))
            scales[name] = draw(st.sampled_from([0.25, 1.0, 3.0]))
    return cut(State(0, weights, {}, {}), units).weights, units, scales


QUERIES, VALUES, NEURONS = ("query", "key"), ("value", "output"), ("up", "down")


def squares(weights, scales, group, parts, rows):
    """(w / scale)^2 of these rows of parts of a group, or of these columns where units lie along the columns."""
    found = []
    for part in parts:
        matrix, scale = weights[f"{group}.{part}.weight"], scales[f"{group}.{part}.weight"]
        matrix = matrix.T if part in ("output", "down") else matrix
        found += [(w / scale) ** 2 for row in rows for w in matrix[row].double().tolist()]
    return found


def mean(values):
    return sum(values) / len(values)


def removable(weights, units, scales):
    """What can go at once, in the order of groups: group, its units, their importance."""
    for i in range(len(units) // 3):
        group, pairs = f"layers.{i}.attention", f"layers.{i}.attention.pairs"
        heads = units[group].nonzero().flatten().tolist()
        count = int(units[pairs].sum()) // len(heads)
        for number, head in enumerate(heads):
            own = squares(weights, scales, group, QUERIES, range(count * number, count * (number + 1)))
            own += squares(weights, scales, group, VALUES, range(E * number, E * (number + 1)))
            yield group, {(head,)}, mean(own)
        ranks = []
        for number, head in enumerate(heads):
            places = [(head, place) for place in units[pairs][head].nonzero().flatten().tolist()]
            rows = range(count * number, count * (number + 1))
            own = [mean(squares(weights, scales, group, QUERIES, [row])) for row in rows]
            ranks.append(sorted(zip(own, places, strict=True), key=lambda pair: -pair[0]))
        for rank in zip(*ranks, strict=True):
            yield pairs, {place for _, place in rank}, mean([value for value, _ in rank])
        for number, index in enumerate(units[f"layers.{i}"].nonzero().flatten().tolist()):
            yield f"layers.{i}", {(index,)}, mean(squares(weights, scales, f"layers.{i}", NEURONS, [number]))


def weights_in(alive_units, pool):
    """How many weights the living units of some modules have."""
    total = 0
    for group in pool:
        own = [place for place in alive_units if place[0] == group]
        if group.endswith("attention"):
            pairs = [place for place in alive_units if place[0] == f"{group}.pairs"]
            total += 2 * WIDTH * (len(pairs) + E * len(own))
        else:
            total += 2 * WIDTH * len(own)
    return total


def alive(units):
    return {(group, *index) for group, lives in units.items() for index in lives.nonzero().tolist()}


def in_exact_grids(weights, scales):
    """The weights on a grid on which no sum rounds, so that ties are ties."""
    return {name: (weights[name] * 4).round() * scales[name] for name in weights}


@given(layers(), st.floats(0.05, 0.95), st.sampled_from(SCOPES))
def test_the_least_important_go_until_few_enough_weights_are_left(layer, keep, scope):
    weights, units, scales = layer
    weights = in_exact_grids(weights, scales)
    places, expected = list(removable(weights, units, scales)), alive(units)
    modules = [group for group in units if not group.endswith("pairs")]
    for pool in [modules] if scope == "global" else [[module] for module in modules]:
        own = [place for place in places if place[0].removesuffix(".pairs") in pool]
        left = Counter(group for group, _, _ in own)
        target = keep * weights_in(expected, pool)
        for group, members, _ in sorted(reversed(own), key=lambda place: place[2]):
            if weights_in(expected, pool) > target and left[group] > 1:
                left[group] -= 1
                expected -= {(group, *index) for index in members}
                if group.endswith("attention"):
                    ((head,),) = members
                    expected -= {place for place in expected if place[:2] == (f"{group}.pairs", head)}
    if expected == alive(units):
        with pytest.raises(UserError, match="down to one head, one q/k pair and one neuron, nothing is left to prune;"):
            prune_units(weights, units, scales, keep, scope)
        return
    before = {group: lives.clone() for group, lives in units.items()}
    kept = prune_units(weights, units, scales, keep, scope)
    assert alive(kept) == expected and list(kept) == list(units)
    assert all(lives.any() for lives in kept.values())
    for i, size in enumerate(sizes_of(kept)):
        assert kept[f"layers.{i}.attention.pairs"].sum(1)[kept[f"layers.{i}.attention"]].unique().tolist() == [
            size.pairs
        ]
    assert all(torch.equal(units[group], lives) for group, lives in before.items())


@given(layers(), st.sampled_from([2.0**-10, 0.5, 8.0, 2.0**20]))
def test_the_size_of_a_layer_means_nothing(layer, factor):
    weights, units, scales = layer
    if all(lives.sum() == 1 for lives in units.values()):
        return
    name = next(iter(scales))
    larger = {**weights, name: weights[name].double() * factor}, units, {**scales, name: scales[name] * factor}
    assert alive(prune_units(*larger, 0.5, "global")) == alive(prune_units(weights, units, scales, 0.5, "global"))


def test_random_units_are_heads_as_often_as_neurons():
    """Of each group a random order takes the same share on average, and how much it takes differs from draw to draw."""
    model = Transformer(**shape_of("inhibitor", heads=4, width=32, hidden=64))
    masks = dense_masks(weights_of(model), structured_names(model))
    whole = units_of(masks, 4)
    drawn = [random_units(whole, masks, 0.3, seed) for seed in range(200)]
    for units in drawn:
        assert density(masks_of(units, masks)) <= 0.3
    heads = np.array([int(units["layers.0.attention"].sum()) for units in drawn])
    pairs = np.array([int(sizes_of(units)[0].pairs) for units in drawn])
    neurons = np.array([int(units["layers.0"].sum()) for units in drawn])
    assert set(heads) >= {1, 2, 3}
    assert abs(heads.mean() / 4 - neurons.mean() / 64) < 0.1 and abs(pairs.mean() / 8 - neurons.mean() / 64) < 0.1
    assert alive(random_units(whole, masks, 0.3, 7)) == alive(drawn[7])


@given(layers(), st.integers(0, 2**63 - 1))
def test_shuffled_units_keep_the_count_of_each_group(layer, seed):
    _, units, _ = layer
    moved_units = shuffled_units(units, seed)
    assert {group: int(lives.sum()) for group, lives in moved_units.items()} == {
        group: int(lives.sum()) for group, lives in units.items()
    }
    assert alive(shuffled_units(units, seed)) == alive(moved_units)


def some_units():
    """Of two layers of 4 heads, each 4 wide, and 24 neurons."""
    pairs = [[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 1, 0]], [[0, 0, 0, 0], [0, 0, 1, 0], *[[0, 0, 0, 0]] * 2]
    units = {}
    for i, own in enumerate(pairs):
        lives = torch.tensor(own).bool()
        units |= {f"layers.{i}.attention": lives.any(1), f"layers.{i}.attention.pairs": lives}
        units[f"layers.{i}"] = torch.arange(24) % (3 + i) == 1
    return units


def test_masks_and_units_say_the_same():
    model, units = float_model("inhibitor", heads=4), some_units()
    shapes = dense_masks(weights_of(model), structured_names(model))
    assert set(shapes) == set(linear_names(model)) - {"classifier.weight"}
    masks = masks_of(units, shapes)
    assert list(masks) == list(shapes) and alive(units_of(masks, 4)) == alive(units)
    assert density(masks) == (2 * (3 * 7 + 5) * 16 + (8 + 6) * 2 * 16) / (8 * (4 * 4 * 16) + 48 * 2 * 16)
    assert sizes_of(units) == [(3, 3, 8), (1, 1, 6)]
    assert masks["layers.1.attention.key.weight"].any(1).nonzero().flatten().tolist() == [6]
    assert masks["layers.1.attention.value.weight"].any(1).nonzero().flatten().tolist() == [4, 5, 6, 7]
    assert masks["layers.1.down.weight"].all(0).nonzero().flatten().tolist() == [1, 5, 9, 13, 17, 21]


@pytest.mark.parametrize("kind", KINDS)
def test_the_small_model_computes_what_the_large_one_does_with_zeros(kind):
    model, units = float_model(kind, heads=4), some_units()
    masks = masks_of(units, dense_masks(weights_of(model), structured_names(model)))
    rewind = point_of(model)
    small = Transformer(**shape_of(kind, heads=4, sizes=sizes_of(units))).eval()
    start = cut(rewind, units)
    small.load_state_dict(start.weights)
    zeroed = masked(rewind, masks).weights
    for i in range(2):  # what a dead pair still says is the difference of two biases, the same for all tokens
        for part in ("query", "key"):
            zeroed[f"layers.{i}.attention.{part}.bias"] *= units[f"layers.{i}.attention.pairs"].flatten()
    model.load_state_dict(zeroed)
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
    with pytest.raises(UserError, match="every layer is down to one head, one q/k pair and one neuron, nothing is"):
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
    assert sizes_of(units_of(masks, 4)) == [(1, 1, 1), (1, 1, 1)]


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
