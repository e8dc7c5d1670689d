"""Stage transfer: the rewind point of a model trained under a mask that another attention or corpus has found."""

from pathlib import Path

from integer_tickets.errors import UserError
from integer_tickets.params import Params
from integer_tickets.tickets.ladder import pruned
from integer_tickets.training.loop import train
from integer_tickets.training.state import load_state
from stages.models import (
    CONTROLS,
    Item,
    begin,
    count_parameters,
    describe,
    level_folder,
    level_name,
    read_float_model,
    write_float_model,
)
from stages.work import publish


def masks_folder(item: Item, params: Params) -> Path:
    """Where the masks from elsewhere lie."""
    sources = params.transfer.sources
    source = next(part for part in sources if (part.id, part.attention) == (item.kind, item.attention))
    segment = params.grid.segment_of(item.level)
    return Path(f"{source.prefix}-{item.variant}-{item.seed}") / str(segment) / level_name(item.level)


def inputs(item: Item, params: Params) -> list[Path]:
    return [item.ladder("dense"), level_folder(item, params, item.level), masks_folder(item, params)]


def main() -> None:
    job = begin("transfer", inputs, ["train"])
    item, params, corpus = job.item, job.params, job.corpus
    own = read_float_model(level_folder(item, params, item.level))[1]
    elsewhere = masks_folder(item, params)
    masks = read_float_model(elsewhere)[1]
    if {name: mask.shape for name, mask in masks.items()} != {name: mask.shape for name, mask in own.items()}:
        raise UserError(f"{elsewhere}: its masks are not those of a model of this shape, or cover other layers")
    rewind = load_state(item.ladder("dense") / "rewind.safetensors")[0]
    model, label = job.model(masks, job.variant.weights), f"{item.name} level {item.level} from {item.kind}"
    result = train(
        model, pruned(rewind, masks, job.heads), corpus.splits["train"], corpus.splits["selection"], job.schedule,
        job.zeros(masks), job.work / "run", label=label,
    )  # fmt: skip
    role = f"from_{item.kind}"
    info = describe(
        item, params, role=role, level=item.level, masks=masks, weights=job.variant.weights, result=result,
        parameters=count_parameters(model), mask_from=elsewhere.as_posix(),
    )  # fmt: skip
    write_float_model(job.work / "out", model, masks, result, info, corpus)
    publish(job.work, CONTROLS / item.name / level_name(item.level) / role)
