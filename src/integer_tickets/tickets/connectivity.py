"""Linear connectivity: what two models trained from one point are worth on the line between them (arXiv 1912.05671)."""

from collections.abc import Iterator

import numpy as np
import torch

from integer_tickets.model.transformer import Transformer
from integer_tickets.training.state import Weights


def line(model: Transformer, one: Weights, other: Weights, points: int) -> Iterator[tuple[float, Transformer]]:
    """The share of `other` and the model with those weights, at evenly spaced points from `one` to `other`.

    Masters are interpolated, and the grids of integer models with them (as log2 of a step), so that at every point
    weights and activations are rounded anew; what is no float (shifts, set at the rewind point) both have in common.
    """
    for share in np.linspace(0, 1, points).tolist():
        own = {
            name: torch.lerp(tensor, other[name], share) if tensor.is_floating_point() else tensor
            for name, tensor in one.items()
        }
        model.load_state_dict(own)
        yield share, model
