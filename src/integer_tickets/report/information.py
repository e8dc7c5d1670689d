"""The report's section on information: what layers keep of the label, what else, and what flips a label."""

from collections.abc import Iterator, Sequence
from textwrap import shorten

import pandas as pd

from integer_tickets.report.formats import Table, probability
from integer_tickets.report.study import Study, select

LAYERS = {
    "usable": "usable, bits",
    "code": "code, bits",
    "code_in_class": "code in class, bits",
    "collision_bound": "at least, bits",
    "collision_bound_in_class": "at least, in class",
    "superfluous": "superfluous at most, bits",
    "participation_corrected": "dimensions",
    "rate_reduction": "rate reduction, bits",
    "nearest_mean": "nearest mean %",
}
HEADS = {
    "attention_entropy": "entropy, bits",
    "attention_uniform": "uniform, bits",
    "attention_pass_through": "passed %",
    "attention_zero_rate": "zeros %",
    "attention_lipschitz": "gamma",
}
FLIPS = {
    "safe_from_typos": "safe from slips %",
    "flips_by_typos": "slips that flip %",
    "safe_from_synonyms": "safe from synonyms %",
    "flips_by_synonyms": "synonyms that flip %",
    "margin_safe_from_typos": "margin where safe from slips",
    "margin_flipped_by_typos": "margin where not",
}
_SYNONYMS = {
    True: "words of the built-in language that never change a score",
    False: "one word in place of another of a short fixed table of English words that judge nothing",
}
LISTED, LETTERS = 20, 120
"""Texts in a list, and how much of each."""
SHARES = ("nearest_mean", "attention_pass_through", "attention_zero_rate", *list(FLIPS)[:4])


def information(study: Study) -> Iterator[str]:
    rows = study.tables["information"]
    n = study.params.analyze.examples
    yield (
        f"Measured on {n:,} texts of {study.split} by probes and codes that learned on {n:,} of train; means over "
        "seeds. *usable*: what a linear probe of a layer's mean token tells about the label, a lower bound on I(Z;Y). "
        "*code*: bits that one vector of the layer (a random token, or the pooled vector) takes in a lossless code, "
        "an upper bound on its entropy, and within a class; *at least*: a lower bound from equal pairs, which ends "
        "near log2 of their number. The pooled vector Z is a function of the text, so H(Z) = I(X;Z); code less "
        "usable, and code in class, are at least what it holds beyond the label (*superfluous*). *dimensions*: "
        "participation ratio. *rate reduction*: bits of the Gaussian rate that the classes explain. *nearest mean*: "
        "texts on which the nearest class mean agrees with the network. Bits fall, too, where the range of integers "
        "merely shrinks."
    )
    yield layers(rows).markdown()
    if (rows["quantity"] == "over_dense").any():
        yield (
            "The pooled vector beside that of the dense network of the same weights, text by text: a paired interval "
            "of the mean over texts, means over seeds."
        )
        yield _beside(rows, "over_dense", "pooled").markdown()
    if rows["quantity"].str.startswith("exact").any():
        yield from _plane(study)
    yield (
        "Attention, mean over heads and sentences: the entropy of the shares that keys have in what a query gathers, "
        "beside log2 of their number; of the pairs of a value and a query those of which something passes, and those "
        "with an inhibition (or a softmax weight) of zero; gamma on the grids of the integers, by which the Inhibitor "
        "is Lipschitz in q and k (softmax has no such constant)."
    )
    yield heads(rows).markdown()
    yield (
        "The same at the logits, beside the teacher's, text by text: a paired interval of the mean over texts, and "
        "whether it knows more on as many texts as less (means and medians over seeds)."
    )
    yield _beside(rows, "over_teacher", "logits").markdown()
    worst = select(rows, quantity="over_teacher_text")
    if study.texts and len(worst):
        yield (
            f"The texts that most networks have among those {worst.groupby(['name', 'seed']).size().max()} of which "
            "they know least beside the teacher:"
        )
        yield _worst(worst, study.texts).markdown()
    flips = rows[rows["quantity"].isin(FLIPS)]
    if len(flips):
        texts = int(select(flips, quantity="safe_from_typos")["n"].min())
        yield (
            f"By enumeration, on {texts} texts: the share whose label none of all single slips of the pen (a letter "
            "left out, wrong, put in, or two swapped) can flip, and the share of slips that do; the same for synonyms, "
            f"{_SYNONYMS[study.statistics['corpus'] == 'builtin']}. Margins, in logits, of texts that are safe from "
            "slips and of those that are not."
        )
        yield flips_table(flips).markdown()
    refused = rows[rows["flag"] != ""]
    if len(refused):
        reasons = refused.groupby("quantity")["flag"].agg(lambda flags: flags.iloc[0])
        told = "; ".join(f"{quantity} ({reason})" for quantity, reason in reasons.items())
        yield f"Not identifiable in {len(refused)} cases, and so not given: {told}."


