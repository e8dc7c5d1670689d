"""Stage quantize: integer networks of one level at chosen bit widths, by quantization-aware training."""

from pathlib import Path

from integer_tickets.blocks import WEIGHT_NAMES, own_bits
from integer_tickets.params import Params
from integer_tickets.training.loop import Result, train
from integer_tickets.training.state import fresh_state, masked
from stages.folders import count_parameters, describe, is_finished, read_float_model
from stages.integer_models import quantized_model, write_integer_model
from stages.models import INTEGER, Item, begin, calibration, level_folder, level_name, tuning_schedule
from stages.work import publish


def inputs(item: Item, params: Params) -> list[Path]:
    return [level_folder(item, params, item.level)]


def main() -> None:
    blocks = ["train", "quantize.bits", "quantize.embedding_bits", "quantize.epochs", "quantize.batch", "quantize.lr"]
    job = begin("quantize", inputs, blocks)
    item, params, variant, corpus = job.item, job.params, job.variant, job.corpus
    schedule = tuning_schedule(params, params.quantize, item.seed, "quantize")
    source = level_folder(item, params, item.level)
    weights, masks, parent = read_float_model(source)
    for bits in own_bits(variant, params.quantize.bits):
        name = WEIGHT_NAMES[bits]
        folder = job.work / "out" / name
        if is_finished(folder):
            continue
        model, zeros = quantized_model(job, bits, masks), job.zeros(masks)
        if variant.weights == "float":
            model.load_state_dict(weights, strict=False)
            model.calibrate(calibration(corpus, params))
            start, run = masked(fresh_state(model), zeros), job.work / f"run_{name}"
            label = f"{item.name} level {item.level} {name}"
            result = train(
                model, start, corpus.splits["train"], corpus.splits["selection"], schedule, zeros, run,
                soft=corpus.soft, label=label,
            )  # fmt: skip
        else:  # found as integers: nothing is left to train
            model.load_state_dict(weights)
            result = Result(weights, parent["selected_epoch"])
        info = describe(
            item, params, role=parent["role"], level=item.level, masks=masks, weights=name, result=result,
            parameters=count_parameters(model), mask_from=level_name(item.level) if item.level else "",
        )  # fmt: skip
        write_integer_model(folder, model, masks, result, info, job, source / "model.safetensors")
    publish(job.work, INTEGER / item.name / level_name(item.level))
