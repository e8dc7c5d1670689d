"""How figures look and are kept, as SVG and PNG, the same bytes at every run; sizes and training curves."""

import math
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from integer_tickets.files import replacing
from integer_tickets.report.study import ASIDE, Study, select

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
    "figure.dpi": 150,
}
# Okabe and Ito's palette, told apart with every kind of colour vision; markers say the same.
COLOURS = {"inhibitor": "#0072B2", "softmax": "#D55E00"}
MARKERS = {"inhibitor": "o", "softmax": "s"}
WEIGHT_STYLES = {
    "float": ("o", "#555555"),
    "int8": ("s", "#0072B2"),
    "int4": ("D", "#D55E00"),
    "int3": ("P", "#009E73"),
    "ternary": ("^", "#7F4F9B"),
}
GREY = "#555555"
PALETTE = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7", GREY)


def of_study(study: Study) -> dict[str, Callable[[], Figure]]:
    """Sizes and training curves."""
    return {"accuracy_bits": partial(accuracy_bits, study), "training": partial(training, study)}


def save(draw: Callable[[], Figure], path: Path) -> None:
    with matplotlib.rc_context(STYLE):
        figure = draw()
        with replacing(path.with_suffix(".svg")) as temporary:  # savefig would draw everything twice
            FigureCanvasSVG(figure).print_svg(temporary, metadata={"Date": None, "Creator": None})
        figure.dpi = STYLE["figure.dpi"]  # SVG has left it at 72
        with replacing(path.with_suffix(".png")) as temporary:
            FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})


def accuracy_bits(study: Study) -> Figure:
    """Every kind of model by the size of what is shipped; panels as above."""
    figure, panels = panels_of(study, study.ladders)
    for (attention, variant), axes in panels.items():
        rows = study.accuracies(attention=attention, variant=variant).dropna(subset="bits").sort_values("level")
        for weights, (marker, colour) in WEIGHT_STYLES.items():
            own = rows[(rows["weights"] == weights) & ~rows["stage"].isin(ASIDE)]
            for distilled, face in ((False, "white"), (True, colour)):
                shown = own[own["distilled"] == distilled]
                label = f"{weights} distilled" if distilled else weights
                line(axes, shown["bits"] / 8000, shown, label, marker, colour, face)
            for _, row in own[(own["level"] == 0) & ~own["distilled"].astype(bool)].iterrows():
                axes.annotate(
                    "dense", (row["bits"] / 8000, 100 * row["mean"]), (7, -11), textcoords="offset points",
                    color=colour, fontsize=8,
                )  # fmt: skip
        size_axis(axes)
    finish(figure, panels, study, "size of the shipped model, kB (log scale; float: 4 bytes for each kept parameter)")
    return figure


def density_axis(axes: Axes, densities: list[float]) -> None:
    """Densities from 100 % down, a tick at each."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(densities))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.2g}" if x < 0.995 else "100"))
    axes.set_xlim(1.2, densities[0] / 1.2)


def size_axis(axes: Axes) -> None:
    """Sizes on a logarithmic scale, in plain numbers, with as many ticks a decade as there is room for."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    steps = (1, 1.5, 2, 3, 5, 7) if decades < 2 else (1, 2, 5) if decades < 4 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def level_colour(level: int, levels: list[int]) -> Any:
    return matplotlib.colormaps["viridis"](0.85 * levels.index(level) / max(1, len(levels) - 1))


def panels_of(
    study: Study, shown: Collection[tuple[str, str]], share: bool = True
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A panel for each of these ladders: a column for each attention, a row for each variant."""
    variants = [variant for variant in study.variants if variant in {own for _, own in shown}]
    attentions = study.attentions()
    figure = Figure(figsize=(max(7.0, 5.2 * len(attentions)), 0.6 + 3.8 * len(variants)), layout="constrained")
    grid = figure.subplots(len(variants), len(attentions), sharex=share, sharey=share, squeeze=False)
    panels: dict[tuple[str, str], Axes] = {}
    for row, variant in zip(grid, variants, strict=True):
        for axes, attention in zip(row, attentions, strict=True):
            if (attention, variant) in shown:
                axes.set_title(attention if len(variants) == 1 else f"{attention}, variant {variant}", loc="left")
                panels[attention, variant] = axes
            else:
                axes.set_visible(False)
    if share:  # numbers stand at the edge of the grid, where there may be no panel
        for column in grid.T:
            for axes in [axes for axes in column if axes.get_visible()][-1:]:
                axes.tick_params(labelbottom=True)
        for row in grid:
            next(axes for axes in row if axes.get_visible()).tick_params(labelleft=True)
    return figure, panels


def legend(figure: Figure, panels: list[Axes], columns: int = 6) -> None:
    """One for all panels."""
    found = [axes.get_legend_handles_labels() for axes in panels]
    handles = {label: handle for own in found for handle, label in zip(*own, strict=True)}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)


def line(
    axes: Axes, x: pd.Series, rows: pd.DataFrame, label: str, marker: str, colour: str, face: str, style: str = "-"
) -> None:
    """Mean accuracy of these rows with its interval, joined; nothing where there are none."""
    if len(rows):
        reach = [100 * (rows["mean"] - rows["low"]), 100 * (rows["high"] - rows["mean"])]
        axes.errorbar(
            x, 100 * rows["mean"], reach, marker=marker, linestyle=style, color=colour,
            markerfacecolor=face, linewidth=1.4, elinewidth=1, capsize=3, markersize=6, label=label,
        )  # fmt: skip


def finish(figure: Figure, of_ladders: dict[tuple[str, str], Axes], study: Study, x_label: str) -> None:
    """The bag of words, a legend for all panels and the names of the axes."""
    panels = list(of_ladders.values())
    value = 100 * study.accuracy(stage="baseline", role="tfidf")["mean"]
    low, high = panels[0].get_ylim()
    room = (high - low) / 4
    near = low - room < value < high + room
    for axes in panels:
        if near:
            axes.axhline(value, color=GREY, linewidth=1, linestyle=(0, (6, 3)), label="bag of words")
            axes.set_ylim(min(low, value - room / 5), max(high, value + room / 5))  # fixed before, in some figures
        else:  # a far line would squeeze all others together
            side = "below" if value < low else "above"
            axes.set_title(f"bag of words: {value:.1f} %, far {side}", loc="right", fontsize=8, color=GREY)
    legend(figure, panels)
    figure.supxlabel(x_label, fontsize=10)
    confidence = 100 * study.params.evaluate.confidence
    figure.supylabel(f"accuracy on {study.split}, % (mean and {confidence:.0f} % interval)", fontsize=10)


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
