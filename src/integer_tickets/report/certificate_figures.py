"""The figures about code lengths, certificates and generalization, each from a table of its own."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from integer_tickets.report.certificates import KNOWN, PARTS
from integer_tickets.report.figures import COLOURS, GREY, MARKERS, PALETTE, density_axis, legend, size_axis
from integer_tickets.report.generalization import comparable, correlations
from integer_tickets.report.pictures import Picture
from integer_tickets.report.study import Study, select

COLUMNS = 4
"""Panels side by side."""
WEIGHT_LINES = {"int8": "-", "int4": "--", "int3": "-.", "ternary": ":"}


def pictures(study: Study) -> list[Picture]:
    """Those that a study has."""
    rows = study.certified
    found = [
        Picture(
            "code_parts", "Where the bits of a code are",
            "The longest bar says what to shrink first; masks and weights get shorter down the ladder, the embedding "
            "only where it is pruned, too.",
            _parts(rows), code_parts,
        ),
        Picture(
            "bounds", "Bounds against the length of the code",
            "The further down and left, the better; a bound from the code is worth something below the dotted line, "
            "and near the white marks, which are errors on held-out texts.",
            _bounds(study.tables["certificates"]), lambda frame: bounds(frame, study),
        ),
        Picture(
            "description", "Bits a label, and accuracy, against density",
            "The lowest point of a line above is the ticket that describes the labels best; below a density accuracy "
            "pays for every bit that is saved.",
            _descriptions(rows), description,
        ),
    ]  # fmt: skip
    if "apart" in rows:
        found.append(
            Picture(
                "fidelity", "Certified fidelity to the teacher",
                "White marks are disagreement as measured on unlabelled texts, full ones what it is at most on new "
                "texts; they draw near each other where the code is short beside the number of texts.",
                _fidelity(rows), fidelity,
            )
        )  # fmt: skip
    if len(study.tables["mask_bits"]):
        found.append(
            Picture(
                "mask_bits", "What of a mask is known beforehand",
                "What lies above the random mask follows from where training began; what is left to 100 % was learned.",
                _saved(study), mask_bits,
            )
        )  # fmt: skip
    if comparable(study):
        found.append(
            Picture(
                "generalization", "What goes with the generalization gap",
                "A measure explains something where its interval keeps away from 0, and more where it still does so "
                "given the error on texts that were seen.",
                select(correlations(study), attention=""), generalization,
            )
        )  # fmt: skip
    return found


def _parts(rows: pd.DataFrame) -> pd.DataFrame:
    """Network, part, kbit; means over seeds, and over the ladders that end in such weights."""
    keys = ["attention", "weights", "level", "distilled"]
    means = rows.groupby(keys, sort=False)[[f"bits_{part}" for part in PARTS]].mean().sort_index()
    names = [
        f"{attention} {weights} {f'level {level:.0f}' if level else 'dense'}{' distilled' if distilled else ''}"
        for attention, weights, level, distilled in means.index
    ]
    parts = [
        pd.DataFrame({"name": names, "part": text, "kbit": means[f"bits_{part}"].to_numpy() / 1000})
        for part, text in PARTS.items()
    ]
    return pd.concat(parts, ignore_index=True)


def code_parts(frame: pd.DataFrame) -> Figure:
    """Where the bits of a ticket's code are."""
    names = list(dict.fromkeys(frame["name"]))
    figure = Figure(figsize=(8.8, 1.2 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(names))
    for (part, own), colour in zip(frame.groupby("part", sort=False), PALETTE, strict=True):
        axes.barh(range(len(names)), own["kbit"], left=left, color=colour, label=str(part))
        left += own["kbit"].to_numpy()
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("code length, kbit")
    legend(figure, [axes], 4)
    return figure


def _bounds(rows: pd.DataFrame) -> pd.DataFrame:
    columns = ["error", "held_out_error", "held_out_risk", "bits", "symmetry"]
    means = rows.groupby(["attention", "name"], sort=False)[columns].mean().reset_index()
    return means.assign(kbit=(means["bits"] - means["symmetry"]) / 1000).drop(columns=["bits", "symmetry"])


def bounds(frame: pd.DataFrame, study: Study) -> Figure:
    """True error at most, by the code and by held-out texts, and the error on these, against the length of the code."""
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for attention, own in frame.groupby("attention", sort=False):
        name = str(attention) or "bag of words"
        colour, marker = COLOURS.get(name, GREY), MARKERS.get(name, "X")
        for column, face, text in (
            ("error", colour, "at most, by the code"),
            ("held_out_error", "#bbbbbb", f"at most, by {study.split}"),
            ("held_out_risk", "white", f"error on {study.split}"),
        ):
            axes.plot(
                own["kbit"], 100 * own[column], marker, color=colour, markerfacecolor=face, label=f"{name}: {text}"
            )
    bag = study.accuracies(stage="baseline", role="tfidf")
    if len(bag):
        axes.axhline(
            100 * (1 - bag["mean"].iloc[0]),
            color=GREY,
            lw=1,
            ls=(0, (6, 3)),
            label="TF-IDF: error",
        )
    axes.axhline(50, color=GREY, lw=0.8, ls=":", label="a coin")
    size_axis(axes)
    axes.set_xlabel("code length, kbit (log scale)")
    axes.set_ylabel(f"error, % (bounds: {100 * (1 - study.params.certify.delta):g} % sure)")
    legend(figure, [axes], 3)
    return figure


def _descriptions(rows: pd.DataFrame) -> pd.DataFrame:
    """Of networks that are not distilled: bits a label and accuracy by density."""
    own = rows[~rows["distilled"].astype(bool)].assign(accuracy=1 - rows["held_out_risk"])
    keys = ["attention", "variant", "weights", "level"]
    return own.groupby(keys, sort=False)[["density", "description_length", "accuracy"]].mean().reset_index()


def description(frame: pd.DataFrame) -> Figure:
    """Code and corrections in bits a label, and held-out accuracy below; a line for each variant and its weights."""
    attentions = list(dict.fromkeys(frame["attention"]))
    figure = Figure(figsize=(max(7.0, 5.2 * len(attentions)), 6.0), layout="constrained")
    grid = figure.subplots(2, len(attentions), sharex=True, sharey="row", squeeze=False)
    variants = list(dict.fromkeys(frame["variant"]))
    for column, attention in enumerate(attentions):
        grid[0][column].set_title(attention, loc="left")
        for (variant, weights), own in select(frame, attention=attention).groupby(["variant", "weights"], sort=False):
            own, colour = own.sort_values("density"), PALETTE[variants.index(variant) % len(PALETTE)]
            for axes, quantity, scale in zip(
                grid[:, column], ("description_length", "accuracy"), (1, 100), strict=True
            ):
                label = str(weights) if variant == weights else f"{variant}, then {weights}"
                axes.plot(
                    own["density"], scale * own[quantity], "o", ls=WEIGHT_LINES[str(weights)], ms=4, lw=1.2,
                    color=colour, label=label,
                )  # fmt: skip
        grid[0][column].axhline(1, color=GREY, lw=0.8, ls=":")
        density_axis(grid[0][column], sorted(frame["density"].round(3).unique()))
    grid[0][0].set_ylabel("bits a label (a coin needs 1)")
    grid[0][0].set_yscale("log")
    grid[0][0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    grid[0][0].yaxis.set_minor_locator(NullLocator())
    grid[0][0].yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    grid[1][0].set_ylabel("accuracy, %")
    figure.supxlabel("density: % of the prunable weights that are kept (log scale)", fontsize=10)
    legend(figure, list(grid[0]), 5)
    return figure


def _fidelity(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each network its disagreement with the teacher, measured and at most; means over seeds."""
    means = rows.groupby(["attention", "distilled", "name"], sort=False)[["bits", "symmetry", "apart", "apart_error"]]
    own = means.mean().reset_index()
    return own.assign(kbit=(own["bits"] - own["symmetry"]) / 1000).drop(columns=["bits", "symmetry"])


def fidelity(frame: pd.DataFrame) -> Figure:
    """Disagreement with the teacher on unlabelled text, and what it is at most, against the length of the code."""
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.subplots()
    for attention, own in frame.groupby("attention", sort=False):
        colour, marker = COLOURS[str(attention)], MARKERS[str(attention)]
        for column, face, text in (("apart", "white", "measured"), ("apart_error", colour, "at most")):
            label = f"{attention}: {text}"
            axes.plot(own["kbit"], 100 * own[column], marker, color=colour, markerfacecolor=face, label=label)
    size_axis(axes)
    axes.set_xlabel("code length, kbit (log scale)")
    axes.set_ylabel("disagreement with the teacher, %")
    legend(figure, [axes], 4)
    return figure


def _saved(study: Study) -> pd.DataFrame:
    """Of each ladder and density: the share of a mask's bits that is saved by what is known."""
    rows = study.tables["mask_bits"]
    keys = [rows["attention"], rows["variant"], rows["density"]]
    parts = [
        (1 - rows[f"given_{what}"] / rows["alone"])
        .groupby(keys, sort=False)
        .mean()
        .rename("saved")
        .reset_index()
        .assign(known=text)
        for what, text in KNOWN.items()
    ]
    return pd.concat(parts, ignore_index=True)


def mask_bits(frame: pd.DataFrame) -> Figure:
    """How much of a mask's bits is saved by what may be known of it, against density."""
    ladders = list(frame.groupby(["attention", "variant"], sort=False))
    columns = min(len(ladders), COLUMNS)
    lines = -(-len(ladders) // columns)
    figure = Figure(figsize=(max(7.0, 3.2 * columns), 0.8 + 2.8 * lines), layout="constrained")
    grid = list(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes in grid[len(ladders) :]:
        axes.set_visible(False)
    for axes, ((attention, variant), rows) in zip(grid, ladders, strict=False):
        axes.set_title(f"{attention} {variant}", loc="left")
        for (known, own), marker, colour in zip(rows.groupby("known", sort=False), "osDx", PALETTE[::2], strict=True):
            style = {"marker": marker, "ms": 5, "mfc": "white" if marker == "D" else colour, "color": colour, "lw": 1.2}
            if own["saved"].notna().any():  # first weights are none where training did not begin with drawn ones
                axes.plot(own["density"], 100 * own["saved"], label=str(known), **style)
        axes.axhline(0, color=GREY, lw=0.8)
        density_axis(axes, sorted(frame["density"].round(3).unique()))
    figure.supxlabel("density: % of the prunable weights that are kept (log scale)", fontsize=10)
    for axes in grid[max(0, len(ladders) - columns) : len(ladders)]:  # those with nothing below
        axes.tick_params(labelbottom=True)
    figure.supylabel("saved of the mask's bits, %", fontsize=10)
    legend(figure, grid, 4)
    return figure


def generalization(frame: pd.DataFrame) -> Figure:
    """Kendall's tau of each measure with the gap, and the partial one, with intervals."""
    names = list(dict.fromkeys(frame["measure"]))
    figure = Figure(figsize=(8.0, 1.4 + 0.32 * len(names)), layout="constrained")
    axes = figure.subplots()
    colour = COLOURS["inhibitor"]
    for given, shift, face in (("", -0.12, colour), ("error seen", 0.12, "white")):
        own = select(frame, given=given).dropna(subset="tau")
        places = [names.index(name) + shift for name in own["measure"]]
        reach = [own["tau"] - own["low"], own["high"] - own["tau"]]
        label = f"given the {given}" if given else "plain"
        axes.errorbar(
            own["tau"], places, xerr=reach, fmt="o", ms=5, mfc=face, color=colour, capsize=3, lw=1, label=label
        )
    axes.axvline(0, color=GREY, lw=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("Kendall's tau with the generalization gap")
    legend(figure, [axes], 2)
    return figure
