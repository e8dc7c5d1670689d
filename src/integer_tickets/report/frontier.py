"""The page that sets tickets of SST-2 beside what others reach with as many bits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from integer_tickets.evaluation.comparisons import FAMILIES
from integer_tickets.files import write_text
from integer_tickets.report.figures import COLOURS, GREY, MARKERS, save, size_axis
from integer_tickets.report.formats import Table, percent, points

MEGABIT = 1e6


@dataclass(frozen=True)
class Published:
    """A model of the literature: accuracy in percent on a split of SST-2, and the bits of all its weights."""

    name: str
    megabits: float
    accuracy: float
    split: str
    source: str


LITERATURE = (
    Published("BERT-base, fp32", 3340, 93.2, "validation", "arXiv 2012.15701; 418 MB"),
    Published("DistilBERT, fp32", 2112, 91.3, "validation", "arXiv 1910.01108; 66 million weights"),
    Published("InhibiDistilbert, fp32", 2112, 91.0, "validation", "arXiv 2503.15983; 66 million weights"),
    Published("DistilBERT, int8", 545, 90.4, "validation", "Intel Neural Compressor, model card"),
    Published("Prune-OFA DistilBERT, 90 % sparse, int8", 267, 90.0, "validation", "arXiv 2111.05754; bits by count"),
    Published(
        "MiniLM, 6 layers of 384, int8", 182, 91.5, "validation", "arXiv 2002.10957; fp32 accuracy, bits by count"
    ),
    Published("BinaryBERT 1-1-4", 132, 92.3, "validation", "arXiv 2012.15701; 16.5 MB"),
    Published("TinyBERT, 4 layers of 312, int8", 115, 92.6, "test", "arXiv 1909.10351; fp32 accuracy, bits by count"),
    Published("BiT 1-1-1", 107, 89.9, "validation", "arXiv 2205.13016; 13.4 MB"),
    Published("BiT 1-1-1, augmented text", 107, 92.3, "validation", "arXiv 2205.13016; 13.4 MB"),
    Published("BERT-mini, int8", 89, 85.9, "test", "arXiv 1908.08962; fp32 accuracy, bits by count"),
    Published("BERT-tiny, int8", 35, 83.2, "test", "arXiv 1908.08962; fp32 accuracy, bits by count"),
)
COLUMNS = ["name", "kind", "attention", "study", "route", "bits", "accuracy", "low", "high", "seeds", "split", "source"]
BARS = ((5, 0.84, 0.845, 3), (10, 0.86, 0.87, 3), (20, 0.88, 0.89, 3), (40, 0.89, 0.91, 1))
"""What tickets of so many Mbit should reach at least, what would be better, as the mean of how many seeds."""
CONDITIONS = {"attention": 0.01, "quantization": 0.005, "found in integers": 0.005}
"""How far below the other a model may be, by the family of the comparison; as the bars, set before any was found."""

INTRODUCTION = """# Accuracy against bits on SST-2

