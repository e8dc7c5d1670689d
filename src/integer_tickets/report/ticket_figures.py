"""The figures about tickets: beside their controls along the ladder, and between two trainings of one."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from integer_tickets.report.figures import (
    COLOURS,
    GREY,
    MARKERS,
    density_axis,
    finish,
    legend,
    level_colour,
    line,
    panels_of,
)
from integer_tickets.report.study import Study, select

Ladders = Collection[tuple[str, str]]
"""Attention and variant of each."""
CONTROL_STYLES: dict[str, tuple[str, Any, str, float]] = {
    "reinit": ("^", ":", "#009E73", 0.96),
    "redrawn": ("P", (0, (1, 3)), "#E69F00", 1 / 0.92),
    "shuffled": ("X", "--", "#7F4F9B", 1 / 0.96),
    "random": ("v", "-.", "#CC79A7", 0.92),
    "longer": ("*", (0, (1, 1)), GREY, 1.0),
}
"""Of the controls that are drawn along the ladder, a little beside the density of their ticket (a factor); all of them
have a figure of their own."""
NEAR = 0.03  # below the lowest ticket's interval, where a figure along the ladder ends
FAR = 0.08  # below its ticket, where a control is named at the edge of the figure
TOGETHER = 3
"""Variants, at most, whose panels share a figure; of more each has its own."""


def of_tickets(study: Study) -> dict[str, Callable[[], Figure]]:
    """The figures about tickets that a study has, by name."""
    drawn: dict[str, Callable[[], Figure]] = {}
    for name, draw, shown in (
        ("accuracy_density", accuracy_density, study.ladders),
        ("controls", controls, study.controlled),
        ("connectivity", connectivity, study.connected),
    ):
        for named, ladders in parted(name, shown):
            drawn[named] = partial(draw, study, ladders)
    return drawn | ({"rewind_steps": partial(rewind_steps, study)} if study.rewind_steps() else {})


def parted(name: str, ladders: Ladders) -> Iterator[tuple[str, Ladders]]:
    """The name of one figure of all these ladders, or of one for each variant where they are many, with its ladders."""
    variants = list(dict.fromkeys(variant for _, variant in ladders))
    if 0 < len(variants) <= TOGETHER:
        yield name, ladders
    elif variants:
        for variant in variants:
            yield f"{name}_{variant}", [ladder for ladder in ladders if ladder[1] == variant]


def accuracy_density(study: Study, shown: Ladders) -> Figure:
    """Tickets along the ladder with their controls; a panel for each of the ladders shown."""
    figure, panels = panels_of(study, shown)
    every = study.accuracies()
    ladders = every[every["stage"].isin(["train_dense", "prune_rewind"])].sort_values("level")
    ladders = ladders[[own in shown for own in zip(ladders["attention"], ladders["variant"], strict=True)]]
    bottom = ladders["low"].min() - NEAR
    for (attention, variant), axes in panels.items():
        tickets = select(ladders, attention=attention, variant=variant)
        colour, label = COLOURS[attention], f"{attention} tickets"
        line(axes, tickets["density"], tickets, label, MARKERS[attention], colour, colour)
        for kind, (marker, style, colour, beside) in CONTROL_STYLES.items():
            controls = select(every, attention=attention, variant=variant, role=kind).sort_values("level")
            places = controls["density"] * beside
            near = controls["mean"] > bottom  # the others would squeeze all lines together
            line(axes, places[near], controls[near], kind, marker, colour, "white", style)
            for place, mean in zip(places[~near], controls.loc[~near, "mean"], strict=True):
                low = f"{kind} {100 * mean:.1f} % \u2193"
                text = axes.text(place, 0.02, low, rotation=90, fontsize=7, color=colour, ha="center", va="bottom")
                text.set_transform(axes.get_xaxis_transform())
    deepest = ladders.sort_values("density").iloc[0]
    densities = select(ladders, attention=deepest["attention"], variant=deepest["variant"])["density"]
    for axes in panels.values():  # when all is drawn: they share their axes, which are fixed from here on
        density_axis(axes, sorted(densities))
        axes.set_ylim(bottom=max(100 * bottom, axes.get_ylim()[0]))
    finish(figure, panels, study, "density: % of the prunable weights that are kept (log scale)")
    return figure


def controls(study: Study, shown: Ladders) -> Figure:
    """Every control with its interval, and the ticket that it stands beside as a line with a band; panels as above."""
    figure, panels = panels_of(study, shown, share=False)
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


def connectivity(study: Study, shown: Ladders) -> Figure:
    """Error on the selection split between two trainings of a level, mean and deviation over seeds; panels as above."""
    lines = study.tables["lines"]
    figure, panels = panels_of(study, shown)
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
    steps, found = study.rewind_steps(), study.barriers()
    found = found[found["variant"].isin(steps)]
    attentions = [attention for attention in study.attentions() if (found["attention"] == attention).any()]
    figure = Figure(figsize=(max(7.0, 5.2 * len(attentions)), 4.2), layout="constrained")
    panels = list(figure.subplots(1, len(attentions), sharey=True, squeeze=False)[0])
    levels = sorted(found["level"].unique())
    for attention, axes in zip(attentions, panels, strict=True):
        axes.set_title(attention, loc="left")
        for level in levels:
            own = select(found, attention=attention, level=level)
            _of_level(axes, own.groupby(own["variant"].map(steps))["error"], level, levels, "o")
        axes.set_xscale("symlog", linthresh=min(step for step in steps.values() if step))
        axes.xaxis.set_major_locator(FixedLocator(sorted(set(steps.values()))))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    legend(figure, panels)
    figure.supxlabel("rewound to optimiser step", fontsize=10)
    figure.supylabel("barrier, points of error (mean and deviation)", fontsize=10)
    return figure


def _of_level(axes: Axes, errors: Any, level: int, levels: list[int], marker: str) -> None:
    """Errors (fractions), grouped by their place: mean and standard deviation in the colour of the level."""
    colour = level_colour(level, levels)
    mean, spread = 100 * errors.mean(), 100 * errors.std().fillna(0)
    label = f"level {level}" if level else "dense"
    axes.plot(mean.index, mean, marker=marker, color=colour, linewidth=1.4, label=label)
    axes.fill_between(mean.index, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
