"""How a page sets tables and numbers: Markdown and plain text, percent, points, metrics."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

METRICS = {"accuracy": "accuracy %", "f1": "F1", "matthews": "Matthews correlation"}
"""How tables call a metric, by its name in results.csv."""
LONG = 40
"""Rows beyond which a table is folded on a page."""


@dataclass(frozen=True)
class Table:
    """The first column is text, the others are set to the right; a long one is folded on a page."""

    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        table = "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)
        if len(self.rows) <= LONG:
            return table
        title = f"{len(self.rows)} rows: {self.header[0]}, {', '.join(self.header[1:])}"
        return f"<details><summary>{title}</summary>\n\n{table}\n\n</details>"

    def text(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        lines.insert(1, ["-" * width for width in widths])
        first = f"{{:<{widths[0]}}}"
        form = "  ".join([first, *(f"{{:>{width}}}" for width in widths[1:])])
        return "\n".join(form.format(*line) for line in lines)


def percent(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f}"


def points(value: float) -> str:
    """A difference of two fractions in percentage points."""
    return f"{100 * value:+.2f}"


def spread(row: pd.Series) -> str:
    """Mean and standard deviation over seeds in percent."""
    return percent(row["mean"]) + ("" if pd.isna(row["std"]) else f" ± {percent(row['std'])}")


def interval(row: pd.Series) -> str:
    return f"{percent(row['low'])} to {percent(row['high'])}"


def kilobytes(bits: float) -> str:
    return "" if pd.isna(bits) else f"{bits / 8000:.1f}"


def probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def score(metric: str, value: float) -> str:
    return percent(value) if metric == "accuracy" else f"{value:.3f}"


def yes(value: Any) -> str:
    return "yes" if value in (True, "True") else "no"
