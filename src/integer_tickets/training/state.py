"""The state of a training run (weights, moments, step) and its file: a rewind point or a checkpoint."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from integer_tickets.errors import UserError
from integer_tickets.files import replacing

Weights = dict[str, Tensor]
Masks = dict[str, Tensor]  # name of a weight -> bool, True where the weight lives


@dataclass(frozen=True)
class State:
    """Where a run stands after `step` optimiser steps: weights (buffers included) and AdamW's two moments."""

    step: int
    weights: Weights
    first: Weights
    second: Weights


def weights_of(model: nn.Module) -> Weights:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def fresh_state(model: nn.Module) -> State:
    zeros = {name: torch.zeros_like(parameter, device="cpu") for name, parameter in model.named_parameters()}
    return State(0, weights_of(model), zeros, {name: zero.clone() for name, zero in zeros.items()})


def masked(state: State, masks: Mapping[str, Tensor]) -> State:
    """The state with exact zeros in weights and moments wherever a mask is False."""

    def apply(tensors: Weights) -> Weights:
        return {
            name: torch.where(masks[name], tensor, torch.zeros_like(tensor)) if name in masks else tensor
            for name, tensor in tensors.items()
        }

    return State(state.step, apply(state.weights), apply(state.first), apply(state.second))


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: object = None) -> None:
    """One safetensors file with at most one metadata key (several are written in random order)."""
    metadata = None if meta is None else {"meta": json.dumps(meta, sort_keys=True)}
    with replacing(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)


def load_tensors(path: Path) -> tuple[Weights, Any]:
    """Tensors and metadata of a file written by `save_tensors`."""
    try:
        with safe_open(path, "pt") as file:
            meta = (file.metadata() or {}).get("meta")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(meta) if meta else None  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None


def save_state(path: Path, state: State, best: Mapping[str, Tensor] | None = None, progress: object = None) -> None:
    """A rewind point; or, with the best weights so far and what else a loop must know, a checkpoint."""
    parts = {"weight": state.weights, "first": state.first, "second": state.second, "best": best or {}}
    tensors = {f"{part}.{name}": tensor for part, group in parts.items() for name, tensor in group.items()}
    save_tensors(path, tensors, {"step": state.step, "progress": progress})


def load_state(path: Path) -> tuple[State, Weights, Any]:
    """The state, the best weights (empty in a rewind point) and the progress given to `save_state`."""
    tensors, meta = load_tensors(path)
    groups: dict[str, Weights] = {"weight": {}, "first": {}, "second": {}, "best": {}}
    try:
        step, progress = meta["step"], meta["progress"]
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            groups[part][rest] = tensor
    except (KeyError, TypeError):
        raise UserError(f"{path}: not a training state, but some other safetensors file") from None
    return State(step, groups["weight"], groups["first"], groups["second"]), groups["best"], progress


def save_model(path: Path, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Weights and masks of a trained model; masks as `mask.NAME` in bytes of 0 and 1."""
    save_tensors(path, {**weights, **{f"mask.{name}": mask.to(torch.uint8) for name, mask in masks.items()}})


def load_model(path: Path) -> tuple[Weights, Masks]:
    tensors, _ = load_tensors(path)
    masks = {name.removeprefix("mask."): t.bool() for name, t in tensors.items() if name.startswith("mask.")}
    return {name: t for name, t in tensors.items() if not name.startswith("mask.")}, masks
