"""Stage adopt: a student with a pretrained teacher's weights, drawn to it layer by layer, its attention replaced."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import torch
from torch import Tensor

from integer_tickets.data.batches import epoch_batches, pad
from integer_tickets.data.corpus import Split, load_corpus
from integer_tickets.errors import UserError
from integer_tickets.integer.tokenizer import FIRST_PIECE, Tokenizer
from integer_tickets.model.adopted import Encoder, adopt
from integer_tickets.model.transformer import Transformer, initialise
from integer_tickets.params import Params, load_params
from integer_tickets.seeds import generator
from integer_tickets.training import pretrained
from integer_tickets.training.alignment import Alignment
from integer_tickets.training.huggingface import Pretrained
from integer_tickets.training.loop import Result, Schedule, train
from integer_tickets.training.replacement import replace_attention
from integer_tickets.training.state import fresh_state
from stages.folders import count_parameters, describe, write_float_model
from stages.models import (
    ADOPTED,
    BESIDE,
    DATA,
    LESSONS,
    TEACHER,
    Item,
    build,
    calibration,
    prepare_torch,
    training_runtime,
    tuning_schedule,
)
from stages.work import publish, work_folder

MISSING = 0.01  # of our tokens, at most, that the teacher does not know


def main() -> None:
    params = load_params()
    parser = argparse.ArgumentParser(prog="python -m stages adopt")
    parser.add_argument("--attention", required=True, choices=params.adopt.attentions)
    attention = parser.parse_args().attention
    prepare_torch(params)
    own = params.adopt
    shared = [params.train.tokens, params.train.warmup, params.train.weight_decay]
    chosen = [training_runtime(params, "transformers"), shared]
    chosen += [part.model_dump(mode="json") for part in (own, params.model)]
    work = work_folder("adopt", attention, chosen, [LESSONS, *BESIDE, TEACHER / "encoder"])
    corpus = load_corpus(DATA, LESSONS)
    teacher = pretrained.load(str(TEACHER / "encoder"), len(corpus.labels), 0, params.runtime.device)
    encoder = encoder_of(teacher, corpus.tokenizer)
    splits, narrow = corpus.splits, params.runtime.autocast
    model = build(params, corpus, "softmax")
    initialise(model, generator("initial", 0))
    weights, last = adopt(model, encoder, calibration(corpus, params))
    model.load_state_dict(weights)

    def drawn(model: Transformer, schedule: Schedule, what: str) -> Result:
        guide = Alignment(model, encoder, last, own.hidden, narrow, own.context)
        return train(
            model, fresh_state(model), splits["train"], splits["selection"], schedule, {}, work / what,
            soft=corpus.soft, guide=guide, label=f"{attention} adopted, {what}",
        )  # fmt: skip

    schedule = tuning_schedule(params, own, own.seed, "adopt")
    before = None
    if own.before:
        before = drawn(model, replace(schedule, epochs=own.before, purpose="adopt before"), "before")
    if attention != "softmax":
        source, model = model, build(params, corpus, attention)
        replace_attention(model, source, _batches(splits["train"], params), own.fit, own.lr, narrow)
    result = drawn(model, schedule, "after")
    if before is not None:
        done = before.history[-1]["step"]
        after = [{**row, "epoch": row["epoch"] + own.before, "step": row["step"] + done} for row in result.history]
        result = replace(result, epoch=result.epoch + own.before, history=[*before.history, *after])
    info = describe(
        Item(attention, "", own.seed), params, role="adopted", level=0, masks={}, weights="float", result=result,
        parameters=count_parameters(model),
    )  # fmt: skip
    write_float_model(work / "out", model, {}, result, info, corpus)
    publish(work, ADOPTED / attention)


def _batches(split: Split, params: Params) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of train in an order of their own, without end: ids (batch, n), counts (batch,)."""
    for epoch in count():
        order = generator("adopt fit order", params.adopt.seed, epoch)
        for indices in epoch_batches(split.lengths, params.adopt.batch, params.train.tokens, order):
            ids, counts = pad(split, indices)
            yield torch.from_numpy(ids).to(params.runtime.device), torch.from_numpy(counts).to(params.runtime.device)


def encoder_of(teacher: Pretrained, tokenizer: Tokenizer) -> Encoder:
    """The teacher's encoder, reading our tokens. UserError where it is no BERT, or does not know them."""
    own, bert = teacher.tokenizer, teacher.model.base_model.eval()
    if bert.config.model_type != "bert":
        raise UserError(
            f"teacher.pretrained is of the type {bert.config.model_type!r}; a student can begin with a bert only"
        )
    names = [own.pad_token, own.unk_token, own.sep_token][:FIRST_PIECE]
    for piece, continues in zip(tokenizer.pieces, tokenizer.continues, strict=True):
        names.append(("##" if continues else "") + piece.decode("utf-8", "replace"))
    words = torch.tensor(own.convert_tokens_to_ids(names))
    # Single bytes of letters beyond ASCII are pieces of ours, but of no vocabulary of words.
    text = torch.tensor([piece.decode("utf-8", "ignore").encode() == piece for piece in tokenizer.pieces])
    unknown = (words[FIRST_PIECE:] == own.unk_token_id)[text].float().mean().item() if len(text) else 1.0
    if unknown > MISSING:
        raise UserError(
            f"teacher.pretrained does not know {100 * unknown:.0f} % of the tokens; a student that begins with it "
            "reads by its vocabulary: tokenizer.kind = pretrained"
        )
    return Encoder(bert, words, own.cls_token_id, own.sep_token_id)
