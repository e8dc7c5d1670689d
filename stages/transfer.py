"""Stage transfer: the rewind point of a model trained under a mask that another attention or corpus has found."""

from pathlib import Path

from integer_tickets.errors import UserError
from integer_tickets.params import Params
from integer_tickets.tickets.ladder import pruned
from integer_tickets.training.state import load_state
from stages.fit import fit
from stages.folders import read_float_model
from stages.models import CONTROLS, Item, begin, level_folder, level_name
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
    item, params = job.item, job.params
    own = read_float_model(level_folder(item, params, item.level))[1]
    elsewhere = masks_folder(item, params)
    masks = read_float_model(elsewhere)[1]
    if {name: mask.shape for name, mask in masks.items()} != {name: mask.shape for name, mask in own.items()}:
        raise UserError(f"{elsewhere}: its masks are not those of a model of this shape, or cover other layers")
    rewind = load_state(item.ladder("dense") / "rewind.safetensors")[0]
    role, start = f"from_{item.kind}", pruned(rewind, masks, job.heads)
    fit(
        job, start, masks, job.work / "out", job.work / "run", role=role, level=item.level,
        mask_from=elsewhere.as_posix(),
    )  # fmt: skip
    publish(job.work, CONTROLS / item.name / level_name(item.level) / role)
