"""What the stages quantize and distill share: quantization-aware training and the integer model folder."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from integer_tickets.blocks import WEIGHT_NAMES
from integer_tickets.data.corpus import Corpus
from integer_tickets.errors import UserError
from integer_tickets.integer import artefact, native_engine, torch_engine
from integer_tickets.model.lowering import lower
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.training import processes
from integer_tickets.training.loop import Result, predict
from integer_tickets.training.state import Masks, save_model
from stages.folders import finish, reported, rows_of
from stages.models import Job

CHECKED = 256  # sentences on which simulation and integer engine are compared before a network is accepted


def quantized_model(job: Job, bits: int, masks: Masks) -> QuantizedTransformer:
    model = job.model(masks, WEIGHT_NAMES[bits])
    assert isinstance(model, QuantizedTransformer)
    return model


def write_integer_model(
    folder: Path,
    model: QuantizedTransformer,
    masks: Masks,
    result: Result,
    info: Mapping[str, Any],
    job: Job,
    parent: Path,
) -> None:
    """Lower, save, read back, and predict with an integer engine; the simulation must agree on selection.

    parent: the file of the network that it was made from.
    """
    corpus = job.corpus
    provenance = {
        **{key: info[key] for key in ("role", "attention", "variant", "seed", "level", "rewind", "distilled")},
        "density": info["density"],
        "corpus": corpus.statistics["corpus"],
        "data_sha256": _sha256([corpus.statistics, _file_sha256(job.lessons)]),
        "params_sha256": _sha256([_settings(job), _file_sha256(parent)]),
    }
    path = folder / "ticket.safetensors"
    logits = write_network(path, model, job.zeros(masks), provenance, corpus)
    save_model(folder / "master.safetensors", result.weights, masks)
    finish(folder, logits, result.history, {**info, "bits": artefact.artefact_bits(path)})


def write_network(
    path: Path, model: QuantizedTransformer, masks: Masks, provenance: Mapping[str, Any], corpus: Corpus
) -> dict[str, Tensor]:
    """Lower, save and read back; the logits of every split by an integer engine, which are those of the simulation."""
    artefact.save(path, lower(model.cpu(), masks, corpus.labels), corpus.tokenizer, provenance)
    processes.wait()
    network = artefact.load(path).network
    run = native_engine.logits if native_engine.available() is None else torch_engine.logits
    logits = {name: torch.from_numpy(run(network, rows_of(split))) for name, split in reported(corpus).items()}
    _compare(model, network.logit_multiplier / 2**network.logit_shift, logits["selection"], corpus)
    return logits


def _settings(job: Job) -> dict[str, Any]:
    """Parameters of the stage, without those that say which other networks it makes.

    Those of earlier stages are in the bytes of what they made, so that a stage has equal bytes from equal inputs.
    """
    return {name: value for name, value in job.settings.items() if name != "segment" and not name.endswith(".bits")}


def _compare(model: QuantizedTransformer, unit: float, logits: Tensor, corpus: Corpus) -> None:
    whole = corpus.splits["selection"]
    rows = min(CHECKED, len(whole))
    split = whole.rows(np.arange(rows))
    simulated = np.rint(predict(model, split).astype(np.float64) / unit)
    if not np.array_equal(simulated, logits[:rows].numpy()):
        raise UserError("the trained simulation and the integer engine disagree; this is a defect, please report it")


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
