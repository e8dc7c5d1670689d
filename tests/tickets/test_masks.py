"""Masks: exact counts on any values, ties to the lower index, and nothing that was pruned comes back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from integer_tickets.errors import UserError
from integer_tickets.tickets.masks import dense_masks, density, prune, scale_of, shuffled

FLOATS = st.floats(-10, 10, width=32)
GRIDS = {"float": FLOATS} | {f"int{high}": st.integers(-high, high).map(float) for high in (127, 7, 3, 1)}
shapes = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4)


@st.composite
def layers(draw):
    """Weights from one grid, masks (zero weights where pruned, at least one weight alive in each layer), scales."""
    values = draw(st.sampled_from(sorted(GRIDS)).map(GRIDS.__getitem__))
    weights, masks, scales = {}, {}, {}
    for index, shape in enumerate(draw(shapes)):
        name = "zyxw"[index]  # not in alphabetical order
        mask = draw(arrays.arrays(bool, shape))
        mask.flat[draw(st.integers(0, mask.size - 1))] = True
        weight = draw(arrays.arrays(np.float32, shape, elements=values)) * mask
        weights[name], masks[name] = torch.from_numpy(weight), torch.from_numpy(mask)
        scales[name] = draw(st.sampled_from([0.25, 1.0, 3.0]))
    return weights, masks, scales


def by_sorting(weights, masks, scales, keep):
    """The rule in plain Python: sort by importance, then by place."""
    alive = [
        (-abs(weight) / scales[name], place, name)
        for place, (name, weight, lives) in enumerate(
            (name, weight, lives)
            for name, mask in masks.items()
            for weight, lives in zip(weights[name].flatten().tolist(), mask.flatten().tolist(), strict=True)
        )
        if lives
    ]
    kept = {place for _, place, _ in sorted(alive)[: int(keep * len(alive) + 0.5)]}
    places = iter(range(10**6))
    return {
        name: torch.tensor([next(places) in kept for _ in range(m.numel())]).view(m.shape) for name, m in masks.items()
    }


def alive(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def same(one, other):
    return list(one) == list(other) and all(torch.equal(mask, other[name]) for name, mask in one.items())


@given(layers(), st.floats(0.01, 0.99))
def test_exactly_the_most_important_stay(layer, keep):
    weights, masks, scales = layer
    count = int(np.floor(keep * alive(masks) + 0.5))
    if count == 0:
        with pytest.raises(UserError, match="none would be left"):
            prune(weights, masks, scales, keep, "global")
        return
    kept = prune(weights, masks, scales, keep, "global")
    assert alive(kept) == count
    assert same(kept, by_sorting(weights, masks, scales, keep))
    assert all(not (kept[name] & ~mask).any() and kept[name].dtype == torch.bool for name, mask in masks.items())


@given(layers(), st.floats(0.5, 0.99))
def test_layerwise_counts_are_exact_in_each_layer(layer, keep):
    weights, masks, scales = layer
    kept = prune(weights, masks, scales, keep, "layerwise")
    for name, mask in masks.items():
        assert int(kept[name].sum()) == int(np.floor(keep * int(mask.sum()) + 0.5))
        assert same({name: kept[name]}, by_sorting(weights, {name: mask}, scales, keep))


@given(layers(), st.floats(0.3, 0.9), st.sampled_from([2.0**-10, 0.5, 8.0, 2.0**20]))
def test_the_size_of_a_layer_means_nothing(layer, keep, factor):
    weights, masks, scales = layer
    if keep * alive(masks) < 0.5:
        return
    name = next(iter(masks))
    larger = {**weights, name: weights[name].double() * factor}, masks, {**scales, name: scales[name] * factor}
    assert same(prune(*larger, keep, "global"), prune(weights, masks, scales, keep, "global"))


@given(layers(), st.floats(0.01, 1), st.sampled_from([2, 4]), st.sampled_from(["global", "layerwise"]))
def test_blocks_live_or_die_by_the_mean_of_their_importances(layer, keep, block, scope):
    """As weights do that have this mean."""
    _, masks, _ = layer
    wide = {name: mask.repeat_interleave(block, 1) for name, mask in masks.items()}
    random = torch.Generator().manual_seed(0)
    spread = {name: torch.rand(wide[name].shape, generator=random) * wide[name] for name in wide}
    means = {name: x.double().unflatten(1, (-1, block)).mean(-1) for name, x in spread.items()}
    ones = dict.fromkeys(masks, 1.0)
    try:
        expected = prune(means, masks, ones, keep, scope)
    except UserError:
        with pytest.raises(UserError, match="blocks"):
            prune(spread, wide, ones, keep, scope, block)
        return
    kept = prune(spread, wide, ones, keep, scope, block)
    assert same(kept, {name: mask.repeat_interleave(block, 1) for name, mask in expected.items()})
    moved = shuffled(kept, 3, block)
    assert same({name: mask[:, ::block].repeat_interleave(block, 1) for name, mask in moved.items()}, moved)
    assert [int(mask.sum()) for mask in moved.values()] == [int(mask.sum()) for mask in kept.values()]


def test_the_unit_of_a_layer_is_its_root_mean_square():
    weights = {"a": torch.tensor([[3.0, -4.0]]), "b": torch.full((2, 2), 2.0), "c": torch.zeros(2)}
    assert scale_of(weights, ["b", "a"]) == {"b": 2.0, "a": pytest.approx(12.5**0.5)}
    grown = scale_of({"a": 8 * weights["a"]}, ["a"])
    assert grown["a"] == pytest.approx(8 * 12.5**0.5)


def test_of_equals_the_lower_place_stays():
    weights = {"b": torch.tensor([[1.0, -1, 2], [-2, 0, 1]]), "a": torch.tensor([[1.0, 1, 1]])}
    masks = dense_masks(weights, ["b", "a"])
    one = dict.fromkeys(masks, 1.0)
    kept = prune(weights, masks, one, 5 / 9, "global")
    assert kept["b"].int().tolist() == [[1, 1, 1], [1, 0, 1]] and not kept["a"].any()
    kept = prune(weights, masks, {"b": 1.0, "a": 0.5}, 5 / 9, "global")
    assert kept["b"].int().tolist() == [[0, 0, 1], [1, 0, 0]] and kept["a"].all()
    kept = prune(weights, masks, one, 1 / 3, "layerwise")
    assert kept["b"].int().tolist() == [[0, 0, 1], [1, 0, 0]] and kept["a"].int().tolist() == [[1, 0, 0]]


def test_a_ladder_of_ternary_weights_stays_exact():
    """Level after level, where nearly all importances are equal."""
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randint(-1, 2, (40, 30), generator=generator).float() for name in "ab"}
    masks, count = dense_masks(weights, ["a", "b"]), 2400
    for _ in range(12):
        before, masks = masks, prune(weights, masks, {"a": 1.0, "b": 1.0}, 0.63, "global")
        count = int(np.floor(0.63 * count + 0.5))
        assert alive(masks) == count and density(masks) == count / 2400
        assert all(not (masks[name] & ~before[name]).any() for name in masks)


@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_keeping_nothing_is_refused(scope):
    weights = {"a": torch.ones(2, 2), "b": torch.ones(1, 1)}
    with pytest.raises(UserError, match=r"prune\.keep = 0\.05: of \d weights .* none would be left"):
        prune(weights, dense_masks(weights, ["a", "b"]), {"a": 1.0, "b": 1.0}, 0.05, scope)
    empty = {"a": torch.zeros(2, 2, dtype=torch.bool)}
    with pytest.raises(UserError, match=r"prune\.keep = 0\.9: of 0 weights .* none would be left"):
        prune(weights, empty, {"a": 1.0}, 0.9, scope)


def test_dense_masks_and_density():
    weights = {"a": torch.zeros(3, 4), "b": torch.ones(2), "c": torch.ones(5)}
    masks = dense_masks(weights, ["a", "c"])
    assert list(masks) == ["a", "c"] and all(mask.all() and mask.dtype == torch.bool for mask in masks.values())
    assert density(masks) == 1
    masks["a"][:2] = False
    assert density(masks) == 9 / 17


@given(layers(), st.integers(0, 2**63 - 1))
def test_shuffled_masks_keep_the_count_of_each_layer(layer, seed):
    _, masks, _ = layer
    before = {name: mask.clone() for name, mask in masks.items()}
    moved = shuffled(masks, seed)
    assert list(moved) == list(masks) and same(masks, before)
    for name, mask in masks.items():
        assert moved[name].shape == mask.shape and moved[name].dtype == torch.bool
        assert moved[name].sum() == mask.sum()
    assert same(shuffled(masks, seed), moved)


def test_shuffled_masks_are_other_places_for_other_seeds():
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(30, 30, generator=generator) < 0.3 for name in "ab"}
    one, other = shuffled(masks, 0), shuffled(masks, 1)
    for name in masks:
        assert not torch.equal(one[name], masks[name]) and not torch.equal(one[name], other[name])
        overlap = (one[name] & masks[name]).sum() / masks[name].sum()
        assert 0.2 < overlap < 0.4  # as by chance
