"""From the models of a study to its tables: means over seeds with intervals, comparisons, training curves."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import numpy as np

from integer_tickets.blocks import Evaluate
from integer_tickets.evaluation.answers import BASELINE
from integer_tickets.evaluation.collect import Configuration, Model
from integer_tickets.evaluation.comparisons import FAMILIES, declared
from integer_tickets.evaluation.metrics import Array, intervals
from integer_tickets.evaluation.statistics import compare, holm
from integer_tickets.params import Params
from integer_tickets.seeds import generator

COMPARISON_COLUMNS = [
    *["family", "question", "a", "b", "attention", "variant", "level", "weights", "split", "difference"],
    *["low", "high", "p", "p_holm", "matching", "within_one_std", "n", "seeds"],
]


def columns_of(configuration: Configuration) -> dict[str, Any]:
    return {"name": configuration.name, **asdict(configuration)}


def summary_rows(
    fixed: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    predictions: Mapping[str, Array],
    labels: Mapping[str, Array],
    classes: int,
    settings: Evaluate,
) -> list[dict[str, Any]]:
    """Mean, standard deviation over seeds and interval of every metric; predictions (seeds, rows) per split.

    `fixed` holds the columns that say which configuration it is, `results` its rows of the tidy table: means and
    deviations are theirs, only the intervals need the predictions.
    """
    rows = []
    for split, predicted in predictions.items():
        # A stream of its own for every configuration, so that none depends on which others there are.
        rng = generator("intervals", settings.seed)
        ends = intervals(labels[split], predicted, classes, settings.bootstrap, settings.confidence, rng)
        seeds, n = predicted.shape
        for name, (low, high) in ends.items():
            values = [row["value"] for row in results if (row["split"], row["metric"]) == (split, name)]
            numbers = {
                "mean": _rounded(np.mean(values)),
                "std": _rounded(np.std(values, ddof=1)) if seeds > 1 else None,
                "low": _rounded(low),
                "high": _rounded(high),
            }
            rows.append({**fixed, "split": split, "metric": name, **numbers, "n": n, "seeds": seeds})
    return rows


def comparison_rows(
    right: Mapping[Configuration, Mapping[int, Array]], split: str, params: Params
) -> list[dict[str, Any]]:
    """Every declared comparison; `right` holds the right answers (rows,) of each configuration on `split` by seed.

    Two models are compared over the seeds that both have, and not where they share none; a baseline, and the network
    with which students begin, stand beside every seed (of runs on several kinds of processors that of the first).
    Holm's correction is over the comparisons of a family whose answers are not those of another one.
    """
    rows, asked, settings = [], [], params.evaluate
    for comparison in declared(right, params):
        a, b = comparison.a, comparison.b
        rng = generator("comparisons", settings.seed)
        single = BASELINE in right[b] or (b.stage == "adopt" and a.stage != "adopt")
        seeds = sorted(right[a] if single else right[a].keys() & right[b].keys())
        if not seeds:
            continue
        one = np.stack([right[a][seed] for seed in seeds])
        other = np.stack([right[b][seed] for seed in (right[b] if single else seeds)])
        rules = settings.bootstrap, settings.confidence, settings.margin
        result = compare(one, other, *rules, rng)
        numbers = {key: _rounded(value) if type(value) is float else value for key, value in asdict(result).items()}
        named = {"family": comparison.family, "question": comparison.question, "a": a.name, "b": b.name}
        rows.append(columns_of(a) | numbers | named | {"split": split, "p": result.p})
        asked.append((comparison.family, *(sha256(side.tobytes()).digest() for side in (one, other))))
    # Variants that differ below level 0 alone have one dense model: that is asked once, whatever it is called.
    distinct = {key: row["p"] for key, row in zip(asked, rows, strict=True)}
    corrected: dict[tuple[Any, ...], float] = {}
    for family in FAMILIES:
        of_family = {key: p for key, p in distinct.items() if key[0] == family}
        corrected |= zip(of_family, holm(list(of_family.values())), strict=True)
    for key, row in zip(asked, rows, strict=True):
        row |= {"p": float(f"{row['p']:.4g}"), "p_holm": float(f"{corrected[key]:.4g}")}
    return rows


def training_rows(model: Model) -> list[dict[str, Any]]:
    """Loss and selection accuracy after each epoch of one training run."""
    fixed = columns_of(model.entry.configuration) | {"seed": model.entry.seed, "run": model.entry.name}
    columns = ("epoch", "loss", "selection_accuracy")
    return [{**fixed, **{column: row[column] for column in columns}} for row in model.history]


def best_final(models: Sequence[Model], labels: Array) -> Model:
    """The integer network to ship: the last stage's most accurate on selection, of equals the smallest."""
    last = "distill" if any(model.entry.configuration.stage == "distill" for model in models) else "quantize"
    final = [model for model in models if model.entry.configuration.stage == last]
    return min(final, key=lambda model: (-float((model.predictions["selection"] == labels).mean()), model.bits or 0))


def _rounded(value: Any) -> float:
    return round(float(value), 6)
