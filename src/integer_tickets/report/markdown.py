"""The report in plain language: every number and every verdict is computed from the tables of the study."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pandas as pd

from integer_tickets.report import tables
from integer_tickets.report.study import Study
from integer_tickets.report.tables import kilobytes, percent, points, probability

SIGNIFICANT = 0.05


def report(study: Study) -> str:
    """The whole report as Markdown."""
    sections: dict[str, Callable[[Study], Iterator[str]]] = {
        "What was run": _run,
        "What came out": _findings,
        "All models at a glance": _glance,
        "Accuracy against density": _ladder,
        "Controls": _controls,
        "Integer networks": _integers,
        "What a sentence costs": _costs,
        "What a clock says": _timings,
        "Comparisons": _comparisons,
        "The corpus": _corpus,
        "How the numbers are made": _methods,
    }
    written = []
    for title, section in sections.items():
        blocks = list(section(study))
        if blocks:
            written.append("\n\n".join([f"## {title}", *blocks]))
    return "\n\n".join([f"# Integer Tickets: {study.statistics['corpus']}", *written]) + "\n"


def _run(study: Study) -> Iterator[str]:
    params, splits = study.params, study.statistics["splits"]
    grid, model = params.grid, params.model
    yield (
        f"Corpus `{study.statistics['corpus']}` with {len(study.statistics['labels'])} classes and "
        f"{splits['train']['rows']} training texts. All headline numbers are from the {study.split} split "
        f"({splits[study.split]['rows']} texts), which nothing was chosen by; epochs and the ticket to ship are chosen "
        "on the selection split."
    )
    yield (
        f"Transformers with {_words(grid.attentions)} attention: width {model.width}, {_count(model.layers, 'layer')}, "
        f"{_count(model.heads, 'head')}, hidden layers of {model.hidden}; seeds {_words(map(str, grid.seeds))}. Each "
        f"ladder has {_count(grid.levels, 'level')} below its dense model; a level keeps "
        f"{percent(params.prune.keep, 0)} % of the remaining weights and rewinds them. How tickets are found: "
        + _words(f"`{name}` ({params.variants[name].weights} weights, {_scope(study, name)})" for name in grid.variants)
        + "."
    )


def _scope(study: Study, variant: str) -> str:
    settings = study.params.variants[variant]
    prunable = "linear layers and token embedding" if settings.embedding else "linear layers"
    return f"{settings.scope} pruning of the {prunable}, rewound to step {settings.rewind}"


def _findings(study: Study) -> Iterator[str]:
    lines = [
        *_matching(study),
        *_attentions(study),
        *_beside_controls(study),
        *_final(study),
        *_bag_of_words(study),
        _agreement(study),
    ]
    yield "\n".join(f"- {line}" for line in lines)


def _matching(study: Study) -> Iterator[str]:
    margin = points(study.params.evaluate.margin).lstrip("+")
    for attention, variant in study.ladders:
        place = {"attention": attention, "variant": variant}
        dense = study.accuracy(stage="train_dense", **place)
        level = study.sparsest_matching(attention, variant)
        if not level:
            yield f"No ticket matches `{dense['name']}` within {margin} points."
            continue
        ticket = study.accuracy(stage="prune_rewind", level=level, **place)
        yield (
            f"The sparsest ticket that matches `{dense['name']}` within {margin} points keeps "
            f"{percent(ticket['density'], 1)} % of the weights (level {level}): {percent(ticket['mean'])} % against "
            f"{percent(dense['mean'])} %."
        )


def _attentions(study: Study) -> Iterator[str]:
    for _, row in study.compared("attention", level=0).iterrows():
        yield f"{_against(row)}."


def _beside_controls(study: Study) -> Iterator[str]:
    named = {"reinit": "fresh weights under the same mask", "shuffled": "a mask shuffled within each layer"}
    for kind in study.params.controls.kinds:
        rows = study.compared(kind)
        if len(rows):
            better = int(((rows["difference"] > 0) & (rows["p_holm"] < SIGNIFICANT)).sum())
            yield (
                f"Beside {named[kind]} ({kind}), {better} of {len(rows)} tickets are more accurate with a corrected p "
                f"below {SIGNIFICANT}; the mean gain is {points(rows['difference'].mean())} points."
            )


def _final(study: Study) -> Iterator[str]:
    for attention, variant in study.ladders:
        place = {"attention": attention, "variant": variant}
        dense = study.accuracy(stage="train_dense", **place)
        for _, row in study.accuracies(stage="distill", **place).iterrows():
            yield (
                f"`{row['name']}`: {percent(row['mean'])} % in {kilobytes(row['bits'])} kB, "
                f"{points(row['mean'] - dense['mean'])} points from `{dense['name']}` "
                f"with {kilobytes(dense['bits'])} kB."
            )


def _bag_of_words(study: Study) -> Iterator[str]:
    bag = study.accuracy(stage="baseline", role="tfidf")
    rows = study.accuracies()
    models = rows[~rows["stage"].isin(["baseline", "controls"])]
    below = models[models["mean"] < bag["mean"]]
    sentence = (
        f"A bag of words (TF-IDF, logistic regression, {kilobytes(bag['bits'])} kB) reaches {percent(bag['mean'])} %. "
    )
    if below.empty:
        yield sentence + "Every model is above it."
    elif len(below) == len(models):
        yield sentence + "It is above every model."
    else:
        yield (
            sentence
            + f"It is above {len(below)} of {len(models)} models: {_words(f'`{name}`' for name in below['name'])}."
        )
    best = study.accuracies(stage="baseline", role="bayes")
    if len(best):
        yield f"The best possible classifier of this corpus reaches {percent(best['mean'].iloc[0])} %."


def _agreement(study: Study) -> str:
    found = study.agreement
    return (
        f"The {found['engine']} engine ran all {len(found['models'])} integer networks again on {found['sentences']} "
        f"sentences of {found['split']}: every logit is the stored one, bit for bit."
    )


def _glance(study: Study) -> Iterator[str]:
    yield tables.headline(study).markdown()
    yield (
        "Mean ± standard deviation over seeds; the interval is over sentences and seeds. kB (1000 bytes): the file of "
        "an integer network with everything it needs, else 4 bytes for each kept parameter. F1 is that of class 1 of "
        "two, else the mean over classes."
    )
    yield "![Accuracy against size](figures/accuracy_bits.svg)"


def _ladder(study: Study) -> Iterator[str]:
    yield "![Accuracy against density](figures/accuracy_density.svg)"
    for variant in study.params.grid.variants:
        if len(study.params.grid.variants) > 1:
            yield f"Variant `{variant}`:"
        yield tables.ladder(study, variant).markdown()
    prunable = "; ".join(f"`{name}`: {_scope(study, name)}" for name in study.params.grid.variants)
    yield (
        f"Density is the kept fraction of the prunable weights ({prunable}). Matching: the lower end of the interval "
        f"of ticket minus dense lies above {points(-study.params.evaluate.margin)} points."
    )
    overlaps = tables.overlaps(study)
    if overlaps.rows:
        yield "How alike the masks of different seeds are, beside masks with the same density in each layer:"
        yield overlaps.markdown()
    yield "![Training](figures/training.svg)"


def _controls(study: Study) -> Iterator[str]:
    if not (study.params.controls.levels and study.params.controls.kinds):
        return
    yield (
        "A control differs from its ticket in one thing. *reinit*: fresh initial weights under the ticket's mask. "
        "*shuffled*: the rewound weights under a mask with as many places in each layer, elsewhere."
    )
    for variant in study.params.grid.variants:
        if len(study.params.grid.variants) > 1:
            yield f"Variant `{variant}`:"
        yield tables.controls(study, variant).markdown()
    yield "Gains in percentage points; p corrected over all comparisons with the same kind of control."


def _integers(study: Study) -> Iterator[str]:
    rows = study.accuracies()
    lost = study.compared("quantization")
    worst = lost.sort_values("difference").iloc[0]
    yield (
        f"Of {int((rows['stage'] == 'quantize').sum())} kinds of integer networks and "
        f"{int((rows['stage'] == 'distill').sum())} distilled ones, the one that loses most against its model before "
        f"quantization: {_against(worst)}."
    )
    yield "Where the bits are, in kB of the shipped file (mean over seeds):"
    yield tables.sizes(study).markdown()
    yield _agreement(study)


def _costs(study: Study) -> Iterator[str]:
    mean = study.statistics["splits"][study.split]["tokens"]["mean"]
    yield (
        f"Counted from formulas for one sentence at a time, averaged over the {study.split} split (about {mean:.0f} "
        "tokens), beside the dense softmax Transformer of the same shape in float32. Operations in thousands, energy "
        "in nanojoules with the weights read once from on-chip memory (SRAM) or from DRAM."
    )
    yield tables.costs(study).markdown()
    yield "In attention alone, between queries, keys and values (thousands of operations; no weights are read there):"
    yield tables.attention_costs(study).markdown()
    yield (
        "**The energy is a model, not a measurement**: operations times the picojoules of M. Horowitz, *Computing's "
        "energy problem*, ISSCC 2014 (45 nm): additions of 8, 32 bits and float32 0.03, 0.1, 0.9; multiplications 0.2, "
        "3.1, 3.7; 64 bits from SRAM 10, from DRAM 1300. Assumed, as the source is silent: 16-bit addition 0.05 and "
        "multiplication 0.8, comparison and shift as an addition, absolute difference as two, division as four "
        "multiplications. Activations in memory, instructions and leakage are left out on all sides."
    )


def _timings(study: Study) -> Iterator[str]:
    yield (
        "Seconds differ from run to run and machine to machine, so they stand on a page of their own, "
        "[timings.md](timings.md), measured once and again on demand."
    )


def timings_page(found: dict[str, Any]) -> str:
    """The page of the stage benchmark as Markdown, from the content of timings.json."""
    machine = ", ".join(f"{key}: {value}" for key, value in sorted(found["machine"].items()))
    return (
        "# What a clock says\n\n"
        f"Measured on one machine ({machine}); another one gives other numbers. All contestants take turns in "
        "interleaved rounds with the same sentences, threads and warm-up; times are per call and without tokenization. "
        "The reference engine is written to be read, not to be fast.\n\n"
        f"{tables.timings(found).markdown()}\n"
    )


def _comparisons(study: Study) -> Iterator[str]:
    yield (
        "All were declared before any result: a minus b in percentage points of accuracy, on the same sentences and "
        "seed by seed. *p corrected* is Holm's correction over the table. *Matching*: the lower end of the interval "
        f"lies above {points(-study.params.evaluate.margin)} points. *Within one std*: a is at most one standard "
        "deviation (of b, over seeds) below b."
    )
    frame = study.tables["comparisons"]
    for family, rows in frame.groupby("family", sort=False):
        yield f"### {str(family).capitalize()}"
        yield rows["question"].iloc[0]
        yield tables.comparisons(study, str(family)).markdown()


def _corpus(study: Study) -> Iterator[str]:
    yield tables.corpus_splits(study).markdown()
    yield (
        f"Tokens are counted before truncation to {study.statistics['tokenizer']['positions']}; unknown is the share "
        "of tokens that the tokenizer does not know; repeats are texts that occur again in their split."
    )
    yield "Texts that two splits share:"
    yield tables.corpus_overlaps(study).markdown()
    facts = study.statistics["language"]
    if facts:
        yield (
            "The built-in language is known exactly: the best possible classifier errs in "
            f"{percent(facts['bayes_error'])} % of all sentences, a sentence tells {facts['information']:.3f} bits "
            f"about its label, and the score that holds all of it has an entropy of {facts['score_entropy']:.3f} bits."
        )


def _methods(study: Study) -> Iterator[str]:
    settings = study.params.evaluate
    confidence = percent(settings.confidence, 0)
    yield (
        f"Intervals: central {confidence} % of {settings.bootstrap} bootstrap resamples of sentences and seeds, "
        "crossed: all seeds of a resample see the same sentences. With few seeds they are rough where training noise "
        "dominates. p-values: two-sided Student test of the mean difference with the variance of seeds and of "
        "sentences, degrees of freedom by Satterthwaite, so that a few seeds count as few; McNemar's exact test where "
        "there is one seed."
    )


def _against(row: pd.Series) -> str:
    side = "above" if row["difference"] >= 0 else "below"
    verdict = "" if row["p_holm"] < SIGNIFICANT else ", not significant"
    return (
        f"`{row['a']}` is {points(abs(row['difference'])).lstrip('+')} points {side} `{row['b']}` "
        f"({points(row['low'])} to {points(row['high'])}, corrected p {probability(row['p_holm'])}{verdict})"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _words(parts: Iterable[str]) -> str:
    words = list(parts)
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
