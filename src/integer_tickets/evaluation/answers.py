"""The answers of all models of a run on its headline split, kept so that several runs can be judged as one."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from integer_tickets.errors import UserError
from integer_tickets.evaluation.collect import Configuration
from integer_tickets.evaluation.metrics import Array
from integer_tickets.files import read_json, write_bytes, write_json

BASELINE = -1
"""The seed of what has none, and stands beside every seed of others."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model says. columns: of the tidy table, which say what model it is; predictions: classes (rows,)."""

    configuration: Configuration
    seed: int
    columns: dict[str, Any]
    predictions: Array


def save_answers(folder: Path, split: str, labels: Array, models: Sequence[Answers]) -> None:
    """answers.npz (labels, and predictions (rows, models)) and answers.json (which models they are of).

    Models agree on most sentences: their answers to one side by side compress to a fifth.
    """
    content = io.BytesIO()
    predictions = np.stack([model.predictions for model in models], 1).astype(np.uint16)
    np.savez_compressed(content, labels=labels.astype(np.uint16), predictions=predictions)
    write_bytes(folder / "answers.npz", content.getvalue())
    named = [
        {"configuration": asdict(model.configuration), "seed": model.seed, "columns": model.columns} for model in models
    ]
    write_json(folder / "answers.json", {"split": split, "models": named})


def load_answers(folder: Path) -> tuple[str, Array, list[Answers]]:
    """Split, labels (rows,) and models. UserError where the files are none of these."""
    try:
        named = read_json(folder / "answers.json")
        with np.load(folder / "answers.npz") as file:
            labels, predictions = (file[name].astype(np.int64) for name in ("labels", "predictions"))
        models = [
            Answers(Configuration(**own["configuration"]), own["seed"], own["columns"], answered)
            for own, answered in zip(named["models"], predictions.T, strict=True)
        ]
        return named["split"], labels, models
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: not the answers of a run ({error})") from None


def merged(folders: Iterable[Path]) -> tuple[str, Array, dict[Configuration, list[Answers]], list[str]]:
    """Split, labels and the models of all runs by configuration, seeds in order; what several runs have counts once.

    The teacher, what was aligned with it, and the baselines may answer otherwise in another run, by the last bits of
    its machine: those of the first count, and the names of the runs whose teacher does come last. UserError where
    another model does, as a ladder would be whose controls are those of another run; and where the runs are not of one
    corpus.
    """
    split, known = "", np.zeros(0, np.int64)
    found: dict[tuple[Configuration, int], Answers] = {}
    taught: list[str] = []
    for folder in folders:
        own, labels, models = load_answers(folder)
        if split and (own != split or not np.array_equal(known, labels)):
            raise UserError(f"{folder}: its sentences are not those of the runs before")
        split, known = own, labels
        for model in models:
            first = found.setdefault((model.configuration, model.seed), model)
            if not np.array_equal(first.predictions, model.predictions):
                if model.configuration.stage in ("teacher", "adopt"):
                    taught.append(folder.name)
                elif model.configuration.stage != "baseline":
                    raise UserError(
                        f"{folder}: {model.configuration.name}, seed {model.seed}, answers otherwise than in a run "
                        "before it; a part beside the ladder of another is made on the same machine, with its cache"
                    )
    groups: dict[Configuration, list[Answers]] = {}
    for model in found.values():
        groups.setdefault(model.configuration, []).append(model)
    ordered = {name: sorted(group, key=lambda model: model.seed) for name, group in groups.items()}
    return split, known, ordered, list(dict.fromkeys(taught))
