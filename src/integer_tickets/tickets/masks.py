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


def blocks(mask: Tensor, block: int) -> Tensor:
    """A mask (out, in) of blocks that live or die as one -> which of them live, (out, in / block)."""
    return mask[:, ::block]


def prune(
    weights: Weights, masks: Masks, scales: Mapping[str, float], keep: float, scope: str, block: int = 1
) -> Masks:
    """Keep the fraction `keep` of the living weights that have the largest |w| / scale.

    With `block`, so many neighbours along the input live or die as one, by the mean of their importances; it divides
    the inputs of every layer. The count is exact, round-half-up of keep times the living weights (or blocks), over all
    layers (`global`, `raw`) or in each (`layerwise`); of equal importances the lower flat index survives (layers in the
    order of `masks`). Raises UserError if nothing would be left.
    """
    if scope == "layerwise":
        kept: Masks = {}
        for name, mask in masks.items():
            kept |= prune(weights, {name: mask}, scales, keep, "global", block)
        return kept
    units = {name: blocks(mask, block) for name, mask in masks.items()}
    alive = np.concatenate([unit.numpy().ravel() for unit in units.values()])
    single = [weights[name].double().abs() / scales[name] for name in masks]
    importance = np.concatenate([one.unflatten(1, (-1, block)).mean(-1).numpy().ravel() for one in single])
    candidates = np.flatnonzero(alive)
    count = int(np.floor(keep * len(candidates) + 0.5))
    if count < 1:
        what = f"{len(candidates)} {'weights' if block == 1 else 'blocks'} ({', '.join(masks)})"
        raise UserError(f"prune.keep = {keep}: of {what} none would be left")
    order = np.argsort(-importance[candidates], kind="stable")
    survivors = np.zeros(len(alive), bool)
    survivors[candidates[order[:count]]] = True
    result: Masks = {}
    offset = 0
    for name, unit in units.items():
        part = survivors[offset : offset + unit.numel()].reshape(unit.shape)
        result[name] = torch.from_numpy(part.repeat(block, 1))
        offset += unit.numel()
    return result


def shuffled(masks: Mapping[str, Tensor], seed: int, block: int = 1) -> Masks:
    """The same number of kept weights (or blocks) in every layer, at random places."""
    random = generator("shuffled", seed)
    result: Masks = {}
    for name, mask in masks.items():
        unit = blocks(mask, block)
        flat = unit.numpy().ravel().copy()
        random.shuffle(flat)
        result[name] = torch.from_numpy(flat.reshape(unit.shape).repeat(block, 1))
    return result
