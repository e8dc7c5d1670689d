"""The proofs of docs/arithmetic.md: no sum of an integer network leaves int32, whatever the sentence."""

import numpy as np

from integer_tickets.errors import UserError
from integer_tickets.integer.network import Inhibitor, IntegerNetwork, Layer, Linear, Softmax, roles

LIMIT = 2**31


def prove(network: IntegerNetwork) -> dict[str, int]:
    """The largest magnitude that each accumulator can reach, by name, computed from the actual numbers.

    Names: those of the linear layers (`layers.0.query`, ..., `classifier`) and `layers.N.attention`. Raises
    UserError naming the first part that could leave int32.
    """
    bounds: dict[str, int] = {}
    for i, layer in enumerate(network.layers):
        for part, role in roles(layer.attention).items():
            bounds[f"layers.{i}.{part}"] = linear_bound(getattr(layer, part), role.largest_input)
        bounds[f"layers.{i}.attention"] = _attention_bound(layer)
    bounds["classifier"] = linear_bound(network.classifier, 128)
    for name, bound in bounds.items():
        if bound >= LIMIT:
            raise UserError(f"{name}: a sum could reach {bound}, beyond 32 bits")
    return bounds


def linear_bound(linear: Linear, largest_input: int) -> int:
    """The largest |weight @ x + bias| over all inputs of magnitude up to `largest_input`."""
    absolute = np.abs(linear.weight, dtype=np.int16).sum(axis=1, dtype=np.int64) * largest_input
    return int((absolute + np.abs(linear.bias.astype(np.int64))).max())


def _attention_bound(layer: Layer) -> int:
    attention: Inhibitor | Softmax = layer.attention
    if isinstance(attention, Softmax):
        return 2 * 128 * 128 * layer.pairs  # the difference of two scores
    distances = 255 * layer.pairs * attention.multiplier.astype(np.int64)
    return int((distances + np.abs(attention.offset.astype(np.int64))).max())
