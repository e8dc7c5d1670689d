"""Stage evaluate: every model of the study judged; baselines, comparisons, costs, and integer networks run again."""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from integer_tickets.benchmark.energy import cost_rows
from integer_tickets.benchmark.operations import (
    Shape,
    average,
    dense_bytes,
    dense_operations,
    integer_bytes,
    integer_operations,
)
from integer_tickets.blocks import Evaluate
from integer_tickets.data.corpus import load_corpus
from integer_tickets.data.statistics import texts_of
from integer_tickets.evaluation.agreement import agreement
from integer_tickets.evaluation.answers import BASELINE, Answers, save_answers
from integer_tickets.evaluation.baselines import Baseline, bayes, majority, tfidf
from integer_tickets.evaluation.collect import (
    RESULT_COLUMNS,
    Configuration,
    Model,
    describe,
    expected,
    masks,
    read_model,
    result_rows,
    stale,
)
from integer_tickets.evaluation.metrics import Array
from integer_tickets.evaluation.overlaps import (
    DENSITY_COLUMNS,
    OVERLAP_COLUMNS,
    Place,
    Tickets,
    density_rows,
    overlap_rows,
    save_masks,
)
from integer_tickets.evaluation.summary import (
    COMPARISON_COLUMNS,
    best_final,
    columns_of,
    comparison_rows,
    summary_rows,
    training_rows,
)
from integer_tickets.files import replacing, write_json, write_text
from integer_tickets.integer import artefact
from integer_tickets.integer.network import zeros as zeros_of
from integer_tickets.params import Params, load_params

ARTIFACTS = Path("artifacts")
OUT = ARTIFACTS / "evaluation"
LINE_COLUMNS = ["name", "attention", "variant", "level", "seed", "share", "error", "loss"]
DIGITS = 6
SAMPLE = 64  # sentences on which every integer network is run again


def main() -> None:
    params = load_params()
    remove_stale(params)
    corpus = load_corpus(ARTIFACTS / "data")
    splits = {name: split for name, split in corpus.splits.items() if name != "train"}
    labels = {name: split.labels for name, split in corpus.splits.items()}
    headline = "test" if "test" in splits else "validation"
    rows, classes = {name: len(split) for name, split in splits.items()}, len(corpus.labels)

    models = [read_model(entry, rows, classes) for entry in expected(params, ARTIFACTS)]
    networks = [model for model in models if model.entry.configuration.stage in ("quantize", "distill")]
    agreed = agreement(networks, headline, splits[headline], SAMPLE, params.evaluate.seed)

    groups: dict[Configuration, list[Model]] = defaultdict(list)
    for model in models:
        groups[model.entry.configuration].append(model)
    found: list[dict[str, Any]] = []
    summary: list[dict[str, Any]] = []
    answers: list[Answers] = []

    def judge(
        configuration: Configuration, sizes: dict[str, Any], runs: dict[int, tuple[dict[str, Any], dict[str, Array]]]
    ) -> None:
        """`runs`: of each seed the columns that say which model it is, and its predictions (rows,) of each split."""
        rows_of, means = judged(configuration, sizes, list(runs.values()), labels, classes, params.evaluate)
        found.extend(rows_of)
        summary.extend(means)
        answers.extend(
            Answers(configuration, seed, fixed, predicted[headline]) for seed, (fixed, predicted) in runs.items()
        )

    for configuration, group in groups.items():
        runs = {model.entry.seed: (describe(model), model.predictions) for model in group}
        judge(configuration, sizes_of([fixed for fixed, _ in runs.values()]), runs)
    for baseline in baselines(labels):
        fixed = {"role": baseline.name, "bits": baseline.bits}
        judge(Configuration("baseline", baseline.name), fixed, {BASELINE: (fixed, baseline.predictions)})

    best = best_final(networks, labels["selection"])
    pairs = zip(labels[headline].tolist(), best.predictions[headline].tolist(), strict=True)
    costs, parts, zeros = cost_tables(networks, params, classes, splits[headline].lengths)
    corpus_name = corpus.statistics["corpus"]
    with replacing(OUT) as out:
        write_table(out / "results.csv", ({"corpus": corpus_name, **row} for row in found), RESULT_COLUMNS)
        write_table(out / "summary.csv", summary)
        right = right_answers(answers, labels[headline])
        write_table(out / "comparisons.csv", comparison_rows(right, headline, params), COMPARISON_COLUMNS)
        save_answers(out, headline, labels[headline], answers)
        write_table(out / "training.csv", (row for model in models for row in training_rows(model)))
        tickets = tickets_of(groups)
        save_masks(out / "masks.npz", tickets)
        write_table(out / "overlaps.csv", overlap_rows(tickets), OVERLAP_COLUMNS)
        write_table(out / "densities.csv", density_rows(tickets), DENSITY_COLUMNS)
        write_table(out / "lines.csv", (row for model in models for row in line_rows(model)), LINE_COLUMNS)
        write_table(out / "operations.csv", costs)
        write_table(out / "bits.csv", parts)
        write_table(out / "zeros.csv", zeros)
        names = corpus.labels
        rows_of_best = ({"actual": names[a], "predicted": names[p], "model": best.entry.name} for a, p in sorted(pairs))
        write_table(out / "confusion.csv", rows_of_best)
        write_json(out / "agreement.json", agreed)
        write_text(out / "finished", "finished\n")  # never changes: what benchmark waits for
        shutil.rmtree(OUT, ignore_errors=True)
    accuracy = 100 * (best.predictions[headline] == labels[headline]).mean()
    print(f"{len(models)} models evaluated; the one to ship: {best.entry.name}, {accuracy:.2f} % right on {headline}")


