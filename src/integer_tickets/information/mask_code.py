"""What a mask says: its bits alone, and where the decoder knows the first weights or the mask of another run.

What a mask takes is what pruning has learned from the data, less what follows from the initialisation and the
architecture (Kumar, Luo, Sellke, arXiv 2402.01089, count it as parameters). Both lengths are of the adaptive code of
`coder`, one for each layer and context, so their difference is a number of bits that are really saved.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from integer_tickets.information.coder import adaptive_bits

BUCKETS = 8  # of equally many weights of a layer, by their size

Layers = Mapping[str, NDArray[np.int64]]
"""By layer and weight: the context in which it is coded, 0, 1, ..."""


def mask_bits(masks: Layers, known: Layers | None = None) -> float:
    """Bits of all masks (0 or 1 a weight), each in the contexts of what is `known` of its layer, in its shape."""
    total = 0.0
    for name, mask in masks.items():
        contexts = np.zeros(mask.size, np.int64) if known is None else known[name].reshape(-1)
        for context in np.unique(contexts):
            kept = mask.reshape(-1)[contexts == context]
            total += adaptive_bits(np.bincount(kept, minlength=2))
    return total


def buckets(weights: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.int64]]:
    """By size: the smallest eighth of a layer's weights are 0, the largest 7; equal ones by their place."""
    found = {}
    for name, weight in weights.items():
        order = np.argsort(np.abs(weight).reshape(-1), kind="stable")
        ranks = np.empty(weight.size, np.int64)
        ranks[order] = np.arange(weight.size)
        found[name] = (ranks * BUCKETS // weight.size).reshape(weight.shape)
    return found
