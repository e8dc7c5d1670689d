"""The figures about information and certificates; each a function of the study, drawn where it has what they show."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from integer_tickets.report.certificates import SHOWN
from integer_tickets.report.figures import COLOURS, GREY, MARKERS, level_colour
from integer_tickets.report.study import Study, select

PARTS = {**SHOWN, "biases": "biases", "scales": "scales", "header": "header"}
PALETTE = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#555555")


def of_information(study: Study) -> dict[str, Callable[[Study], Figure]]:
    """The figures that a study has."""
    drawn: dict[str, Callable[[Study], Figure]] = {"layers": layers, "code_parts": code_parts, "bounds": bounds}
    if study.tables["information"]["quantity"].str.startswith("exact").any():
        drawn["information_plane"] = information_plane
    return drawn


def layers(study: Study) -> Figure:
    """What a layer tells about the label, and bits of one of its vectors, by layer; a line for each level."""
    rows = study.tables["information"]
    rows = rows[~rows["distilled"].astype(bool) & ~rows["layer"].str.contains("head")]
    attentions = study.attentions()
    figure = Figure(figsize=(max(7.0, 5.2 * len(attentions)), 6.4), layout="constrained")
    grid = figure.subplots(2, len(attentions), sharex=True, sharey="row", squeeze=False)
    levels = sorted(rows["level"].unique())
    for column, attention in enumerate(attentions):
        grid[0][column].set_title(attention, loc="left")
        for axes, quantity in zip(grid[:, column], ("usable", "code"), strict=True):
            own = select(rows, attention=attention, quantity=quantity, estimator=_estimator(quantity))
            places = list(dict.fromkeys(own["layer"]))
            for level in levels:
                mean = select(own, level=level).groupby("layer")["value"].mean().reindex(places)
                colour = level_colour(level, levels)
                axes.plot(range(len(places)), mean, marker=MARKERS[attention], color=colour, label=_level(level))
            axes.set_xticks(
                range(len(places)), [place.replace("layers.", "layer ").partition(".")[0] for place in places]
            )
    grid[0][0].set_ylabel("usable about the label, bits")
    grid[1][0].set_ylabel("code of one vector, bits")
    figure.supxlabel("after layer", fontsize=10)
    _legend(figure, grid[0][0])
    return figure


def _place(layer: str) -> str:
    """layers.0.hidden_sum is what comes after layer 1."""
    return str(int(layer.split(".")[1]) + 1) if layer.startswith("layers.") else layer


def _estimator(quantity: str) -> str:
    return "linear probe" if quantity == "usable" else "autoregressive code, decoded"


def code_parts(study: Study) -> Figure:
    """Where the bits of a ticket's code are; means over seeds."""
    means = study.tables["certificates"].groupby("name", sort=False).mean(numeric_only=True)
    figure = Figure(figsize=(8.8, 1.2 + 0.3 * len(means)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(means))
    for (part, name), colour in zip(PARTS.items(), PALETTE, strict=True):
        width = means[f"bits_{part}"].to_numpy() / 1000
        axes.barh(range(len(means)), width, left=left, color=colour, label=name)
        left += width
    axes.set_yticks(range(len(means)), list(means.index), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("code length, kbit")
    _legend(figure, axes)
    return figure


def bounds(study: Study) -> Figure:
    """True error at most, by the code and by held-out texts, and the error on these, against the length of the code."""
    rows, own = study.tables["certificates"], study.params.certify
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for attention in study.attentions():
        means = select(rows, attention=attention).groupby("name").mean(numeric_only=True)
        x = (means["bits"] - means["symmetry"]) / 1000
        for column, face, text in (
            ("error", COLOURS[attention], "at most, by the code"),
            ("held_out_error", "#bbbbbb", f"at most, by {study.split}"),
            ("held_out_risk", "white", f"error on {study.split}"),
        ):
            axes.plot(
                x, 100 * means[column], MARKERS[attention], color=COLOURS[attention], markerfacecolor=face,
                label=f"{attention}: {text}",
            )  # fmt: skip
    bag = study.accuracies(stage="baseline", role="tfidf")
    if len(bag):
        axes.axhline(100 * (1 - bag["mean"].iloc[0]), color=GREY, lw=1, ls=(0, (6, 3)), label="bag of words: error")
    axes.axhline(50, color=GREY, lw=0.8, ls=":", label="a coin")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("code length, kbit (log scale)")
    axes.set_ylabel(f"error, % (bounds: {100 * (1 - own.delta):g} % sure)")
    _legend(figure, axes)
    return figure


def information_plane(study: Study) -> Figure:
    """Exact bits of every layer's state and of what it tells of the label; the smallest sufficient statistic a star."""
    rows = study.tables["information"]
    rows = rows[~rows["distilled"].astype(bool)]
    facts = study.statistics["language"]
    attentions = study.attentions()
    figure = Figure(figsize=(max(7.0, 5.2 * len(attentions)), 4.4), layout="constrained")
    levels = sorted(rows["level"].unique())
    for axes, attention in zip(figure.subplots(1, len(attentions), squeeze=False)[0], attentions, strict=True):
        axes.set_title(attention, loc="left")
        for level in levels:
            own = select(rows, attention=attention, level=level)
            x, y = (_means(own, f"exact_{what}") for what in ("entropy", "label"))
            colour = level_colour(level, levels)
            axes.plot(x, y, marker=MARKERS[attention], ms=4, lw=1, color=colour, label=_level(level))
        axes.plot(facts["score_entropy"], facts["information"], "*", ms=14, color="#D55E00", label="minimal sufficient")
        axes.set_xlabel("H(Z) = I(X;Z), bits")
    figure.axes[0].set_ylabel("I(Z;Y), bits")
    _legend(figure, figure.axes[0])
    return figure


def _means(rows: pd.DataFrame, quantity: str) -> pd.Series:
    """Of each layer, in the order of computation."""
    own = select(rows, quantity=quantity)
    return own.groupby("layer", sort=False)["value"].mean()


def _level(level: float) -> str:
    return f"level {int(level)}" if level else "dense"


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
