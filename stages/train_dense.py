"""Stage train_dense: the dense model of one attention, variant and seed, with its rewind point."""

from pathlib import Path

from integer_tickets.errors import UserError
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.model.transformer import initialise, linear_names
from integer_tickets.params import Params
from integer_tickets.seeds import generator
from integer_tickets.tickets.masks import dense_masks
from integer_tickets.tickets.structure import structured_names
from integer_tickets.training.loop import train
from integer_tickets.training.state import Masks, State, fresh_state, load_state, save_state
from stages.fit import fit
from stages.folders import read_float_model
from stages.models import ADOPTED, Item, Job, begin, calibration, level_name
from stages.work import publish

HEADROOM = 2.0  # grids of activations set at the rewind point must hold what most of the training still adds


def inputs(item: Item, params: Params) -> list[Path]:
    prior = [Path(params.train.prior)] if params.train.prior else []
    return [*prior, *([ADOPTED / item.attention] if params.train.adopted else [])]


def main() -> None:
    job = begin("train_dense", inputs, ["train"])
    start, masks, whole = beginning(job, job.work)
    save_state(job.work / "out" / "rewind.safetensors", start)
    fit(job, start, masks, job.work / "out" / level_name(0), job.work / "run", role="dense", level=0, whole=whole)
    publish(job.work, job.item.ladder("dense"))


def beginning(job: Job, work: Path) -> tuple[State, Masks, bool]:
    """The rewind point of a dense model, what is prunable in it, and whether it is whole: a prior has a mask."""
    prior = job.params.train.prior
    start, found = prior_point(job, Path(prior)) if prior else (rewind_point(job, work), {})
    model = job.model({})
    prunable = linear_names(model, job.variant.embedding) if job.heads is None else structured_names(model)
    return start, dense_masks(start.weights, prunable) | found, not found


def prior_point(job: Job, folder: Path) -> tuple[State, Masks]:
    """The weights, grids and masks of a network found on other data."""
    weights, masks, _ = read_float_model(folder, "master.safetensors")
    model = job.model({}, job.variant.weights)
    own = model.state_dict()
    if {name: weight.shape for name, weight in weights.items()} != {name: weight.shape for name, weight in own.items()}:
        raise UserError(f"train.start: {folder} holds a model of another shape, attention or kind of weights")
    model.load_state_dict(weights)
    return fresh_state(model), masks


def rewind_point(job: Job, work: Path) -> State:
    """Weights, moments, step (and grids) after the variant's first steps, trained from drawn or adopted weights."""
    model, adopted = job.model({}), job.params.train.adopted
    initialise(model, generator("initial", job.item.seed))
    if adopted:
        model.load_state_dict(read_float_model(ADOPTED / job.item.attention)[0])
    return early_steps(fresh_state(model), {}, job, work)


def early_steps(start: State, masks: Masks, job: Job, work: Path) -> State:
    """Train the first `rewind` steps in float; for integer variants, then set the grids of the quantizers."""
    item, params, variant, corpus = job.item, job.params, job.variant, job.corpus
    kept = work / "early" / "rewind.safetensors"
    if variant.rewind and not kept.exists():
        schedule, zeros = job.schedule, job.zeros(masks)
        train(
            job.model(masks), start, corpus.splits["train"], corpus.splits["selection"], schedule, zeros,
            work / "early", keep_at=variant.rewind, until=variant.rewind, soft=corpus.soft, label=item.name,
        )  # fmt: skip
    state = load_state(kept)[0] if variant.rewind else start
    if variant.weights == "float":
        return state
    quantized = job.model(masks, variant.weights)
    assert isinstance(quantized, QuantizedTransformer)
    quantized.load_state_dict(state.weights, strict=False)
    quantized.calibrate(calibration(corpus, params), HEADROOM)
    fresh = fresh_state(quantized)
    return State(state.step, fresh.weights, fresh.first | state.first, fresh.second | state.second)
