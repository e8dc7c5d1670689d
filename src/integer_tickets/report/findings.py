"""What came out of a study in sentences: each number and each verdict is computed from its tables."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from integer_tickets.report.formats import kilobytes, percent, points, probability
from integer_tickets.report.study import ASIDE, Study

SIGNIFICANT = 0.05
NAMED = 12  # models, at most, in one sentence
CONTROLS = {
    "reinit": "fresh weights under the ticket's mask from the first step on, where the ticket's first steps were dense",
    "redrawn": "fresh weights trained dense as far as the rewind point, then under the ticket's mask",
    "signs": "fresh weights with the signs of the rewind point, under the ticket's mask",
    "shuffled": "the rewound weights under a mask shuffled within each layer",
    "random": "the rewound weights under a mask drawn over all layers",
    "oneshot": "the dense model pruned to the ticket's density at once, then rewound",
    "inverted": "the rewound weights of those that are least important in each layer of the dense model",
    "lr_rewind": "the trained weights under the ticket's mask, with the schedule alone rewound",
    "finetune": "the trained weights under the ticket's mask, trained on at a low constant rate",
    "small": "a dense model of as many bits, its mask counted",
    "longer": "the dense model, trained for as many epochs as the ticket's whole ladder",
}
"""What each kind of control is."""


def findings(study: Study) -> Iterator[str]:
    """Sentences in Markdown: tickets, attentions, controls, final tickets, baselines, agreement."""
    yield from _matching(study)
    yield from _attentions(study)
    yield from _beside_controls(study)
    yield from _final(study)
    yield from bag_of_words(study)
    yield agreement(study)


def _matching(study: Study) -> Iterator[str]:
    margin = points(study.params.evaluate.margin).lstrip("+")
    for attention, variant in study.ladders:
        place = {"attention": attention, "variant": variant}
        dense = study.accuracy(stage="train_dense", **place)
        level, failing = study.matching(attention, variant)
        if not level:
            yield f"No ticket matches `{dense['name']}` within {margin} percentage points."
            continue
        ticket = study.accuracy(stage="prune_rewind", level=level, **place)
        yield (
            f"The sparsest ticket that matches `{dense['name']}` within {margin} percentage points keeps "
            f"{percent(ticket['density'], 1)} % of the weights (level {level}): {percent(ticket['mean'])} % against "
            f"{percent(dense['mean'])} %" + _though(failing) + "."
        )


def _though(levels: list[int]) -> str:
    if not levels:
        return ""
    return f", though level{'s' * (len(levels) > 1)} {words(map(str, levels))} do{'es' * (len(levels) == 1)} not"


def _attentions(study: Study) -> Iterator[str]:
    shown = study.accuracies()
    shown = shown[shown["stage"].isin(["train_dense", "distill"])]
    rows = study.compared("attention")
    for _, row in rows[rows["a"].isin(shown["name"])].iterrows():
        yield f"{against(study, row)}."


def _beside_controls(study: Study) -> Iterator[str]:
    for kind in study.params.controls.kinds:
        rows = study.compared(kind)
        if len(rows):
            better = int(((rows["difference"] > 0) & (rows["p_holm"] < SIGNIFICANT)).sum())
            yield (
                f"Beside {CONTROLS[kind]} ({kind}), {better} of {len(rows)} tickets are more accurate with a corrected "
                f"p below {SIGNIFICANT}; the mean gain is {points(rows['difference'].mean())} points."
            )


def _final(study: Study) -> Iterator[str]:
    for attention, variant in study.ladders:
        place = {"attention": attention, "variant": variant}
        dense = study.accuracy(stage="train_dense", **place)
        for _, row in study.accuracies(stage="distill", **place).iterrows():
            yield (
                f"`{row['name']}`: {_reached(study, row)}; `{dense['name']}`: {_reached(study, dense)} "
                f"({points(row['mean'] - dense['mean'])} points)."
            )


def _reached(study: Study, row: pd.Series) -> str:
    size = "" if pd.isna(row["bits"]) else f" in {kilobytes(row['bits'])} kB"
    return f"{percent(row['mean'])} %{size} after {count(study.epochs(row), 'epoch')}"


def bag_of_words(study: Study) -> Iterator[str]:
    bag = study.accuracy(stage="baseline", role="tfidf")
    rows = study.accuracies()
    models = rows[~rows["stage"].isin(["baseline", *ASIDE])]
    below = models[models["mean"] < bag["mean"]]
    sentence = (
        f"A bag of words (TF-IDF, logistic regression, {kilobytes(bag['bits'])} kB) reaches {percent(bag['mean'])} %. "
    )
    aside = rows[rows["stage"].isin(ASIDE)]
    lower = int((aside["mean"] < bag["mean"]).sum())
    if below.empty:
        others = f", and all but {lower} of {count(len(aside), 'control')} and the like" if lower else ""
        yield f"{sentence}Every model of the ladders is above it{others}."
    elif len(below) == len(models):
        yield sentence + "It is above every model."
    else:
        named = f": {words(f'`{name}`' for name in below['name'])}" if len(below) <= NAMED else ""
        yield f"{sentence}It is above {len(below)} of {len(models)} models{named}."
    most = study.accuracy(stage="baseline", role="majority")["mean"]
    if low := int((models["mean"] <= most).sum()):
        yield f"Guessing the larger class reaches {percent(most)} %: {low} of {len(models)} models are not above it."
    best = study.accuracies(stage="baseline", role="bayes")
    if len(best):
        yield f"The best possible classifier of this corpus reaches {percent(best['mean'].iloc[0])} %."


def agreement(study: Study) -> str:
    """What was run again, and that it came out the same; evaluate stops where it does not."""
    found = study.agreement
    return (
        f"The {found['engine']} engine ran all {len(found['models'])} integer networks again on {found['sentences']} "
        f"sentences of {found['split']}: every logit is the stored one, bit for bit."
    )


def against(study: Study, row: pd.Series) -> str:
    """One row of the comparisons."""
    side = "above" if row["difference"] >= 0 else "below"
    verdict = "" if row["p_holm"] < SIGNIFICANT else ", not significant"
    return (
        f"`{row['a']}` is {points(abs(row['difference'])).lstrip('+')} points {side} `{row['b']}` "
        f"({percent(study.params.evaluate.confidence, 0)} % interval of the difference {points(row['low'])} to "
        f"{points(row['high'])}, corrected p {probability(row['p_holm'])}{verdict})"
    )


def count(number: int, noun: str, plural: str = "") -> str:
    """As in `1 level` and `3 levels`."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def encoder(pretrained: str) -> str:
    """What teacher.pretrained names: its id on the hub, or the name of its folder wherever that lies."""
    return Path(pretrained).name if pretrained.startswith((".", "/", "~")) else pretrained


def words(parts: Iterable[str]) -> str:
    """As in `a, b and c`."""
    found = list(parts)
    return " and ".join(filter(None, [", ".join(found[:-1]), *found[-1:]]))
