"""Everything that the report is made from, read once, with the questions that tables, figures and text ask of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from integer_tickets.data.statistics import texts_of
from integer_tickets.errors import UserError
from integer_tickets.evaluation.metrics import barrier
from integer_tickets.files import read_json
from integer_tickets.params import Params

TABLES = [
    "summary",
    "comparisons",
    "training",
    "overlaps",
    "densities",
    "lines",
    "operations",
    "bits",
    "zeros",
    "confusion",
]
MEASURED = ("information", "certificates", "mask_bits")
"""Tables of the stages analyze and certify."""
ASIDE = ("controls", "transfer", "connectivity", "supermask")
"""Stages whose models stand beside the ladder."""
TEXT = [
    "name",
    "role",
    "attention",
    "variant",
    "weights",
    "model",
    "actual",
    "predicted",
    "part",
    "number",
    "layer",
    "source",
    "quantity",
    "unit",
    "estimator",
    "flag",
]


@dataclass(frozen=True)
class Study:
    """The tables that the stages evaluate, analyze and certify wrote, the statistics of the corpus, and, of a study
    made in one run, label and text of each row of the headline split."""

    params: Params
    statistics: dict[str, Any]
    agreement: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    texts: Sequence[tuple[str, str]] = ()

    @property
    def split(self) -> str:
        """The split of all headline numbers."""
        return "test" if "test" in self.statistics["splits"] else "validation"

    @property
    def certified(self) -> pd.DataFrame:
        """The certificates of integer networks, without that of the bag of words."""
        rows = self.tables["certificates"]
        return rows[rows["stage"] != "baseline"]

    @property
    def ladders(self) -> list[tuple[str, str]]:
        """Attention and variant of each ladder that there is, in the order of the grid."""
        grid, dense = self.params.grid, self.accuracies(stage="train_dense")
        known = set(zip(dense["attention"], dense["variant"], strict=True))
        every = [(attention, variant) for variant in grid.variants for attention in grid.attentions]
        return [ladder for ladder in every if ladder in known]

    @property
    def variants(self) -> list[str]:
        """Those of the ladders that there are."""
        return list(dict.fromkeys(variant for _, variant in self.ladders))

    def attentions(self, variant: str = "") -> list[str]:
        """Those whose ladders the study has, of a variant or of any."""
        found = {attention for attention, own in self.ladders if variant in ("", own)}
        return [attention for attention in self.params.grid.attentions if attention in found]

    @property
    def controlled(self) -> list[tuple[str, str]]:
        """The ladders that have controls."""
        return [own for own in self.ladders if self.controlled_levels(attention=own[0], variant=own[1])]

    @property
    def connected(self) -> list[tuple[str, str]]:
        """The ladders with second trainings."""
        lines = self.tables["lines"]
        found = set(zip(lines["attention"], lines["variant"], strict=True))
        return [own for own in self.ladders if own in found]

    def beside(self, **place: Any) -> pd.DataFrame:
        """The controls of a ladder, or of one level, and what has a mask from elsewhere."""
        rows = self.accuracies(**place)
        return rows[rows["stage"].isin(["controls", "transfer"])]

    def controlled_levels(self, **place: Any) -> list[int]:
        """The levels of a ladder that have such."""
        return sorted({int(level) for level in self.beside(**place)["level"]})

    def against(self, a: str, b: str) -> pd.Series:
        """The comparison of two models by name. UserError if there is none."""
        rows = select(self.tables["comparisons"], a=a, b=b)
        if len(rows) != 1:
            raise UserError(f"comparisons.csv: {len(rows)} rows of {a} and {b}, expected one; run dvc repro evaluate")
        return rows.iloc[0]

    def accuracies(self, **columns: Any) -> pd.DataFrame:
        """Rows of the summary, accuracy on the headline split, of configurations with these values."""
        return select(self.tables["summary"], split=self.split, metric="accuracy", **columns)

    def accuracy(self, **columns: Any) -> pd.Series:
        """The one such row. UserError if there is none."""
        rows = self.accuracies(**columns)
        if len(rows) != 1:
            raise UserError(f"summary.csv: {len(rows)} rows for {columns}, expected one; run dvc repro evaluate")
        return rows.iloc[0]

    def epochs(self, row: pd.Series) -> int:
        """Passes over the training text between the initial weights and those of this model, by the parameters."""
        params = self.params
        if row["stage"] == "teacher":
            return params.teacher.epochs
        aligned = params.adopt.passes if params.train.adopted else 0
        if row["stage"] == "adopt":
            return aligned
        epochs = aligned + (params.variants[row["variant"]].epochs or params.train.epochs)
        if row["stage"] in ("quantize", "distill") and params.variants[row["variant"]].weights == "float":
            epochs += params.quantize.epochs
        return epochs + (params.distill.epochs if row["stage"] == "distill" else 0)

    def matching(self, attention: str, variant: str) -> tuple[int, list[int]]:
        """The last level whose ticket matches its dense model, 0 if none does; the levels above it that do not."""
        found = self.compared("pruning", attention=attention, variant=variant)
        last = int(found.loc[found["matching"], "level"].max()) if found["matching"].any() else 0
        return last, [int(level) for level in found.loc[~found["matching"], "level"] if level < last]

    def barriers(self) -> pd.DataFrame:
        """Attention, variant, level, seed, and the barriers between two trainings in error (a fraction) and nats."""
        columns = ["attention", "variant", "level", "seed"]
        rows = [
            dict(zip(columns, place, strict=True)) | {what: barrier(line[what].tolist()) for what in ("error", "loss")}
            for place, line in self.tables["lines"].groupby(columns, sort=False)
        ]
        return pd.DataFrame(rows, columns=[*columns, "error", "loss"])

    def rewind_steps(self) -> dict[str, int]:
        """The rewind step of each variant with barriers that differs from another one in that step alone."""
        found = {name: self.params.variants[name] for name in self.tables["lines"]["variant"].unique()}
        others = {name: str(variant.model_copy(update={"rewind": 0})) for name, variant in found.items()}
        alike = Counter(others.values())
        return {name: variant.rewind for name, variant in found.items() if alike[others[name]] > 1}

    def compared(self, family: str, **columns: Any) -> pd.DataFrame:
        return select(self.tables["comparisons"], family=family, **columns)


def select(frame: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """The rows that have these values."""
    for column, value in columns.items():
        frame = frame[frame[column] == value]
    return frame


def read_table(path: Path) -> pd.DataFrame:
    """A table of the stage evaluate; text columns hold "" where nothing is, numbers NaN."""
    try:
        columns = pd.read_csv(path, nrows=0).columns
        types = {column: str for column in columns if column in TEXT}
        return pd.read_csv(
            path, dtype=types, keep_default_na=False, na_values={c: [""] for c in columns.difference(TEXT)}
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run dvc repro") from None


def read_study(params: Params, artifacts: Path) -> Study:
    evaluation, statistics = artifacts / "evaluation", read_json(artifacts / "data" / "statistics.json")
    found = Study(
        params,
        statistics,
        read_json(evaluation / "agreement.json"),
        {name: read_table(evaluation / f"{name}.csv") for name in TABLES}
        | {
            "certificates": read_table(artifacts / "certificates.csv"),
            "mask_bits": read_table(artifacts / "mask_bits.csv"),
            "information": pd.concat(map(read_table, sorted((artifacts / "information").glob("*.csv")))),
        },
    )
    held_out = pd.read_parquet(artifacts / "data" / f"{found.split}.parquet")
    labels = [statistics["labels"][label] for label in held_out["label"]]
    texts = [text if isinstance(text, str) else " / ".join(text) for text in texts_of(held_out)]
    return replace(found, texts=list(zip(labels, texts, strict=True)))
