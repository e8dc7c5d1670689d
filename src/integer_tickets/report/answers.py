"""The questions about tickets that a study can answer; each verdict is computed from its comparisons."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from integer_tickets.report.findings import SIGNIFICANT, count, words
from integer_tickets.report.formats import Table, percent, points, probability
from integer_tickets.report.study import Study, select
from integer_tickets.report.tables import overlaps_elsewhere

FRESH, PLACES = ("reinit", "redrawn"), ("shuffled", "random")
"""Controls that a winning ticket must stand above: new weights, and places drawn at random."""
STABLE = 0.02
"""A barrier of error that is noise: 2 points (Frankle et al. 2020, section 3)."""


def answers(study: Study) -> Iterator[str]:
    """For every question about which the study has something to say: it, a sentence and a table in Markdown."""
    for question, answer in (
        ("Does a winning ticket exist, and down to which density?", _winning),
        (
            "Is a ticket found in integers better than one quantized later?",
            partial(_verdicts, family="found in integers"),
        ),
        ("Does rewinding matter?", _rewinding),
        ("From which step do two trainings find the same solution?", _stable),
        ("Does a mask that was found elsewhere do as well?", _elsewhere),
        ("What do 1x4 blocks cost?", partial(_verdicts, family="blocks")),
        ("What does removing heads, q/k pairs and neurons cost?", partial(_verdicts, family="structure")),
        ("What does it cost to compare weights within layers, or as they are?", partial(_verdicts, family="scope")),
        ("How do tickets compare with a small dense network of equal bytes?", partial(_verdicts, family="small")),
        ("And with the dense network trained for as long as the ladder?", partial(_verdicts, family="longer")),
    ):
        first, *rest = [*answer(study), ""]
        if first:
            yield f"**{question}** {first}"
            yield from filter(None, rest)


def _winning(study: Study) -> Iterator[str]:
    every = {ladder: _beside(study, *ladder) for ladder in study.ladders}
    shown = {ladder: beside for ladder, beside in every.items() if any(beside.values())}
    levels = sorted({level for beside in shown.values() for level in beside})
    rows, winners = [], 0
    for (attention, variant), beside in shown.items():
        verdicts = study.compared("pruning", attention=attention, variant=variant)
        matching = {int(level) for level in verdicts.loc[verdicts["matching"], "level"]}
        winning = [level for level in beside if level in matching and _wins(beside[level])]
        winners += bool(winning)
        rows.append(
            [
                f"`{attention} {variant}`",
                f"yes, to {_density(study, max(winning), variant=variant)}" if winning else "not shown",
                *(_standing(level in matching, beside[level]) if level in beside else "" for level in levels),
            ]
        )
    if rows:
        seeds = sorted({int(number) for number in study.accuracies(stage="train_dense")["seeds"]})
        often = count(seeds[0], "seed") if len(seeds) == 1 else f"{words(map(str, seeds))} seeds"
        yield (
            f"A winning ticket matches its dense model and stands, with a corrected p below {SIGNIFICANT}, above every "
            f"control that its ladder has of fresh weights under its mask ({words(FRESH)}) and of masks drawn at "
            f"random ({words(PLACES)}), at least one of each. On {often} {winners} of {count(len(rows), 'ladder')} "
            f"{'has' if winners == 1 else 'have'} one. The dense model has been trained once, a ticket's ladder once "
            "more for every level; "
            + (
                "what that alone does is the last question."
                if len(study.compared("longer"))
                else "the control that has as many epochs (longer) is not among these."
            )
        )
        yield Table(["ladder", "winning ticket", *_columns(study, levels)], rows).markdown()


def _beside(study: Study, attention: str, variant: str) -> dict[int, dict[str, bool]]:
    """For each level with controls: the random ones, and whether the ticket is significantly above each."""
    place = {"attention": attention, "variant": variant}
    found: dict[int, dict[str, bool]] = {}
    for level in study.controlled_levels(**place):
        found[level] = {}
        for kind in (*FRESH, *PLACES):
            for _, row in study.compared(kind, level=level, **place).iterrows():
                found[level][kind] = bool(row["difference"] > 0 and row["p_holm"] < SIGNIFICANT)
    return found


def _wins(above: dict[str, bool]) -> bool:
    """Above all, among them fresh weights and random places."""
    return all(above.values()) and bool(set(FRESH) & set(above)) and bool(set(PLACES) & set(above))


def _standing(matches: bool, above: dict[str, bool]) -> str:
    parts = ["matches" if matches else "does not match"]
    better = [kind for kind, ok in above.items() if ok]
    if above:
        parts.append(f"above {words(better) if better else 'none'}")
    if better and len(better) < len(above):
        parts.append(f"not {words(kind for kind, ok in above.items() if not ok)}")
    return ", ".join(parts)


def _verdicts(study: Study, family: str, against: str = "Significantly") -> Iterator[str]:
    """How many comparisons of a family are significant, and all of them by ladder and level."""
    rows = study.compared(family)
    if rows.empty:
        return
    significant = rows[rows["p_holm"] < SIGNIFICANT]
    up, down = int((significant["difference"] > 0).sum()), int((significant["difference"] < 0).sum())
    higher, lower = int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum())
    # A mean would be that of the places where some seeds fail.
    means = words(
        f"{points(own['difference'].median())} ({attention})"
        for attention, own in rows.groupby("attention", sort=False)
    )
    yield (
        f"{against} better in {up} and worse in {down} of {count(len(rows), 'comparison')} (uncorrected intervals "
        f"above 0 in {higher}, below in {lower}); the median difference is {means} points. In points of accuracy, with "
        "the corrected p (bold where significant):"
    )
    levels = sorted({int(level) for level in rows["level"]})
    cells = []
    for attention, variant in study.ladders:
        own = study.compared(family, attention=attention, variant=variant)
        masks = (own["a"] + " " + own["b"]).str.extract(r" from_(\w+) ")[0].fillna("")
        for source, part in own.groupby(masks, sort=False):
            found = {int(row["level"]): row for _, row in part.iterrows()}
            name = f"`{attention} {variant}`" + (f", mask of {source}" if source else "")
            cells.append([name, *(_cell(found[level]) if level in found else "" for level in levels)])
    yield Table(["ladder", *_columns(study, levels)], cells).markdown()


def _cell(row: pd.Series) -> str:
    strong = "**" if row["p_holm"] < SIGNIFICANT else ""
    return f"{strong}{points(row['difference'])}{strong} ({probability(row['p_holm'])})"


def _columns(study: Study, levels: list[int]) -> list[str]:
    return [f"level {level} ({_density(study, level)})" if level else "dense" for level in levels]


def _density(study: Study, level: int, **place: str) -> str:
    """Of the tickets of a level; structure may keep less than was asked for."""
    found = study.accuracies(stage="prune_rewind", level=level, **place)["density"]
    low, high = percent(found.min(), 1), percent(found.max(), 1)
    return f"{low} %" if low == high else f"{low} to {high} %"


def _rewinding(study: Study) -> Iterator[str]:
    for family, against in (
        ("rewind", "Beside a ladder rewound to initialisation significantly"),
        ("reinit", "Beside fresh weights significantly"),
        ("redrawn", "Beside the rewind point of other initial weights significantly"),
        ("lr_rewind", "Beside trained weights whose schedule alone is rewound significantly"),
        ("finetune", "Beside fine-tuning significantly"),
    ):
        yield from _verdicts(study, family, against)


def _elsewhere(study: Study) -> Iterator[str]:
    """Tickets beside their own rewind point under the mask of another attention or corpus."""
    yield from _verdicts(study, "transfer", "The ticket beside its own weights under that mask is significantly")
    yield from _verdicts(
        study,
        "transferred places",
        "Beside the ticket's own mask, shuffled within each layer, that mask is significantly",
    )
    yield from _verdicts(study, "transferred shares", "Beside a mask at random over all layers it is significantly")
    shared = overlaps_elsewhere(study)
    if shared.rows:
        yield (
            "How much that mask shares with the ticket's own of the same seed, beside masks with the same density in "
            "each layer. A mask found on the same first weights shares more than those. Where first weights differ, "
            "too, these comparisons do not tell what they cost from what the corpus costs; reinit, fresh weights under "
            "the ticket's own mask, is the measure of the former:"
        )
        yield shared.markdown()


def _stable(study: Study) -> Iterator[str]:
    found = study.barriers()
    if found.empty:
        return
    levels = sorted({int(level) for level in found["level"]})
    rows, worsts = [], set()
    for attention, variant in study.ladders:
        own = select(found, attention=attention, variant=variant).groupby("level")["error"]
        means, worst = own.mean(), own.max()
        if means.empty:
            continue
        worsts |= {(attention, level, means[level], worst[level]) for level in means.index}  # dense models are shared
        rows.append(
            [
                f"`{attention} {variant}`",
                str(study.params.variants[variant].rewind),
                *(
                    f"{100 * means[level]:.1f} ({100 * worst[level]:.1f})" if level in means.index else ""
                    for level in levels
                ),
            ]
        )
    stable = sum(worst < STABLE for *_, worst in worsts)
    yield (
        f"The barrier of error between two data orders is below {100 * STABLE:.0f} points for every seed in {stable} "
        f"of {count(len(worsts), 'place')}; in points, means over seeds and, in brackets, the highest:"
    )
    yield Table(["ladder", "from step", *_columns(study, levels)], rows).markdown()
    yield from _first_stable(study, found)


def _first_stable(study: Study, found: pd.DataFrame) -> Iterator[str]:
    """The choice of the step, where variants differ in nothing else."""
    steps = study.rewind_steps()
    firsts = []
    for attention in study.attentions() if steps else ():
        own = select(found[found["variant"].isin(list(steps))], attention=attention)
        for what, rows in (("tickets", own[own["level"] > 0]), ("dense models", own[own["level"] == 0])):
            worst = rows.groupby(rows["variant"].map(steps))["error"].max()
            low = [step for step in worst.index if (worst[worst.index >= step] < STABLE).all()]
            firsts.append(f"{attention} {what}, {f'step {min(low)}' if low else 'none of them'}")
    if firsts:
        yield (
            f"Of the steps {words(map(str, sorted(set(steps.values()))))}, which alone these variants differ in "
            f"({words(f'`{name}`' for name in steps)}), the first from which on no barrier of any seed is higher: "
            f"{'; '.join(firsts)}."
        )
