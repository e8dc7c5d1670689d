"""Stage train_dense: the dense model of one attention, variant and seed, with its rewind point."""

from pathlib import Path

from integer_tickets.data.corpus import Corpus, load_corpus
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.model.transformer import Transformer, initialise, linear_names
from integer_tickets.params import Params, load_params
from integer_tickets.tickets.masks import dense_masks
from integer_tickets.training.loop import train
from integer_tickets.training.state import Masks, State, fresh_state, load_state, save_state
from stages.models import (
    DATA,
    Item,
    build,
    calibration,
    count_parameters,
    describe,
    item_from_arguments,
    ladder_schedule,
    prepare_torch,
    write_float_model,
)
from stages.runner import publish, work_folder

HEADROOM = 2.0  # grids of activations set at the rewind point must hold what most of the training still adds


def main() -> None:
    params = load_params()
    item = item_from_arguments("train_dense", params)
    prepare_torch(params)
    settings = [
        params.variants[item.variant],
        params.runtime,
        params.model,
        params.train,
        params.quantize.embedding_bits,
    ]
    work = work_folder("train_dense", item.name, [str(part) for part in settings], [DATA])
    corpus = load_corpus(DATA)
    variant = params.variants[item.variant]

    start = rewind_point(item, params, corpus, work)
    save_state(work / "out" / "rewind.safetensors", start)
    model = build(params, corpus, item.attention, variant.weights)
    masks = dense_masks(start.weights, linear_names(model, variant.embedding))
    schedule = ladder_schedule(params, variant.weights, item.seed)
    splits = corpus.splits
    result = train(model, start, splits["train"], splits["selection"], schedule, {}, work / "run", label=item.name)
    info = describe(
        item, params, role="dense", level=0, masks=masks, weights=variant.weights, result=result,
        parameters=count_parameters(model),
    )  # fmt: skip
    write_float_model(work / "out" / "level_00", model, masks, result, info, corpus)
    publish(work, item.ladder("dense"))


def rewind_point(item: Item, params: Params, corpus: Corpus, work: Path) -> State:
    """Weights, moments, step (and grids) after the variant's first steps, trained from a fresh initialisation."""
    model = build(params, corpus, item.attention)
    initialise(model, item.seed)
    return early_steps(model, fresh_state(model), {}, item, params, corpus, work)


def early_steps(
    model: Transformer, start: State, masks: Masks, item: Item, params: Params, corpus: Corpus, work: Path
) -> State:
    """Train the first `rewind` steps in float; for integer variants, then set the grids of the quantizers."""
    variant = params.variants[item.variant]
    kept = work / "early" / "rewind.safetensors"
    if variant.rewind and not kept.exists():
        schedule = ladder_schedule(params, "float", item.seed)
        train_split, selection = corpus.splits["train"], corpus.splits["selection"]
        k = variant.rewind
        train(
            model, start, train_split, selection, schedule, masks, work / "early", keep_at=k, until=k, label=item.name
        )  # fmt: skip
    state = load_state(kept)[0] if variant.rewind else start
    if variant.weights == "float":
        return state
    quantized = build(params, corpus, item.attention, variant.weights)
    assert isinstance(quantized, QuantizedTransformer)
    quantized.load_state_dict(state.weights, strict=False)
    quantized.calibrate(calibration(corpus, params), HEADROOM)
    fresh = fresh_state(quantized)
    return State(state.step, fresh.weights, fresh.first | state.first, fresh.second | state.second)