def judged(
    configuration: Configuration,
    sizes: Mapping[str, Any],
    runs: Sequence[tuple[dict[str, Any], dict[str, Array]]],
    labels: Mapping[str, Array],
    classes: int,
    settings: Evaluate,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of results and of the summary; `runs`: of each seed its columns, and its predictions (rows,) by split."""
    rows = [row for fixed, predicted in runs for row in result_rows(fixed, predicted, labels, classes)]
    predictions = {split: np.stack([predicted[split] for _, predicted in runs]) for split in runs[0][1]}
    fixed = {**columns_of(configuration), **sizes}
    return rows, summary_rows(fixed, rows, predictions, labels, classes, settings)


def sizes_of(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean density and bits of the models of one configuration."""
    bits = [model["bits"] for model in models if model["bits"] is not None]
    return {
        "density": round(float(np.mean([model["density"] for model in models])), 6),
        "bits": round(float(np.mean(bits))) if bits else None,
    }


def right_answers(answers: Iterable[Answers], labels: Array) -> dict[Configuration, dict[int, Array]]:
    found: dict[Configuration, dict[int, Array]] = defaultdict(dict)
    for model in answers:
        found[model.configuration][model.seed] = model.predictions == labels
    return found


def remove_stale(params: Params) -> None:
    """Outputs of an earlier grid would become part of what this stage depends on."""
    left_over = stale(params, ARTIFACTS)
    for path in left_over:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if left_over:
        print(f"removed what params.yaml does not name: {', '.join(map(str, left_over))}")


def baselines(labels: Mapping[str, Array]) -> list[Baseline]:
    frames = {name: pd.read_parquet(ARTIFACTS / "data" / f"{name}.parquet") for name in labels}
    found = [majority(labels), tfidf({name: texts_of(frame) for name, frame in frames.items()}, labels)]
    if "score" in frames["train"]:
        found.append(bayes({name: frame["score"].to_numpy() for name, frame in frames.items()}))
    return found


def tickets_of(groups: Mapping[Configuration, list[Model]]) -> Tickets:
    found: Tickets = {}
    for name, group in groups.items():
        if name.stage in ("prune_rewind", "transfer") and name.level is not None:
            source = name.role.removeprefix("from_") if name.stage == "transfer" else ""
            place = Place(name.attention, name.variant, name.level, source)
            found[place] = {model.entry.seed: masks(model.entry) for model in group}
    return found


def line_rows(model: Model) -> Iterable[dict[str, Any]]:
    """Errors on the line between a model and its second training, where it is one."""
    if model.entry.configuration.stage == "connectivity":
        fixed = columns_of(model.entry.configuration) | {"seed": model.entry.seed}
        for row in pd.read_csv(model.entry.folder / "line.csv").to_dict("records"):
            yield {**fixed, **{str(column): value for column, value in row.items()}}


def cost_tables(
    networks: list[Model], params: Params, classes: int, lengths: Array
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """What a sentence of these lengths costs each integer network and the dense float peer; bits of files; zeros."""
    model = params.model
    shape = Shape(model.width, model.layers, model.heads, model.hidden, classes)
    peer = Configuration("peer", "dense", "softmax", "", 0, "float")
    operations = average(partial(dense_operations, shape), lengths)
    costs = [columns_of(peer) | row for row in cost_rows(operations, dense_bytes(shape, lengths.mean()))]
    bits, zeros = [], []
    for one in networks:
        path = one.entry.folder / "ticket.safetensors"
        network = artefact.load(path).network
        fixed = columns_of(one.entry.configuration) | {"seed": one.entry.seed}
        operations = average(partial(integer_operations, network), lengths)
        costs += [fixed | row for row in cost_rows(operations, integer_bytes(network, lengths.mean()))]
        bits += [fixed | {"part": part, "bits": count} for part, count in artefact.bits_breakdown(path).items()]
        zeros.append(fixed | asdict(zeros_of(network)))
    return costs, bits, zeros


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: list[str] | None = None) -> None:
    frame = pd.DataFrame(list(rows), columns=columns, dtype=object)
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def rounded(value: Any) -> Any:
    """Of a table's cells, numbers that are no integers: to so many digits that every machine agrees."""
    return round(float(value), DIGITS) if isinstance(value, float | np.floating) else value
