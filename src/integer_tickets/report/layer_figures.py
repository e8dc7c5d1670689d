"""The figures about what layers hold: by depth, by head, and on the exact information plane."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from integer_tickets.blocks import WEIGHT_BITS
from integer_tickets.report.figures import MARKERS, legend, level_colour
from integer_tickets.report.pictures import Picture
from integer_tickets.report.study import Study, select

ESTIMATORS = {
    "usable": "linear probe",
    "code": "autoregressive code, decoded",
    "code_in_class": "autoregressive code",
    "coding_rate": "distortion 1/12",
    "zeros": "exact",
    "prompt_entropy": "mean over texts",
    "spectral_entropy": "sample",
    "rank_one_residual": "exact",
    "rank_one_context": "exact",
}
"""Of the quantities that are drawn by layer."""


def pictures(study: Study) -> list[Picture]:
    """Those that a study has. Shown is the first of its variants, in the widest of its weights, before distillation."""
    rows = study.tables["information"]
    own = rows[~rows["distilled"].astype(bool) & (rows["weights"] != "float")]
    first = own[own["variant"] == own["variant"].iloc[0]]
    shown = first[first["weights"] == min(first["weights"].unique(), key=list(WEIGHT_BITS).index)]
    by_layer = _by_layer(shown)
    found = [
        _by_depth(
            "layers", "What layers tell and hold",
            "Above, how much of the label a linear probe can use; below, how long a vector is in a lossless code, and "
            "in one for its class alone, which bounds what is superfluous: a layer is the more minimal the shorter "
            "they are at the same height above.",
            by_layer,
            {
                "usable": "usable about the label, bits",
                "code": "code of one vector, bits",
                "code_in_class": "code within a class, bits",
            },
        ),
        _by_depth(
            "coding", "Coding rate and zeros by layer",
            "Where pruning compresses what a layer holds, the rate falls from level to level, and hidden neurons fall "
            "silent.",
            by_layer, {"coding_rate": "coding rate, bits", "zeros": "zeros among hidden neurons"},
        ),
        _by_depth(
            "depth", "Spread of tokens by layer",
            "A rank-one residual that falls towards 0 with depth means that all tokens of a text become alike: of the "
            "stream, and last of what attention gathers before the skip adds the stream to it; spectral entropy says "
            "over how many directions tokens spread, those of one text (above) and one of each text.",
            by_layer,
            {
                "prompt_entropy": "spectral entropy, bits,\ntokens of one text",
                "spectral_entropy": "spectral entropy, bits,\none token of each text",
                "rank_one_residual": "rank-one residual",
                "rank_one_context": "the same without skip",
            },
        ),
        Picture(
            "heads", "How heads spread their attention",
            "At 1 a head gathers from all keys alike, near 0 from one; where marks rise from level to level, pruning "
            "has made attention more even.",
            _heads(shown), heads,
        ),
        Picture(
            "pointwise", "Text by text beside the teacher",
            "Where a line lies below 0, the network knows less of these texts' labels than its teacher; a steep left "
            "end means that few texts carry the loss.",
            _pointwise(shown), pointwise,
        ),
    ]  # fmt: skip
    if rows["quantity"].str.startswith("exact").any():
        facts = study.statistics["language"]
        point = facts["score_entropy"], facts["information"]
        found.append(
            Picture(
                "information_plane", "The exact information plane",
                "From state to state a line can only go left and down; the star is as far left as nothing is lost, and "
                "what lies right of it at the same height is superfluous.",
                _plane(shown), lambda frame: information_plane(frame, point),
            )
        )  # fmt: skip
    return found


def _by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of the quantities that are drawn by layer."""
    pairs = list(ESTIMATORS.items())
    own = rows[[pair in pairs for pair in zip(rows["quantity"], rows["estimator"], strict=True)]]
    keys = ["attention", "level", "quantity", "layer"]
    return own.groupby(keys, sort=False)["value"].mean().reset_index()


def _by_depth(name: str, title: str, sentence: str, rows: pd.DataFrame, quantities: dict[str, str]) -> Picture:
    own = rows[rows["quantity"].isin(quantities)]
    keys = ["attention", "level", "layer"]
    quantities = {key: text for key, text in quantities.items() if key in set(own["quantity"])}  # older runs lack some
    parts = [select(own, quantity=quantity).set_index(keys)["value"].rename(quantity) for quantity in quantities]
    frame = pd.concat(parts, axis=1, sort=False).reset_index()
    return Picture(name, title, sentence, frame, lambda frame: by_depth(frame, quantities))


def by_depth(frame: pd.DataFrame, quantities: dict[str, str]) -> Figure:
    """A row of panels for each quantity, a column for each attention, a line for each level."""
    attentions, levels = list(dict.fromkeys(frame["attention"])), sorted(frame["level"].unique())
    figure = Figure(figsize=(max(7.0, 5.2 * len(attentions)), 0.8 + 2.8 * len(quantities)), layout="constrained")
    grid = figure.subplots(len(quantities), len(attentions), sharey="row", squeeze=False)
    for panels, (quantity, text) in zip(grid, quantities.items(), strict=True):
        for axes, attention in zip(panels, attentions, strict=True):
            own = select(frame, attention=attention).dropna(subset=quantity)
            places = list(dict.fromkeys(own["layer"]))
            for level in levels:
                mean = select(own, level=level).set_index("layer")[quantity].reindex(places)
                colour = level_colour(level, levels)
                axes.plot(range(len(places)), mean, marker=MARKERS[attention], color=colour, label=_level(level))
            axes.set_xticks(range(len(places)), [_place(place) for place in places])
            axes.set_xlim(-0.2, max(1, len(places) - 1) + 0.2)
        panels[0].set_ylabel(text)
    for axes, attention in zip(grid[0], attentions, strict=True):
        axes.set_title(attention, loc="left")
    legend(figure, [grid[0][0]], 5)
    return figure


