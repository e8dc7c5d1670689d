"""The report's section on what explains generalization: measures of networks against their generalization gap."""

from collections.abc import Iterator

import pandas as pd

from integer_tickets.information.zoo import rank_correlation
from integer_tickets.report.study import Study
from integer_tickets.report.tables import Table
from integer_tickets.seeds import generator

FEWEST = 12
"""Networks without which no rank correlation is worth a table."""
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
    """A row for each integer network: its measures, and the gap: error on held-out texts less that on those seen."""
    keys = ["name", "seed"]
    rows = study.certified.drop_duplicates(keys).set_index(keys)
    found = rows[list(OF_CODE)].assign(gap=rows["held_out_risk"] - rows["risk"])
    told = study.tables["information"]
    told = told[told["layer"] == "pooled"]
    for (quantity, estimator), text in OF_LAYER.items():
        own = told[(told["quantity"] == quantity) & (told["estimator"] == estimator)]
        found[text] = own.drop_duplicates(keys).set_index(keys)["value"]
    return found.rename(columns=OF_CODE)


def correlations(study: Study) -> pd.DataFrame:
    """Kendall's tau of each measure with the gap and its interval, plain and given the error that was seen."""
    zoo, settings = networks(study), study.params.evaluate
    gap, given = zoo["gap"].to_numpy(), zoo[OF_CODE["risk"]].to_numpy()
    rows = []
    for measure in [*OF_CODE.values(), *OF_LAYER.values()]:
        for partial in (False, True):
            random = generator(f"tau {measure} {partial}", settings.seed)
            if partial and measure == OF_CODE["risk"]:
                continue
            found = rank_correlation(
                zoo[measure].to_numpy(),
                gap,
                settings.bootstrap,
                settings.confidence,
                random,
                given if partial else None,
            )
            rows.append({"measure": measure, "given": "error seen" if partial else "", **vars(found)})
    return pd.DataFrame(rows)


def explained(study: Study) -> Iterator[str]:
    count = len(networks(study))
    if count < FEWEST:
        return
    rows = correlations(study)
    plain = rows[rows["given"] == ""]
    away = plain[(plain["low"] > 0) | (plain["high"] < 0)]
    yield (
        f"Kendall's rank correlation of each measure with the generalization gap (error on {study.split} less error on "
        f"train and selection) over {count} integer networks of all kinds, levels and seeds, with its "
        f"{100 * study.params.evaluate.confidence:g} % interval over networks; beside it the partial one, given the "
        f"error on these. {len(away)} of {len(plain)} measures have an interval that does not hold 0; those that fail "
        "are here, too. Networks of one ladder resemble each other, so the intervals are too narrow rather than too "
        "wide."
    )
    yield table(rows).markdown()


def table(rows: pd.DataFrame) -> Table:
    body = []
    for measure, own in rows.groupby("measure", sort=False):
        cells = {given: _cell(row.iloc[0]) for given, row in own.groupby("given")}
        body.append([str(measure), cells[""], cells.get("error seen", ""), str(int(own["models"].iloc[0]))])
    return Table(["measure", "tau with the gap", "given that error", "networks"], body)


def _cell(row: pd.Series) -> str:
    return "" if pd.isna(row["tau"]) else f"{row['tau']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
