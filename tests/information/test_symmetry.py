"""Permutations of a network's parts leave its integers and its code length as they are, and are counted right."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integer_tickets.information.symmetry import symmetry_bits
from integer_tickets.information.ticket_code import code_bits
from integer_tickets.integer.network import Bypass, Inhibitor, Linear, Softmax
from integer_tickets.integer.reference import logits
from integer_tickets.integer.rounding import Rule
from tests.integer.conftest import KINDS, build_network, build_tokenizer


def outputs(linear, order):
    rule = linear.rule
    if rule is not None and len(rule.multiplier) > 1:
        rule = Rule(rule.pre_shift, rule.multiplier[order], rule.shift, rule.zero)
    mask = None if linear.mask is None else linear.mask[order]
    return Linear(linear.weight[order], mask, linear.bias[order], rule, linear.bits)


def inputs(linear, order):
    mask = None if linear.mask is None else linear.mask[:, order]
    return replace(linear, weight=np.ascontiguousarray(linear.weight[:, order]), mask=mask)


def table(own, order):
    mask = None if own.mask is None else np.ascontiguousarray(own.mask[:, order])
    return replace(own, weight=np.ascontiguousarray(own.weight[:, order]), mask=mask)


def past(bypass, channels):
    return bypass and Bypass(**{name: vector[channels] for name, vector in vars(bypass).items()})


def within(order, width, random):
    """The rows of the heads in that order, each head's own rows permuted."""
    return np.concatenate([head * width + random.permutation(width) for head in order])


def permuted(network, random):
    channels = random.permutation(network.width)
    layers = []
    for layer in network.layers:
        heads = random.permutation(layer.heads)
        scored, carried = within(heads, layer.pairs, random), within(heads, network.head_width, random)
        hidden = random.permutation(len(layer.up.weight))
        attention = layer.attention
        names = ("multiplier", "offset", "shift") if isinstance(attention, Inhibitor) else (
            "pre_shift", "multiplier", "shift")  # fmt: skip
        layers.append(
            replace(
                layer,
                query=inputs(outputs(layer.query, scored), channels),
                key=inputs(outputs(layer.key, scored), channels),
                value=inputs(outputs(layer.value, carried), channels),
                output=outputs(inputs(layer.output, carried), channels),
                up=inputs(outputs(layer.up, hidden), channels),
                down=outputs(inputs(layer.down, hidden), channels),
                attention=replace(attention, **{name: getattr(attention, name)[heads] for name in names}),
                attention_bypass=past(layer.attention_bypass, channels),
                hidden_bypass=past(layer.hidden_bypass, channels),
            )
        )
    return replace(
        network, tokens=table(network.tokens, channels), positions=table(network.positions, channels),
        layers=tuple(layers), classifier=inputs(network.classifier, channels),
    )  # fmt: skip


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from(KINDS), st.sampled_from([None, 0.3]), st.booleans())
def test_permutations_change_neither_integers_nor_length(seed, attention, density, post_norm):
    random = np.random.default_rng(seed)
    shape = {"d": 12, "heads": 3, "hidden": 10, "vocabulary": 20, "positions": 9}
    network = build_network(seed, attention, density=density, post_norm=post_norm, **shape)
    other = permuted(network, random)
    batch = [random.integers(0, 20, n).tolist() for n in (1, 4, 9)]
    assert (logits(network, batch) == logits(other, batch)).all()
    tokenizer = build_tokenizer(20, 9)
    assert code_bits(other, tokenizer) == pytest.approx(code_bits(network, tokenizer))
    assert symmetry_bits(other) == pytest.approx(symmetry_bits(network))


@pytest.mark.parametrize("attention", KINDS)
def test_all_orders_of_distinct_parts(attention):
    network = build_network(0, attention, d=12, heads=3, hidden=10, layers=2)
    orders = math.factorial(12) * (math.factorial(10) * math.factorial(3) * math.factorial(4) ** 6) ** 2
    assert isinstance(network.layers[0].attention, Softmax if attention == "softmax" else Inhibitor)
    assert symmetry_bits(network) == pytest.approx(math.log2(orders))


def test_equal_parts_count_once():
    network = build_network(0, d=4, heads=1, hidden=4, layers=1)
    layer = network.layers[0]
    order = np.array([0, 0, 1, 1])
    twice = replace(network, layers=(replace(layer, up=outputs(layer.up, order), down=inputs(layer.down, order)),))
    lost = math.log2(math.factorial(4)) - math.log2(6)
    assert symmetry_bits(network) - symmetry_bits(twice) == pytest.approx(lost)
    distinct = {bytes(outputs(twice.layers[0].up, np.array(p)).weight.tobytes()) for p in permutations(range(4))}
    assert len(distinct) == 6


def test_heads_equal_but_for_the_order_of_their_coordinates_count_once():
    network = build_network(0, d=8, heads=2, hidden=4, layers=1)
    layer, mixed = network.layers[0], np.array([0, 1, 2, 3, 3, 1, 0, 2])
    parts = {name: outputs(getattr(layer, name), mixed) for name in ("query", "key", "value")}
    numbers = {n: getattr(layer.attention, n)[[0, 0]] for n in ("multiplier", "offset", "shift")}
    same = replace(
        layer, **parts, output=inputs(layer.output, mixed), attention=replace(layer.attention, **numbers)
    )  # fmt: skip
    assert symmetry_bits(network) - symmetry_bits(replace(network, layers=(same,))) == pytest.approx(1)
