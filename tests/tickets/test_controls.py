"""Controls: what each has in common with its ticket, and the one thing in which it differs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.model.transformer import Transformer, initialise, linear_names
from integer_tickets.seeds import generator
from integer_tickets.tickets.connectivity import line
from integer_tickets.tickets.controls import CONTROLS, FROM_STEP_0, Ticket, small_size
from integer_tickets.tickets.ladder import rewound
from integer_tickets.tickets.masks import dense_masks, density
from integer_tickets.tickets.structure import masks_of, sizes_of, structured_names, units_of
from integer_tickets.training.state import fresh_state, weights_of
from tests.model.conftest import float_model, quantized_model, shape_of
from tests.tickets.conftest import assert_begins_at, moved, point_of

HEADS = 4


def ticket_of(model, scope="global", heads=None, block=1, levels=2):
    """The second level of a ladder whose trained weights are made up."""
    rewind, dense = point_of(model), moved(weights_of(model))
    names = linear_names(model) if heads is None else structured_names(model)
    before, masks = dense, dense_masks(dense, names)
    for level in range(levels):
        before_masks = masks
        masks, start = rewound(before, before_masks, rewind, 0.5, scope, heads, block)
        if level + 1 < levels:
            before = moved(start.weights, level + 1)
    return Ticket(masks, rewind, dense, before, before_masks, scope, heads, block)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(mask, other[name]) for name, mask in one.items())


@pytest.mark.parametrize("kind", CONTROLS)
@pytest.mark.parametrize("scope", ["global", "layerwise"])
@pytest.mark.parametrize("block", [1, 4])
def test_every_control_has_as_many_weights_and_begins_where_it_must(kind, scope, block):
    model = float_model("inhibitor")
    ticket = ticket_of(model, scope, block=block)
    masks, start = CONTROLS[kind](ticket, Transformer(**shape_of("inhibitor")), 3)
    assert density(masks) == density(ticket.masks)
    assert all(
        not start.weights[name][~mask].any() and not start.first[name][~mask].any() for name, mask in masks.items()
    )
    assert start.step == (0 if kind in FROM_STEP_0 else ticket.rewind.step)
    assert same(masks, ticket.masks) == (kind in (*FROM_STEP_0, "lr_rewind", "finetune"))
    if kind in ("shuffled", "random", "oneshot", "inverted"):
        assert_begins_at(start, ticket.rewind, masks)
    if (scope == "layerwise" and kind != "random") or kind in ("shuffled", "inverted"):
        assert all(mask.sum() == ticket.masks[name].sum() for name, mask in masks.items())
    again, _ = CONTROLS[kind](ticket, Transformer(**shape_of("inhibitor")), 3)
    assert same(again, masks)


@pytest.mark.parametrize("kind", CONTROLS)
def test_controls_of_heads_and_neurons(kind):
    model = Transformer(**shape_of("inhibitor", heads=HEADS))
    initialise(model, generator("initial", 0))
    ticket = ticket_of(model, heads=HEADS)
    masks, start = CONTROLS[kind](ticket, Transformer(**shape_of("inhibitor", heads=HEADS)), 3)
    units = units_of(masks, HEADS)
    assert same(masks_of(units, masks), masks)
    small = Transformer(**shape_of("inhibitor", heads=HEADS), sizes=sizes_of(units))
    small.load_state_dict(start.weights)
    assert all(start.first[name].shape == parameter.shape for name, parameter in small.named_parameters())
    if kind in ("random", "oneshot", "inverted"):
        assert density(masks) <= density(ticket.masks) + 1e-9
    else:
        assert density(masks) == density(ticket.masks)


def test_reinit_has_new_weights_and_signs_keeps_their_signs():
    model = float_model("inhibitor")
    ticket = ticket_of(model)
    expected = Transformer(**shape_of("inhibitor"))
    initialise(expected, generator("reinit", 3))
    _, start = CONTROLS["reinit"](ticket, Transformer(**shape_of("inhibitor")), 3)
    assert_begins_at(start, fresh_state(expected), ticket.masks)
    _, signed = CONTROLS["signs"](ticket, Transformer(**shape_of("inhibitor")), 3)
    for name, mask in ticket.masks.items():
        assert torch.equal(signed.weights[name].abs(), start.weights[name].abs())
        kept = mask & (start.weights[name] != 0)
        assert torch.equal(signed.weights[name][kept].sign(), ticket.rewind.weights[name][kept].sign())
    other = next(name for name in start.weights if name not in ticket.masks and start.weights[name].any())
    assert torch.equal(signed.weights[other], start.weights[other])


def test_random_does_not_know_the_layers_and_shuffled_does():
    ticket = ticket_of(float_model("inhibitor"))
    drawn, _ = CONTROLS["random"](ticket, Transformer(**shape_of("inhibitor")), 3)
    large = [name for name, mask in drawn.items() if mask.numel() > 400]
    assert all(abs(drawn[name].double().mean() - 0.25) < 0.1 for name in large)
    shuffled, _ = CONTROLS["shuffled"](ticket, Transformer(**shape_of("inhibitor")), 3)
    for moved_masks, knows in ((drawn, False), (shuffled, True)):
        counts = [(int(mask.sum()), int(ticket.masks[name].sum())) for name, mask in moved_masks.items()]
        assert all(one == other for one, other in counts) == knows


def test_oneshot_keeps_the_largest_of_the_dense_model_and_inverted_the_smallest():
    ticket = ticket_of(float_model("inhibitor"))
    model = Transformer(**shape_of("inhibitor"))
    once, _ = CONTROLS["oneshot"](ticket, model, 0)
    turned, _ = CONTROLS["inverted"](ticket, model, 0)
    expected, _ = rewound(
        ticket.dense, dense_masks(ticket.dense, list(once)), ticket.rewind, density(ticket.masks), "global"
    )
    assert same(once, expected)
    assert all(mask.sum() == ticket.masks[name].sum() for name, mask in turned.items())  # the classifier, too
    for name, mask in turned.items():
        sizes = ticket.dense[name].abs()
        assert sizes[mask].max() <= sizes[~mask].min()


def test_a_layer_that_the_ticket_does_without_is_empty_in_its_inverse():
    ticket = ticket_of(float_model("inhibitor"))
    name = next(iter(ticket.masks))
    ticket.masks[name].zero_()
    turned, start = CONTROLS["inverted"](ticket, Transformer(**shape_of("inhibitor")), 0)
    assert not turned[name].any() and not start.weights[name].any()
    assert density(turned) == density(ticket.masks)


def test_trained_weights_go_on_with_fresh_moments():
    ticket = ticket_of(quantized_model("softmax"))
    masks, start = CONTROLS["lr_rewind"](ticket, Transformer(**shape_of("softmax")), 0)
    assert start.step == ticket.rewind.step and not any(tensor.any() for tensor in start.first.values())
    assert start.weights.keys() == ticket.before.keys()
    for name, tensor in ticket.before.items():
        mask = masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(start.weights[name], tensor * mask)


@given(st.integers(0, 2_000_000))
def test_the_small_model_fills_the_bits_of_the_ticket(budget):
    def count(width, hidden):
        return 8 * (100 * width + 2 * (4 * width * width + 2 * width * hidden))

    width, hidden = small_size(budget, count, 4, 100, 200)
    assert 4 <= width <= 100 and width % 4 == 0 and hidden % 4 == 0
    if budget < count(4, 8):
        assert (width, hidden) == (4, 4)
    else:
        assert count(width, hidden) <= budget < count(width, hidden + 4)
        assert width == 100 or budget < count(width + 4, (width + 4) * 2 // 4 * 4)


def test_the_line_between_two_models():
    one, other = float_model("inhibitor"), Transformer(**shape_of("inhibitor"))
    initialise(other, generator("initial", 9))
    model = Transformer(**shape_of("inhibitor"))
    ends = weights_of(one), weights_of(other)
    points = [(share, weights_of(own)) for share, own in line(model, *ends, 5)]
    assert [share for share, _ in points] == [0, 0.25, 0.5, 0.75, 1]
    assert same(points[0][1], ends[0]) and all(torch.allclose(points[4][1][name], ends[1][name]) for name in ends[1])
    assert torch.allclose(points[2][1]["tokens.weight"], (ends[0]["tokens.weight"] + ends[1]["tokens.weight"]) / 2)
    integers = quantized_model("inhibitor")
    for _, own in line(integers, weights_of(integers), weights_of(integers), 3):
        assert torch.equal(own.pool_gain, integers.pool_gain)
