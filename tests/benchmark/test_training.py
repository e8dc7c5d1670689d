"""What the cost of training is measured with: every contestant computes, and the parts of a step add up."""

import numpy as np
import pytest
import torch

from integer_tickets.benchmark import training
from integer_tickets.benchmark.training import attention_times, step_parts, step_times, training_step
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
        steps[name] = training_step(model, split, 8, 4096)
    before = float_model.layers[0].up.bias.detach().clone()
    assert [row["name"] for row in step_times(steps, 2)] == ["float", "int8"]
    assert not torch.equal(before, float_model.layers[0].up.bias)
    rows = step_parts(steps["float"], 3)
    assert [row["part"] for row in rows] == [*training.PARTS, "other operations"]
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-3)
    assert {row["part"] for row in rows if row["ms"] > 0} >= {"matrix products", "optimiser", "token table"}
