"""The onnx engine: an integer network as a graph of ONNX Runtime; bit for bit what the reference computes."""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from integer_tickets.integer.export_onnx import onnx_model
from integer_tickets.integer.network import IntegerNetwork
from integer_tickets.integer.rounding import Array

LARGEST = 1 << 23
"""Numbers in the largest tensor of a batch, (batch, heads, n, n, width of a head)."""

_sessions: WeakKeyDictionary[IntegerNetwork, dict[int, Any]] = WeakKeyDictionary()


def session(network: IntegerNetwork, threads: int) -> Any:
    """The network in ONNX Runtime, made once."""
    known = _sessions.setdefault(network, {})
    if threads not in known:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        graph = onnx_model(network).SerializeToString()
        known[threads] = InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return known[threads]


def logits(network: IntegerNetwork, batch: Sequence[Sequence[int]], threads: int = 1) -> Array:
    """int32 logits (batch, classes) of sentences given as token ids, 0 to `positions` of them each."""
    result, run = np.zeros((len(batch), len(network.labels)), np.int32), session(network, threads)
    order = sorted(range(len(batch)), key=lambda i: len(batch[i]))
    while order:
        n = max(1, len(batch[order[-1]]))
        chunk = order[-max(1, LARGEST // (network.width * n * n)) :]
        del order[-len(chunk) :]
        counts = np.array([len(batch[i]) for i in chunk], np.int64)
        ids = np.zeros((len(chunk), n), np.int64)
        for row, i in zip(ids, chunk, strict=True):
            row[: len(batch[i])] = batch[i]
        result[chunk] = run.run(None, {"ids": ids, "counts": counts})[0]
    return result
