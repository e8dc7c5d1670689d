"""Stage teacher: a softmax Transformer, trained here or fine-tuned, and its logits on train and on other text."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from integer_tickets.data.corpus import Corpus, load_corpus, load_texts
from integer_tickets.data.statistics import texts_of
from integer_tickets.errors import UserError
from integer_tickets.model.transformer import initialise
from integer_tickets.params import Params, load_params
from integer_tickets.seeds import generator
from integer_tickets.training import pretrained
from integer_tickets.training.loop import Schedule, predict, train
from integer_tickets.training.state import fresh_state, save_tensors
from stages.folders import REPORTED, count_parameters, describe, finish, write_float_model
from stages.models import DATA, TEACHER, Item, build, ladder_schedule, prepare_torch, training_runtime
from stages.work import publish, work_folder


def main() -> None:
    params = load_params()
    prepare_torch(params)
    own = params.teacher
    model, general, reads = params.model, params.train, params.tokenizer
    shared: list[Any] = [model.biases, model.places, model.post_norm, reads.positions, reads.truncation_side]
    shared += [general.batch, general.tokens, general.warmup, general.weight_decay]
    chosen = [training_runtime(params, "transformers"), shared, own.model_dump(mode="json")]
    work = work_folder("teacher", "teacher", chosen, [DATA, *_files(own.pretrained)])
    schedule = ladder_schedule(params, own.seed)
    schedule = replace(schedule, epochs=own.epochs, lr=own.lr, purpose="teacher")
    make = _fine_tuned if own.pretrained else _trained
    logits = make(params, load_corpus(DATA), schedule, work)
    save_tensors(work / "out" / "logits.safetensors", logits)
    publish(work, TEACHER)


def _files(name: str) -> list[Path]:
    """The folder of a pretrained model, where it is no hub id."""
    return [Path(name)] if name and Path(name).is_dir() else []


def _trained(params: Params, corpus: Corpus, schedule: Schedule, work: Path) -> dict[str, Tensor]:
    """A dense model from its initialisation; also on unlabelled texts as they came."""
    model = build(params, corpus, "softmax", shape=params.teacher)
    initialise(model, generator("teacher", params.teacher.seed))
    train_split, selection = corpus.splits["train"], corpus.splits["selection"]
    result = train(model, fresh_state(model), train_split, selection, schedule, {}, work / "run", label="teacher")
    write_float_model(work / "out", model, {}, result, _info(params, result, count_parameters(model)), corpus)
    taught = {"train": train_split} | {name: load_texts(DATA, name) for name in ("unlabelled", "lessons")}
    return {name: torch.from_numpy(predict(model, split)) for name, split in taught.items() if len(split)}


def _fine_tuned(params: Params, corpus: Corpus, schedule: Schedule, work: Path) -> dict[str, Tensor]:
    """A model of Hugging Face, with its own tokenizer; kept in the form in which it came."""
    if params.runtime.processes > 1:
        raise UserError("teacher.pretrained is fine-tuned by one process: runtime.processes = 1")
    own = pretrained.load(params.teacher.pretrained, len(corpus.labels), schedule.seed, params.runtime.device)
    most = getattr(own.model.config, "max_position_embeddings", params.tokenizer.positions)
    if params.tokenizer.positions > most:
        raise UserError(
            f"tokenizer.positions = {params.tokenizer.positions}, but teacher.pretrained reads {most} tokens at most"
        )
    splits = {}
    for name in ("train", *REPORTED, "lessons"):
        path = DATA / f"{name}.parquet"
        frame = pd.read_parquet(path) if path.exists() else pd.DataFrame()
        if len(frame):
            known = corpus.splits[name].labels if name in corpus.splits else np.full(len(frame), -1)
            labels = np.asarray(known, np.int64)
            reads = params.tokenizer
            splits[name] = own.encode(texts_of(frame), labels, reads.positions, reads.truncation_side)
    began = pretrained.sha256(own)
    result = pretrained.fine_tune(own, splits["train"], splits["selection"], schedule, work / "run")
    says = {name: torch.from_numpy(pretrained.predict(own, split, schedule.autocast)) for name, split in splits.items()}
    own.save(work / "out" / "encoder")
    count = sum(parameter.numel() for parameter in own.model.parameters())
    reported = {name: logits for name, logits in says.items() if name in REPORTED}
    finish(work / "out", reported, result.history, _info(params, result, count) | {"pretrained_sha256": began})
    return {name: says[name] for name in ("train", "lessons") if name in says}


def _info(params: Params, result: Any, parameters: int) -> dict[str, Any]:
    item = Item("softmax", "", params.teacher.seed)
    return describe(
        item, params, role="teacher", level=0, masks={}, weights="float", result=result, parameters=parameters
    )
