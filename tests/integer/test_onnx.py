"""The ONNX graph: integers alone, and the logits of the reference engine."""

import subprocess
import sys

import numpy as np
import pytest

from integer_tickets.cli import main
from integer_tickets.errors import UserError
from integer_tickets.integer import artefact, conformance, engines, export_onnx, reference
from integer_tickets.integer.network import padded
from tests.integer.conftest import KINDS, SHAPES

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from integer_tickets.integer import onnx_engine  # noqa: E402


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_are_those_of_the_reference(random_network, sentences, kind, shape):
    network = random_network(0, kind, **shape)
    batch = sentences(network)
    assert np.array_equal(onnx_engine.logits(network, batch), reference.logits(network, batch))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_extreme_networks(random_network, sentences, kind, seed):
    network = random_network(seed, kind, extreme=True, bits=[8, 4, 3, 2][seed], positions=9)
    batch = sentences(network, seed, 10)
    assert np.array_equal(onnx_engine.logits(network, batch), reference.logits(network, batch))


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_sentences_in_any_company(random_network, monkeypatch, kind):
    network = random_network(5, kind, positions=255, layers=1, d=16)
    rng = np.random.default_rng(0)
    batch = [rng.integers(0, 60, n).tolist() for n in (255, 1, 129, 0, 254, 128)]
    expected = reference.logits(network, batch)
    assert np.array_equal(onnx_engine.logits(network, batch), expected)
    assert np.array_equal(onnx_engine.logits(network, batch, threads=2), expected)
    monkeypatch.setattr(onnx_engine, "LARGEST", 1)
    assert np.array_equal(onnx_engine.logits(network, batch), expected)
    assert np.array_equal(onnx_engine.logits(network, [[], []]), np.tile(network.classifier.bias, (2, 1)))
    assert onnx_engine.logits(network, []).shape == (0, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_no_tensor_of_the_graph_floats(random_network, kind):
    model = onnx.shape_inference.infer_shapes(export_onnx.onnx_model(random_network(0, kind)), strict_mode=True)
    integers = {getattr(onnx.TensorProto, name) for name in ("INT8", "UINT8", "INT32", "INT64", "BOOL")}
    graph = model.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    types |= {constant.name: constant.data_type for constant in graph.initializer}
    assert set(types.values()) <= integers
    for node in graph.node:
        assert {types[name] for name in (*node.input, *node.output)} <= integers, node.op_type
        assert not any(one.type in (onnx.AttributeProto.FLOAT, onnx.AttributeProto.FLOATS) for one in node.attribute)


def test_the_written_file_runs_anywhere(tmp_path, capsys):
    """By ONNX Runtime alone, and with its optimisations off."""
    assert main(["export", "onnx", "--out", str(tmp_path), "--name", "small"]) == 0
    assert "small.onnx" in capsys.readouterr().out
    ticket = artefact.load(conformance.KIT / conformance.TICKET)
    rows = ticket.tokenizer.encode_batch(["a superb film", "", "the actors are not dull"])
    ids, counts = padded(rows)
    for level in (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    ):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        run = onnxruntime.InferenceSession(tmp_path / "small.onnx", options, providers=["CPUExecutionProvider"])
        assert np.array_equal(run.run(None, {"ids": ids, "counts": counts})[0], reference.logits(ticket.network, rows))
        assert run.get_modelmeta().custom_metadata_map["label 0"] == ticket.network.labels[0]
    before = (tmp_path / "small.onnx").read_bytes()
    main(["export", "onnx", "--out", str(tmp_path), "--name", "small"])
    assert (tmp_path / "small.onnx").read_bytes() == before


def test_the_engine_passes_the_kit():
    assert "onnx" in engines.engines()
    assert conformance.check("onnx").mismatches == ()


WITHOUT = """
import sys
sys.modules["onnx"] = None
from integer_tickets.cli import main
sys.exit(main(["export", "onnx"]))
"""


def test_without_onnx_the_export_says_what_is_missing(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "needs the package onnx" in done.stderr and not any(tmp_path.iterdir())


def test_an_engine_that_is_missing_is_refused(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(UserError, match="engine 'onnx' needs onnx and onnxruntime"):
        engines.engine("onnx")
