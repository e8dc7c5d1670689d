"""Stage prune_rewind: one segment of the ladder, each level pruned from the one before, rewound and trained."""

from pathlib import Path

from integer_tickets.params import Params
from integer_tickets.tickets.ladder import rewound
from integer_tickets.training.state import load_state
from stages.fit import fit
from stages.folders import is_finished, read_float_model
from stages.models import Item, begin, level_folder, level_name
from stages.work import publish


def inputs(item: Item, params: Params) -> list[Path]:
    segment = next(part for part in params.grid.segments if part.id == item.segment)
    return [item.ladder("dense"), item.ladder(segment.previous)]


def main() -> None:
    job = begin("prune_rewind", inputs, ["train", "prune"])
    item, params, variant = job.item, job.params, job.variant
    segment = next(part for part in params.grid.segments if part.id == item.segment)
    rewind = load_state(item.ladder("dense") / "rewind.safetensors")[0]
    trained, masks, _ = read_float_model(level_folder(item, params, segment.first - 1))
    for level in range(segment.first, segment.last + 1):
        folder = job.work / "out" / level_name(level)
        if not is_finished(folder):
            masks, start = rewound(trained, masks, rewind, params.prune.keep, variant.scope, job.heads, job.block)
            run = job.work / f"run_{level}"
            fit(job, start, masks, folder, run, role="ticket", level=level, mask_from=level_name(level - 1))
        trained, masks, _ = read_float_model(folder)
    publish(job.work, item.ladder(segment.id))
