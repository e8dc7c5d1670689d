"""The folder of a trained model: what is written of it, what says that it is finished, and reading it."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from integer_tickets.data.batches import Split
from integer_tickets.data.corpus import Corpus
from integer_tickets.files import read_json, write_json, write_text
from integer_tickets.model.transformer import Transformer
from integer_tickets.params import Params
from integer_tickets.tickets.controls import FROM_STEP_0, MASKLESS
from integer_tickets.tickets.masks import density
from integer_tickets.training import processes
from integer_tickets.training.loop import Result, predict
from integer_tickets.training.state import Weights, load_model, save_model, save_tensors
from stages.models import Item

REPORTED = ("selection", "validation", "test")
HISTORY = ("epoch", "step", "loss", "lr", "selection_accuracy", "selection_loss")


def reported(corpus: Corpus) -> dict[str, Split]:
    return {name: corpus.splits[name] for name in REPORTED if name in corpus.splits}


def describe(
    item: Item,
    params: Params,
    *,
    role: str,
    level: int,
    masks: Mapping[str, Tensor],
    weights: str,
    result: Result,
    parameters: int,
    mask_from: str = "",
    distilled: bool = False,
    bits: int | None = None,
) -> dict[str, Any]:
    """What info.json says of a model; bits: those it was planned to take, where it was."""
    variant = params.variants.get(item.variant)  # the teacher has none
    return ({} if bits is None else {"planned_bits": bits}) | {
        "role": role,
        "attention": item.attention,
        "variant": item.variant,
        "seed": item.seed,
        "level": level,
        "density": round(density(masks), 6) if masks else 1.0,
        "pattern": variant.pattern if variant else "weight",
        "weights": weights,
        "rewind": 0 if variant is None or role in ("dense", *FROM_STEP_0, *MASKLESS) else variant.rewind,
        "mask_from": mask_from,
        "distilled": distilled,
        "selected_epoch": result.epoch,
        "parameters": parameters,
        "layers": {name: {"size": mask.numel(), "kept": int(mask.sum())} for name, mask in masks.items()},
    }


def write_float_model(
    folder: Path,
    model: Transformer,
    masks: Mapping[str, Tensor],
    result: Result,
    info: Mapping[str, Any],
    corpus: Corpus,
) -> None:
    """A finished float model; info.json comes last and marks the folder as complete."""
    save_model(folder / "model.safetensors", result.weights, masks)
    logits = {name: torch.from_numpy(predict(model, split)) for name, split in reported(corpus).items()}
    finish(folder, logits, result.history, info)


def finish(
    folder: Path, logits: Mapping[str, Tensor], history: list[dict[str, float]], info: Mapping[str, Any]
) -> None:
    save_tensors(folder / "predictions.safetensors", logits)
    write_text(folder / "history.csv", history_csv(history))
    write_json(folder / "info.json", info)
    processes.wait()


def is_finished(folder: Path) -> bool:
    """The same answer in every process: none writes there before all have asked."""
    processes.wait()
    found = (folder / "info.json").exists()
    processes.wait()
    return found


def read_float_model(
    folder: Path, file: str = "model.safetensors"
) -> tuple[Weights, dict[str, Tensor], dict[str, Any]]:
    """Weights, masks and info of a trained model."""
    weights, masks = load_model(folder / file)
    return weights, masks, read_json(folder / "info.json")


def rows_of(split: Split) -> list[list[int]]:
    """Token ids of every row."""
    return [split.ids[a:b].tolist() for a, b in zip(split.offsets[:-1], split.offsets[1:], strict=True)]


def history_csv(rows: list[dict[str, float]]) -> str:
    """history.csv of a model."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def count_parameters(model: Transformer) -> int:
    return sum(parameter.numel() for name, parameter in model.named_parameters() if not name.endswith("_steps"))
