"""Judge all runs of a study as one: `python -m stages.judge NAME`, into reports/studies/NAME."""

import argparse
import os
import shutil
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import pandas as pd
import yaml

from integer_tickets.errors import UserError
from integer_tickets.evaluation.answers import merged
from integer_tickets.evaluation.collect import RESULT_COLUMNS
from integer_tickets.evaluation.overlaps import DENSITY_COLUMNS, OVERLAP_COLUMNS, density_rows, load_masks, overlap_rows
from integer_tickets.evaluation.summary import COMPARISON_COLUMNS, comparison_rows
from integer_tickets.files import read_json, write_text
from integer_tickets.params import Params, merge, parse_params
from integer_tickets.report import certificate_figures, layer_figures
from integer_tickets.report.figures import save
from integer_tickets.report.study import MEASURED, Study, read_table
from integer_tickets.report.ticket_figures import of_tickets
from integer_tickets.report.tickets import page
from stages.evaluate import judged, right_answers, sizes_of, write_table
from stages.presets import ROOT, with_preset

PARTS = {
    "controls": {"levels", "kinds"},
    "quantize": {"levels", "bits"},
    "distill": {"levels", "bits"},
    "supermask": {"kinds"},
    "connectivity": {"levels"},
    "adopt": {"attentions"},
    "runtime": {"versions", "autocast"},
}
"""Of these blocks, what may differ from run to run of a study."""
MEASURED_BY = ("name", "seed", "layer", "quantity", "estimator")
"""What tells the rows of a table of measurements apart."""
SAME = ("data", "language", "tokenizer", "model", "train", "prune", "teacher", "lessons", *PARTS)
"""Blocks that are the same in all, besides their variants."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.judge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="of a preset whose runs are in reports/studies/NAME/runs")
    name = parser.parse_args().name
    try:
        judge(parse_params(with_preset(name, []), name), ROOT / "reports" / "studies" / name)
    except UserError as error:
        raise SystemExit(f"judge: {error}") from None


def judge(params: Params, folder: Path) -> None:
    """Write results, summary, comparisons, tables, figures and a page of all runs in `folder / "runs"`."""
    runs = sorted(path for path in (folder / "runs").glob("*") if path.is_dir())
    if not runs:
        raise UserError(f"{folder / 'runs'}: no runs to judge; the first is made by python -m stages.study, with --run")
    new = folder / ".judged.tmp"  # all of it, or nothing where something in it fails
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        write(params, runs, folder / "ablations.csv", new)
        for path in sorted(new.iterdir(), key=lambda path: path.suffix == ".md"):  # the page last
            if path.is_dir():
                shutil.rmtree(folder / path.name, ignore_errors=True)
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(new)
    print(f"{len(runs)} runs judged as one: {folder / 'report.md'}")


def write(params: Params, runs: Sequence[Path], ablations: Path, folder: Path) -> None:
    """What is said of runs into an empty folder; ablations: the table of stages.ablations, if it is there."""
    own = {run.name: check(run / "params.yaml", params) for run in runs}
    narrow = [name for name, parameters in own.items() if parameters.runtime.autocast]
    split, labels, groups, taught = merged(runs)
    statistics = read_json(runs[0] / "statistics.json")
    classes = len(statistics["labels"])
    results, summary = [], []
    for configuration, models in groups.items():
        columns = [model.columns for model in models]
        sizes = {"bits": columns[0]["bits"]} if configuration.stage == "baseline" else sizes_of(columns)
        answers = [(model.columns, {split: model.predictions}) for model in models]
        rows, means = judged(configuration, sizes, answers, {split: labels}, classes, params.evaluate)
        results += [{"corpus": statistics["corpus"], **row} for row in rows]
        summary += means
    right = right_answers((model for models in groups.values() for model in models), labels)
    tickets = load_masks([run / "masks.npz" for run in runs if (run / "masks.npz").exists()])  # older runs have none
    write_table(folder / "results.csv", results, RESULT_COLUMNS)
    write_table(folder / "summary.csv", summary)
    write_table(folder / "comparisons.csv", comparison_rows(right, split, params), COMPARISON_COLUMNS)
    write_table(folder / "overlaps.csv", overlap_rows(tickets), OVERLAP_COLUMNS)
    write_table(folder / "densities.csv", density_rows(tickets), DENSITY_COLUMNS)
    for name, values in (("lines", ["error", "loss"]), ("zeros", ["size", "pruned", "rounded"])):
        frames = [frame for run in runs if len(frame := read_table(run / f"{name}.csv"))]
        frame = pd.concat(frames) if frames else read_table(runs[0] / f"{name}.csv")
        frame = frame.drop_duplicates(list(frame.columns.difference(values)))  # a seed may be in several runs
        write_text(folder / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    read = ("summary", "comparisons", "overlaps", "densities", "lines", "zeros")
    tables = {name: read_table(folder / f"{name}.csv") for name in read}
    whole = [run for run in runs if all((run / f"{name}.csv.gz").exists() for name in MEASURED)]
    for name in MEASURED if whole else ():
        frame = pd.concat([read_table(run / f"{name}.csv.gz") for run in whole], ignore_index=True)
        keys = [column for column in MEASURED_BY if column in frame]
        tables[name] = frame.drop_duplicates(keys, ignore_index=True)  # a network may be in several runs
        if name != "information":  # as long as all else together, and shown in figures
            write_text(folder / f"{name}.csv", tables[name].to_csv(index=False, lineterminator="\n"))
    tables["ablations"] = read_table(ablations) if ablations.exists() else pd.DataFrame()
    study = Study(params, statistics, {}, tables)
    pictures = [layer_figures.pictures(study), certificate_figures.pictures(study)] if whole else [[], []]
    for name, draw in of_tickets(study).items():
        save(draw, folder / "figures" / name)
    for picture in chain(*pictures):
        save(partial(picture.draw, picture.frame), folder / "figures" / picture.name)
    write_text(folder / "report.md", page(study, list(own), narrow, taught, [run.name for run in whole], *pictures))


def check(path: Path, params: Params) -> Params:
    """Those of a run; UserError where they are not the study's, but for what may differ from run to run."""
    # What a later version asks for and no model of the run depends on is that of the study.
    own = parse_params(
        merge(params.model_dump(mode="json"), yaml.safe_load(path.read_text(encoding="utf-8"))), str(path)
    )
    if what := foreign(own, params):
        raise UserError(f"{path}: its {what} is not that of the study; make the run again, or remove it")
    return own


def foreign(own: Params, params: Params) -> str:
    """What of a run is not as in its study, though it must be: a block, or a variant; nothing if all is."""
    for block in SAME:
        free = PARTS.get(block, set())
        if getattr(own, block).model_dump(exclude=free) != getattr(params, block).model_dump(exclude=free):
            return block
    others = (name for name in own.grid.variants if own.variants[name] != params.variants.get(name))
    return next((f"variant {name}" for name in others), "")


if __name__ == "__main__":
    main()
