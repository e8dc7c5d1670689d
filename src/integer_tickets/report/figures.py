"""The figures of the report as SVG and PNG, the same bytes at every run."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
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
    "figure.dpi": 100,
    "savefig.dpi": 150,
}
# Okabe and Ito's palette, told apart with every kind of colour vision; markers say the same.
COLOURS = {"inhibitor": "#0072B2", "softmax": "#D55E00"}
MARKERS = {"inhibitor": "o", "softmax": "s"}
CONTROL_STYLES = {
    "reinit": ("^", ":", "#009E73"),
    "shuffled": ("X", "--", "#7F4F9B"),
    "random": ("v", "-.", "#CC79A7"),
}
"""Of the controls that are drawn along the ladder; all of them have a figure of their own."""
WEIGHT_STYLES = {
    "float": ("o", "#555555"),
    "int8": ("s", "#0072B2"),
    "int4": ("D", "#D55E00"),
    "int3": ("P", "#009E73"),
    "ternary": ("^", "#7F4F9B"),
}
GREY = "#555555"
PALETTE = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7", GREY)
NEAR = 0.03  # below the lowest ticket's interval, where a figure along the ladder ends
FAR = 0.08  # below its ticket, where a control is named at the edge of the figure
BESIDE = {
    "reinit": 0.96,
    "shuffled": 1 / 0.96,
    "random": 0.92,
}  # they stand a little beside the density of their ticket


def save_figures(study: Study, folder: Path) -> list[str]:
    """Write every figure as NAME.svg and NAME.png into `folder`; returns the names."""
    drawn = {"accuracy_density": accuracy_density, "accuracy_bits": accuracy_bits, "training": training}
    drawn |= of_tickets(study)
    for name, draw in drawn.items():
        save(partial(draw, study), folder / name)
    return list(drawn)


def of_tickets(study: Study) -> dict[str, Callable[[Study], Figure]]:
    """The figures about tickets that a study has."""
    drawn: dict[str, Callable[[Study], Figure]] = {"accuracy_density": accuracy_density}
    if len(study.beside()):
        drawn["controls"] = controls
    if len(study.tables["lines"]):
        drawn["connectivity"] = connectivity
    return drawn | ({"rewind_steps": rewind_steps} if study.rewind_steps() else {})


def save(draw: Callable[[], Figure], path: Path) -> None:
    with matplotlib.rc_context(STYLE):
        figure = draw()
        for suffix, metadata in ((".svg", {"Date": None, "Creator": None}), (".png", {"Software": None})):
            with replacing(path.with_suffix(suffix)) as temporary:
                figure.savefig(temporary, format=suffix[1:], metadata=metadata)


def accuracy_density(study: Study) -> Figure:
    """Tickets along the ladder with their controls; a panel for each attention, a row of panels for each variant."""
    figure, panels = _panels(study)
    every = study.accuracies()
    ladders = every[every["stage"].isin(["train_dense", "prune_rewind"])].sort_values("level")
    bottom = ladders["low"].min() - NEAR
    for (attention, variant), axes in panels.items():
        tickets = select(ladders, attention=attention, variant=variant)
        colour, label = COLOURS[attention], f"{attention} tickets"
        _line(axes, tickets["density"], tickets, label, MARKERS[attention], colour, colour)
        for kind, (marker, style, colour) in CONTROL_STYLES.items():
            controls = select(every, attention=attention, variant=variant, role=kind).sort_values("level")
            places = controls["density"] * BESIDE[kind]
            near = controls["mean"] > bottom  # the others would squeeze all lines together
            _line(axes, places[near], controls[near], kind, marker, colour, "white", style)
            for place, mean in zip(places[~near], controls.loc[~near, "mean"], strict=True):
                low = f"{kind} {100 * mean:.1f} % \u2193"
                text = axes.text(place, 0.02, low, rotation=90, fontsize=7, color=colour, ha="center", va="bottom")
                text.set_transform(axes.get_xaxis_transform())
        densities = sorted(tickets["density"])
        density_axis(axes, densities)
    for axes in panels.values():  # when all is drawn: they share their height, which is fixed from here on
        axes.set_ylim(bottom=max(100 * bottom, axes.get_ylim()[0]))
    _finish(figure, panels, study, "density: % of the prunable weights that are kept (log scale)")
    return figure


def accuracy_bits(study: Study) -> Figure:
    """Every kind of model by the size of what is shipped; panels as above."""
    figure, panels = _panels(study)
    for (attention, variant), axes in panels.items():
        rows = study.accuracies(attention=attention, variant=variant).dropna(subset="bits").sort_values("level")
        for weights, (marker, colour) in WEIGHT_STYLES.items():
            own = rows[(rows["weights"] == weights) & ~rows["stage"].isin(ASIDE)]
            for distilled, face in ((False, "white"), (True, colour)):
                shown = own[own["distilled"] == distilled]
                label = f"{weights} distilled" if distilled else weights
                _line(axes, shown["bits"] / 8000, shown, label, marker, colour, face)
            for _, row in own[(own["level"] == 0) & ~own["distilled"].astype(bool)].iterrows():
                axes.annotate(
                    "dense", (row["bits"] / 8000, 100 * row["mean"]), (7, -11), textcoords="offset points",
                    color=colour, fontsize=8,
                )  # fmt: skip
        size_axis(axes)
    _finish(figure, panels, study, "size of the shipped model, kB (log scale; float: 4 bytes for each kept parameter)")
    return figure


def density_axis(axes: Axes, densities: list[float]) -> None:
    """Densities from 100 % down, a tick at each."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(densities))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.2g}" if x < 0.995 else "100"))
    axes.set_xlim(1.2, densities[0] / 1.2)