def _place(layer: str) -> str:
    """`layers.0.hidden_sum` and `layers.0.up` lie in layer 1."""
    return f"layer {int(layer.split('.')[1]) + 1}" if layer.startswith("layers.") else layer


def _heads(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each head the entropy of its attention as a share of that of even attention."""
    keys = ["attention", "level", "layer"]
    means = [
        rows[rows["quantity"] == f"attention_{what}"].groupby(keys, sort=False)["value"].mean()
        for what in ("entropy", "uniform")
    ]
    return (means[0] / means[1]).rename("spread").reset_index()


def heads(frame: pd.DataFrame) -> Figure:
    """The entropy of each head's attention beside that of even attention: 1 is even, 0 is one key."""
    attentions, levels = list(dict.fromkeys(frame["attention"])), sorted(frame["level"].unique())
    figure, panels = _row(attentions, 3.8)
    for axes, attention in zip(panels, attentions, strict=True):
        own = select(frame, attention=attention)
        places = list(dict.fromkeys(own["layer"]))
        for level in levels:
            mean = select(own, level=level).set_index("layer")["spread"].reindex(places)
            axes.plot(
                range(len(places)), mean, MARKERS[attention], color=level_colour(level, levels), label=_level(level)
            )
        names = [place.replace("layers.", "").replace(".head_", " / ") for place in places]
        turn = 90 if len(places) > 12 else 0
        axes.set_xticks(range(len(places)), [str(int(n[0]) + 1) + n[1:] for n in names], fontsize=8, rotation=turn)
        axes.set_ylim(0, 1)
    figure.supxlabel("layer / head", fontsize=10)
    panels[0].set_ylabel("entropy, share of even attention")
    legend(figure, [panels[0]], 5)
    return figure


def _pointwise(rows: pd.DataFrame) -> pd.DataFrame:
    """Quantiles over texts of the usable information of a network less that of its teacher."""
    own = rows[rows["quantity"] == "over_teacher_quantile"]
    share = own["estimator"].str.partition(" ")[0].astype(float)
    keys = ["attention", "level", "share"]
    return own.assign(share=share).groupby(keys, sort=False)["value"].mean().rename("bits").reset_index()


def pointwise(frame: pd.DataFrame) -> Figure:
    """Over what share of texts a network knows less (below 0) or more of the label than its teacher."""
    attentions, levels = list(dict.fromkeys(frame["attention"])), sorted(frame["level"].unique())
    figure, panels = _row(attentions, 3.8)
    for axes, attention in zip(panels, attentions, strict=True):
        for level in levels:
            own = select(frame, attention=attention, level=level)
            axes.plot(own["share"], own["bits"], ".-", color=level_colour(level, levels), label=_level(level))
        axes.axhline(0, color="#555555", lw=0.8)
    figure.supxlabel("% of texts, from those where it falls furthest behind", fontsize=10)
    panels[0].set_ylabel("usable bits more than the teacher")
    legend(figure, [panels[0]], 5)
    return figure


def _plane(rows: pd.DataFrame) -> pd.DataFrame:
    """Exact bits of the states from which all that follows is computed, and of what they tell of the label; means over
    seeds."""
    rows = rows[~rows["layer"].str.endswith((".context", ".up"))]  # beside the stream
    parts = [
        rows[rows["quantity"] == f"exact_{what}"]
        .groupby(["attention", "level", "layer"], sort=False)["value"]
        .mean()
        .rename(what)
        for what in ("entropy", "label")
    ]
    return pd.concat(parts, axis=1).reset_index()


def information_plane(frame: pd.DataFrame, smallest: tuple[float, float]) -> Figure:
    """Exact bits of the states and of what they tell of the label; the smallest sufficient statistic a star."""
    attentions, levels = list(dict.fromkeys(frame["attention"])), sorted(frame["level"].unique())
    figure, panels = _row(attentions, 4.4)
    for axes, attention in zip(panels, attentions, strict=True):
        for level in levels:
            own, colour = select(frame, attention=attention, level=level), level_colour(level, levels)
            marker = MARKERS[attention]
            axes.plot(own["entropy"], own["label"], marker=marker, ms=4, lw=1, color=colour, label=_level(level))
        axes.plot(*smallest, "*", ms=14, color="#D55E00", label="minimal sufficient")
        axes.set_xlabel("H(Z) = I(X;Z), bits")
    panels[0].set_ylabel("I(Z;Y), bits")
    legend(figure, [panels[0]], 5)
    return figure


def _row(attentions: Sequence[str], height: float) -> tuple[Figure, list[Axes]]:
    """A panel for each attention, side by side."""
    figure = Figure(figsize=(max(7.0, 5.2 * len(attentions)), height), layout="constrained")
    panels = list(figure.subplots(1, len(attentions), sharey=True, squeeze=False)[0])
    for axes, attention in zip(panels, attentions, strict=True):
        axes.set_title(attention, loc="left")
    return figure, panels


def _level(level: float) -> str:
    return f"level {int(level)}" if level else "dense"
