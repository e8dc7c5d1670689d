"""A small study as the model stages leave it: real data, made-up float models, random integer networks."""

import contextlib
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.numpy import save_file

from integer_tickets.blocks import WEIGHT_BITS
from integer_tickets.data.batches import Split
from integer_tickets.data.corpus import Corpus
from integer_tickets.data.preparation import prepare, save
from integer_tickets.evaluation.collect import Entry, expected
from integer_tickets.files import write_json
from integer_tickets.integer import artefact, reference
from integer_tickets.integer.rounding import Array
from integer_tickets.model.transformer import initialise
from integer_tickets.params import Params, load_params, merge, parse_params
from integer_tickets.seeds import generator
from integer_tickets.training.state import fresh_state, save_state, save_tensors
from stages.models import build
from tests.integer.conftest import build_network

INT8: dict[str, Any] = {
    "weights": "int8",
    "pattern": "weight",
    "scope": "global",
    "embedding": False,
    "rewind": 10,
    "embedding_bits": 8,
}
"""A variant that finds its tickets in integers."""
ZERO, TWO = {"level": 0, "segment": "dense"}, {"level": 2, "segment": "upper"}

CHANGES: dict[str, Any] = {
    "grid": {
        "seeds": [0, 1, 2],
        "segments": [
            {"id": "upper", "previous": "dense", "first": 1, "last": 2},
            {"id": "lower", "previous": "upper", "first": 3, "last": 3},
        ],
    },
    "language": {"train": 400, "selection": 60, "validation": 60, "test": 200, "unlabelled": 100},
    "tokenizer": {"size": 300, "positions": 30},
    "model": {"width": 8, "layers": 1, "heads": 2, "hidden": 12},
    "controls": {"levels": [TWO | {"before": "upper/level_1"}], "kinds": ["reinit", "shuffled"]},
    "connectivity": {"levels": [ZERO, TWO]},
    "quantize": {"levels": [ZERO, TWO]},
    "distill": {"levels": [TWO]},
    "evaluate": {"bootstrap": 200},
    "analyze": {"examples": 200, "sentences": 2},
}

LAYERS = {"layers.0.up.weight": (12, 8), "layers.0.down.weight": (8, 12)}


def fake_params(changes: dict[str, Any] | None = None) -> Params:
    root = Path(__file__).resolve().parents[2]
    values = merge(load_params(root / "params.yaml").model_dump(), CHANGES)
    return parse_params(merge(values, changes or {}))


def fake_checkout(folder: Path, changes: dict[str, Any] | None = None) -> Params:
    """A folder with params.yaml and all that the stages before evaluate leave."""
    params = fake_params(changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump()), encoding="utf-8")
    with contextlib.chdir(folder):
        fake_study(params, Path("artifacts"))
    return params


def fake_study(params: Params, artifacts: Path) -> Corpus:
    """Write artifacts/data and every model folder that the parameters call for."""
    frames, corpus, more = prepare(params)
    save(artifacts / "data", frames, corpus, more)
    tickets: dict[tuple[str, str], dict[str, Array]] = {}
    for entry in expected(params, artifacts):
        entry.folder.mkdir(parents=True)
        if entry.configuration.stage in ("quantize", "distill"):
            key = entry.configuration.attention, entry.configuration.weights
            if key not in tickets:
                tickets[key] = _logits_of_network(entry, corpus, artifacts / "ticket.safetensors", *key)
                (artifacts / "ticket.safetensors").rename(artifacts / f"{'_'.join(key)}.safetensors")
            content = (artifacts / f"{'_'.join(key)}.safetensors").read_bytes()
            (entry.folder / "ticket.safetensors").write_bytes(content)
            logits = tickets[key]
        else:
            logits = _logits_of_nothing(entry, corpus)
        _write_folder(entry, params, logits, corpus)
    made_up = np.random.default_rng(0)
    taught = {"train": corpus.splits["train"].labels, "unlabelled": np.zeros(len(more["unlabelled"]), int)}
    logits_of = {
        name: (np.eye(len(corpus.labels))[labels] + made_up.normal(size=(len(labels), len(corpus.labels))))
        for name, labels in taught.items()
        if len(labels)
    }
    tensors = {name: torch.from_numpy(logits.astype(np.float32)) for name, logits in logits_of.items()}
    save_tensors(artifacts / "teacher" / "logits.safetensors", tensors)
    for attention, weights in tickets:
        (artifacts / f"{attention}_{weights}.safetensors").unlink()
    return corpus


