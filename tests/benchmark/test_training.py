"""What the cost of training is measured with: every contestant computes, and the parts of a step add up."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from integer_tickets.benchmark import training
from integer_tickets.benchmark.training import attention_times, shrinking_times, step_parts, step_times, training_steps
from integer_tickets.model.attention import inhibitor
from integer_tickets.model.kernel import available
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.model.transformer import Transformer, initialise
from tests.model.conftest import CALIBRATION, sentences, shape_of, split_of


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr("integer_tickets.benchmark.timing.SECONDS", 0.001)


@pytest.mark.skipif(available("baseline") is not None, reason="no fused kernel here")
def test_attention_of_all_kinds_is_timed_beside_sdpa():
    threads = torch.get_num_threads()
    rows = attention_times((2, 2, 9, 5), ["baseline"], 1, 2)
    assert [row["name"] for row in rows] == [
        "SDPA, softmax", "fused, signed, baseline", "fused, unsigned, baseline", "cdist form, unsigned",
        "plain PyTorch, signed",
    ]  # fmt: skip
    assert rows[0]["ratio"] == 1 and all(0 < row["p10_ms"] <= row["median_ms"] for row in rows)
    assert torch.get_num_threads() == threads


def test_the_closed_form_is_the_unsigned_inhibitor():
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, 7, 4, generator=generator, dtype=torch.float64).unbind()
    gamma, delta = torch.tensor([0.3, 0.5]).double(), torch.tensor([0.1, -0.2]).double()
    valid = torch.arange(7) < torch.tensor([[7], [4]])
    expected = inhibitor(q, k, v, gamma, delta, valid, signed=False)
    torch.testing.assert_close(training._cdist_form(q, k, v, gamma, delta, valid), expected)


def test_steps_train_and_their_parts_add_up():
    split = split_of(40, 1)
    float_model = Transformer(**shape_of("inhibitor", width=8, layers=1, hidden=8))
    quantized = QuantizedTransformer(bits=8, embedding_bits=8, **shape_of("inhibitor", width=8, layers=1, hidden=8))
    steps = {}
    for name, model in (("float", float_model), ("int8", quantized)):
        initialise(model, np.random.default_rng(0))
        if isinstance(model, QuantizedTransformer):
            model.calibrate([sentences(CALIBRATION)])
        steps[name] = training_steps(model, split, 8, 4096)
    before = float_model.layers[0].up.bias.detach().clone()
    assert [row["name"] for row in step_times(steps, 2)] == ["float", "int8"]
    assert not torch.equal(before, float_model.layers[0].up.bias)
    rows = step_parts(steps["float"], 3)
    assert [row["part"] for row in rows] == [
        *training.PARTS, "other operations", "between operations", "a step without the profiler",
    ]  # fmt: skip
    assert sum(row["share"] for row in rows[:-1]) == pytest.approx(1, abs=1e-3)
    assert {row["part"] for row in rows if row["ms"] > 0} >= {"matrix products", "optimiser", "token table"}


@pytest.mark.parametrize("kind", ["inhibitor", "softmax"])
def test_models_of_fewer_heads_and_neurons_train_faster(monkeypatch, kind):
    monkeypatch.setattr(training, "STEPS", 1)
    shape, densities = shape_of(kind, width=64, heads=4, hidden=512), [1.0, 0.5, 0.05]
    rows = shrinking_times(shape, densities, batch=64, tokens=12, rounds=3)
    assert rows[0]["density"] == 1 and (rows[0]["heads"], rows[0]["neurons"]) == (8, 1024)
    assert all(0.8 * most <= row["density"] <= most for row, most in zip(rows, densities, strict=True))
    assert rows[2]["heads"] == 2 and rows[2]["neurons"] < 51  # of 8 and 1024
    for part in ("heads", "pairs", "neurons"):
        assert all(a[part] >= b[part] for a, b in pairwise(rows))
    assert all(row["p10_ms"] <= row["median_ms"] for row in rows)
    assert rows[2]["p10_ms"] < rows[0]["p10_ms"]  # several times less, whatever else the machine does