Made by `python -m stages.frontier --data FOLDER` from the [studies](studies): integer networks of every preset on
SST-2, whole files counted, vocabulary included. Beside them what was measured here on the same texts (a bag of words,
fastText, Model2Vec), its settings chosen on the selection split, and what the literature says, where it gives bits or a
number of weights. Accuracies are those on the 872 sentences of validation (standard error about 1.3 points at 82 %, 1.0
at 90), of some published ones those on test, as marked. *On the front*: no ticket and nothing measured here has more
accuracy with as few bits. fastText gives other numbers when it is run again, by about a point, whatever its seed.
Files of `sst2` and of three runs of `sst2_tickets` were written before the format coded its tensors, and would be
smaller now (docs/studies.md, "Sizes").
"""

AIMS = """The most accurate Inhibitor ticket within each size, of those with as many seeds as a bar asks for (3, for the
largest 1), and above it a better one that has fewer. It is found by looking at validation, which flatters it a little.
Bars and goals were set before any ticket was found. Seeds of students that begin with an encoder's weights differ,
within a run, in the order of the texts alone.
"""
BESIDE = """Of students that begin with the weights of an encoder: Inhibitor attention should be at most 1.0 points
below softmax under the same recipe and bits; an integer network at most 0.5 below its float parent, and one found in
integers at most 0.5 below a float one quantized later.
"""


def front(rows: pd.DataFrame) -> pd.Series:
    """Whether a row is the most accurate of all that need as few bits; ties go to the smaller."""
    ordered = rows.sort_values(["bits", "accuracy"], ascending=[True, False], kind="stable")
    before = ordered["accuracy"].cummax().shift(fill_value=-1.0)
    return (ordered["accuracy"] > before).reindex(rows.index)


def published() -> pd.DataFrame:
    rows = [
        {"name": own.name, "kind": "published", "bits": own.megabits * MEGABIT, "accuracy": own.accuracy / 100}
        | {"split": own.split, "source": own.source}
        for own in LITERATURE
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def write_page(
    rows: pd.DataFrame, compared: pd.DataFrame, ablated: Iterable[str], absent: Mapping[str, str], path: Path
) -> None:
    """The page, and its figure beside it; rows as in COLUMNS, kind `ticket`, `measured` or `published`.

    compared: rows of comparisons.csv, with their study, of studies whose students begin with the weights of an encoder.
    ablated: the studies that have ablations.
    """
    own = rows[rows["kind"] != "published"]
    marked = rows.assign(front=front(own).reindex(rows.index, fill_value=False)).sort_values("bits", kind="stable")
    parts = [INTRODUCTION, "![Accuracy against bits](frontier.svg)\n", _table(marked).markdown()]
    parts += [f"\nAbsent: {name} ({why})." for name, why in absent.items()]
    parts += ["\n## What was aimed at\n", AIMS, _bars(rows[rows["kind"] == "ticket"]).markdown()]
    tried = [f"[{study}](studies/{study}/report.md#ablations)" for study in ablated]
    parts += ["", f"What each part of a recipe gives, and what else was tried: {', '.join(tried)}."] if tried else []
    parts += ["", BESIDE, _conditions(compared).markdown()]
    write_text(path, "\n".join(parts) + "\n")
    save(partial(figure, marked), path.with_suffix(""))


def _table(rows: pd.DataFrame) -> Table:
    body = []
    for _, row in rows.iterrows():
        interval = "" if pd.isna(row["low"]) else f"{percent(row['low'])} to {percent(row['high'])}"
        where = link(row["study"]) if row["kind"] == "ticket" else row["source"]
        split = "" if row["split"] == "validation" else f" ({row['split']})"
        accuracy = percent(row["accuracy"]) + split
        mark = "yes" if row["front"] else ""
        body.append([row["name"], f"{row['bits'] / MEGABIT:,.2f}", accuracy, interval, mark, where])
    return Table(["model", "Mbit", "accuracy %", "95 % interval", "on the front", "from"], body)


def link(study: str) -> str:
    """From a page in reports/ to that of a study."""
    return f"[{study}](studies/{study}/report.md)"


def _bars(tickets: pd.DataFrame) -> Table:
    """The best Inhibitor ticket within each size beside what it should reach."""
    body = []
    inhibitors = tickets[tickets["attention"] == "inhibitor"]
    for megabits, bar, goal, seeds in BARS:
        small = inhibitors[inhibitors["bits"] <= megabits * MEGABIT]
        ordered = small.sort_values(["accuracy", "bits"], ascending=[False, True], kind="stable")
        enough = ordered[ordered["seeds"] >= seeds]
        # The best with enough seeds, and above it the best of all where that has fewer.
        shown = pd.concat([ordered.head(1), enough.head(1)]).drop_duplicates()
        for _, best in shown.iterrows():
            reached = "goal" if best["accuracy"] >= goal else "bar" if best["accuracy"] >= bar else "no"
            reached += "" if best["seeds"] >= seeds else f", by {best['seeds']:.0f} of {seeds} seeds"
            name = f"{best['name']}, {best['bits'] / MEGABIT:,.2f} Mbit"
            cells = [percent(best["accuracy"]), f"{best['seeds']:.0f}", best["route"], reached]
            body.append([f"{megabits}", percent(bar), percent(goal), name, *cells])
        if enough.empty:
            body.append([f"{megabits}", percent(bar), percent(goal), f"none of {seeds} seeds", "", "", "", "no"])
    return Table(["Mbit", "bar %", "goal %", "best ticket", "accuracy %", "seeds", "how", "reached"], body)


def _conditions(compared: pd.DataFrame) -> Table:
    body = []
    for family, most in CONDITIONS.items():
        found = compared[compared["family"] == family]
        if found.empty:
            body.append([f"{FAMILIES[family]} Not measured yet.", "", "", "", "", points(-most), ""])
        for _, row in found.iterrows():
            reached = "yes" if row["difference"] >= -most else "no"
            interval = f"{points(row['low'])} to {points(row['high'])}"
            cells = [link(row["study"]), points(row["difference"]), interval, f"{row['seeds']:.0f}", points(-most)]
            body.append([f"{row['a']} against {row['b']}", *cells, reached])
    return Table(["comparison", "study", "points", "95 % interval", "seeds", "at least", "reached"], body)


def figure(rows: pd.DataFrame) -> Figure:
    """Accuracy by size: tickets of both attentions, what was measured beside them, what is published."""
    drawn = Figure(figsize=(9.0, 5.2), layout="constrained")
    axes = drawn.subplots()
    for attention, colour in COLOURS.items():
        own = rows[rows["attention"] == attention].sort_values("bits")
        _points(axes, own, f"{attention} tickets", MARKERS[attention], colour)
    _points(axes, rows[rows["kind"] == "measured"], "measured here", "D", "#009E73", slant=-30)
    _points(axes, rows[rows["kind"] == "published"], "published", "x", GREY, slant=0)
    best = rows[rows["front"]].sort_values("bits")
    axes.step(best["bits"] / MEGABIT, 100 * best["accuracy"], where="post", color=GREY, lw=0.8, zorder=0, label="front")
    axes.set_xlim(rows["bits"].min() / MEGABIT / 8, 3 * rows["bits"].max() / MEGABIT)  # room for names
    axes.set_ylim(axes.get_ylim()[0] - 1)  # likewise
    size_axis(axes)
    axes.set_xlabel("size of the whole model, Mbit (log scale)")
    axes.set_ylabel("accuracy on SST-2, %")
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    return drawn


def _points(axes: Axes, rows: pd.DataFrame, label: str, marker: str, colour: str, slant: float | None = None) -> None:
    """slant: of the names, in degrees; None: without names."""
    if rows.empty:
        return
    x, y = (rows["bits"] / MEGABIT).tolist(), (100 * rows["accuracy"]).tolist()
    axes.scatter(x, y, marker=marker, color=colour, s=28, label=label, zorder=2)
    for name, at, height in zip(rows["name"], x, y, strict=True) if slant is not None else ():
        # On the left where another point would be under the name, and away from the names of points nearly as high.
        others = [(o, its) for o, its in zip(x, y, strict=True) if at / 1.8 < o < 1.8 * at and abs(height - its) < 0.5]
        taken = not slant and any(o > at for o, _ in others)
        rise = 0 if slant else 4 * (any(its < height for _, its in others) - any(its > height for _, its in others))
        short = name.replace(" words and pairs", "").replace(" quantized,", "").removesuffix(", logistic regression")
        axes.annotate(
            short, (at, height), (-5 if taken else 5, rise - 3), textcoords="offset points",
            ha="right" if taken else "left", rotation=slant, rotation_mode="anchor", fontsize=6.5, color=colour,
        )  # fmt: skip
