"""The figures of the report as SVG and PNG, the same bytes at every run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from integer_tickets.files import replacing
from integer_tickets.report.study import Study, select

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "integer-tickets",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "figure.dpi": 100,
    "savefig.dpi": 150,
}
# Okabe and Ito's palette, told apart with every kind of colour vision; markers say the same.
COLOURS = {"inhibitor": "#0072B2", "softmax": "#D55E00"}
MARKERS = {"inhibitor": "o", "softmax": "s"}
CONTROL_STYLES = {"reinit": ("^", ":", "#009E73"), "shuffled": ("X", "--", "#7F4F9B")}
WEIGHT_MARKERS = {"float": "o", "int8": "s", "int4": "D", "int3": "P", "ternary": "^"}
GREY = "#555555"
LABEL_WIDTH, LABEL_HEIGHT = 70, 11  # points

Label = tuple[float, float, str, str]
"""x, y, text, colour"""


def save_figures(study: Study, folder: Path) -> list[str]:
    """Write every figure as NAME.svg and NAME.png into `folder`; returns the names."""
    drawn = {"accuracy_density": accuracy_density, "accuracy_bits": accuracy_bits, "training": training}
    for name, draw in drawn.items():
        save(draw, study, folder / name)
    return list(drawn)


def save(draw: Callable[[Study], Figure], study: Study, path: Path) -> None:
    with matplotlib.rc_context(STYLE):
        figure = draw(study)
        for suffix, metadata in ((".svg", {"Date": None, "Creator": None}), (".png", {"Software": None})):
            with replacing(path.with_suffix(suffix)) as temporary:
                figure.savefig(temporary, format=suffix[1:], metadata=metadata)


def accuracy_density(study: Study) -> Figure:
    """Tickets along the ladder with their controls; a panel for each attention, a row of panels for each variant."""
    variants, attentions = study.params.grid.variants, study.params.grid.attentions
    figure = Figure(figsize=(5.2 * len(attentions), 4.2 * len(variants)), layout="constrained")
    panels = figure.subplots(len(variants), len(attentions), sharex=True, sharey=True, squeeze=False)
    labels: list[tuple[Axes, list[Label]]] = []
    for axes, (attention, variant) in zip(panels.ravel(), study.ladders, strict=True):
        place = {"attention": attention, "variant": variant}
        rows = study.accuracies(**place)
        tickets = rows[rows["stage"].isin(["train_dense", "prune_rewind"])].sort_values("level")
        lines = [("tickets", tickets, MARKERS[attention], "-", COLOURS[attention])]
        for kind in study.params.controls.kinds:
            found = rows[rows["role"] == kind].sort_values("level")
            lines.append((kind, found, *CONTROL_STYLES[kind]))
        own: list[Label] = []
        for name, line, marker, style, colour in lines:
            if line.empty:
                continue
            y, error = 100 * line["mean"], 100 * line["std"].fillna(0)
            face = colour if name == "tickets" else "white"
            axes.errorbar(
                line["density"], y, error, marker=marker, linestyle=style, color=colour, markerfacecolor=face,
                linewidth=1.6, elinewidth=1, capsize=3, markersize=6,
            )  # fmt: skip
            own.append((line["density"].iloc[-1], y.iloc[-1], name, colour))
        labels.append((axes, own))
        _bag_of_words(axes, study)
        _density_axis(axes, sorted(tickets["density"]))
        axes.set_title(attention if len(variants) == 1 else f"{attention}, variant {variant}", loc="left")
    figure.supxlabel("density: kept fraction of the prunable weights (log scale)", fontsize=10)
    figure.supylabel(f"accuracy on {study.split}, % (mean ± std over seeds)", fontsize=10)
    for axes, own in labels:
        _place(figure, axes, own)
    return figure


def _density_axis(axes: Axes, densities: list[float]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(densities))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.2g}"))
    axes.set_xlim(1.15, densities[0] / 1.8)


def accuracy_bits(study: Study) -> Figure:
    """Every kind of model by the size of what is shipped."""
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axes = figure.subplots()
    rows = study.accuracies()
    rows = rows[rows["stage"].isin(["train_dense", "prune_rewind", "quantize", "distill"])]
    labels: list[Label] = []
    for _, row in rows.iterrows():
        colour = COLOURS[row["attention"]]
        face = colour if row["distilled"] else "white"
        x, y = row["bits"] / 8000, 100 * row["mean"]
        axes.plot(x, y, marker=WEIGHT_MARKERS[row["weights"]], color=colour, markerfacecolor=face, markersize=7, ls="")
        if row["stage"] == "train_dense":
            labels.append((x, y, "dense", colour))
    _bag_of_words(axes, study)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.margins(x=0.12)
    axes.set_xlabel("size of the shipped model, kB (log scale; float: 4 bytes for each kept parameter)")
    axes.set_ylabel(f"accuracy on {study.split}, %")
    for attention in study.params.grid.attentions:
        axes.plot([], [], color=COLOURS[attention], linewidth=6, label=attention)  # a patch of colour
    for weights in [name for name in WEIGHT_MARKERS if name in set(rows["weights"])]:
        axes.plot([], [], marker=WEIGHT_MARKERS[weights], color=GREY, markerfacecolor="white", ls="", label=weights)
    axes.plot([], [], marker="s", color=GREY, ls="", label="filled: distilled")
    figure.legend(loc="outside upper center", ncols=7, frameon=False, fontsize=8, handlelength=1)
    _place(figure, axes, labels)
    return figure


def training(study: Study) -> Figure:
    """Loss and selection accuracy by epoch: the teacher, dense models and the last tickets, each seed a line."""
    figure = Figure(figsize=(8.8, 3.8), layout="constrained")
    panels = figure.subplots(1, 2)
    frame = study.tables["training"]
    shown = [("teacher", select(frame, stage="teacher"), GREY, "-", "v")]
    for attention, variant in study.ladders:
        place = {"attention": attention, "variant": variant, "stage": "train_dense"}
        last = {**place, "stage": "prune_rewind", "level": study.params.grid.levels}
        dense, ticket = select(frame, **place), select(frame, **last)
        shown.append((dense["name"].iloc[0], dense, COLOURS[attention], "-", MARKERS[attention]))
        shown.append((ticket["name"].iloc[0], ticket, COLOURS[attention], ":", MARKERS[attention]))
    for axes, column, scale in zip(panels, ("loss", "selection_accuracy"), (1, 100), strict=True):
        for name, rows, colour, line, marker in shown:
            for index, (_, run) in enumerate(rows.groupby("seed")):
                label = name if index == 0 else None
                y = scale * run[column]
                axes.plot(run["epoch"], y, color=colour, ls=line, lw=1.2, marker=marker, ms=4, mfc="white", label=label)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("training loss, nats")
    panels[1].set_ylabel("accuracy on selection, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def _place(figure: Figure, axes: Axes, labels: list[Label]) -> None:
    """Write each label to the right of its point; one that would cover another moves up."""
    figure.draw_without_rendering()
    unit = figure.dpi / 72
    placed: list[tuple[float, float]] = []
    for x, y, text, colour in sorted(labels, key=lambda label: label[1]):
        left, middle = axes.transData.transform((x, y))
        low = middle
        for other_left, other in placed:
            if abs(other_left - left) < LABEL_WIDTH * unit:
                low = max(low, other + LABEL_HEIGHT * unit)
        placed.append((left, low))
        axes.annotate(
            text, (x, y), (8, (low - middle) / unit), textcoords="offset points", va="center", color=colour, fontsize=9,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip


def _bag_of_words(axes: Axes, study: Study) -> None:
    value = 100 * study.accuracy(stage="baseline", role="tfidf")["mean"]
    axes.axhline(value, color=GREY, linewidth=0.8, linestyle=(0, (6, 3)))
    axes.annotate(
        "bag of words", (0, value), (4, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
        color=GREY, fontsize=8,
    )  # fmt: skip
