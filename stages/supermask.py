"""Stage supermask: a mask over random integer weights that never change, lowered to an integer network."""

from dataclasses import replace
from pathlib import Path

from integer_tickets.blocks import SUPERMASKS, WEIGHT_NAMES, Shape
from integer_tickets.data.corpus import load_corpus
from integer_tickets.model.supermask import Supermask
from integer_tickets.params import Params, load_params
from integer_tickets.training.loop import train
from integer_tickets.training.state import fresh_state
from stages.folders import describe, finish
from stages.integer_models import write_network
from stages.models import (
    BESIDE,
    CONTROLS,
    DATA,
    calibration,
    item_from_arguments,
    ladder_schedule,
    prepare_torch,
    shape_arguments,
    training_runtime,
)
from stages.work import publish, work_folder

SEED_BITS = 64
HEADROOM = 1.5  # sums grow while a mask is chosen


def main() -> None:
    params = load_params()
    item = item_from_arguments("supermask", params)
    prepare_torch(params)
    own, model_params = params.supermask, params.model.model_dump(mode="json")
    settings = [
        training_runtime(params),
        model_params,
        own.model_dump(mode="json"),
        params.train.model_dump(mode="json"),
    ]
    lessons = Path(params.train.lessons)
    work = work_folder("supermask", f"{item.attention}-{item.kind}-{item.seed}", settings, [lessons, *BESIDE])
    corpus = load_corpus(DATA, lessons)
    arguments = shape_arguments(params, corpus, item.attention, supermask_shape(params))
    model = Supermask(kind=item.kind, keep=own.keep, seed=item.seed, **arguments).to(params.runtime.device)
    model.calibrate(calibration(corpus, params), HEADROOM)
    schedule = ladder_schedule(params, item.seed)
    schedule = replace(schedule, epochs=own.epochs, lr=own.lr, weight_decay=0.0, purpose="supermask")
    splits, label = corpus.splits, f"{item.attention} supermask {item.kind} {item.seed}"
    result = train(
        model, fresh_state(model), splits["train"], splits["selection"], schedule, {}, work / "run", soft=corpus.soft,
        label=label,
    )  # fmt: skip
    masks = {name: mask.cpu() for name, mask in model.masks().items()}
    places = sum(mask.numel() for mask in masks.values())
    info = describe(
        replace(item, variant=item.kind), params, role="supermask", level=0, masks=masks,
        weights=WEIGHT_NAMES[SUPERMASKS[item.kind]], result=result, parameters=places,
    )  # fmt: skip
    provenance = {name: info[name] for name in ("role", "attention", "variant", "seed", "density")}
    logits = write_network(work / "out" / "ticket.safetensors", model, masks, provenance, corpus)
    finish(work / "out", logits, result.history, {**info, "seed_and_mask_bits": SEED_BITS + places})
    publish(work, CONTROLS / item.name / item.kind)


def supermask_shape(params: Params) -> Shape:
    """That of the model in another width, all else in proportion, without dropout."""
    width = params.supermask.width
    hidden = max(4, width * params.model.hidden // params.model.width)
    return params.model.model_copy(update={"width": width, "hidden": hidden, "dropout": 0.0})
