"""Stage teacher: a dense softmax Transformer trained on the labels, and its logits on train and on other text."""

from dataclasses import replace

import torch

from integer_tickets.data.corpus import load_corpus, load_texts
from integer_tickets.model.transformer import initialise
from integer_tickets.params import load_params
from integer_tickets.seeds import generator
from integer_tickets.training.loop import predict, train
from integer_tickets.training.state import fresh_state, save_tensors
from stages.folders import count_parameters, describe, write_float_model
from stages.models import DATA, PREPARED, TEACHER, Item, build, ladder_schedule, prepare_torch, training_runtime
from stages.work import publish, work_folder

MORE = ("unlabelled", "lessons")
"""Texts without labels: as they came, and those on which it teaches."""


def main() -> None:
    params = load_params()
    prepare_torch(params)
    teacher = params.teacher
    shared = [params.model.biases, params.model.places]
    chosen = [training_runtime(params), shared, *(part.model_dump(mode="json") for part in (teacher, params.train))]
    work = work_folder("teacher", "teacher", chosen, [*PREPARED, *(DATA / f"{name}.safetensors" for name in MORE)])
    corpus = load_corpus(DATA)
    model = build(params, corpus, "softmax", shape=teacher)
    initialise(model, generator("teacher", teacher.seed))
    schedule = ladder_schedule(params, teacher.seed)
    schedule = replace(schedule, epochs=teacher.epochs, lr=teacher.lr, purpose="teacher")
    train_split, selection = corpus.splits["train"], corpus.splits["selection"]
    result = train(model, fresh_state(model), train_split, selection, schedule, {}, work / "run", label="teacher")
    taught = {"train": train_split} | {name: load_texts(DATA, name) for name in MORE}
    logits = {name: torch.from_numpy(predict(model, split)) for name, split in taught.items() if len(split)}
    save_tensors(work / "out" / "logits.safetensors", logits)
    item = Item("softmax", "", teacher.seed)
    info = describe(
        item, params, role="teacher", level=0, masks={}, weights="float", result=result,
        parameters=count_parameters(model),
    )  # fmt: skip
    write_float_model(work / "out", model, {}, result, info, corpus)
    publish(work, TEACHER)
