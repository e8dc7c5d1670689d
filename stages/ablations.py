"""What a recipe gives with one thing changed: `python -m stages.ablations NAME --data DIR --run PART_N`.

The dense networks of a run that is kept, of one seed, are trained again with each of the changes that the preset has
under `ablations`, and compared with what they were: rows of reports/studies/NAME/ablations.csv, a table on its page.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from integer_tickets.data.corpus import load_corpus
from integer_tickets.errors import UserError
from integer_tickets.evaluation.answers import load_answers
from integer_tickets.evaluation.collect import Configuration, Entry, expected, read_model
from integer_tickets.evaluation.statistics import compare
from integer_tickets.files import read_json, write_text
from integer_tickets.params import Params, merge, parse_params
from integer_tickets.seeds import generator
from stages.judge import check, judge
from stages.presets import ROOT, read_preset, with_preset
from stages.run import JOBS
from stages.study import work

FILE = "ablations.csv"
KEYS = ["ablation", "attention", "variant", "seed"]
NUMBERS = ["difference", "low", "high", "p", "n"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.ablations", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="a preset with ablations")
    parser.add_argument("--data", type=Path, help="folder with the corpus, where the preset's source is files")
    parser.add_argument("--run", metavar="PART_N", required=True, help="the run to compare with, of one seed")
    parser.add_argument("-j", "--jobs", type=int, default=2, choices=range(1, 65), metavar="N", help=JOBS)
    parser.add_argument("ablations", nargs="*", help="which of them (default: all)")
    arguments = parser.parse_intermixed_args()
    try:
        known = read_preset(arguments.name).ablations
        if not known:
            raise UserError(f"presets/{arguments.name}.yaml names no ablations")
        for ablation in arguments.ablations or known:
            if ablation not in known:
                raise UserError(f"{ablation}: the ablations of presets/{arguments.name}.yaml are {', '.join(known)}")
        out = ROOT / "reports" / "studies" / arguments.name
        run = out / "runs" / arguments.run
        checkout = ROOT / ".study" / f"{arguments.name}-ablations"
        study = parse_params(with_preset(arguments.name, []), arguments.name)
        for ablation in arguments.ablations or known:
            values = merge(with_preset(arguments.name, [], arguments.run), known[ablation])
            params = parse_params(values, f"{ablation} of presets/{arguments.name}.yaml")
            base = base_of(params, checkout, run, study)
            work(checkout, values, params.data, arguments.data, arguments.jobs, ["prepare"])
            check_texts(checkout, base)
            targets = [f"train_dense@{entry.folder.parts[-3]}" for entry in dense(params, checkout)]
            work(checkout, values, params.data, arguments.data, arguments.jobs, targets)
            said = {"ablation": ablation, "changes": "; ".join(described(known[ablation]))}
            rows = [said | row for row in compared(params, checkout, base)]
            keep(out / FILE, rows, list(known))
        judge(study, out)
    except UserError as error:
        raise SystemExit(f"ablations: {error}") from None


class Base(NamedTuple):
    """A run that is kept: its headline split, the labels there (rows,), how many classes, and what each network got
    right (rows,), by configuration and seed."""

    split: str
    labels: NDArray[np.int64]
    classes: int
    kept: dict[tuple[Configuration, int], NDArray[np.bool_]]


def dense(params: Params, checkout: Path) -> list[Entry]:
    """The dense networks that the parameters call for."""
    return [entry for entry in expected(params, checkout / "artifacts") if entry.configuration.stage == "train_dense"]


def described(changes: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Each as in `train.epochs = 4`."""
    for name, value in changes.items():
        if isinstance(value, dict):
            yield from described(value, f"{path}{name}.")
        else:
            yield f"{path}{name} = {value}"


def base_of(params: Params, checkout: Path, run: Path, study: Params) -> Base:
    """UserError where the run is not there, is not as the study, or lacks one of the dense networks."""
    if not run.exists():
        raise UserError(f"{run}: no such run of the study; make it first")
    check(run / "params.yaml", study)
    split, labels, answers = load_answers(run)
    kept = {(answer.configuration, answer.seed): answer.predictions == labels for answer in answers}
    for entry in dense(params, checkout):
        if (entry.configuration, entry.seed) not in kept:
            raise UserError(f"{run}: it has no {entry.name}; make that run first")
    return Base(split, labels, len(read_json(run / "statistics.json")["labels"]), kept)


def check_texts(checkout: Path, base: Base) -> None:
    """UserError where the labels of the corpus in the checkout are not those that the run was judged by."""
    own = load_corpus(checkout / "artifacts" / "data").splits
    if base.split not in own or not np.array_equal(own[base.split].labels, base.labels):
        raise UserError(f"the {base.split} of this corpus has other labels than the run has answered; name its --data")


def compared(params: Params, checkout: Path, base: Base) -> Iterator[dict[str, Any]]:
    """The dense networks in the checkout against those of the run, on its headline split."""
    split, labels, classes, kept = base
    settings = params.evaluate
    for entry in dense(params, checkout):
        right = read_model(entry, {split: len(labels)}, classes).predictions[split] == labels
        rules = settings.bootstrap, settings.confidence, settings.margin
        before = kept[entry.configuration, entry.seed]
        found = asdict(compare(right[None], before[None], *rules, generator("comparisons", settings.seed)))
        place = {"attention": entry.configuration.attention, "variant": entry.configuration.variant}
        named = place | {"seed": entry.seed, "split": split, "accuracy": round(float(right.mean()), 6)}
        yield named | {name: round(found[name], 6) for name in NUMBERS}


def keep(path: Path, rows: list[dict[str, Any]], order: list[str]) -> None:
    """Add rows to a table, in place of those there of the same networks; ablations in the order of the preset, those
    that it no longer has not at all."""
    frame = pd.DataFrame(rows)
    if path.exists():
        frame = pd.concat([pd.read_csv(path, keep_default_na=False), frame]).drop_duplicates(KEYS, keep="last")
    frame = frame[frame["ablation"].isin(order)].sort_values(
        KEYS, key=lambda column: column.map(order.index) if column.name == KEYS[0] else column
    )
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    main()
