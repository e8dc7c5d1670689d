"""Integer networks run again by the reference engine: the stored predictions must be those, bit for bit."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from integer_tickets.data.batches import Split
from integer_tickets.errors import UserError
from integer_tickets.evaluation.collect import Model, stored_logits
from integer_tickets.integer import artefact, reference
from integer_tickets.seeds import generator


def agreement(networks: Iterable[Model], name: str, split: Split, sentences: int, seed: int) -> dict[str, Any]:
    """Compare the logits of a sample of `sentences` rows of the split `name`. UserError if a network differs.

    Returns what was compared: engine, split, number of sentences, and the folders of the networks.
    """
    sample = np.sort(generator("agreement", seed).permutation(len(split))[:sentences])
    ids = [split.ids[split.offsets[row] : split.offsets[row + 1]].tolist() for row in sample]
    folders = []
    for model in networks:
        path = model.entry.folder / "ticket.safetensors"
        logits = reference.logits(artefact.load(path).network, ids)
        differing = (logits != stored_logits(model.entry, name)[sample]).any(1)
        if differing.any():
            raise UserError(
                f"{path}: the reference engine and predictions.safetensors differ for {differing.sum()} of "
                f"{len(sample)} sentences of {name}; remove {path.parent} and run dvc repro"
            )
        folders.append(model.entry.folder.as_posix())
    return {"engine": "reference", "split": name, "sentences": len(sample), "models": folders}
