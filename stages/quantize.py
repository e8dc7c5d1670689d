"""Stage quantize: integer networks of chosen levels and bit widths, by quantization-aware training."""

from integer_tickets.data.corpus import load_corpus
from integer_tickets.params import WEIGHT_NAMES, load_params, own_bits
from integer_tickets.training.loop import Result, Schedule, train
from integer_tickets.training.state import fresh_state, masked
from stages.integer_models import quantized_model, write_integer_model
from stages.models import (
    DATA,
    INTEGER,
    calibration,
    count_parameters,
    describe,
    is_finished,
    item_from_arguments,
    level_folder,
    prepare_torch,
    read_float_model,
    remove_other_segments,
)
from stages.runner import publish, work_folder


def main() -> None:
    params = load_params()
    item = item_from_arguments("quantize", params)
    prepare_torch(params)
    remove_other_segments(item, params)
    variant, quantize = params.variants[item.variant], params.quantize
    levels = {level: level_folder(item, params, level) for level in quantize.levels}
    settings = [str(part) for part in (variant, params.runtime, params.model, params.train, quantize)]
    work = work_folder("quantize", item.name, settings, [DATA, *levels.values()])

    corpus = load_corpus(DATA)
    train_split, selection = corpus.splits["train"], corpus.splits["selection"]
    rest = params.train.warmup, params.train.weight_decay, item.seed
    schedule = Schedule(quantize.epochs, params.train.batch, quantize.lr, *rest)
    for level, source in levels.items():
        weights, masks, parent = read_float_model(source)
        for bits in own_bits(variant, quantize.bits):
            name = f"level_{level:02d}_{WEIGHT_NAMES[bits]}"
            folder = work / "out" / name
            if is_finished(folder):
                continue
            model = quantized_model(params, corpus, item, bits)
            if variant.weights == "float":
                model.load_state_dict(weights, strict=False)
                model.calibrate(calibration(corpus, params))
                start = masked(fresh_state(model), masks)
                label = f"{item.name} {name}"
                result = train(model, start, train_split, selection, schedule, masks, work / name, label=label)
            else:  # found as integers: nothing is left to train
                model.load_state_dict(weights)
                result = Result(weights, parent["selected_epoch"])
            info = describe(
                item, params, role=parent["role"], level=level, masks=masks, weights=WEIGHT_NAMES[bits], result=result,
                parameters=count_parameters(model), mask_from=f"level_{level:02d}",
            )  # fmt: skip
            write_integer_model(folder, model, masks, result, info, corpus, settings)
    publish(work, INTEGER / item.name)