def size_axis(axes: Axes, steps: tuple[float, ...] = (1, 1.5, 2, 3, 5, 7)) -> None:
    """Sizes on a logarithmic scale, in plain numbers; steps: the ticks of a decade."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _panels(
    study: Study, ladders: Collection[tuple[str, str]] | None = None, share: bool = True
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A panel for each of the ladders, all by default: a column for each attention, a row for each variant."""
    shown = study.ladders if ladders is None else ladders
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
    return figure, panels


def legend(figure: Figure, panels: list[Axes], columns: int = 6) -> None:
    """One for all panels."""
    found = [axes.get_legend_handles_labels() for axes in panels]
    handles = {label: handle for own in found for handle, label in zip(*own, strict=True)}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)


def _line(
    axes: Axes, x: pd.Series, rows: pd.DataFrame, label: str, marker: str, colour: str, face: str, style: str = "-"
) -> None:
    """Mean accuracy of these rows with its interval, joined; nothing where there are none."""
    if len(rows):
        reach = [100 * (rows["mean"] - rows["low"]), 100 * (rows["high"] - rows["mean"])]
        axes.errorbar(
            x, 100 * rows["mean"], reach, marker=marker, linestyle=style, color=colour,
            markerfacecolor=face, linewidth=1.4, elinewidth=1, capsize=3, markersize=6, label=label,
        )  # fmt: skip


def _finish(figure: Figure, of_ladders: dict[tuple[str, str], Axes], study: Study, x_label: str) -> None:
    """The bag of words, a legend for all panels and the names of the axes."""
    panels = list(of_ladders.values())
    value = 100 * study.accuracy(stage="baseline", role="tfidf")["mean"]
    low, high = panels[0].get_ylim()
    room = (high - low) / 4
    near = low - room < value < high + room
    for axes in panels:
        if near:
            axes.axhline(value, color=GREY, linewidth=1, linestyle=(0, (6, 3)), label="bag of words")
        else:  # a far line would squeeze all others together
            side = "below" if value < low else "above"
            axes.set_title(f"bag of words: {value:.1f} %, far {side}", loc="right", fontsize=8, color=GREY)
    legend(figure, panels)
    figure.supxlabel(x_label, fontsize=10)
    confidence = 100 * study.params.evaluate.confidence
    figure.supylabel(f"accuracy on {study.split}, % (mean and {confidence:.0f} % interval)", fontsize=10)


