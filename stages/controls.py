"""Stage controls: models that differ from the ticket of one level in one thing."""

from pathlib import Path

from integer_tickets.params import Params
from integer_tickets.tickets.ladder import control
from integer_tickets.training.loop import train
from integer_tickets.training.state import load_state
from stages.models import (
    CONTROLS,
    Item,
    begin,
    count_parameters,
    describe,
    is_finished,
    ladder_schedule,
    level_folder,
    level_name,
    read_float_model,
    write_float_model,
)
from stages.train_dense import early_steps
from stages.work import publish


def inputs(item: Item, params: Params) -> list[Path]:
    return [item.ladder("dense"), level_folder(item, params, item.level)]


def main() -> None:
    job = begin("controls", inputs, ["train", "controls.kinds"])
    item, params, variant, corpus = job.item, job.params, job.variant, job.corpus
    rewind = load_state(item.ladder("dense") / "rewind.safetensors")[0]
    schedule = ladder_schedule(params, item.seed)
    ticket_masks = read_float_model(level_folder(item, params, item.level))[1]
    for kind in params.controls.kinds:
        folder, run = job.work / "out" / kind, job.work / f"run_{kind}"
        if is_finished(folder):
            continue
        masks, start = control(kind, job.model({}), ticket_masks, rewind, item.seed, job.heads, job.block)
        if kind == "reinit":
            start = early_steps(start, masks, job, run)
        model, zeros = job.model(masks, variant.weights), job.zeros(masks)
        label = f"{item.name} level {item.level} {kind}"
        result = train(
            model, start, corpus.splits["train"], corpus.splits["selection"], schedule, zeros, run, label=label
        )
        info = describe(
            item, params, role=kind, level=item.level, masks=masks, weights=variant.weights, result=result,
            parameters=count_parameters(model), mask_from=level_name(item.level),
        )  # fmt: skip
        write_float_model(folder, model, masks, result, info, corpus)
    publish(job.work, CONTROLS / item.name / level_name(item.level))
