"""The report's section on what explains generalization: measures of networks against their generalization gap."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from integer_tickets.information.zoo import rank_correlation
from integer_tickets.report.formats import Table
from integer_tickets.report.study import Study
from integer_tickets.seeds import generator

FEWEST = 12
"""Networks without which no rank correlation is worth a table."""
ENOUGH = 60
"""Networks from which a rank correlation is worth a conclusion."""
OF_CODE = {
    "bits": "code length",
    "description_length": "code and corrections, bits a label",
    "error": "bound on the error",
    "density": "density",
    "risk": "error on train and selection",
}
"""Measures among the certificates, and how they are called."""
OF_LAYER = {
    ("code", "autoregressive code, decoded"): "code of the pooled vector, H(Z)",
    ("usable", "linear probe"): "usable information of the pooled vector",
    ("online", "linear probe"): "online code of the labels",
    ("random_labels", "linear probe"): "fit of random labels in a class",
    ("participation_corrected", "unbiased for Gaussians"): "dimensions (participation ratio)",
    ("coding_rate", "distortion 1/12"): "coding rate",
    ("rate_reduction", "distortion 1/12"): "rate reduction",
    ("class_variance", "sample"): "class-distance-normalized variance",
    ("nearest_mean", "agreement with the network"): "agreement with the nearest class mean",
}
"""Quantities of the pooled vector by name and estimator."""


def networks(study: Study) -> pd.DataFrame:
    """A row for each integer network: its measures, and the gap: error on held-out texts less that on those seen.

    Networks that agree in all of these are one: ladders that are rewound to different steps begin with the same.
    """
    keys = ["name", "seed"]
    rows = study.certified.drop_duplicates(keys).set_index(keys)
    found = rows[list(OF_CODE)].assign(gap=rows["held_out_risk"] - rows["risk"], attention=rows["attention"])
    told = study.tables["information"]
    told = told[told["layer"] == "pooled"]
    for (quantity, estimator), text in OF_LAYER.items():
        own = told[(told["quantity"] == quantity) & (told["estimator"] == estimator)]
        found[text] = own.drop_duplicates(keys).set_index(keys)["value"]
    found["ladder"] = rows["attention"] + " " + rows["variant"] + " " + rows.index.get_level_values("seed").astype(str)
    found = found.rename(columns=OF_CODE)
    return found.drop_duplicates([column for column in found if column != "ladder"])


def comparable(study: Study) -> bool:
    """Whether there are networks enough, and their gap is one: errors on train are those of rows, as those on test."""
    return study.params.certify.unit == "row" and len(networks(study)) >= FEWEST


def correlations(study: Study) -> pd.DataFrame:
    """Kendall's tau of each measure with the gap and its interval: plain, given the error that was seen, and among the
    networks of each attention alone."""
    zoo, seen = networks(study), OF_CODE["risk"]
    parts = [("", zoo), *((name, own) for name, own in zoo.groupby("attention", sort=False) if len(own) < len(zoo))]
    rows = []
    for measure in [*OF_CODE.values(), *OF_LAYER.values()]:
        for attention, part in parts:
            rows.append({"measure": measure, "given": "", "attention": attention, **_tau(study, part, measure, None)})
        if measure != seen:
            given = _tau(study, zoo, measure, zoo[seen].to_numpy())
            rows.append({"measure": measure, "given": "error seen", "attention": "", **given})
    return pd.DataFrame(rows)


def _tau(study: Study, zoo: pd.DataFrame, measure: str, given: NDArray[np.float64] | None) -> dict[str, Any]:
    settings = study.params.evaluate
    found = rank_correlation(
        zoo[measure].to_numpy(), zoo["gap"].to_numpy(), settings.bootstrap, settings.confidence,
        generator(f"tau {measure} {given is not None}", settings.seed), zoo["ladder"].to_numpy(), given,
    )  # fmt: skip
    return vars(found)


def explained(study: Study) -> Iterator[str]:
    if not comparable(study):
        return
    count = len(networks(study))
    rows = correlations(study)
    plain = rows[(rows["given"] == "") & (rows["attention"] == "")]
    away = plain[(plain["low"] > 0) | (plain["high"] < 0)]
    yield (
        f"Kendall's rank correlation of each measure with the generalization gap (error on {study.split} less error on "
        f"train and selection) over {count} different integer networks of all kinds, levels and seeds, with its "
        f"{100 * study.params.evaluate.confidence:g} % interval over ladders, whose networks resemble each other; "
        "beside it the partial one, given the error on these, and those among the networks of one attention alone: "
        "what does not hold in both explains their difference, not generalization. "
        f"{len(away)} of {len(plain)} measures have an interval that does not hold 0; those that fail are here, too."
        + (f" Fewer than {ENOUGH} networks are too few to conclude anything from." if count < ENOUGH else "")
    )
    yield table(rows).markdown()


def table(rows: pd.DataFrame) -> Table:
    attentions = [name for name in dict.fromkeys(rows["attention"]) if name]
    body = []
    for measure, own in rows.groupby("measure", sort=False):
        cells = {(row["given"], row["attention"]): _cell(row) for _, row in own.iterrows()}
        others = (cells[("", name)] for name in attentions)
        body.append([str(measure), cells[("", "")], cells.get(("error seen", ""), ""), *others])
    return Table(["measure", "tau with the gap", "given that error", *(f"{name} alone" for name in attentions)], body)


def _cell(row: pd.Series) -> str:
    if pd.isna(row["tau"]):
        return ""
    interval = "" if pd.isna(row["low"]) else f" ({row['low']:+.2f} to {row['high']:+.2f})"
    return f"{row['tau']:+.2f}{interval}"
