"""What is read off a network's layers: every tap a function of those before it, and attention as it is known."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from integer_tickets.data.enumerable import enumeration
from integer_tickets.information.exact import held
from integer_tickets.information.states import (
    attention_statistics,
    duplicates,
    full,
    one_each,
    rank_one_residual,
    states,
    taps,
)
from integer_tickets.integer import reference, torch_engine
from integer_tickets.integer.network import Inhibitor
from tests.integer.conftest import build_network

LANGUAGE = enumeration(3)


def sentences(count=30, longest=9, vocabulary=20):
    random = np.random.default_rng(0)
    return [random.integers(0, vocabulary, random.integers(1, longest + 1)).tolist() for _ in range(count)]


@pytest.mark.parametrize("attention", ["inhibitor", "softmax"])
def test_information_falls_through_the_layers_of_a_network(attention):
    """The data processing inequality, exactly, along the full states of all tokens; what is pooled holds least."""
    network = build_network(3, attention, d=8, heads=2, hidden=6, vocabulary=8, positions=3, classes=2)
    names = taps(network)
    found = states(torch_engine.logits, network, LANGUAGE.tokens.tolist(), names)
    every = [held(full(found[name]), LANGUAGE.chance, LANGUAGE.posterior) for name in names]
    stream = [own for name, own in zip(names, every, strict=True) if name.rpartition(".")[2] not in ("context", "up")]
    for own, other in pairwise(stream):
        assert other.entropy <= own.entropy + 1e-9 and other.label <= own.label + 1e-9
    assert all(own.superfluous == pytest.approx(own.entropy - own.label) for own in every)
    assert every[0].states > every[-1].states


def test_both_engines_show_the_same():
    network = build_network(1, d=12, heads=3, vocabulary=20, positions=9)
    names, batch = taps(network), sentences()
    one, two = (states(engine, network, batch, names) for engine in (reference.logits, torch_engine.logits))
    assert all((a == b).all() for name in names for a, b in zip(one[name], two[name], strict=True))
    spread = [attention_statistics(engine, network, batch) for engine in (reference.logits, torch_engine.logits)]
    assert len(spread[0]) == 6
    assert all(a == pytest.approx(b) for a, b in zip(*spread, strict=True))


def changed(network, **values):
    layers = []
    for layer in network.layers:
        attention = replace(layer.attention, **{n: np.full(layer.heads, v, np.int32) for n, v in values.items()})
        layers.append(replace(layer, attention=attention))
    return replace(network, layers=tuple(layers))


def test_an_inhibitor_that_inhibits_nothing_and_one_that_inhibits_all():
    network = build_network(1, d=12, heads=3, vocabulary=20, positions=9)
    assert isinstance(network.layers[0].attention, Inhibitor)
    for row in attention_statistics(reference.logits, changed(network, multiplier=0, offset=0), sentences()):
        assert row["zero_rate"] == 1 and row["pass_through"] == 1
    closed = attention_statistics(
        reference.logits, changed(network, multiplier=0, offset=-(2**29), shift=0), sentences()
    )
    for row in closed:
        assert row["zero_rate"] == 0 and row["pass_through"] == 0 and np.isnan(row["entropy"])


def test_softmax_that_does_not_look_is_uniform():
    network = build_network(1, "softmax", d=12, heads=3, vocabulary=20, positions=9)
    for row in attention_statistics(reference.logits, changed(network, multiplier=0), sentences()):
        assert row["entropy"] == pytest.approx(row["uniform"]) and row["zero_rate"] == 0 and row["pass_through"] == 1
    for row in attention_statistics(reference.logits, network, sentences()):
        assert 0 <= row["entropy"] <= row["uniform"]


def test_tokens_that_are_alike():
    alike, apart = np.ones((4, 3), int), np.eye(4, dtype=int)
    assert rank_one_residual([alike]) == 0 and duplicates([alike]) == 0.75
    assert rank_one_residual([apart - 0.25]) == pytest.approx(1) and duplicates([apart]) == 0
    assert rank_one_residual([np.zeros((2, 2), int)]) == 0


def test_one_vector_of_each_sentence():
    rows = [np.full((n, 2), n) for n in (1, 3, 5)]
    assert one_each(rows, np.random.default_rng(0)).tolist() == [[1, 1], [3, 3], [5, 5]]
