"""The contestants of the benchmark: each a function from a padded batch to logits, all on the same token ids."""

import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from integer_tickets.integer.engines import engine as engine_of
from integer_tickets.integer.network import IntegerNetwork
from integer_tickets.model.transformer import Transformer

Call = Callable[[], object]


def pytorch(model: Transformer, ids: Tensor, counts: Tensor) -> Call:
    """The float model, eager, as PyTorch runs it."""
    model.eval()

    def call() -> Tensor:
        with torch.inference_mode():
            return model(ids, counts)

    return call


def integer(network: IntegerNetwork, engine: str, rows: list[list[int]]) -> Call:
    """An integer network on one of the engines."""
    logits = engine_of(engine)
    return lambda: logits(network, rows)


def onnx_runtime(model: Transformer, ids: Tensor, counts: Tensor, threads: int) -> dict[str, Call]:
    """The float softmax model in ONNX Runtime, as it is and with dynamic int8; empty where that is not installed."""
    try:
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        return {}
    free = {"ids": {0: "batch", 1: "n"}, "counts": {0: "batch"}}
    names: dict[str, Any] = {"input_names": list(free), "output_names": ["logits"], "dynamic_axes": free}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        torch.onnx.export(model.eval(), (ids, counts), source, opset_version=17, dynamo=False, **names)
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)
        graphs = {"float": source.read_bytes(), "dynamic int8": target.read_bytes()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    feed = {"ids": ids.numpy(), "counts": counts.numpy()}

    def session(graph: bytes) -> Call:
        runner = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return lambda: runner.run(None, feed)

    label = f"ONNX Runtime {version('onnxruntime')}"
    return {f"{label} {name}": session(graph) for name, graph in graphs.items()}


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids (batch, n), right-padded with zeros, and the number of tokens of each sentence (batch,), both int64."""
    counts = np.array([len(row) for row in rows], np.int64)
    ids = np.zeros((len(rows), counts.max()), np.int64)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(ids), torch.from_numpy(counts)
