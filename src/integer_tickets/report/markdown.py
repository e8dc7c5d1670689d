"""The report in plain language: every number and every verdict is computed from the tables of the study."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from integer_tickets.report import tables, tickets
from integer_tickets.report.answers import answers
from integer_tickets.report.findings import against, agreement, count, findings, words
from integer_tickets.report.formats import percent
from integer_tickets.report.pictures import Picture
from integer_tickets.report.study import Study


def report(study: Study, of_layers: Sequence[Picture], of_codes: Sequence[Picture]) -> str:
    """The whole report as Markdown, with the figures about layers and about code lengths."""
    sections: dict[str, Callable[[Study], Iterator[str]]] = {
        "What was run": _run,
        "What came out": _findings,
        "Answers about tickets": answers,
        "All models at a glance": _glance,
        "Accuracy against density": tickets.ladder,
        "Controls": tickets.controls,
        "Connectivity": tickets.connectivity,
        "Supermasks": tickets.supermasks,
        "Integer networks": _integers,
        **tickets.measured(of_layers, of_codes),
        "What a sentence costs": _costs,
        "What a clock measures": _timings,
        "Comparisons": tickets.comparisons,
        "The corpus": _corpus,
        "How the numbers are made": tickets.methods,
    }
    title = f"# Integer Tickets: {study.statistics['corpus']}"
    return "\n\n".join([title, *tickets.set_out(study, sections)]) + "\n"


def _run(study: Study) -> Iterator[str]:
    params, splits = study.params, study.statistics["splits"]
    grid, model = params.grid, params.model
    yield (
        f"Corpus `{study.statistics['corpus']}` with {len(study.statistics['labels'])} classes and "
        f"{splits['train']['rows']} training texts. All accuracies are those on the {study.split} split "
        f"({splits[study.split]['rows']} texts), by which the pipeline chose nothing: which epoch "
        "of a training is kept and which ticket is to ship was decided on the selection split."
    )
    yield (
        f"Transformers with {words(grid.attentions)} attention: width {model.width}, {count(model.layers, 'layer')}, "
        f"{count(model.heads, 'head')}, hidden layers of {model.hidden}; seeds {words(map(str, grid.seeds))}. The "
        f"model before pruning is called dense. From it a ladder goes down {count(grid.levels, 'level')}: each keeps "
        f"the most important {percent(params.prune.keep, 0)} % of the remaining weights, rewinds them to their values "
        "early in training and trains them again; the result is a ticket. "
        f"{tickets.lessons(study)}Ways to find tickets: "
        + words(
            f"`{name}` ({params.variants[name].weights} weights, {tickets.scope(study, name)})"
            for name in grid.variants
        )
        + "."
    )


def _findings(study: Study) -> Iterator[str]:
    yield "\n".join(f"- {line}" for line in findings(study))


def _glance(study: Study) -> Iterator[str]:
    yield from tickets.glance(study)
    yield "![Accuracy against size](figures/accuracy_bits.svg)"
    yield "![Training](figures/training.svg)"


def _integers(study: Study) -> Iterator[str]:
    rows = study.accuracies()
    lost = study.compared("quantization").sort_values("difference")
    if len(lost) and not study.params.train.adopted:  # there dense ones alone are compared, with the student adopted
        yield (
            f"Of {int((rows['stage'] == 'quantize').sum())} integer networks and "
            f"{int((rows['stage'] == 'distill').sum())} distilled ones (each with all seeds), this one comes off worst "
            f"beside its model before quantization: {against(study, lost.iloc[0])}."
        )
    yield tickets.more_training(study)
    yield "Where the bits are, in kB of the shipped file (mean over seeds):"
    yield tables.sizes(study).markdown()
    yield from tickets.zeros(study)
    yield agreement(study)


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
    absent = "".join(f" Absent: {file} ({why})." for file, why in sorted(found["absent"].items()))
    return (
        "# What a clock measures\n\n"
        f"Measured on one machine ({machine}); another one gives other numbers. All contestants take turns in "
        "interleaved rounds with the same sentences, threads and warm-up; times are per call and without tokenization. "
        "The reference engine is written to be read, not to be fast. An encoder of this shape has random weights, "
        "softmax attention and layer normalization. `isa` is what PyTorch and the native engine keep to, the others as "
        "far as they can be told; all use all there is in `reports/engines.md`, at other "
        f"shapes.{absent}\n\n"
        f"{tables.timings(found).markdown()}\n"
    )


def _corpus(study: Study) -> Iterator[str]:
    yield tables.corpus_splits(study).markdown()
    which = "last" if study.params.tokenizer.truncation_side == "left" else "first"
    yield (
        f"Tokens are counted before truncation to the {which} {study.statistics['tokenizer']['positions']}; unknown is "
        "the share of tokens that the tokenizer does not know; repeats are texts that occur again in their split."
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
