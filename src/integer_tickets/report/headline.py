"""The few flat metrics that DVC shows and compares between branches: reports/metrics.json."""

from typing import Any

from integer_tickets.blocks import WEIGHT_NAMES, own_bits
from integer_tickets.report.study import Study


def metrics(study: Study) -> dict[str, float]:
    """Accuracies on the headline split and bits of final tickets, means over seeds, by a name that stays.

    ATTENTION_WEIGHTS_..., or ATTENTION_VARIANT_WEIGHTS_... for variants other than `float`. `ticket` and `distilled`
    without a level are those of the last level that is quantized, or distilled; where that is level 0, they are called
    `dense_quantized` and `dense_distilled`. `sparsest_matching_level` is 0 where no ticket matches its dense model.
    """
    params = study.params
    found: dict[str, float] = {}

    def accuracy(name: str, **columns: Any) -> None:
        found[f"{name}_accuracy"] = round(float(study.accuracy(**columns)["mean"]), 4)

    accuracy("teacher", stage="teacher")
    for role in study.accuracies(stage="baseline")["role"]:
        accuracy(role, stage="baseline", role=role)
    levels = sorted({*(part.level for part in params.quantize.levels), params.grid.levels} - {0})
    for attention, variant in study.ladders:
        place = {"attention": attention, "variant": variant}
        settings = params.variants[variant]
        name = attention if variant == "float" else f"{attention}_{variant}"
        trained = f"{name}_{settings.weights}"
        accuracy(f"{trained}_dense", stage="train_dense", **place)
        for level in levels:
            accuracy(f"{trained}_ticket_level_{level}", stage="prune_rewind", level=level, **place)
        found[f"{trained}_sparsest_matching_level"] = study.matching(attention, variant)[0]
        for stage, of_ticket, of_dense, block in (
            ("quantize", "ticket", "dense_quantized", params.quantize),
            ("distill", "distilled", "dense_distilled", params.distill),
        ):
            level = max(part.level for part in block.levels)
            role = of_ticket if level else of_dense
            for bits in own_bits(settings, block.bits):
                last = {**place, "stage": stage, "level": level, "weights": WEIGHT_NAMES[bits]}
                accuracy(f"{name}_{WEIGHT_NAMES[bits]}_{role}", **last)
                if stage == "distill":
                    found[f"{name}_{WEIGHT_NAMES[bits]}_{role}_bits"] = round(study.accuracy(**last)["bits"])
    return found
