"""Stage connectivity: a level trained again in another order, and the errors on the line between the two models."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from integer_tickets.files import write_text
from integer_tickets.params import Params
from integer_tickets.tickets.connectivity import line
from integer_tickets.tickets.ladder import pruned
from integer_tickets.training.loop import score
from integer_tickets.training.state import load_state
from stages.fit import fit
from stages.folders import read_float_model
from stages.models import CONTROLS, Item, begin, level_folder, level_name
from stages.work import publish

ROLE = "order"


def inputs(item: Item, params: Params) -> list[Path]:
    return [item.ladder("dense"), level_folder(item, params, item.level)]


def main() -> None:
    job = begin("connectivity", inputs, ["train", "connectivity.points"])
    item, params = job.item, job.params
    trained, masks, _ = read_float_model(level_folder(item, params, item.level))
    rewind = load_state(item.ladder("dense") / "rewind.safetensors")[0]
    start = pruned(rewind, masks, job.heads) if item.level else rewind
    result = fit(
        job, start, masks, job.work / "out", job.work / "run", role=ROLE, level=item.level,
        mask_from=level_name(item.level), schedule=replace(job.schedule, purpose="second"), whole=not item.level,
    )  # fmt: skip
    rows, model = [], job.model(masks, job.variant.weights)
    for share, between in line(model, trained, result.weights, params.connectivity.points):
        accuracy, loss = score(between, job.corpus.splits["selection"])
        rows.append({"share": round(share, 4), "error": round(1 - accuracy, 6), "loss": round(loss, 6)})
    write_text(job.work / "out" / "line.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
    publish(job.work, CONTROLS / item.name / level_name(item.level) / ROLE)
