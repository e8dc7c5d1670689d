"""Stage distill: quantized networks of one level trained on with the teacher's soft labels into final tickets."""

from pathlib import Path

from integer_tickets.blocks import WEIGHT_BITS, WEIGHT_NAMES, own_bits
from integer_tickets.params import Params
from integer_tickets.training.loop import train
from integer_tickets.training.state import fresh_state, masked
from stages.folders import count_parameters, describe, is_finished, read_float_model
from stages.integer_models import quantized_model, write_integer_model
from stages.models import DISTILLED, INTEGER, Item, begin, level_name, tuning_schedule
from stages.work import publish


def sources(item: Item, params: Params) -> list[Path]:
    """The networks to go on from."""
    bits = own_bits(params.variants[item.variant], params.distill.bits)
    return [INTEGER / item.name / level_name(item.level) / WEIGHT_NAMES[width] for width in bits]


def main() -> None:
    distilling = [f"distill.{name}" for name in ("bits", "epochs", "batch", "lr")]
    job = begin("distill", sources, ["train", "quantize.embedding_bits", *distilling])
    item, params, corpus, distill = job.item, job.params, job.corpus, job.params.distill
    schedule = tuning_schedule(params, distill, item.seed, "distill")
    for source in sources(item, params):
        name = source.name
        folder = job.work / "out" / name
        if is_finished(folder):
            continue
        weights, masks, parent = read_float_model(source, "master.safetensors")
        model, zeros = quantized_model(job, WEIGHT_BITS[name], masks), job.zeros(masks)
        model.load_state_dict(weights)
        start, run = masked(fresh_state(model), zeros), job.work / f"run_{name}"
        label = f"{item.name} level {item.level} {name} distilled"
        result = train(
            model, start, corpus.splits["train"], corpus.splits["selection"], schedule, zeros, run, soft=corpus.soft,
            label=label,
        )  # fmt: skip
        info = describe(
            item, params, role=parent["role"], level=item.level, masks=masks, weights=name, result=result,
            parameters=count_parameters(model), mask_from=parent["mask_from"], distilled=True,
        )  # fmt: skip
        write_integer_model(folder, model, masks, result, info, job, source / "master.safetensors")
    publish(job.work, DISTILLED / item.name / level_name(item.level))
