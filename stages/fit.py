"""A model of an item from its start to its folder, as train_dense, prune_rewind, controls and their like make them."""

from pathlib import Path

from integer_tickets.training.loop import Result, Schedule, train
from integer_tickets.training.state import Masks, State
from stages.folders import count_parameters, describe, write_float_model
from stages.models import Job


def fit(
    job: Job,
    start: State,
    masks: Masks,
    folder: Path,
    run: Path,
    *,
    role: str,
    level: int,
    mask_from: str = "",
    schedule: Schedule | None = None,
    whole: bool = False,
    bits: int | None = None,
) -> Result:
    """Train a model from `start` and write it to `folder`; unfinished work is kept in `run`.

    masks: what lives, all of it where the model is `whole`: that of dense models, which no mask holds down. bits: of a
    model that was planned to take so many.
    """
    item, corpus = job.item, job.corpus
    model, zeros = job.model({} if whole else masks, job.variant.weights), {} if whole else job.zeros(masks)
    result = train(
        model, start, corpus.splits["train"], corpus.splits["selection"], schedule or job.schedule, zeros, run,
        soft=corpus.soft, label=f"{item.name} level {level} {role}",
    )  # fmt: skip
    info = describe(
        item, job.params, role=role, level=level, masks=masks, weights=job.variant.weights, result=result,
        parameters=count_parameters(model), mask_from=mask_from, bits=bits,
    )  # fmt: skip
    write_float_model(folder, model, masks, result, info, corpus)
    return result
