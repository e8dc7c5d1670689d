"""What the report says of tickets, section by section; and the page of a study whose runs are judged as one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from integer_tickets.blocks import Adopt
from integer_tickets.report import tables
from integer_tickets.report.answers import answers
from integer_tickets.report.certificates import certificates, masks
from integer_tickets.report.findings import CONTROLS, bag_of_words, count, encoder, words
from integer_tickets.report.formats import percent, points
from integer_tickets.report.generalization import explained
from integer_tickets.report.information import information
from integer_tickets.report.pictures import Picture, shown
from integer_tickets.report.study import Study, select
from integer_tickets.report.ticket_figures import Ladders, parted


def page(
    study: Study,
    runs: list[str],
    narrow: list[str],
    taught: list[str],
    whole: list[str],
    of_layers: Sequence[Picture],
    of_codes: Sequence[Picture],
) -> str:
    """The page of several runs as Markdown; what was measured of integer networks is that of the `whole` ones.

    narrow: those with `runtime.autocast`; taught: those with another teacher than the first.
    """
    sections: dict[str, Callable[[Study], Iterator[str]]] = {
        "Answers": answers,
        "All models at a glance": glance,
        "Accuracy against density": ladder,
        "Controls": controls,
        "Zeros": zeros,
        "Connectivity": connectivity,
        "Supermasks": supermasks,
        "Ablations": ablations,
        **(measured(of_layers, of_codes) if whole else {}),
        "Comparisons": comparisons,
        "How the numbers are made": methods,
    }
    grid = study.params.grid
    seeds = sorted({int(number) for number in study.accuracies(stage="train_dense")["seeds"]})
    often = count(seeds[0], "seed") if len(seeds) == 1 else f"{words(map(str, seeds))} seeds"
    written = [
        f"# Tickets: {study.statistics['corpus']}",
        f"Judged as one: {count(len(runs), 'run')} ({', '.join(runs)}), {often} a ladder; each level keeps "
        f"{percent(study.params.prune.keep, 0)} % of the weights, {count(grid.levels, 'level')}. All accuracies are "
        f"those on the {study.split} split, on which nothing was trained and no epoch was chosen.",
    ]
    if taught_by := lessons(study):
        written.append(taught_by.strip())
    written += list(bag_of_words(study))
    if narrow and narrow != runs:
        written.append(
            f"Linear layers were trained with products in bfloat16 (`runtime.autocast`) in {words(narrow)}, with "
            f"products in float32 in {words(run for run in runs if run not in narrow)}; of integer weights these are "
            "the products of the backward pass, those of the forward pass are exact either way."
        )
    if taught:
        written.append(
            f"The teacher was trained in each run, and came out otherwise in {words(taught)} (another kind of "
            "processor): what learned from it or began with it had another one there than the one beside it here."
        )
    if whole and whole != runs:
        written.append(f"What layers keep and what codes take was measured in {words(whole)} alone.")
    return "\n\n".join([*written, *set_out(study, sections)]) + "\n"


def lessons(study: Study) -> str:
    """What students learn from where it is not the labels alone, and what they begin with."""
    own, teacher, text = study.params.lessons, encoder(study.params.teacher.pretrained), ""
    if study.params.train.taught:
        more = f" and to {study.statistics['lessons']:,} other texts" if study.statistics["lessons"] else ""
        text = (
            f"Every student learns from the soft labels that the teacher{teacher and f' ({teacher}, fine-tuned)'} "
            f"gives to train{more}, with a weight of {own.hard:g} on hard labels. "
        )
    if study.params.train.adopted:
        text += (
            f"Students begin with weights of {teacher}, {_drawn(study.params.adopt)} over the lessons (*adopted*, a "
            "float model that all seeds of a run share, as they share its teacher: they differ in the order of texts "
            "alone). "
        )
    return text


def _drawn(own: Adopt) -> str:
    fitted = f", fitted to what softmax gathered on {own.fit} batches" if own.fit else ""
    of = " (but for those that keep softmax)" if "softmax" in own.attentions else ""
    replaced, epochs = f"the Inhibitor put in place of their attention{of}{fitted}", count(own.epochs, "epoch")
    to = "drawn to the teacher's hidden states and labels"
    if own.before:
        return f"{to} with softmax attention in {count(own.before, 'epoch')}, {replaced}, and drawn again in {epochs}"
    return f"{replaced} and then {to} in {epochs}"


def measured(of_layers: Sequence[Picture], of_codes: Sequence[Picture]) -> dict[str, Callable[[Study], Iterator[str]]]:
    """The sections about integer networks: what they hold, what they take, what that says of new texts."""
    return {
        "What layers keep": lambda study: chain(information(study), shown(of_layers)),
        "Certificates": certificates,
        "What masks say": masks,
        "What explains generalization": explained,
        "Code lengths, certificates and generalization in figures": lambda _: shown(of_codes),
    }


def set_out(study: Study, sections: Mapping[str, Callable[[Study], Iterator[str]]]) -> Iterator[str]:
    """Each section that has something to say, under its title."""
    for title, section in sections.items():
        blocks = list(section(study))
        if blocks:
            yield "\n\n".join([f"## {title}", *blocks])


def glance(study: Study) -> Iterator[str]:
    yield tables.headline(study).markdown()
    again = ", of which all models here have learned" if study.params.train.taught else ""
    yield (
        "A name gives the attention (with the variant, unless that is `float`), the weights where they are integers, "
        "*dense* or *ticket* with its level on the ladder, and *distilled* where it was trained on with the teacher's "
        f"soft labels{again}. Mean ± standard deviation over seeds; the interval is over sentences and seeds. Epochs "
        "are passes over the training texts. kB (1000 bytes): the file of an integer network with everything it needs, "
        "of a float model 4 bytes for each kept parameter; a ladder of integer weights has no size of its own, as the "
        "integer networks made from it are what ships. F1 is that of class 1 of two, else the mean over classes."
    )
    yield more_training(study)


def more_training(study: Study) -> str:
    """What has had more training than what: no gain of the former is one of integers or of distillation alone."""
    params = study.params
    variants: dict[int, list[str]] = {}
    for name in study.variants:
        variants.setdefault(params.variants[name].epochs or params.train.epochs, []).append(f"`{name}`")
    train = words(
        count(own, "epoch") + (f" ({words(names)})" if len(variants) > 1 else "") for own, names in variants.items()
    )
    distill = count(params.distill.epochs, "epoch")
    if study.params.train.adopted:
        train += f" after {count(params.adopt.passes, 'epoch')} of alignment"
    longer = [f"a distilled one another {distill}"]
    if any(params.variants[name].weights == "float" for name in study.variants):
        quantize = count(params.quantize.epochs, "epoch")
        longer.insert(0, f"an integer network made from float weights has had {quantize} more")
    return (
        f"**Not the same training**: dense models and tickets have had {train} (the trainings that found a ticket's "
        f"mask not counted), {words(longer)}. Their gain over a dense model or a ticket can come from that alone; "
        "nothing here shows that it comes from integers or from distillation."
    )


def scope(study: Study, variant: str) -> str:
    settings = study.params.variants[variant]
    tables = "tables of tokens and positions" if study.params.model.places else "table of tokens"
    prunable = {False: "linear layers", True: f"linear layers and {tables}", "only": tables}[settings.embedding]
    if settings.pattern == "structure":
        prunable = "heads, q/k pairs and hidden neurons"
    if settings.pattern == "block":
        prunable += ", in 1x4 blocks along the input,"
    return f"{settings.scope} pruning of the {prunable}, rewound to optimiser step {settings.rewind}"


def figures(title: str, name: str, ladders: Ladders) -> Callable[[str], Iterator[str]]:
    """Of a variant, or of "" for all, the figure in Markdown that it has to itself, if it has one."""
    drawn = dict(parted(name, ladders))

    def of(variant: str) -> Iterator[str]:
        named = f"{name}_{variant}" if variant else name
        if named in drawn:
            yield f"![{title}{variant and f', {variant}'}](figures/{named}.svg)"

    return of


def ladder(study: Study) -> Iterator[str]:
    drawn = figures("Accuracy against density", "accuracy_density", study.ladders)
    yield from drawn("")
    for variant in study.variants:
        if len(study.variants) > 1:
            yield f"Variant `{variant}`:"
        yield from drawn(variant)
        yield tables.ladder(study, variant).markdown()
    prunable = "; ".join(f"`{name}`: {scope(study, name)}" for name in study.variants)
    yield (
        f"Density is the kept fraction of the prunable weights ({prunable}). Matching: the lower end of the interval "
        f"of ticket minus dense lies above {points(-study.params.evaluate.margin)} points."
    )
    shares = tables.shares(study)
    if shares.rows:
        yield "Where the weights are that tickets keep, in % of those of each part of all layers (mean over seeds):"
        yield shares.markdown()
    overlaps = tables.overlaps(study)
    if overlaps.rows:
        found = select(study.tables["overlaps"], source="")
        excess = (found["overlap"] - found["chance"]).max()
        yield (
            "How alike the masks of different seeds are, beside masks with the same density in each layer; at most "
            f"{100 * excess:.2f} points more than those of chance:"
        )
        yield overlaps.markdown()


def controls(study: Study) -> Iterator[str]:
    if study.beside().empty:
        return
    yield (
        "A control differs from its ticket in one thing. "
        + "; ".join(f"*{kind}*: {what}" for kind, what in CONTROLS.items() if len(study.compared(kind)))
        + "."
    )
    drawn = figures("Tickets and their controls", "controls", study.controlled)
    yield from drawn("")
    for variant in study.variants:
        table = tables.controls(study, variant)
        if table.rows:
            yield f"Variant `{variant}`:"
            yield from drawn(variant)
            yield table.markdown()
    yield (
        "*Ticket gains*: accuracy of the ticket minus that of its control in percentage points. *p* is corrected over "
        "all comparisons with the same kind of control."
    )


def zeros(study: Study) -> Iterator[str]:
    table = tables.zeros(study)
    if table.rows:
        yield (
            "Which weights of the linear layers are 0 (mean over seeds): what pruning took away, which a file leaves "
            "out, and what lives but was rounded to 0, which costs its bits."
        )
        yield table.markdown()


def connectivity(study: Study) -> Iterator[str]:
    lines = study.tables["lines"]
    if lines.empty:
        return
    yield (
        "A model trained again from the rewind point in another order, and the models on the line between the two: "
        "masters and grids are interpolated, then rounded anew. The barrier is the most by which the error on the "
        "selection split rises above the line from one end to the other; where it is near 0 the rewind point decides "
        "what is found, whatever the noise (Frankle et al. 2020)."
    )
    drawn = figures("Error between two trainings", "connectivity", study.connected)
    for variant in ("", *study.variants):
        yield from drawn(variant)
    if study.rewind_steps():
        yield "Where variants differ in the step that is rewound to and in nothing else, the choice of that step:"
        yield "![Barrier against the step rewound to](figures/rewind_steps.svg)"
    yield tables.barriers(study).markdown()


def supermasks(study: Study) -> Iterator[str]:
    table = tables.supermasks(study)
    if table.rows:
        own = study.params.supermask
        yield (
            f"Networks {own.width} wide whose weights are random integers that never change; which of them are there "
            f"is all that is learnt, in {count(own.epochs, 'epoch')} (edge-popup, Ramanujan et al. 2020). *signs*: of "
            "one size in each layer; *integers*: -3 to 3 without 0. Such a ticket is a seed and a mask, whose kB these "
            "are; the vocabulary and the steps of its integers, which the kB of other tickets count, come on top."
        )
        yield table.markdown()


def ablations(study: Study) -> Iterator[str]:
    table = tables.ablations(study)
    if table.rows:
        yield (
            "Dense networks trained again with one thing of the recipe changed, beside those of the same seed with "
            f"nothing changed, on the same sentences of {study.split}; one seed each, so only large differences tell. "
            "*p* is McNemar's, not corrected."
        )
        yield table.markdown()


def comparisons(study: Study) -> Iterator[str]:
    yield (
        "Which there are follows from the parameters, not from results: a minus b in percentage points of accuracy, on "
        "the same sentences and seed by seed. *p corrected* is Holm's correction over the table. *Matching*: the lower "
        f"end of the interval lies above {points(-study.params.evaluate.margin)} points. *Within one std*: a is at "
        "most one standard deviation (of b, over seeds) below b. Integer and distilled networks may have had more "
        "epochs than b, as the table of all models says."
    )
    frame = study.tables["comparisons"]
    for family, rows in frame.groupby("family", sort=False):
        yield f"### {str(family).capitalize()}"
        yield rows["question"].iloc[0]
        yield tables.comparisons(study, str(family)).markdown()


def methods(study: Study) -> Iterator[str]:
    settings = study.params.evaluate
    confidence = percent(settings.confidence, 0)
    yield (
        "Every accuracy is the mean over seeds of values in [results.csv](results.csv), which has a row for each "
        "model, split and metric; [summary.csv](summary.csv) adds the intervals, [comparisons.csv](comparisons.csv) "
        "holds the paired comparisons."
    )
    yield (
        f"Intervals: central {confidence} % of {settings.bootstrap} bootstrap resamples of sentences and seeds, "
        "crossed: all seeds of a resample see the same sentences. With few seeds they are rough where training noise "
        "dominates. p-values: the larger of two Student tests of the mean difference, one over the means of the seeds, "
        "one with the variance of seeds and of sentences (degrees of freedom by Satterthwaite); McNemar's exact test "
        "where there is one seed. Three seeds seldom survive the correction for many comparisons, however large the "
        "difference: what is not significant here is not shown, and not refuted. Holm's correction is over the "
        "comparisons that are there; a part more makes the tables longer and each p larger."
    )
