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
from stages.models import Job, training_runtime

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
) -> None:
    """Lower, save, read back, and predict with an integer engine; the simulation must agree on selection."""
    corpus = job.corpus
    provenance = {
        **{key: info[key] for key in ("role", "attention", "variant", "seed", "level", "rewind", "distilled")},
        "density": info["density"],
        "corpus": corpus.statistics["corpus"],
        "data_sha256": _sha256(corpus.statistics),
        "params_sha256": _sha256(ancestry(job, info["distilled"])),
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


def ancestry(job: Job, distilled: bool) -> dict[str, Any]:
    """Every parameter that a network depends on beside its data; not which other levels and widths are made."""
    values = job.params.model_dump(mode="json")
    named = ["model", "train", "quantize", *(["prune"] if job.item.level else [])]
    named += ["distill"] if distilled else []
    named += ["teacher", "lessons"] if distilled or job.params.train.taught else []
    named += ["adopt"] if job.params.train.adopted else []
    others = ("levels", "bits", "attentions")
    chosen = {name: {k: v for k, v in values[name].items() if k not in others} for name in named}
    return chosen | {"variant": values["variants"][job.item.variant], "runtime": training_runtime(job.params)}


def _compare(model: QuantizedTransformer, unit: float, logits: Tensor, corpus: Corpus) -> None:
    whole = corpus.splits["selection"]
    rows = min(CHECKED, len(whole))
    split = whole.rows(np.arange(rows))
    simulated = np.rint(predict(model, split).astype(np.float64) / unit)
    if not np.array_equal(simulated, logits[:rows].numpy()):
        raise UserError("the trained simulation and the integer engine disagree; this is a defect, please report it")


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
