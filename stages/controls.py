"""Stage controls: models that differ from a ticket in one thing, at chosen levels."""

from integer_tickets.data.corpus import load_corpus
from integer_tickets.params import load_params
from integer_tickets.tickets.ladder import control
from integer_tickets.training.loop import train
from integer_tickets.training.state import load_state
from stages.models import (
    CONTROLS,
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
    remove_other_segments,
    write_float_model,
)
from stages.runner import publish, work_folder
from stages.train_dense import early_steps


def main() -> None:
    params = load_params()
    item = item_from_arguments("controls", params)
    prepare_torch(params)
    remove_other_segments(item, params)
    variant = params.variants[item.variant]
    levels = {level: level_folder(item, params, level) for level in params.controls.levels}
    inputs = [DATA, item.ladder("dense"), *levels.values()]
    settings = [variant, params.runtime, params.model, params.train, params.controls, params.quantize.embedding_bits]
    work = work_folder("controls", item.name, [str(part) for part in settings], inputs)

    corpus = load_corpus(DATA)
    rewind = load_state(item.ladder("dense") / "rewind.safetensors")[0]
    schedule = ladder_schedule(params, variant.weights, item.seed)
    for level, source in levels.items():
        ticket_masks = read_float_model(source)[1]
        for kind in params.controls.kinds:
            name = f"{kind}_{level:02d}"
            folder, run_folder = work / "out" / name, work / f"run_{name}"
            if is_finished(folder):
                continue
            plain = build(params, corpus, item.attention)
            masks, start = control(kind, plain, ticket_masks, rewind, item.seed)
            if kind == "reinit":
                start = early_steps(plain, start, masks, item, params, corpus, run_folder)
            model = build(params, corpus, item.attention, variant.weights)
            train_split, selection = corpus.splits["train"], corpus.splits["selection"]
            label = f"{item.name} {name}"
            result = train(model, start, train_split, selection, schedule, masks, run_folder, label=label)
            info = describe(
                item, params, role=kind, level=level, masks=masks, weights=variant.weights, result=result,
                parameters=count_parameters(model), mask_from=f"level_{level:02d}",
            )  # fmt: skip
            write_float_model(folder, model, masks, result, info, corpus)
    publish(work, CONTROLS / item.name)
