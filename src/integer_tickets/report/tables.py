"""The tables of the report as rows of text."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from integer_tickets.report.formats import Table, interval, kilobytes, percent, points, probability, spread, yes
from integer_tickets.report.study import ASIDE, Study, select

BASELINE_NAMES = {
    "bayes": "best possible classifier",
    "tfidf": "bag of words (TF-IDF, logistic regression)",
    "majority": "majority class",
}
OPERATIONS = ["multiply", "add", "absolute difference", "compare", "shift", "look-up", "division"]
SPLITS = ["train", "selection", "validation", "test"]
PARTS = ["embedding", "positions", "weights", "masks", "biases", "scales", "vocabulary", "header"]


def display(row: pd.Series) -> str:
    return BASELINE_NAMES.get(row["role"], str(row["name"]))


def headline(study: Study) -> Table:
    """Teacher, dense models, tickets at the quantized levels and at the last, integer networks, baselines."""
    levels = {*(part.level for part in study.params.quantize.levels), study.params.grid.levels}
    rows = study.accuracies()
    shown = rows[~rows["stage"].isin(ASIDE) & ((rows["stage"] != "prune_rewind") | rows["level"].isin(levels))]
    rank = shown["stage"].map({"teacher": 0, "baseline": 2}).fillna(1)
    summary = select(study.tables["summary"], split=study.split).set_index(["name", "metric"])
    table = []
    for _, row in shown.assign(rank=rank).sort_values("rank", kind="stable").iterrows():
        others = [f"{summary.loc[(row['name'], metric), 'mean']:.3f}" for metric in ("f1", "matthews")]
        density = "" if pd.isna(row["density"]) else percent(row["density"], 1)
        epochs = "" if row["stage"] == "baseline" else str(study.epochs(row))
        sizes = [density, kilobytes(row["bits"]), epochs]
        table.append([display(row), *sizes, spread(row), interval(row), *others])
    confidence = percent(study.params.evaluate.confidence, 0)
    header = ["model", "density %", "kB", "epochs", "accuracy %", f"{confidence} % interval", "F1", "Matthews"]
    return Table(header, table)


def ladder(study: Study, variant: str) -> Table:
    """Accuracy against density, and whether each ticket matches its dense model."""
    attentions = study.attentions(variant)
    header = ["level", "density %", *(f"{a} {what}" for a in attentions for what in ("accuracy %", "matching"))]
    rows = []
    for level in range(study.params.grid.levels + 1):
        cells: list[str] = []
        density = ""
        for attention in attentions:
            stage = "prune_rewind" if level else "train_dense"
            found = study.accuracies(stage=stage, attention=attention, variant=variant, level=level)
            if found.empty:  # this ladder ends earlier
                cells += ["", ""]
                continue
            row = found.iloc[0]
            density = percent(row["density"], 1)
            verdicts = study.compared("pruning", attention=attention, variant=variant, level=level)["matching"]
            cells += [spread(row), "" if verdicts.empty else yes(verdicts.iloc[0])]
        rows.append([str(level), density, *cells])
    return Table(header, rows)


def controls(study: Study, variant: str) -> Table:
    """Each ticket beside its controls: accuracies, differences in points with interval and corrected p-value."""
    confidence = percent(study.params.evaluate.confidence, 0)
    header = ["ticket", "density %", "accuracy %", "control", "density %", "accuracy %"]
    rows = []
    for attention in study.attentions(variant):
        place = {"attention": attention, "variant": variant}
        for level in study.controlled_levels(**place):
            ticket = study.accuracy(stage="prune_rewind", level=level, **place)
            for _, control in study.beside(level=level, **place).iterrows():
                verdict = study.against(ticket["name"], control["name"])
                gain = [points(verdict["difference"]), f"{points(verdict['low'])} to {points(verdict['high'])}"]
                sides = [[percent(row["density"], 1), spread(row)] for row in (ticket, control)]
                gain.append(probability(verdict["p_holm"]))
                rows.append([ticket["name"], *sides[0], control["role"], *sides[1], *gain])
    return Table([*header, "ticket gains", f"{confidence} % interval", "p corrected"], rows)


def barriers(study: Study) -> Table:
    """The barrier between two trainings of a level in points of error and in nats, over seeds."""
    rows = []
    for names, own in study.barriers().groupby(["attention", "variant", "level"], sort=False):
        attention, variant, level = str(names[0]), str(names[1]), names[2]
        stage = "prune_rewind" if level else "train_dense"
        model = study.accuracy(stage=stage, attention=attention, variant=variant, level=level)
        rewind = study.params.variants[variant].rewind
        found = [_mean(100 * own["error"], 2), _mean(own["loss"], 3)]
        rows.append([model["name"], percent(model["density"], 1), str(rewind), *found])
    return Table(["model", "density %", "rewound to step", "barrier, points", "barrier, nats"], rows)


def _mean(numbers: pd.Series, digits: int) -> str:
    """With the standard deviation where there are several."""
    mean = f"{numbers.mean():.{digits}f}"
    return f"{mean} ± {numbers.std():.{digits}f}" if len(numbers) > 1 else mean


def supermasks(study: Study) -> Table:
    """What a mask over random integers is worth, and the bits of its seed and mask."""
    rows = []
    for _, row in study.accuracies(stage="supermask").iterrows():
        sizes = [percent(row["density"], 1), kilobytes(row["bits"])]
        rows.append([f"{row['attention']}, {row['variant']}", *sizes, spread(row), interval(row)])
    confidence = percent(study.params.evaluate.confidence, 0)
    return Table(["random weights", "there %", "kB", "accuracy %", f"{confidence} % interval"], rows)


def comparisons(study: Study, family: str) -> Table:
    confidence = percent(study.params.evaluate.confidence, 0)
    header = ["a", "b", "a - b", f"{confidence} % interval", "p", "p corrected", "matching", "within one std"]
    rows = [
        [
            *(BASELINE_NAMES.get(row[side], row[side]) for side in ("a", "b")),
            points(row["difference"]),
            f"{points(row['low'])} to {points(row['high'])}",
            *(probability(row[p]) for p in ("p", "p_holm")),
            yes(row["matching"]),
            "" if pd.isna(row["within_one_std"]) else yes(row["within_one_std"]),
        ]
        for _, row in study.compared(family).iterrows()
    ]
    return Table(header, rows)


def ablations(study: Study) -> Table:
    confidence = percent(study.params.evaluate.confidence, 0)
    header = ["ablation", "changed", "network", "seed", "accuracy %", "points", f"{confidence} % interval", "p"]
    rows = [
        [
            row["ablation"],
            row["changes"],
            f"{row['attention']} {row['variant']}",
            f"{row['seed']:.0f}",
            percent(row["accuracy"]),
            points(row["difference"]),
            f"{points(row['low'])} to {points(row['high'])}",
            probability(row["p"]),
        ]
        for _, row in study.tables["ablations"].iterrows()
    ]
    return Table(header, rows)


def zeros(study: Study) -> Table:
    """Of the weights in the linear layers of each integer network: pruned, rounded to 0, and what is left."""
    rows = []
    for name, own in study.tables["zeros"].groupby("name", sort=False):
        pruned, rounded = (float((own[column] / own["size"]).mean()) for column in ("pruned", "rounded"))
        rows.append([str(name), *(percent(share, 1) for share in (pruned, rounded, 1 - pruned - rounded))])
    return Table(["integer network", "pruned %", "rounded to 0 %", "left %"], rows)


def sizes(study: Study) -> Table:
    """What the bits of each integer network are spent on, in kB, the mean over seeds."""
    bits = study.tables["bits"]
    parts = bits.groupby(["name", "part"], sort=False)["bits"].mean().unstack()
    rows = [[name, *(kilobytes(parts.loc[name, part]) for part in ["total", *PARTS])] for name in bits["name"].unique()]
    return Table(["integer network", "total", *PARTS], rows)


def costs(study: Study) -> Table:
    """Operations by kind in thousands a sentence, kB of weights read, energy by the model in nanojoules."""
    rows = []
    for label, own in _by_model(study.tables["operations"]):
        arithmetic = own[own["part"] != "memory"]
        read = float(select(own, number="sram")["count"].sum()) / 1000
        energy = [_nanojoules(arithmetic) + _nanojoules(select(own, number=place)) for place in ("sram", "dram")]
        rows.append([label, *(f"{cell:.1f}" for cell in [*_thousands(arithmetic), read, *energy])])
    return Table(["model", *OPERATIONS, "kB read", "nJ (SRAM)", "nJ (DRAM)"], rows)


def attention_costs(study: Study) -> Table:
    """The same for the part between projections: the float peer, and the first integer network of each kind."""
    frame = select(study.tables["operations"], part="attention")
    first = frame.groupby(["attention", "stage"], sort=False)["name"].transform("first")
    shown = frame[(frame["name"] == first) & (frame["stage"] != "distill")]
    rows = []
    for label, own in _by_model(shown):
        attention = own["attention"].iloc[0]
        kind = f"{attention}, float32" if label.endswith("float32") else f"{attention}, integers"
        rows.append([kind, *(f"{cell:.1f}" for cell in [*_thousands(own), _nanojoules(own)])])
    return Table(["attention", *OPERATIONS, "nJ"], rows)


def _by_model(operations: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Label and costs of each kind of model, the mean over seeds."""
    keys = ["attention", "part", "operation", "number"]
    for name, own in operations.groupby("name", sort=False):
        label = f"{name}, float32" if own["stage"].iloc[0] == "peer" else str(name)
        seeds = max(1, own["seed"].nunique())
        yield label, (own.groupby(keys)[["count", "picojoules"]].sum() / seeds).reset_index()


