"""Stage prune_rewind: one segment of the ladder, each level pruned from the one before, rewound and trained."""

from pathlib import Path

from integer_tickets.data.corpus import load_corpus
from integer_tickets.params import load_params
from integer_tickets.tickets.ladder import rewound
from integer_tickets.training.loop import train
from integer_tickets.training.state import load_state
from stages.models import (
    DATA,
    build,
    count_parameters,
    describe,
    is_finished,
    item_from_arguments,
    ladder_schedule,
    level_folder,
    prepare_torch,
    read_float_model,
    write_float_model,
)
from stages.runner import publish, work_folder


def main() -> None:
    params = load_params()
    item = item_from_arguments("prune_rewind", params, with_segment=True)
    prepare_torch(params)
    segment = next(part for part in params.grid.segments if part.id == item.segment)
    variant = params.variants[item.variant]
    inputs = [DATA, item.ladder("dense"), item.ladder(segment.previous)]
    settings = [
        variant,
        params.runtime,
        params.model,
        params.train,
        params.prune,
        segment,
        params.quantize.embedding_bits,
    ]
    work = work_folder("prune_rewind", f"{item.name}-{segment.id}", [str(part) for part in settings], inputs)

    corpus = load_corpus(DATA)
    rewind = load_state(item.ladder("dense") / "rewind.safetensors")[0]
    schedule = ladder_schedule(params, variant.weights, item.seed)
    trained, masks, _ = read_float_model(level_folder(item, params, segment.first - 1))
    for level in range(segment.first, segment.last + 1):
        folder = work / "out" / f"level_{level:02d}"
        if not is_finished(folder):
            model = build(params, corpus, item.attention, variant.weights)
            masks, start = rewound(trained, masks, rewind, params.prune.keep, variant.scope)
            train_split, selection = corpus.splits["train"], corpus.splits["selection"]
            label = f"{item.name} level {level}"
            result = train(model, start, train_split, selection, schedule, masks, _run(work, level), label=label)
            info = describe(
                item, params, role="ticket", level=level, masks=masks, weights=variant.weights, result=result,
                parameters=count_parameters(model), mask_from=f"level_{level - 1:02d}",
            )  # fmt: skip
            write_float_model(folder, model, masks, result, info, corpus)
        trained, masks, _ = read_float_model(folder)
    publish(work, item.ladder(segment.id))


def _run(work: Path, level: int) -> Path:
    return work / f"run_{level:02d}"