def _beside(rows: pd.DataFrame, quantity: str, layer: str) -> Table:
    """Usable bits of a layer, and how many more than the teacher's or the dense network's; means over seeds."""
    body = []
    signs = rows[rows["quantity"] == f"{quantity}_sign"]
    linear = rows[(rows["quantity"] == "usable") & (rows["layer"] == layer) & (rows["estimator"] == "linear probe")]
    for name, own in rows[rows["quantity"] == quantity].groupby("name", sort=False):
        mean, told = own.mean(numeric_only=True), select(linear, name=name)["value"].mean()
        cells = [f"{mean['value']:+.3f}", f"{mean['low']:+.3f} to {mean['high']:+.3f}"]
        cells += [probability(select(signs, name=name)["value"].median())] if len(signs) else []
        body.append([str(name), f"{told:.3f}", *cells])
    other = quantity.removeprefix("over_")
    return Table(
        ["network", "usable, bits", f"more than the {other}'s", "interval", *(["sign test, p"] if len(signs) else [])],
        body,
    )


def _worst(rows: pd.DataFrame, texts: Sequence[tuple[str, str]]) -> Table:
    """The texts named most often, and of equals those of which the networks know least: their mean over these."""
    every = len(rows.groupby(["name", "seed"]))
    found = rows.groupby("estimator")["value"].agg(["size", "mean"]).reset_index()
    found = found.sort_values(["size", "mean", "estimator"], ascending=[False, True, True])[:LISTED]
    body = []
    for row in found.to_dict("records"):
        label, text = texts[int(row["estimator"].removeprefix("row "))]
        body.append([f"{row['size']} of {every}", f"{row['mean']:+.2f}", label, shorten(text, LETTERS)])
    return Table(["networks", "bits more than the teacher's", "label", "text"], body)


def _plane(study: Study) -> Iterator[str]:
    facts = study.statistics["language"]
    yield (
        "Every sentence of this language can be listed, so what a layer holds is known exactly: its entropy, and its "
        f"information about the label. The score of a sentence, with {facts['score_entropy']:.3f} bits the smallest "
        f"sufficient statistic, holds all {facts['information']:.3f} bits there are about the label. In the figure "
        "stand the embedding, the stream of all tokens after each attention and each layer, the pooled vector and the "
        "logits: none can hold more than the one before."
    )


def layers(rows: pd.DataFrame) -> Table:
    linear = ~rows["estimator"].str.startswith("mlp")
    own = rows[rows["quantity"].isin(LAYERS) & ~rows["layer"].str.contains("head") & linear]
    return _table(own, ["name", "layer"], {key: text for key, text in LAYERS.items() if key in set(own["quantity"])})


def heads(rows: pd.DataFrame) -> Table:
    own = rows[rows["quantity"].isin(HEADS)].assign(layer=lambda frame: frame["layer"].str.rpartition(".")[0])
    return _table(own, ["name", "layer"], HEADS)


def flips_table(rows: pd.DataFrame) -> Table:
    return _table(rows, ["name"], {key: text for key, text in FLIPS.items() if key in set(rows["quantity"])})


def _table(rows: pd.DataFrame, keys: list[str], columns: dict[str, str]) -> Table:
    body = []
    for place, group in rows.groupby(keys, sort=False):
        means = {quantity: select(group, quantity=quantity)["value"].mean() for quantity in columns}
        cells = [
            "" if pd.isna(mean) else f"{100 * mean:.1f}" if quantity in SHARES else f"{mean:.3f}"
            for quantity, mean in means.items()
        ]
        body.append([*map(str, place if isinstance(place, tuple) else (place,)), *cells])
    return Table(["network", *keys[1:], *columns.values()], body)
