"""Certificates of tickets: from losses to bound, by row and by text, and in words."""

import math

import numpy as np
import pytest

from integer_tickets.blocks import Certify
from integer_tickets.information.bounds import binomial_tail, occam
from integer_tickets.information.certificates import (
    certificate,
    explained,
    held_out,
    length_of,
    losses_of,
    numbers_of,
    through_a_teacher,
)
from integer_tickets.information.ticket_code import code_bits
from tests.integer.conftest import build_network, build_tokenizer


def settings(unit="row", clusters=1):
    return Certify(delta=0.05, unit=unit, clusters=clusters)


def test_rows_of_right_and_wrong_take_the_exact_tail():
    wrong = np.arange(10_000) % 10 == 0
    labels = np.arange(10_000) % 5 == 0
    own = certificate(wrong, labels, numbers_of(["a"] * 10_000, None, "row"), 1200, 200, settings())
    assert own.error == binomial_tail(1000, 10_000, 1000, 0.05) < own.occam < own.maurer < own.square_root
    assert own.description_length == pytest.approx(0.1 + 0.469, abs=1e-3)
    assert own.commonest == 0.2 and own.error > 0.2 and not own.tells
    assert certificate(wrong, labels, numbers_of(["a"] * 10_000, None, "row"), 100, 0, settings()).tells


def test_texts_take_the_mean_over_their_rows():
    texts = ["a b c", "a b", "c", "d e", "d"]
    wrong, number = np.array([True, False, False, True, True]), numbers_of(texts, None, "text")
    assert sorted(losses_of(wrong, number)) == pytest.approx([1 / 3, 1])
    own = certificate(wrong, np.array([0, 0, 0, 1, 1]), number, 10, 0, settings("text"))
    assert own.commonest == 0.5 and own.n == 2 and own.rows == 5 and own.error == own.occam == occam(2 / 3, 2, 10, 0.05)
    assert not own.tells


def test_corrections_of_many_classes_say_which():
    labels = np.arange(6000) % 6
    own = certificate(labels > 2, labels, np.arange(6000), 600, 0, settings())
    assert own.description_length == pytest.approx(0.1 + 1 + 0.5 * math.log2(5))
    assert own.commonest == pytest.approx(5 / 6) and own.tells


def test_repeated_rows_are_one_text_but_many_rows():
    wrong = np.array([True, True, True, False])
    assert len(losses_of(wrong, numbers_of(["a"] * 3 + ["b"], None, "text"))) == 2
    assert len(losses_of(wrong, numbers_of(["a"] * 3 + ["b"], None, "row"))) == 4


def test_units_that_may_hang_together_weigh_less():
    wrong = np.arange(9000) % 10 == 0
    labels = np.arange(9000) % 2
    own = certificate(wrong, labels, np.arange(9000), 300, 0, settings(clusters=30))
    assert own.clustered == occam(0.1, 300, 300, 0.05) > own.occam
    assert certificate(wrong, labels, np.arange(9000), 300, 0, settings()).clustered == own.occam
    told = explained(own, 30)
    assert any(line.startswith("If 30 of them hang together, at most ") for line in told)
    assert len(told) == len(explained(own)) + 1


def test_why_a_bound_promises_nothing():
    rows = np.arange(1000)
    labels, number = (rows % 10 == 0).astype(int), numbers_of(["a"] * 1000, None, "row")
    for wrong, bits, why in (
        (rows % 5 == 0, 50, "as the ticket errs as often on these"),
        (rows % 50 == 0, 5000, "the code being too long"),
    ):
        told = explained(certificate(wrong, labels, number, bits, 0, settings()))
        assert any(f"promises nothing more, {why}" in line for line in told)


def test_rows_of_a_group_are_one_unit():
    wrong = np.array([True, False, False, True])
    number = numbers_of(["a", "b", "c", "d"], ["film", "other", "film", "film"], "group")
    assert losses_of(wrong, number).tolist() == pytest.approx([2 / 3, 0])


def test_the_length_counts_the_vocabulary_and_gives_back_orders():
    network, tokenizer = build_network(0, density=0.2), build_tokenizer()
    bits, symmetry = length_of(network, tokenizer)
    assert bits == code_bits(network, tokenizer) and 0 < symmetry < bits["total"]


def test_a_student_is_bounded_through_its_teacher():
    disagree, wrong = np.arange(50_000) % 11 == 0, np.arange(25_000) % 7 == 0
    error, apart = through_a_teacher(disagree, wrong, 3433, 0, 0.05)
    assert apart == pytest.approx(0.2045, abs=2e-3)  # 0.091 of 50,000 at 3,433 bits
    assert error == pytest.approx(apart + held_out(wrong, 0.025))


def test_in_words():
    half = np.arange(5000) % 2
    own = certificate(np.zeros(5000, bool), half, np.arange(5000), 1000, 10, settings())
    text = "\n".join(explained(own))
    assert f"at most {100 * own.error:.2f} %" in text and "5,000 examples, one for each row" in text
    assert "the bound promises more" in text
    nothing = certificate(np.ones(10, bool), half[:10], np.arange(10), 1000, 0, settings("text"))
    assert "promises nothing more" in "\n".join(explained(nothing))