def controls(study: Study) -> Figure:
    """Every control with its interval, and the ticket that it stands beside as a line with a band; panels as above."""
    controlled = [own for own in study.ladders if study.controlled_levels(attention=own[0], variant=own[1])]
    figure, panels = _panels(study, controlled, share=False)
    longest = 1.0
    for (attention, variant), axes in panels.items():
        rows, place = study.accuracies(attention=attention, variant=variant), 0.0
        ticks: dict[float, str] = {}
        for level in study.controlled_levels(attention=attention, variant=variant):
            own = rows[rows["level"] == level]
            ticket = select(own, stage="prune_rewind").iloc[0]
            beside = study.beside(attention=attention, variant=variant, level=level)
            ends = [place - 0.6, place + len(beside) - 0.4]
            axes.fill_betweenx(
                ends, 100 * ticket["low"], 100 * ticket["high"], color=COLOURS[attention], alpha=0.15, lw=0
            )
            label = f"{attention} ticket, its interval shaded"
            axes.plot([100 * ticket["mean"]] * 2, ends, color=COLOURS[attention], label=label)
            axes.text(100 * ticket["mean"], ends[0], f"{100 * ticket['density']:.3g} % kept", ha="center", fontsize=8)
            for _, row in beside.iterrows():
                ticks[place] = row["role"]
                if row["mean"] < ticket["mean"] - FAR:  # it would squeeze all others together
                    low = f"\u2190 {100 * row['mean']:.1f} %"
                    axes.text(0.01, place, low, va="center", fontsize=8, transform=axes.get_yaxis_transform())
                    place += 1
                    continue
                reach = [[100 * (row["mean"] - row["low"])], [100 * (row["high"] - row["mean"])]]
                axes.errorbar([100 * row["mean"]], [place], xerr=reach, color=GREY, marker="o", ms=5, capsize=3, lw=1)
                place += 1
            place += 1
        axes.set_yticks(list(ticks), list(ticks.values()))
        axes.set_ylim(place - 0.5, -1.4)
        longest = max(longest, place)
    figure.set_figheight(0.8 + len({variant for _, variant in panels}) * (0.6 + 0.24 * longest))
    legend(figure, list(panels.values()))
    confidence = 100 * study.params.evaluate.confidence
    figure.supxlabel(f"accuracy on {study.split}, % (mean and {confidence:.0f} % interval)", fontsize=10)
    return figure


def connectivity(study: Study) -> Figure:
    """Error on the selection split between two trainings of a level, mean and deviation over seeds; panels as above."""
    lines = study.tables["lines"]
    figure, panels = _panels(study, set(zip(lines["attention"], lines["variant"], strict=True)))
    levels = sorted(lines["level"].unique())
    for (attention, variant), axes in panels.items():
        for level in levels:
            own = select(lines, attention=attention, variant=variant, level=level)
            _of_level(axes, own.groupby("share")["error"], level, levels, ".")
    legend(figure, list(panels.values()))
    figure.supxlabel("from one training (0) to the other (1)", fontsize=10)
    figure.supylabel("error on selection, % (mean and deviation)", fontsize=10)
    return figure


def rewind_steps(study: Study) -> Figure:
    """The barrier of a level against the step that is rewound to, over seeds, of variants else alike."""
    attentions, steps = study.attentions(), study.rewind_steps()
    figure = Figure(figsize=(max(7.0, 5.2 * len(attentions)), 4.2), layout="constrained")
    panels = list(figure.subplots(1, len(attentions), sharey=True, squeeze=False)[0])
    found = study.barriers()
    levels = sorted(found["level"].unique())
    for attention, axes in zip(attentions, panels, strict=True):
        axes.set_title(attention, loc="left")
        for level in levels:
            own = select(found, attention=attention, level=level)
            own = own[own["variant"].isin(steps)]
            _of_level(axes, own.groupby(own["variant"].map(steps))["error"], level, levels, "o")
        axes.set_xscale("symlog", linthresh=min(step for step in steps.values() if step))
        axes.xaxis.set_major_locator(FixedLocator(sorted(set(steps.values()))))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    legend(figure, panels)
    figure.supxlabel("rewound to optimiser step", fontsize=10)
    figure.supylabel("barrier, points of error (mean and deviation)", fontsize=10)
    return figure


def level_colour(level: int, levels: list[int]) -> Any:
    return matplotlib.colormaps["viridis"](0.85 * levels.index(level) / max(1, len(levels) - 1))


def _of_level(axes: Axes, errors: Any, level: int, levels: list[int], marker: str) -> None:
    """Errors (fractions), grouped by their place: mean and standard deviation in the colour of the level."""
    colour = level_colour(level, levels)
    mean, spread = 100 * errors.mean(), 100 * errors.std().fillna(0)
    label = f"level {level}" if level else "dense"
    axes.plot(mean.index, mean, marker=marker, color=colour, linewidth=1.4, label=label)
    axes.fill_between(mean.index, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)


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
