"""The onnx engine: an integer network as a graph of ONNX Runtime; bit for bit what the reference computes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from integer_tickets.integer.export_onnx import onnx_model
from integer_tickets.integer.network import IntegerNetwork, padded
from integer_tickets.integer.rounding import Array

LARGEST = 1 << 23
"""Numbers in the largest tensor of a batch, (batch, heads, n, n, width of a head)."""

_sessions: WeakKeyDictionary[IntegerNetwork, dict[int, Any]] = WeakKeyDictionary()


def open_session(model: bytes | Path, threads: int) -> Any:
    """A graph, or the file of one, in ONNX Runtime on the processor."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    return InferenceSession(model, options, providers=["CPUExecutionProvider"])


def session(network: IntegerNetwork, threads: int) -> Any:
    """The network in ONNX Runtime, made once."""
    known = _sessions.setdefault(network, {})
    if threads not in known:
        known[threads] = open_session(onnx_model(network).SerializeToString(), threads)
    return known[threads]


def logits(network: IntegerNetwork, batch: Sequence[Sequence[int]], threads: int = 1) -> Array:
    """int32 logits (batch, classes) of sentences given as token ids, 0 to `positions` of them each."""
    result, run = np.zeros((len(batch), len(network.labels)), np.int32), session(network, threads)
    order = sorted(range(len(batch)), key=lambda i: len(batch[i]))
    while order:
        n = max(1, len(batch[order[-1]]))
        chunk = order[-max(1, LARGEST // (network.width * n * n)) :]
        del order[-len(chunk) :]
        ids, counts = padded([batch[i] for i in chunk])
        result[chunk] = run.run(None, {"ids": ids, "counts": counts})[0]
    return result
