"""The report's section on certificates: code lengths, bounds, and what they are worth."""

from collections.abc import Iterator

import pandas as pd

from integer_tickets.information.bag_of_words import PLACES
from integer_tickets.report.formats import Table, percent
from integer_tickets.report.study import Study

SHOWN = {"masks": "masks", "values": "weights", "embedding": "embedding", "tokenizer": "vocabulary"}

PARTS = {**SHOWN, "biases": "biases", "scales": "scales", "header": "header"}
ERRORS = {"row": "error", "text": "mean error over the rows cut from a text", "group": "mean error over a group's rows"}
"""What is bounded, by what was drawn independently."""
KNOWN = {"initial": "first weights", "rewind": "rewind point", "seed": "other seed", "shuffled": "random mask"}
"""What may be known of a mask, and how it is called."""


def certificates(study: Study) -> Iterator[str]:
    rows = study.tables["certificates"]
    own = study.params.certify
    bag = rows[rows["stage"] == "baseline"]
    n, delta = int(rows["n"].iloc[0]), own.delta
    prior = study.params.train.prior
    unit = {
        "row": "texts of train and selection",
        "text": "source texts, of which rows are parts,",
        "group": f"groups of rows (column `{study.params.data.group}`)",
    }[own.unit]
    yield (
        f"An upper bound on the true {ERRORS[own.unit]} of each integer network, valid with probability {1 - delta:g} "
        f"for all at once if the {n:,} {unit} were drawn independently: from its errors on them and the bits of its "
        "code, a stream from which the very network can be decoded (tests do), vocabulary included. What finding a "
        "ticket took does not count. Beside it, for each by itself, the bound from the held-out texts alone: that one "
        "certifies, the one from the code explains."
    )
    if prior:
        yield (
            f"The decoder has the ticket that training began with (`{prior}`), and only what differs from it is "
            "counted: that is honest if it was found without these texts. Where nothing of it has changed, the bound "
            "is in effect that of a held-out test of the prior."
        )
    yield table(rows, study.split).markdown()
    if own.clusters > 1:
        best = rows.sort_values("clustered").iloc[0]
        yield (
            f"If as many as {own.clusters} {unit} hang together, the lowest bound is that of `{best['name']}`, "
            f"{percent(best['clustered'])} %: the numbers above stand or fall with independence."
        )
    if len(bag):
        yield (
            f"*bag of words* is the simplest ticket for such a table: {round(bag['density'].iloc[0] * PLACES)} hashed "
            "words that vote for or against, against a threshold."
        )
    rows = study.certified
    if "apart" in rows:
        yield _fidelity(rows.dropna(subset="apart"), study)
    told, names = rows[rows["error"] < rows["commonest"]], rows["name"].nunique()
    yield (
        f"{told['name'].nunique()} of {names} kinds of networks are certified to be better than always naming the "
        f"commonest class, which errs on {percent(rows['commonest'].iloc[0])} % of these texts. Bits a label: of code "
        "and corrections; for two classes the bound (in its kl form) is below one half just where they and "
        "log2(1/delta) take less than one bit. Means over seeds, orders of parts that compute the same taken off the "
        "code."
    )
    if len(told) < len(rows):
        most = rows.groupby("name")[[f"bits_{part}" for part in SHOWN]].mean().mean()
        part = SHOWN[str(most.idxmax()).removeprefix("bits_")]
        yield f"Where the bound promises nothing, the code is too long for so few texts; most of it is the {part}."


def _fidelity(rows: pd.DataFrame, study: Study) -> str:
    """The second way to a certificate: by the teacher, on text that nobody labelled."""
    means = rows.groupby("name", sort=False)[["apart", "apart_error", "taught_error"]].mean()
    own = means.sort_values("apart_error").reset_index().iloc[0]
    return (
        "A code bounds disagreement with a teacher, too, on text without labels, and so certifies how faithful a "
        f"distilled network is: of {int(rows['apart_n'].iloc[0]):,} such texts `{own['name']}` and its teacher "
        f"disagree on {percent(own['apart'])} %, on new texts on at most {percent(own['apart_error'])} %; with the "
        f"error of the teacher, bounded by {study.split}, its true error is at most {percent(own['taught_error'])} %. "
        f"Each with probability {1 - study.params.certify.delta:g}, and if unlabelled texts come from where the others "
        "do."
    )


def masks(study: Study) -> Iterator[str]:
    """What is known of a mask where the decoder has the first weights, or the mask of another run."""
    rows = study.tables["mask_bits"]
    if rows.empty:
        return
    yield (
        "What a mask takes alone, by the frequency of what lives in each layer, and how much of that is saved where "
        "the decoder knows, place by place: how large the weight was at initialisation, or at the rewind point; the "
        "mask that the next seed found; and, for comparison, a mask with as many ones in each layer at random places. "
        "What is saved follows from the start or the architecture, the rest was learned from the data. Means over "
        "seeds."
    )
    yield mask_table(rows).markdown()


def mask_table(rows: pd.DataFrame) -> Table:
    """A row for each level of each ladder."""
    body = []
    for name, group in rows.groupby("name", sort=False):
        shares = [1 - (group[f"given_{what}"] / group["alone"]).mean() for what in KNOWN]
        body.append([
            str(name), percent(group["density"].mean(), 1), f"{group['alone'].mean() / 1000:.2f}",
            *("" if pd.isna(share) else percent(share, 1) for share in shares),
        ])  # fmt: skip
    return Table(["ticket", "density %", "mask, kbit", *(f"saved by {text} %" for text in KNOWN.values())], body)


def table(rows: pd.DataFrame, split: str) -> Table:
    """A row for each kind of network, means over seeds."""
    header = [
        "network", "code, kbit", *SHOWN.values(), "bits a label", "error on these %", "true error at most %",
        f"at most, by {split} %", f"error on {split} %",
    ]  # fmt: skip
    body = []
    for name, group in rows.groupby("name", sort=False):
        mean = group.mean(numeric_only=True)
        kilobits = ["" if pd.isna(mean[f"bits_{part}"]) else f"{mean[f'bits_{part}'] / 1000:.1f}" for part in SHOWN]
        body.append([
            str(name), f"{(mean['bits'] - mean['symmetry']) / 1000:.1f}", *kilobits,
            f"{mean['description_length']:.3f}", percent(mean["risk"]), percent(mean["error"]),
            percent(mean["held_out_error"]), percent(mean["held_out_risk"]),
        ])  # fmt: skip
    return Table(header, body)
