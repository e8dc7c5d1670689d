"""Stage controls: a model that differs from the ticket of one level in one thing."""

from dataclasses import replace
from pathlib import Path

from integer_tickets.blocks import WEIGHT_BITS, Shape, embedding_bits
from integer_tickets.integer.packing import pack_mask
from integer_tickets.model.transformer import initialise, linear_names
from integer_tickets.params import Params
from integer_tickets.seeds import generator
from integer_tickets.tickets.controls import CONTROLS, FROM_STEP_0, MASKLESS, Ticket, small_size
from integer_tickets.tickets.masks import dense_masks
from integer_tickets.tickets.structure import sizes_of, units_of
from integer_tickets.training.state import Masks, State, fresh_state, load_state
from stages.fit import fit
from stages.folders import read_float_model
from stages.models import CONTROLS as FOLDER
from stages.models import Item, Job, begin, level_folder, level_name
from stages.train_dense import beginning, early_steps
from stages.work import publish


def inputs(item: Item, params: Params) -> list[Path]:
    return [item.ladder("dense"), level_folder(item, params, item.level), level_folder(item, params, item.level - 1)]


def main() -> None:
    job = begin("controls", inputs, ["train", "controls.finetune"])
    item, params = job.item, job.params
    ticket = read_ticket(job)
    whole, bits = False, None
    if item.kind == "small":
        shape, bits = small_shape(job, ticket.masks)
        job = replace(job, shape=shape)
        start = drawn_point(job)
        masks: Masks = dense_masks(start.weights, linear_names(job.model({})))
        whole = True
    elif item.kind == "longer":
        job = replace(job, passes=item.level + 1)
        start, masks, whole = beginning(job, job.work / "run")
    elif item.kind == "redrawn":
        masks, start = replace(ticket, rewind=drawn_point(job)).begun(ticket.masks)
    else:
        masks, start = CONTROLS[item.kind](ticket, job.model({}), item.seed)
        if item.kind in FROM_STEP_0:
            start = early_steps(start, masks, job, job.work / "run")
    schedule = job.schedule
    if item.kind == "finetune":
        schedule = replace(schedule, lr=params.controls.finetune * schedule.lr, constant=True)
    fit(
        job, start, masks, job.work / "out", job.work / "run", role=item.kind, level=item.level,
        mask_from="" if item.kind in MASKLESS else level_name(item.level), schedule=schedule, whole=whole, bits=bits,
    )  # fmt: skip
    publish(job.work, FOLDER / item.name / level_name(item.level) / item.kind)


def drawn_point(job: Job) -> State:
    """New initial weights of the item's seed after its first steps, dense."""
    model = job.model({})
    initialise(model, generator("reinit", job.item.seed))
    return early_steps(fresh_state(model), {}, job, job.work / "run")


def read_ticket(job: Job) -> Ticket:
    item, params = job.item, job.params
    rewind: State = load_state(item.ladder("dense") / "rewind.safetensors")[0]
    masks = read_float_model(level_folder(item, params, item.level))[1]
    dense = read_float_model(level_folder(item, params, 0))[0]
    before, before_masks, _ = read_float_model(level_folder(item, params, item.level - 1))
    return Ticket(masks, rewind, dense, before, before_masks, job.variant.scope, job.heads, job.block)


def small_shape(job: Job, masks: Masks) -> tuple[Shape, int]:
    """The shape of the control `small`, and its bits: at most those of the ticket.

    Both as in a ticket file before any tensor is coded (docs/format.md): what a code saves depends on the values.
    """
    own, labels, variant = job.params.model, len(job.corpus.labels), job.variant
    bits = WEIGHT_BITS.get(variant.weights, 32)
    table = embedding_bits(variant, job.params.quantize) if variant.weights != "float" else 32
    rows = job.corpus.tokenizer.size * table + job.corpus.tokenizer.positions * min(table, 8)

    def count(width: int, hidden: int) -> int:
        matrices = own.layers * (4 * width * width + 2 * width * hidden) + labels * width
        return width * rows + bits * matrices + 32 * (own.layers * (5 * width + hidden) + labels)

    kept = sum(int(mask.sum()) for mask in masks.values())
    biases, stored = own.layers * (5 * own.width + own.hidden), 0
    if job.heads is None:
        stored = sum(8 * len(pack_mask(mask.numpy().ravel())[1]) for mask in masks.values())
    else:
        kept += labels * own.width
        sizes = sizes_of(units_of(masks, job.heads))
        biases = sum(
            size.heads * (2 * size.pairs + own.width // own.heads) + 2 * own.width + size.hidden for size in sizes
        )
    budget = own.width * rows + bits * kept + 32 * (biases + labels) + stored
    width, hidden = small_size(budget, count, own.heads, own.width, own.hidden)
    shape = Shape(width=width, layers=own.layers, heads=own.heads, hidden=hidden, dropout=own.dropout)
    return shape, count(width, hidden)
