"""The questions about tickets that a study can answer, in words; each verdict is computed from its comparisons."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from integer_tickets.report.findings import SIGNIFICANT, count, words
from integer_tickets.report.study import Study
from integer_tickets.report.tables import percent, points, probability

FRESH, PLACES = "reinit", ("shuffled", "random")
"""Controls that a winning ticket must stand above: new weights, and places drawn at random."""
STABLE = 0.02
"""A barrier of error that is noise: 2 points (Frankle et al. 2020, section 3)."""


def answers(study: Study) -> Iterator[str]:
    """A paragraph of Markdown for every question about which the study has something to say."""
    for question, answer in (
        ("Does a winning ticket exist, and down to which density?", _winning),
        (
            "Is a ticket found in integers better than one quantized later?",
            partial(_verdicts, family="found in integers"),
        ),
        ("Does rewinding matter?", _rewinding),
        ("From which step do two trainings find the same solution?", _stable),
        ("What do 1x4 blocks cost?", partial(_verdicts, family="blocks")),
        ("What does removing heads, q/k pairs and neurons cost?", partial(_verdicts, family="structure")),
        ("How do tickets compare with a small dense network of equal bytes?", partial(_verdicts, family="small")),
    ):
        found = list(answer(study))
        if found:
            yield f"**{question}** {' '.join(found)}"


def _winning(study: Study) -> Iterator[str]:
    for attention, variant in study.ladders:
        place = {"attention": attention, "variant": variant}
        name = study.accuracy(stage="train_dense", **place)["name"]
        verdicts = study.compared("pruning", **place)
        matching = {int(level) for level in verdicts.loc[verdicts["matching"], "level"]}
        controlled = {level: _controls(study, level, place) for level in study.controlled_levels(**place)}
        above = {level for level, found in controlled.items() if not list(_missed(found))}
        winning = sorted(matching & above)
        if winning:
            density = study.accuracy(stage="prune_rewind", level=winning[-1], **place)["density"]
            yield (
                f"`{name}`: yes, down to {percent(density, 1)} % (level {winning[-1]}), where the ticket matches its "
                f"dense model and stands above {words(kind for kind, _, _ in controlled[winning[-1]])} with a "
                f"corrected p below {SIGNIFICANT}."
            )
        elif not controlled or not any(controlled.values()):
            continue
        else:
            seeds = count(int(study.accuracy(stage="train_dense", **place)["seeds"]), "seed")
            yield f"`{name}`: not shown by {seeds}. {' '.join(_why_not(study, place, controlled, matching))}"


def _controls(study: Study, level: int, place: dict[str, str]) -> list[tuple[str, bool, pd.Series]]:
    """Of the random controls of a level: kind, whether the ticket is significantly above it, the comparison."""
    found = []
    for kind in (FRESH, *PLACES):
        for _, row in study.compared(kind, level=level, **place).iterrows():
            found.append((kind, bool(row["difference"] > 0 and row["p_holm"] < SIGNIFICANT), row))
    return found


def _missed(found: list[tuple[str, bool, pd.Series]]) -> Iterator[str]:
    """What a ticket lacks beside its controls."""
    kinds = [kind for kind, _, _ in found]
    if FRESH not in kinds or not set(PLACES) & set(kinds):
        yield "it was not trained beside fresh weights and a random mask"
    missed = [
        f"{kind} ({points(row['difference'])}, p {probability(row['p_holm'])})" for kind, ok, row in found if not ok
    ]
    if missed:
        yield f"it is not significantly above {words(missed)}"


def _why_not(
    study: Study, place: dict[str, str], controlled: dict[int, list[tuple[str, bool, pd.Series]]], matching: set[int]
) -> Iterator[str]:
    for level, found in controlled.items():
        density = percent(study.accuracy(stage="prune_rewind", level=level, **place)["density"], 1)
        reasons = [] if level in matching else ["it does not match the dense model"]
        yield f"At {density} % {words([*reasons, *_missed(found)])}."


def _verdicts(study: Study, family: str) -> Iterator[str]:
    """For each ladder with comparisons of a family: the differences by density, and how many are significant."""
    for attention, variant in study.ladders:
        rows = study.compared(family, attention=attention, variant=variant).sort_values("level")
        if rows.empty:
            continue
        place = {"attention": attention, "variant": variant, "stage": "prune_rewind"}
        parts, ups, downs = [], 0, 0
        for _, row in rows.iterrows():
            density = study.accuracy(level=row["level"], **place)["density"]
            parts.append(f"{points(row['difference'])} at {percent(density, 1)} % (p {probability(row['p_holm'])})")
            ups += int(row["difference"] > 0 and row["p_holm"] < SIGNIFICANT)
            downs += int(row["difference"] < 0 and row["p_holm"] < SIGNIFICANT)
        places = count(len(rows), "density", "densities")
        verdict = f"significantly better at {ups} and worse at {downs} of {places}"
        yield f"`{attention} {variant}`: {verdict}; in points of accuracy {', '.join(parts)}."


def _rewinding(study: Study) -> Iterator[str]:
    for family, against in (
        ("rewind", "Beside a ladder rewound to initialisation"),
        ("reinit", "Beside fresh weights"),
        ("lr_rewind", "Beside trained weights whose schedule alone is rewound"),
        ("finetune", "Beside fine-tuning"),
    ):
        found = list(_verdicts(study, family))
        if found:
            yield f"{against}: {' '.join(found)}"


def _stable(study: Study) -> Iterator[str]:
    found = study.barriers()
    for (attention, variant), own in found.groupby(["attention", "variant"], sort=False):
        step = study.params.variants[str(variant)].rewind
        means = own.groupby("level")["error"].mean()
        names = {level: f"level {level}" if level else "dense" for level in means.index}
        parts = [f"{names[level]} {100 * error:.1f}" for level, error in means.items()]
        stable = [names[level] for level, error in means.items() if error < STABLE]
        bound = f"below {100 * STABLE:.0f} points"
        said = f"{bound} for {words(stable)}" if stable else f"nowhere {bound}"
        yield f"`{attention} {variant}`, from step {step}: {said}; barriers in points {', '.join(parts)}."
