"""Contestants of the benchmark compute the same thing, each in its way."""

import builtins

import numpy as np
import pytest
import torch

from integer_tickets.benchmark.peers import integer, onnx_runtime, padded, pytorch
from integer_tickets.errors import UserError
from integer_tickets.integer import reference
from integer_tickets.model.transformer import Transformer
from tests.integer.conftest import build_network

VOCABULARY, POSITIONS = 50, 12
ROWS = [[5, 6, 7], [1], [*range(12)], [49, 3], [8, 8, 8, 8, 8, 8, 8]]


def float_model(attention):
    """A small model with random weights everywhere, as if trained, left in training mode."""
    model = Transformer(
        vocabulary=VOCABULARY, positions=POSITIONS, classes=3, width=16, layers=2, heads=4, hidden=24, dropout=0.1,
        attention=attention, kernel="plain",
    )  # fmt: skip
    random = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(0.3 * random.standard_normal(tuple(parameter.shape))))
    return model.train()


def sentence_by_sentence(model, rows):
    with torch.no_grad():
        return torch.cat([model.eval()(torch.tensor([row]), torch.tensor([len(row)])) for row in rows]).numpy()


def test_padded():
    ids, counts = padded([[5, 6], [7, 8, 9], [1]])
    assert ids.tolist() == [[5, 6, 0], [7, 8, 9], [1, 0, 0]] and counts.tolist() == [2, 3, 1]
    assert ids.dtype == counts.dtype == torch.int64


@pytest.mark.parametrize("attention", ["softmax", "inhibitor"])
def test_pytorch_gives_the_logits_of_the_model(attention):
    model = float_model(attention)
    call = pytorch(model, *padded(ROWS))
    found = call()
    assert torch.equal(found, call()) and not found.requires_grad and not model.training
    assert np.allclose(found.numpy(), sentence_by_sentence(model, ROWS), atol=1e-5)


@pytest.mark.parametrize("engine", ["reference", "torch"])
@pytest.mark.parametrize("attention", ["softmax", "inhibitor"])
def test_integer_gives_the_logits_of_the_engine(engine, attention):
    network = build_network(4, attention, density=0.5)
    assert np.array_equal(integer(network, engine, ROWS)(), reference.logits(network, ROWS))


def test_an_engine_that_is_not_there():
    with pytest.raises(UserError, match="no engine 'abacus'"):
        integer(build_network(0), "abacus", ROWS)


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = float_model("softmax")
    calls = onnx_runtime(model, *padded(ROWS), threads=1)
    (whole, quantized) = ((name, call()[0]) for name, call in calls.items())
    return sentence_by_sentence(model, ROWS), whole, quantized


def test_onnx_runtime_gives_the_logits_of_the_model(onnx):
    expected, (name, found), _ = onnx
    assert name.startswith("ONNX Runtime ") and name.endswith(" float")
    assert found.dtype == np.float32 and np.allclose(found, expected, atol=1e-4)


def test_int8_of_onnx_runtime_is_near_to_the_model(onnx):
    expected, (_, whole), (name, found) = onnx
    assert name.endswith(" dynamic int8")
    assert not np.array_equal(found, whole)  # weights were quantized indeed
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_without_onnx_runtime_there_is_no_such_peer(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] == "onnxruntime":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert onnx_runtime(float_model("softmax"), *padded(ROWS), threads=1) == {}
