"""A ticket's code: decoded to the same tensors, its stream as long as its bits say."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.data.grammar import vocabulary_words
from integer_tickets.information.coder import (
    Ideal,
    Reader,
    Writer,
    adaptive,
    adaptive_bits,
    choice,
    following,
    measured,
    number,
    numbers,
)
from integer_tickets.information.ticket_code import PARTS, code_bits, decode, encode
from integer_tickets.integer.artefact import load, serialize
from integer_tickets.integer.conformance import KIT, TICKET
from integer_tickets.integer.network import Table, roles
from integer_tickets.integer.rounding import half
from integer_tickets.integer.tokenizer import SIDES, Tokenizer
from tests.integer.conftest import KINDS, SHAPES, build_network, build_tokenizer


def lengths_and_back(code, values):
    """Ideal bits, stream bits, and what is read back."""
    ideal, writer = Ideal(), Writer()
    code(ideal, values)
    code(writer, values)
    return ideal.bits, 32 * len(writer.words), code(Reader(writer.words), None)


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=30))
def test_numbers_come_back(values):
    values = np.array(values, np.int64)
    bits, stream, read = lengths_and_back(lambda c, v: numbers(c, v, len(values)), values)
    assert (read == values).all() and stream <= bits + 64


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=60), st.integers(0, 2**32))
def test_bits_are_those_of_the_symbols_in_their_turn(values, seed):
    """What is counted at once is the sum over symbols, each at the probability that a decoder would know."""

    class Slow:
        part, bits = "", 0.0

        def symbol(self, value, chances):
            self.bits -= math.log2(chances[value] / chances.sum())
            return value

    values = np.array(values, np.int64)
    random = np.random.default_rng(seed)
    earlier = np.array([random.integers(-1, i) if i else -1 for i in range(len(values))], np.int64)
    shifted, contexts = values + 20, random.integers(0, 4, len(values))
    for code in (
        lambda coder: numbers(coder, values, len(values)),
        lambda coder: adaptive(coder, shifted, contexts, 41),
        lambda coder: following(coder, shifted, earlier, 41),
    ):
        slow = Slow()
        code(slow)
        assert measured(code) == pytest.approx(slow.bits)


@given(st.integers(0, 2**32 - 1))
def test_a_number_comes_back(value):
    bits, _, read = lengths_and_back(number, value)
    assert read == value
    assert bits == pytest.approx(math.log2(33) + max(value.bit_length() - 1, 0))


@given(st.lists(st.integers(0, 3), max_size=80), st.integers(0, 2**32))
def test_symbols_behind_earlier_ones_come_back(values, seed):
    values = np.array(values, np.int64)
    random = np.random.default_rng(seed)
    earlier = np.array([random.integers(-1, i) if i else -1 for i in range(len(values))], np.int64)
    bits, stream, read = lengths_and_back(lambda c, v: following(c, v, earlier, 4), values)
    contexts = np.where(earlier < 0, 0, values[earlier] + 1) if len(values) else earlier
    known, _, _ = lengths_and_back(lambda c, v: adaptive(c, v, contexts, 4), values)
    assert (read == values).all() and stream <= bits + 64
    assert bits == pytest.approx(known)


@given(st.lists(st.integers(0, 8), max_size=80), st.integers(0, 2**32))
def test_adaptive_symbols_take_what_the_closed_form_says(values, seed):
    values = np.array(values, np.int64)
    contexts = np.random.default_rng(seed).integers(0, 3, len(values))
    bits, stream, read = lengths_and_back(lambda c, v: adaptive(c, v, contexts, 9), values)
    closed = sum(adaptive_bits(np.bincount(values[contexts == c], minlength=9)) for c in range(3))
    assert (read == values).all() and stream <= bits + 64
    assert bits == pytest.approx(closed, abs=1e-6)


def test_a_learned_mask_takes_what_enumeration_takes():
    mask = np.random.default_rng(0).random(10_000) < 0.05
    counts = np.bincount(mask, minlength=2)
    enumerated = math.log2(10_001) + math.log2(math.comb(10_000, int(counts[1])))  # how many, then which of all such
    assert adaptive_bits(counts) == pytest.approx(enumerated, abs=6)


def test_kraft():
    """All messages of a code together have the probability 1: every pair of a length and symbols of that length."""

    def code(coder, values):
        count = choice(coder, None if values is None else len(values), 4)
        return adaptive(coder, values, np.zeros(count, int), 3)

    total = 0.0
    for count in range(4):
        for values in product(range(3), repeat=count):
            ideal = Ideal()
            code(ideal, np.array(values, np.int64))
            total += 2**-ideal.bits
    assert total == pytest.approx(1, abs=1e-9)


def test_kraft_of_whole_tickets():
    """All masks and ternary weights of a network of six parameters, everything else being the same."""
    plain = build_network(0, d=1, heads=1, layers=0, vocabulary=3, positions=1, classes=2, bits=2)
    tokenizer = Tokenizer("pieces", (), (), 3, 1)
    total, count = 0.0, 0
    for letters in product((None, -1, 0, 1), repeat=6):
        living = np.array([letter is not None for letter in letters])
        weights = np.array([letter or 0 for letter in letters], np.int8)
        parts = [(weights[own, None], living[own, None]) for own in (slice(0, 3), slice(3, 4), slice(4, 6))]
        tokens, places = (
            Table(weight, mask, 2, table.shift)
            for (weight, mask), table in zip(parts[:2], (plain.tokens, plain.positions), strict=True)
        )
        classifier = replace(plain.classifier, weight=parts[2][0], mask=parts[2][1], bits=2)
        own = replace(plain, tokens=tokens, positions=places, classifier=classifier)
        bits = code_bits(own, tokenizer)
        total, count = total + 2 ** -(bits["masks"] + bits["embedding"] + bits["values"]), count + 1
    assert count == 4096 and 0.05 < total <= 1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("attention", KINDS)
@pytest.mark.parametrize("extreme", [False, True])
def test_random_tickets_come_back(attention, shape, extreme):
    vocabulary = max(4, shape.get("vocabulary", 60))  # no tokenizer has fewer ids than three
    network = build_network(1, attention, extreme=extreme, **{**shape, "vocabulary": vocabulary})
    positions = len(network.positions.weight)
    tokenizer = build_tokenizer(len(network.tokens.weight), positions)
    tokenizer = replace(tokenizer, truncation_side=SIDES[extreme])
    bits, words = code_bits(network, tokenizer), encode(network, tokenizer)
    assert set(bits) == {*PARTS, "total"} and 32 * len(words) <= bits["total"] + 64
    again = decode(words, network.labels)
    assert serialize(*again, {}) == serialize(network, tokenizer, {})


def test_a_hash_takes_no_bits_for_words():
    network = build_network(0)
    tokenizer = Tokenizer("hash", (), (), 60, 20)
    assert code_bits(network, tokenizer)["tokenizer"] == pytest.approx(1 + math.log2(3))
    assert decode(encode(network, tokenizer), network.labels)[1] == tokenizer


def test_words_that_everybody_knows_take_no_bits():
    words = tuple(word.encode() for word in vocabulary_words(100))
    tokenizer = Tokenizer("pieces", words, (False,) * len(words), 3 + len(words), 20)
    network = build_network(0, vocabulary=3 + len(words))
    assert code_bits(network, tokenizer)["tokenizer"] == pytest.approx(1 + math.log2(3))
    assert decode(encode(network, tokenizer), network.labels)[1] == tokenizer
    other = Tokenizer("pieces", words[::-1], tokenizer.continues, tokenizer.size, 20)
    assert code_bits(network, other)["tokenizer"] > 1000
    assert decode(encode(network, other), network.labels)[1] == other


def test_rows_that_resemble_the_one_above_take_fewer_bits():
    random = np.random.default_rng(0)
    row, other = random.integers(-1, 2, (2, 40))
    alike = np.where(random.random((60, 40)) < 0.9, row, other)
    tokens = Table(alike.astype(np.int8), None, 2, 0)
    mixed = Table(random.permuted(alike, axis=1).astype(np.int8), None, 2, 0)
    network = build_network(0, d=40)
    bits, shuffled = (
        code_bits(replace(network, tokens=table), build_tokenizer(60, 20))["embedding"] for table in (tokens, mixed)
    )
    assert bits < 0.8 * shuffled


def test_biases_of_zero_take_next_to_nothing():
    """Every bias holds half a step for rounding, which is no news."""
    network = build_network(0)
    layers = tuple(
        replace(layer, **{name: _without_bias(getattr(layer, name)) for name in roles(layer.attention)})
        for layer in network.layers
    )
    plain = replace(network, layers=layers, classifier=_without_bias(network.classifier))
    tokenizer = build_tokenizer(60, 20)
    count = sum(len(linear.bias) for _, linear in network.linears())
    assert code_bits(plain, tokenizer)["biases"] < count / 2 < code_bits(network, tokenizer)["biases"] / 8
    assert serialize(*decode(encode(plain, tokenizer), plain.labels), {}) == serialize(plain, tokenizer, {})


def _without_bias(linear):
    return replace(linear, bias=np.full_like(linear.bias, half(linear.rule) if linear.rule else 0))


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_beside_a_prior_ticket_only_what_differs_takes_bits(bits):
    before = build_network(0, bits=bits, density=0.3), build_tokenizer(60, 20)
    same = code_bits(*before, before)["total"]
    assert same < 100
    weight = before[0].tokens.weight.copy()
    changed = np.argwhere(weight > 0)[:10]
    weight[tuple(changed.T)] *= -1
    network = replace(before[0], tokens=replace(before[0].tokens, weight=weight))
    ticket = network, before[1]
    assert same < code_bits(*ticket, before)["total"] < same + 10 * 22
    words = encode(*ticket, before)
    assert serialize(*decode(words, network.labels, before), {}) == serialize(*ticket, {})


def test_a_prior_ticket_of_another_shape_does_no_harm():
    before = build_network(1, "softmax", layers=1, hidden=16), Tokenizer("hash", (), (), 60, 20)
    ticket = build_network(0), build_tokenizer(60, 20)
    alone = code_bits(*ticket)["total"]
    assert code_bits(*ticket, before)["total"] < 1.01 * alone + 64
    assert serialize(*decode(encode(*ticket, before), ticket[0].labels, before), {}) == serialize(*ticket, {})


def test_the_kit_comes_back_in_less_than_its_file():
    artefact = load(KIT / TICKET)
    words = encode(artefact.network, artefact.tokenizer)
    again = decode(words, artefact.network.labels)
    file = serialize(artefact.network, artefact.tokenizer, artefact.provenance)
    assert serialize(*again, artefact.provenance) == file
    assert 4 * len(words) < 0.9 * len(file)