def _nanojoules(operations: pd.DataFrame) -> float:
    return float(operations["picojoules"].sum()) / 1000


def _thousands(operations: pd.DataFrame) -> list[float]:
    return [float(select(operations, operation=kind)["count"].sum()) / 1000 for kind in OPERATIONS]


def overlaps(study: Study) -> Table:
    """Of masks of two seeds."""
    found = study.tables["overlaps"]
    return Table(["masks", "shared with another seed %", "by chance %"], _overlaps(found[found["source"] == ""]))


def overlaps_elsewhere(study: Study) -> Table:
    """Of tickets' own masks and those that were found elsewhere."""
    found = study.tables["overlaps"]
    return Table(["masks", "shared with the ticket's own %", "by chance %"], _overlaps(found[found["source"] != ""]))


def shares(study: Study) -> Table:
    """What tickets keep of each part of the layers: at the levels with controls, else at the last."""
    found = select(study.tables["densities"], source="")
    parts, rows = list(dict.fromkeys(found["part"])), []
    for attention, variant in study.ladders:
        own = select(found, attention=attention, variant=variant)
        last = [int(own["level"].max())] if len(own) else []
        for level in study.controlled_levels(attention=attention, variant=variant) or last:
            kept = select(own, level=level).set_index("part")["density"]
            cells = [percent(kept[part], 1) if part in kept else "" for part in parts]
            rows.append([f"{attention} {variant} level {level}", *cells])
    return Table(["kept %", *parts], rows)


