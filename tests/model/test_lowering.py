"""Lowering: an integer network that is proved, knows its unit, and has exact zeros where weights were pruned."""

import numpy as np
import pytest
import torch

from integer_tickets.errors import UserError
from integer_tickets.integer import reference
from integer_tickets.integer.bounds import prove
from integer_tickets.integer.network import Inhibitor, Softmax
from integer_tickets.integer.rounding import S8, half
from integer_tickets.model.lowering import lower
from integer_tickets.model.quantized import part_of
from integer_tickets.model.quantizers import HIGHEST
from tests.model.conftest import KINDS, quantized_model, random_masks, sentences

LABELS = ["a", "b", "c"]


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_proved_and_every_weight_fits_its_bits(kind, bits):
    model = quantized_model(kind, 1, bits, embedding_bits=4)
    network = lower(model, {}, LABELS)
    bounds = prove(network)
    assert set(bounds) == {name for name, _ in network.linears()} | {"layers.0.attention", "layers.1.attention"}
    for name, matrix in network.matrices():
        own = {"tokens": 4, "positions": 8}.get(name, bits)
        assert matrix.bits == own and np.abs(matrix.weight).max() <= HIGHEST[own]
        assert matrix.mask is None
    assert network.heads == 2 and network.labels == ("a", "b", "c")


@pytest.mark.parametrize("kind", KINDS)
def test_the_attention_is_that_of_the_model(kind):
    for layer in lower(quantized_model(kind), {}, LABELS).layers:
        assert isinstance(layer.attention, Softmax if kind == "softmax" else Inhibitor)
        assert isinstance(layer.attention, Softmax) or layer.attention.signed == (kind == "inhibitor")


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_turns_integers_into_the_models_logits(kind):
    model = quantized_model(kind, 2)
    network = lower(model, {}, LABELS)
    unit = network.logit_multiplier / 2**network.logit_shift
    exact = 2.0 ** (model.classifier_step.double().item() - 4 - model.pool_gain.item())
    assert unit == pytest.approx(exact, rel=2.0**-30)
    ids, counts = sentences([12, 5, 0])
    integers = reference.logits(network, [ids[row, :n].tolist() for row, n in enumerate(counts)])
    assert np.array_equal(np.rint(model(ids, counts).detach().double().numpy() / unit), integers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 2])
def test_post_norm_layers_are_simulated_to_the_integer(kind, bits):
    model = quantized_model(kind, 6, bits, post_norm=True)
    network = lower(model, {}, LABELS)
    past = [bypass for layer in network.layers for bypass in (layer.attention_bypass, layer.hidden_bypass)]
    assert network.post_norm and all(bypass.gain.any() and bypass.offset.any() for bypass in past)
    ids, counts = sentences([*range(1, 13), 0], 1)
    integers = reference.logits(network, [ids[row, :n].tolist() for row, n in enumerate(counts)])
    unit = network.logit_multiplier / 2**network.logit_shift
    assert np.array_equal(np.rint(model(ids, counts).detach().double().numpy() / unit), integers)


@pytest.mark.parametrize("log_unit", [-60.0, 40.0])
def test_a_unit_without_integer_form_is_refused(log_unit):
    model = quantized_model("inhibitor")
    with torch.no_grad():
        model.classifier.bias.zero_()
        model.classifier_step.fill_(log_unit)
    with pytest.raises(UserError, match=r"the unit of the logits, .*, has no integer form"):
        lower(model, {}, LABELS)


@pytest.mark.parametrize("kind", KINDS)
def test_pruned_weights_are_exactly_zero(kind):
    model = quantized_model(kind, 3)
    masks = random_masks(model, 0.3, embedding=True)
    masks["layers.0.up.weight"] = torch.ones_like(masks["layers.0.up.weight"])  # as dense masks are
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    network = lower(model, masks, LABELS)
    of_model = {"layers.0.up": masks["layers.0.up.weight"]}
    for name, matrix in network.matrices():
        if name == "layers.0.up":
            assert matrix.mask is None
            continue
        prefix, _, part = name.rpartition(".")
        inner = "attention." if part in ("query", "key", "value", "output") else ""
        of_model[name] = masks[f"{prefix}.{inner}{part}.weight" if prefix else f"{name}.weight"]
        assert np.array_equal(matrix.mask, of_model[name].numpy()), name
        assert not matrix.weight[~matrix.mask].any() and matrix.weight[matrix.mask].any(), name
    assert len(of_model) == len(masks)
    assert all(matrix.mask is None for _, matrix in lower(model, {}, LABELS).matrices())


@pytest.mark.parametrize("name", ["layers.1.attention.key.weight", "classifier.weight", "tokens.weight"])
def test_a_mask_that_the_weights_do_not_obey_is_refused(name):
    model = quantized_model("inhibitor", 3)
    mask = random_masks(model, 0.5, embedding=True)[name]
    with pytest.raises(UserError, match="a pruned weight is not zero"):
        lower(model, {name: mask}, LABELS)


def test_biases_round_to_nearest_and_hold_the_half_of_the_first_shift():
    model = quantized_model("inhibitor", 4)
    network = lower(model, {}, LABELS)
    for layer, steps, lowered in zip(model.blocks(), model.weight_steps, network.layers, strict=True):
        for column, name in ((0, "query"), (4, "up")):  # their inputs are normalized: one unit is 1/16
            linear = getattr(lowered, name)
            unit = 2.0 ** (steps[column].double().item() - 4)
            real = part_of(layer, name).bias.detach().double().numpy() / unit
            assert np.abs(linear.bias - half(linear.rule) - real).max() <= 0.5
            assert linear.rule.zero == (128 if name == "query" else 0)


def test_lowering_is_repeatable_and_leaves_the_model_alone():
    model = quantized_model("inhibitor", 5).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, again = (lower(model, {}, LABELS) for _ in range(2))
    for (name, one), (_, other) in zip(first.matrices(), again.matrices(), strict=True):
        assert np.array_equal(one.weight, other.weight), name
        assert S8[0] <= one.weight.min() and one.weight.dtype == np.int8
    assert model.training and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
