"""Masks: which weights live, exact-count magnitude pruning, and masks for the controls."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from integer_tickets.errors import UserError
from integer_tickets.seeds import generator
from integer_tickets.training.state import Masks, Weights


def dense_masks(weights: Mapping[str, Tensor], names: list[str]) -> Masks:
    return {name: torch.ones_like(weights[name], dtype=torch.bool) for name in names}


def density(masks: Mapping[str, Tensor]) -> float:
    """Kept fraction of all weights that the masks cover."""
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())


def scale_of(weights: Mapping[str, Tensor], names: list[str]) -> dict[str, float]:
    """Root mean square of each layer, the unit in which its weights are compared with those of other layers."""
    return {name: weights[name].double().square().mean().sqrt().item() for name in names}


def prune(weights: Weights, masks: Masks, scales: Mapping[str, float], keep: float, scope: str) -> Masks:
    """Keep the fraction `keep` of the living weights that have the largest |w| / scale.

    The count is exact, round-half-up of keep times the living weights, over all layers (`global`) or in each
    (`layerwise`); of equal importances the lower flat index survives (layers in the order of `masks`).
    Raises UserError if nothing would be left.
    """
    if scope == "layerwise":
        kept: Masks = {}
        for name, mask in masks.items():
            kept |= prune(weights, {name: mask}, scales, keep, "global")
        return kept
    alive = np.concatenate([mask.numpy().ravel() for mask in masks.values()])
    importance = np.concatenate([(weights[name].double().abs() / scales[name]).numpy().ravel() for name in masks])
    candidates = np.flatnonzero(alive)
    count = int(np.floor(keep * len(candidates) + 0.5))
    if count < 1:
        raise UserError(f"prune.keep = {keep}: of {len(candidates)} weights ({', '.join(masks)}) none would be left")
    order = np.argsort(-importance[candidates], kind="stable")
    survivors = np.zeros(len(alive), bool)
    survivors[candidates[order[:count]]] = True
    result: Masks = {}
    offset = 0
    for name, mask in masks.items():
        part = survivors[offset : offset + mask.numel()].reshape(mask.shape)
        result[name] = torch.from_numpy(part.copy())
        offset += mask.numel()
    return result


def shuffled(masks: Mapping[str, Tensor], seed: int) -> Masks:
    """The same number of kept weights in every layer, at random places."""
    random = generator("shuffled", seed)
    result: Masks = {}
    for name, mask in masks.items():
        flat = mask.numpy().ravel().copy()
        random.shuffle(flat)
        result[name] = torch.from_numpy(flat.reshape(mask.shape))
    return result