def _overlaps(rows: pd.DataFrame) -> list[list[str]]:
    return [
        [
            f"{row['attention']} {row['variant']} level {row['level']}"
            + (row["source"] and f", mask of {row['source']}"),
            percent(row["overlap"], 1),
            percent(row["chance"], 1),
        ]
        for _, row in rows.iterrows()
    ]


def corpus_splits(study: Study) -> Table:
    header = [
        "split",
        "rows",
        "classes %",
        "tokens mean",
        "95 % at most",
        "longest",
        "truncated %",
        "unknown %",
        "repeats",
    ]
    rows = []
    for name in SPLITS:
        found = study.statistics["splits"].get(name)
        if found is None:
            continue
        total, tokens = found["rows"], found["tokens"]
        classes = ", ".join(f"{label} {percent(count / total, 1)}" for label, count in found["classes"].items())
        numbers = [f"{tokens['mean']:.1f}", str(tokens["p95"]), str(tokens["max"])]
        shares = [percent(tokens["truncated"]), percent(found["unknown"])]
        rows.append([name, str(total), classes, *numbers, *shares, str(found["repeats"]["rows"])])
    return Table(header, rows)


def corpus_overlaps(study: Study) -> Table:
    rows = [
        [f"{later} and {earlier}", str(counts["rows"]), str(counts["other_label"])]
        for later, others in study.statistics["overlaps"].items()
        for earlier, counts in others.items()
    ]
    return Table(["splits", "rows of the first that are in the second", "with another label"], rows)


def timings(found: dict[str, Any]) -> Table:
    columns = ["model", "engine", "batch", "tokens", "threads", "median_us", "p10_us", "sentences_per_second"]
    header = ["model", "engine", "batch", "tokens", "threads", "median µs", "p10 µs", "sentences/s"]
    return Table(header, [[_number(row.get(column, "")) for column in columns] for row in found["rows"]])


def _number(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