def _write_folder(entry: Entry, params: Params, logits: dict[str, Array], corpus: Corpus) -> None:
    configuration = entry.configuration
    rng = np.random.default_rng([entry.seed, configuration.level or 0])
    density = round(params.prune.keep ** (configuration.level or 0), 6)
    masks = {} if configuration.stage == "teacher" else {n: rng.random(s) < density for n, s in LAYERS.items()}
    layers = {name: {"size": mask.size, "kept": int(mask.sum())} for name, mask in masks.items()}
    info = {
        **{
            key: getattr(configuration, key)
            for key in ("role", "attention", "variant", "level", "weights", "distilled")
        },
        **{"seed": entry.seed, "density": density, "pattern": "weight", "rewind": 60, "mask_from": ""},
        **{"selected_epoch": 2, "layers": layers, "parameters": 5000},
    }
    write_json(entry.folder / "info.json", info)
    save_file(logits, entry.folder / "predictions.safetensors")
    if configuration.stage == "connectivity":
        rows = [
            f"{share},{0.2 + 0.3 * share * (1 - share):.4f},{0.5 + share * (1 - share):.4f}" for share in (0, 0.5, 1)
        ]
        (entry.folder / "line.csv").write_text("\n".join(["share,error,loss", *rows, ""]), encoding="utf-8")
    name = "master" if configuration.stage in ("quantize", "distill") else "model"
    tensors = {f"mask.{layer}": mask.astype(np.uint8) for layer, mask in masks.items()}
    if configuration.stage in ("train_dense", "prune_rewind"):
        model = build(params, corpus, configuration.attention)
        initialise(model, generator("made up", entry.seed))
        tensors |= {name: weight.numpy() for name, weight in model.state_dict().items()}
        if configuration.role == "dense":
            save_state(entry.folder.parent / "rewind.safetensors", fresh_state(model))
    save_file(tensors, entry.folder / f"{name}.safetensors")
    with (entry.folder / "history.csv").open("w", encoding="utf-8", newline="") as file:
        columns = ["epoch", "step", "loss", "lr", "selection_accuracy", "selection_loss"]
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for epoch in (1, 2):
            writer.writerow([epoch, 4 * epoch, round(0.7 / epoch, 4), 0.001, round(0.6 + 0.1 * epoch, 4), 0.5])


def _reported(corpus: Corpus) -> dict[str, Split]:
    return {name: split for name, split in corpus.splits.items() if name != "train"}


def _logits_of_nothing(entry: Entry, corpus: Corpus) -> dict[str, Array]:
    """Logits that are right with a chance that falls with the level, and more so for controls."""
    configuration = entry.configuration
    rng = np.random.default_rng([entry.seed, len(configuration.name)])
    strength = {"teacher": 1.6, "reinit": 0.8, "shuffled": 0.7}.get(configuration.role, 1.4) - 0.1 * (
        configuration.level or 0
    )
    logits = {}
    for name, split in _reported(corpus).items():
        right = np.eye(len(corpus.labels))[split.labels]
        logits[name] = (strength * right + rng.normal(0, 0.7, right.shape)).astype(np.float32)
    return logits


def _logits_of_network(entry: Entry, corpus: Corpus, path: Path, attention: str, weights: str) -> dict[str, Array]:
    classes = len(corpus.labels)
    network = build_network(
        0, attention, 8, 2, 1, 12, corpus.tokenizer.size, corpus.tokenizer.positions, classes, WEIGHT_BITS[weights], 0.5
    )
    network = replace(network, labels=corpus.labels)
    artefact.save(path, network, corpus.tokenizer, {"made": "up"})
    logits = {}
    for name, split in _reported(corpus).items():
        rows = zip(split.offsets[:-1], split.offsets[1:], strict=True)
        logits[name] = reference.logits(network, [split.ids[a:b].tolist() for a, b in rows])
    return logits
