"""Stage distill: the quantized tickets trained on with the teacher's soft labels into the final integer networks."""

from integer_tickets.data.corpus import load_corpus
from integer_tickets.params import WEIGHT_NAMES, load_params, own_bits
from integer_tickets.training.loop import Schedule, SoftLabels, train
from integer_tickets.training.state import fresh_state, load_tensors, masked
from stages.integer_models import quantized_model, write_integer_model
from stages.models import (
    DATA,
    DISTILLED,
    INTEGER,
    TEACHER,
    count_parameters,
    describe,
    is_finished,
    item_from_arguments,
    prepare_torch,
    read_float_model,
)
from stages.runner import publish, work_folder


def main() -> None:
    params = load_params()
    item = item_from_arguments("distill", params)
    prepare_torch(params)
    variant, distill = params.variants[item.variant], params.distill
    names = [
        f"level_{level:02d}_{WEIGHT_NAMES[bits]}"
        for level in distill.levels
        for bits in own_bits(variant, distill.bits)
    ]
    sources = [INTEGER / item.name / name for name in names]
    settings = [str(part) for part in (variant, params.runtime, params.model, params.train, params.quantize, distill)]
    work = work_folder("distill", item.name, settings, [DATA, TEACHER, *sources])

    corpus = load_corpus(DATA)
    train_split, selection = corpus.splits["train"], corpus.splits["selection"]
    soft = SoftLabels(load_tensors(TEACHER / "logits.safetensors")[0]["train"], distill.temperature, distill.hard)
    rest = params.train.warmup, params.train.weight_decay, item.seed
    schedule = Schedule(distill.epochs, params.train.batch, distill.lr, *rest)
    for name, source in zip(names, sources, strict=True):
        folder = work / "out" / name
        if is_finished(folder):
            continue
        weights, masks, parent = read_float_model(source, "master.safetensors")
        bits = next(bits for bits, weight in WEIGHT_NAMES.items() if weight == parent["weights"])
        model = quantized_model(params, corpus, item, bits)
        model.load_state_dict(weights)
        start = masked(fresh_state(model), masks)
        label = f"{item.name} {name} distilled"
        result = train(model, start, train_split, selection, schedule, masks, work / name, soft=soft, label=label)
        info = describe(
            item, params, role=parent["role"], level=parent["level"], masks=masks, weights=parent["weights"],
            result=result, parameters=count_parameters(model), mask_from=parent["mask_from"], distilled=True,
        )  # fmt: skip
        write_integer_model(folder, model, masks, result, info, corpus, settings)
    publish(work, DISTILLED / item.name)
