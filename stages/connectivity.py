"""Stage connectivity: a level trained again in another order, and the errors on the line between the two models."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from integer_tickets.files import write_text
from integer_tickets.params import Params
from integer_tickets.tickets.connectivity import line
from integer_tickets.tickets.ladder import pruned
from integer_tickets.training.loop import score, train
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

ROLE = "order"


def inputs(item: Item, params: Params) -> list[Path]:
    return [item.ladder("dense"), level_folder(item, params, item.level)]


def main() -> None:
    job = begin("connectivity", inputs, ["train", "connectivity.points"])
    item, params, variant, corpus = job.item, job.params, job.variant, job.corpus
    trained, masks, _ = read_float_model(level_folder(item, params, item.level))
    rewind = load_state(item.ladder("dense") / "rewind.safetensors")[0]
    start = pruned(rewind, masks, job.heads) if item.level else rewind
    schedule = replace(job.schedule, purpose="second")
    model, zeros = job.model(masks, variant.weights), job.zeros(masks) if item.level else {}
    label = f"{item.name} level {item.level} {ROLE}"
    result = train(
        model, start, corpus.splits["train"], corpus.splits["selection"], schedule, zeros, job.work / "run", label=label
    )
    info = describe(
        item, params, role=ROLE, level=item.level, masks=masks, weights=variant.weights, result=result,
        parameters=count_parameters(model), mask_from=level_name(item.level),
    )  # fmt: skip
    rows = []
    for share, between in line(model, trained, result.weights, params.connectivity.points):
        accuracy, loss = score(between, corpus.splits["selection"])
        rows.append({"share": round(share, 4), "error": round(1 - accuracy, 6), "loss": round(loss, 6)})
    write_text(job.work / "out" / "line.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
    model.load_state_dict(result.weights)
    write_float_model(job.work / "out", model, masks, result, info, corpus)
    publish(job.work, CONTROLS / item.name / level_name(item.level) / ROLE)
