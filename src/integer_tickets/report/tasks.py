"""The page of the standard tasks: final Inhibitor networks of every study beside what is cheap to have."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from integer_tickets.errors import UserError
from integer_tickets.files import write_text
from integer_tickets.report.formats import METRICS, Table, percent, points, score
from integer_tickets.report.frontier import MEGABIT, link
from integer_tickets.report.study import select


@dataclass(frozen=True)
class Task:
    """A corpus as in data.name; the metric it is judged by; what a ticket should reach at least, if that was said.

    bar: a value of the metric, or with `over` the points above the bag of words.
    """

    corpus: str
    title: str
    metric: str = "accuracy"
    bar: float | None = None
    over: bool = False


TASKS = (
    Task("sst2", "SST-2"),
    Task("imdb", "IMDB", bar=0.90),
    Task("agnews", "AG News", bar=0.01, over=True),
    Task("trec", "TREC"),
    Task("mrpc", "MRPC, F1", "f1"),
    Task("mrpc", "MRPC, accuracy"),
    Task("cola", "CoLA", "matthews"),
    Task("rte", "RTE"),
)
INTRODUCTION = """# Standard tasks

Made by `python -m stages.tasks` from the [studies](studies): every distilled integer Inhibitor, tickets and dense ones,
in the metric of its task on validation, or on test where the corpus has one, as means over seeds. Beside it a bag of
words (TF-IDF, logistic regression), the largest class and the teacher. Sizes are those of whole files, vocabulary
included. The best of several is found by looking at this table, which flatters it a little. What is said of the
bag of words is by the means; intervals are on the pages of the studies.
"""


def page(studies: Iterable[tuple[str, str, pd.DataFrame]], path: Path) -> None:
    """Write the page as Markdown. studies: name, corpus and summary.csv of each."""
    found = list(studies)
    parts = [INTRODUCTION]
    for task in TASKS:
        own = [(name, summary) for name, corpus, summary in found if corpus == task.corpus]
        rows = [row for name, summary in own for row in _rows(task, name, summary)]
        parts += [f"## {task.title}\n", _table(task, rows) if rows else "Not run yet.", ""]
    write_text(path, "\n".join(parts))


def _rows(task: Task, study: str, summary: pd.DataFrame) -> list[list[str]]:
    split = "test" if (summary["split"] == "test").any() else "validation"
    rows = select(summary, split=split, metric=task.metric)

    def of(**place: str) -> float:
        found = select(rows, **place)
        if found.empty:
            raise UserError(f"study {study}: summary.csv has no {task.metric} of {place} on {split}; make it again")
        return float(found["mean"].iloc[0])

    bag, most, teacher = of(role="tfidf"), of(role="majority"), of(stage="teacher")
    body = []
    for _, row in select(rows, stage="distill", attention="inhibitor").iterrows():
        value = float(row["mean"])
        sizes = [f"{row['bits'] / MEGABIT:,.2f}", f"{row['seeds']:.0f}", split]
        others = [score(task.metric, other) for other in (value, bag, most, teacher)]
        verdict = f"{'above' if value > bag else 'not above'} ({_gain(task, value - bag)})"
        verdict += ", not above guessing" if value <= most else ""
        body.append([row["name"], link(study), *sizes, *others, verdict, *_reached(task, value, bag)])
    return body


def _gain(task: Task, difference: float) -> str:
    return points(difference) if task.metric == "accuracy" else f"{difference:+.3f}"


def _reached(task: Task, value: float, bag: float) -> list[str]:
    if task.bar is None:
        return []
    return ["yes" if value >= (bag + task.bar if task.over else task.bar) else "no"]


def _table(task: Task, rows: list[list[str]]) -> str:
    header = [
        "network",
        "study",
        "Mbit",
        "seeds",
        "split",
        METRICS[task.metric],
        "bag of words",
        "largest class",
        "teacher",
    ]
    header.append("beside the bag of words")
    if task.bar is not None:
        header.append(f"bag of words {points(task.bar)}" if task.over else f"bar {percent(task.bar)}")
    return Table(header, rows).markdown()
