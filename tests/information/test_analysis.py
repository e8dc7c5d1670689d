"""Rows of a network's layers: each quantity once, in its range, and in the order that theory asks for."""

from itertools import pairwise

import numpy as np
import pytest

from integer_tickets.data.enumerable import draw, enumeration, scores_of
from integer_tickets.information.analysis import Settings, Texts, analysis, exact, floats
from integer_tickets.integer import torch_engine
from integer_tickets.seeds import generator
from tests.integer.conftest import build_network

COLUMNS = {"layer", "quantity", "value", "unit", "estimator", "n", "null", "low", "high", "flag"}


def texts(count, seed, vocabulary=8):
    tokens, labels = draw(count, 4, np.random.default_rng(seed))
    return Texts((tokens % vocabulary).tolist(), labels, 10 * np.arange(count))


@pytest.fixture(scope="module", params=["inhibitor", "softmax"])
def rows(request):
    network = build_network(
        2, request.param, d=8, heads=2, hidden=6, vocabulary=8, positions=4, classes=2
    )  # fmt: skip
    settings = Settings(orders=1, resamples=100, confidence=0.95)
    streams = lambda purpose: generator(purpose, 0)  # noqa: E731
    random = np.random.default_rng(0)
    teacher = random.normal(size=(600, 2)), random.normal(size=(500, 2))  # knows nothing
    examples = texts(600, 0), texts(500, 1)
    return list(analysis(network, torch_engine.logits, *examples, settings, streams, teacher, network))


def value(rows, quantity, layer):
    return next(row["value"] for row in rows if (row["quantity"], row["layer"]) == (quantity, layer))


def test_each_quantity_of_a_layer_is_there_once(rows):
    assert all(set(row) == COLUMNS for row in rows)
    keys = [(row["layer"], row["quantity"], row["estimator"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert all(np.isfinite(row["value"]) or row["flag"] or row["quantity"].startswith("attention") for row in rows)


def test_bounds_lie_in_the_order_that_theory_asks_for(rows):
    for layer in ("layers.0.hidden_sum", "layers.1.hidden_sum", "pooled"):
        code, within = value(rows, "code", layer), value(rows, "code_in_class", layer)
        assert value(rows, "collision_bound", layer) <= code
        assert value(rows, "collision_bound_in_class", layer) <= within
        interval = next((row["low"], row["high"]) for row in rows if (row["quantity"], row["layer"]) == ("code", layer))
        assert interval[0] < code < interval[1]
        assert within < 1.1 * code + 2  # within a class there is less to learn from
        if layer == "pooled":
            bounds = code - value(rows, "usable", layer), within
            assert value(rows, "superfluous", layer) == pytest.approx(min(bounds))
        assert value(rows, "participation", layer) <= 8
        assert 0 <= value(rows, "nearest_mean", layer) <= 1
    assert value(rows, "usable", "pooled") < 0.7  # of 0.6636 bits that there are


def test_a_network_tells_as_much_as_itself(rows):
    row = next(row for row in rows if row["quantity"] == "over_dense")
    assert row["value"] == row["low"] == row["high"] == 0 and row["layer"] == "pooled"


def test_beside_the_teacher_text_by_text(rows):
    told, over = value(rows, "usable", "logits"), value(rows, "over_teacher", "logits")
    assert over == pytest.approx(told, abs=0.05)  # of a teacher that knows nothing
    quantiles = [row["value"] for row in rows if row["quantity"] == "over_teacher_quantile"]
    assert quantiles == sorted(quantiles) and quantiles[0] <= over <= quantiles[-1]
    assert 0 <= value(rows, "over_teacher_sign", "logits") <= 1
    worst = [row for row in rows if row["quantity"] == "over_teacher_text"]
    assert len({row["estimator"] for row in worst}) == 20
    assert all(int(row["estimator"].removeprefix("row ")) % 10 == 0 for row in worst)  # as the split numbers them
    assert [row["value"] for row in worst] == sorted(row["value"] for row in worst)
    assert worst[0]["value"] == quantiles[0] and worst[-1]["value"] <= quantiles[3]


def test_float_vectors_have_probes_and_geometry_but_no_code():
    random = np.random.default_rng(0)
    examples = [Texts([[0]] * count, random.integers(0, 2, count), np.arange(count)) for count in (300, 200)]
    found = [
        {
            "layers.0.hidden_sum": [random.normal(size=(3, 4)) + label for label in own.labels],
            "pooled": [random.normal(size=(1, 4)) + 9 * label for label in own.labels],
            "logits": [np.array([[0.0, 2 * label - 1]]) for label in own.labels],
        }
        for own in examples
    ]
    settings = Settings(orders=1, resamples=100, confidence=0.95)
    rows = list(floats(*found, *examples, settings, lambda purpose: generator(purpose, 0)))
    assert {row["layer"] for row in rows} == {"layers.0.hidden_sum", "pooled"}
    assert not {"code", "collision", "coding_rate", "superfluous"} & {row["quantity"] for row in rows}
    assert value(rows, "usable", "pooled") > 0.9 and value(rows, "nearest_mean", "pooled") == 1


def test_intervals_hold_the_value(rows):
    for row in rows:
        if row["quantity"] == "usable":
            assert row["low"] <= row["value"] <= row["high"]


@pytest.mark.parametrize("attention", ["inhibitor", "softmax"])
def test_exact_planes(attention):
    language = enumeration(3)
    network = build_network(2, attention, d=8, heads=2, hidden=6, vocabulary=8, positions=3, classes=2)
    found = list(exact(network, torch_engine.logits, language.tokens.tolist(), language.chance, language.posterior))
    planes = {row["layer"]: row["value"] for row in found if row["quantity"] == "exact_entropy"}
    assert next(iter(planes)) == "embedding" and list(planes)[-1] == "logits"
    falling = [planes[name] for name in ("embedding", "layers.0.hidden_sum", "layers.1.hidden_sum", "pooled", "logits")]
    assert all(one >= other - 1e-9 for one, other in pairwise(falling))
    told = {row["layer"]: row["value"] for row in found if row["quantity"] == "exact_gap"}
    assert all(gap >= -1e-9 for gap in told.values()) and told["logits"] >= told["embedding"]
    assert (scores_of(language.tokens) == language.score).all()
