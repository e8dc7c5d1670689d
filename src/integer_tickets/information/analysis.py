"""All that is measured of one integer network's layers, as rows: what they keep of the label, and of the rest."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from integer_tickets.information.counts import counts_of
from integer_tickets.information.exact import held
from integer_tickets.information.geometry import (
    class_distance_normalized_variance,
    coding_rate,
    nearest_mean,
    participation_ratio,
    rate_reduction,
    spectral_entropy,
)
from integer_tickets.information.identify import entropy_of, information_about
from integer_tickets.information.probes import Sample, online_bits, paired_interval, random_label_bits, usable
from integer_tickets.information.states import (
    Engine,
    attention_statistics,
    duplicates,
    full,
    one_each,
    rank_one_residual,
    states,
    taps,
)
from integer_tickets.information.vectors import collision_bound, collision_entropy, fit, lengths, read, write
from integer_tickets.integer.network import Inhibitor, IntegerNetwork

Integers = NDArray[np.integer]
Labels = NDArray[np.integer]
Floats = NDArray[np.float64]
Row = dict[str, Any]

OBSERVATIONS = 64  # of each bin of the margin, which are equally full on train: so many that two estimates agree
FEWEST_PAIRS = 10  # of equal vectors, from which their share is estimated
ATTENTION_SENTENCES = 200
RANDOM_LABELS = 1000
DELTA = 0.05  # of the bound from collisions
WORST = 20  # texts named of which a network knows least beside its teacher
QUANTILES = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)
FAMILIES = ("linear", "mlp")  # of probes; at the layers below the last, where they take longest, the first alone


@dataclass(frozen=True)
class Texts:
    """Sentences as token ids, their labels, and their rows in the split that they were drawn from."""

    sentences: Sequence[Sequence[int]]
    labels: Labels
    rows: Integers


@dataclass(frozen=True)
class Settings:
    """orders: of the online code; resamples, confidence: of intervals."""

    orders: int
    resamples: int
    confidence: float


def analysis(
    network: IntegerNetwork, engine: Engine, train: Texts, held_out: Texts, settings: Settings,
    random: Callable[[str], np.random.Generator], teacher: tuple[Floats, Floats], dense: IntegerNetwork | None = None,
) -> Iterator[Row]:  # fmt: skip
    """Rows of layer, quantity, value, unit, estimator, n, null, low, high and flag (why a value is not given).

    Probes and codes learn on `train` and are measured on `held_out`. Streams of vectors are decoded on the way: a
    length that is reported has been one. teacher: its logits of both, (n, classes); dense: the network beside whose
    pooled vector that of this one is set, text by text.
    """
    last = [f"layers.{i}.hidden_sum" for i in range(len(network.layers))]
    hidden = [f"layers.{i}.up" for i in range(len(network.layers))]
    names = [*last, *hidden, "pooled", "logits"]
    learnt, seen = (states(engine, network, texts.sentences, names) for texts in (train, held_out))
    yield from _margin(learnt["logits"], seen["logits"], held_out.labels, random("margin"))
    for name in [*last, "pooled"]:
        means = [np.stack([rows.mean(0) for rows in states_of[name]]) for states_of in (learnt, seen)]
        tokens = [one_each(found[name], random(name)) for found in (learnt, seen)]
        own = Sample(means[0], train.labels), Sample(means[1], held_out.labels)
        families = FAMILIES if name == "pooled" else FAMILIES[:1]
        told = list(_sufficiency(own, families, settings, random(name)))
        yield from _at(name, told)
        found = list(_minimality(tokens, train.labels, held_out.labels, settings, random(f"{name} code")))
        yield from _at(name, found)
        if name == "pooled":  # the only layer of which probe and code see the same vector, a function of the text
            beyond = min(_value(found, "code") - _value(told, "usable"), _value(found, "code_in_class"))
            yield _row("superfluous", beyond, "bits", "smaller of two bounds", len(held_out.labels), layer=name)
            if dense is not None:
                yield _over_dense(dense, engine, (train, held_out), own, settings, random("dense"))
        yield from _at(name, _geometry(tokens[1], *own, seen["logits"]))
        yield _row("coding_rate", coding_rate(tokens[1]), "bits", "distortion 1/12", len(tokens[1]), layer=name)
        yield _row(
            "rate_reduction", rate_reduction(own[1].vectors, own[1].labels), "bits", "distortion 1/12", len(tokens[1]),
            layer=name,
        )  # fmt: skip
    outputs = [np.concatenate(found["logits"]) for found in (learnt, seen)]
    own = Sample(outputs[0], train.labels), Sample(outputs[1], held_out.labels)
    yield from _beside(*own, held_out.rows, teacher, settings, random)
    for name in hidden:
        zeros = sum(int((own == 0).sum()) for own in seen[name]) / sum(own.size for own in seen[name])
        yield _row("zeros", zeros, "", "exact", len(seen[name]), layer=name)
    few = held_out.sentences[:ATTENTION_SENTENCES]
    for row in attention_statistics(engine, network, few):
        place = f"layers.{row['layer']}.head_{row['head']}"
        for quantity, unit in (("entropy", "bits"), ("uniform", "bits"), ("zero_rate", ""), ("pass_through", "")):
            yield _row(f"attention_{quantity}", row[quantity], unit, "mean", len(few), layer=place)
        attention = network.layers[row["layer"]].attention
        if isinstance(attention, Inhibitor):
            gamma = float(attention.multiplier[row["head"]] / 2.0 ** attention.shift[row["head"]])
            yield _row("attention_lipschitz", gamma, "", "exact", 1, layer=place)
    gathered = states(engine, network, few, [f"layers.{i}.context" for i in range(len(network.layers))])
    for name, rows in gathered.items():  # before the skip adds what was there
        yield _row("rank_one_context", rank_one_residual(rows), "", "exact", len(rows), layer=name)
    for name in last:
        rows = seen[name][: len(few)]
        yield _row("rank_one_residual", rank_one_residual(rows), "", "exact", len(rows), layer=name)
        own_entropy = float(np.mean([spectral_entropy(tokens) for tokens in rows]))
        yield _row("prompt_entropy", own_entropy, "bits", "mean over texts", len(rows), layer=name)
        yield _row("duplicates", duplicates(rows), "", "exact", len(rows), layer=name)


def floats(
    learnt: Mapping[str, Sequence[Floats]], seen: Mapping[str, Sequence[Floats]], train: Texts, held_out: Texts,
    settings: Settings, random: Callable[[str], np.random.Generator],
) -> Iterator[Row]:  # fmt: skip
    """The same of a float model, as far as it is defined for one: its vectors have no code length and no entropy.

    learnt, seen: by layer the vectors of every text, (tokens, channels); of `pooled` and `logits` (1, channels).
    """
    for name in [name for name in seen if name != "logits"]:
        means = [np.stack([rows.mean(0) for rows in found[name]]) for found in (learnt, seen)]
        own = Sample(means[0], train.labels), Sample(means[1], held_out.labels)
        yield from _at(name, _sufficiency(own, FAMILIES[:1], settings, random(name)))
        yield from _at(name, _geometry(one_each(seen[name], random(name)), *own, seen["logits"]))


def exact(
    network: IntegerNetwork, engine: Engine, sentences: Sequence[Sequence[int]], chance: Floats, posterior: Floats
) -> Iterator[Row]:
    """What every layer holds, exactly, where `sentences` of equal length are all there are: p(x) and p(y=1|x), (x,).

    Of all tokens of a layer together: along these states, not along pooled ones, information can only fall.
    """
    names = taps(network)
    found = states(engine, network, sentences, names)
    for name in names:
        own = held(full(found[name]), chance, posterior)
        for quantity, value in asdict(own).items():
            unit = "" if quantity == "states" else "bits"
            yield _row(f"exact_{quantity}", value, unit, "enumeration", len(sentences), layer=name)


def _margin(
    learnt: Sequence[Integers], seen: Sequence[Integers], labels: Labels, random: np.random.Generator
) -> Iterator[Row]:
    """I(m;Y) of the margin m between two classes, from counts."""
    if learnt[0].shape[1] != 2:
        why = "a margin lies between two classes"
        yield _row("information", math.nan, "bits", "counts", len(labels), flag=why, layer="logits")
        return
    before, after = (np.array([int(row[0, 1]) - int(row[0, 0]) for row in rows]) for rows in (learnt, seen))
    bins = max(2, len(after) // OBSERVATIONS)
    edges = np.unique(np.quantile(before, np.linspace(0, 1, bins + 1)[1:-1]))
    found = information_about(np.searchsorted(edges, after), labels, len(edges) + 1, random)
    value, name, n = found.value, found.estimator, found.n
    yield _row("information", value, "bits", name, n, null=found.null, flag=found.refused, layer="logits")


def _sufficiency(
    own: tuple[Sample, Sample], families: Sequence[str], settings: Settings, random: np.random.Generator
) -> Iterator[Row]:
    for family in families:
        points = usable(*own, family)
        low, high = paired_interval(
            points, np.zeros_like(points), settings.resamples, settings.confidence, random
        )  # fmt: skip
        yield _row("usable", float(points.mean()), "bits", f"{family} probe", len(points), low=low, high=high)
    train, new = own  # the layer has learnt the labels of train, so those of new texts are sent
    orders = [random.permutation(len(new.labels)) for _ in range(settings.orders)]
    yield _row(
        "online", float(np.mean([online_bits(new, order) for order in orders])), "bits a label", "linear probe",
        len(new.labels),
    )  # fmt: skip
    few = Sample(train.vectors[:RANDOM_LABELS], train.labels[:RANDOM_LABELS])
    yield _row("random_labels", random_label_bits(few, "linear", random), "bits", "linear probe", len(few.labels))


def _over_dense(
    dense: IntegerNetwork, engine: Engine, texts: tuple[Texts, Texts], own: tuple[Sample, Sample], settings: Settings,
    random: np.random.Generator,
) -> Row:  # fmt: skip
    """Usable bits of the pooled vector less those of the dense network's, text by text."""
    train, held_out = (
        Sample(np.concatenate(states(engine, dense, part.sentences, ["pooled"])["pooled"]), part.labels)
        for part in texts
    )
    one, other = usable(*own, "linear"), usable(train, held_out, "linear")
    low, high = paired_interval(one, other, settings.resamples, settings.confidence, random)
    mean = float((one - other).mean())
    return _row("over_dense", mean, "bits", "paired", len(one), low=low, high=high, layer="pooled")


def _value(rows: Sequence[Row], quantity: str) -> float:
    """Of the first row of a quantity."""
    return float(next(row["value"] for row in rows if row["quantity"] == quantity))


def _minimality(
    tokens: Sequence[Integers], train_labels: Labels, labels: Labels, settings: Settings, random: np.random.Generator
) -> Iterator[Row]:
    train, held_out = tokens
    low, high = min(int(x.min()) for x in tokens), max(int(x.max()) for x in tokens)
    bits = _sent(train, held_out, low, high)
    interval = paired_interval(bits, np.zeros_like(bits), settings.resamples, settings.confidence, random)
    yield _row(
        "code", float(bits.mean()), "bits", "autoregressive code, decoded", len(held_out), low=interval[0],
        high=interval[1],
    )  # fmt: skip
    classes = [c for c in np.unique(train_labels) if (labels == c).any()]
    parts = [(train[train_labels == c], held_out[labels == c]) for c in classes]
    within = sum(_sent(*part, low, high).sum() for part in parts) / len(held_out)
    yield _row("code_in_class", float(within), "bits", "autoregressive code", len(held_out))
    apart = [entropy_of(column, int(np.ptp(column)) + 1) for column in held_out.T]
    refused = next((own.refused for own in apart if not own.identifiable), "")
    total = float(sum(own.value for own in apart))
    yield _row("marginals", total, "bits", "coordinates apart", len(held_out), flag=refused)
    counts = counts_of(held_out)
    pairs = int((counts * (counts - 1)).sum()) // 2
    few = "" if pairs >= FEWEST_PAIRS else f"fewer than {FEWEST_PAIRS} pairs of vectors are equal"
    yield _row("collision", math.nan if few else collision_entropy(counts), "bits", "pairs", len(held_out), flag=few)
    yield _row("collision_bound", collision_bound(held_out, DELTA), "bits", "disjoint pairs", len(held_out))
    in_class = sum(len(own) * collision_bound(own, DELTA / len(parts)) for _, own in parts if len(own) > 1)
    yield _row("collision_bound_in_class", in_class / len(held_out), "bits", "disjoint pairs", len(held_out))


def _sent(train: Integers, held_out: Integers, low: int, high: int) -> Floats:
    """Bits of each vector in a code learned on train; together they are those of the stream, which is written and
    decoded, and of a word for the range."""
    code = fit(train, low, high)
    bits, words = lengths(code, held_out), write(code, held_out)
    if not (read(code, words, len(held_out)) == held_out).all():
        raise AssertionError("a stream of vectors was not decoded to what was written")
    return bits + (32 * (len(words) + 1) - bits.sum()) / len(bits)


def _beside(
    train: Sample, held_out: Sample, rows: Integers, teacher: tuple[Floats, Floats], settings: Settings,
    random: Callable[[str], np.random.Generator],
) -> Iterator[Row]:  # fmt: skip
    """Pointwise usable information of the outputs, text by text beside that of the teacher's."""
    n = len(held_out.labels)
    own = usable(train, held_out, "linear")
    apart = own - usable(Sample(teacher[0], train.labels), Sample(teacher[1], held_out.labels), "linear")
    intervals = [
        paired_interval(points, np.zeros(n), settings.resamples, settings.confidence, random("teacher"))
        for points in (own, apart)
    ]
    better, worse = int((apart > 0).sum()), int((apart < 0).sum())
    sign = binomtest(better, better + worse).pvalue if better + worse else 1.0
    for quantity, points, estimator, (low, high) in zip(
        ("usable", "over_teacher"), (own, apart), ("linear probe", "paired"), intervals, strict=True
    ):
        yield _row(quantity, float(points.mean()), "bits", estimator, n, low=low, high=high, layer="logits")
    yield _row("over_teacher_sign", float(sign), "p", "sign test", better + worse, layer="logits")
    for share in QUANTILES:
        value = float(np.quantile(apart, share))
        yield _row("over_teacher_quantile", value, "bits", f"{100 * share:g} % of texts", n, layer="logits")
    for place in np.argsort(apart, kind="stable")[:WORST]:
        yield _row("over_teacher_text", float(apart[place]), "bits", f"row {rows[place]}", n, layer="logits")


def _geometry(held_out: NDArray[Any], train: Sample, seen: Sample, logits: Sequence[NDArray[Any]]) -> Iterator[Row]:
    n = len(held_out)
    raw, corrected = participation_ratio(held_out)
    yield _row("participation", raw, "dimensions", "sample", n)
    yield _row("participation_corrected", corrected, "dimensions", "unbiased for Gaussians", n)
    yield _row("spectral_entropy", spectral_entropy(held_out), "bits", "sample", n)
    yield _row("class_variance", class_distance_normalized_variance(seen.vectors, seen.labels), "", "sample", n)
    says = np.array([int(row[0].argmax()) for row in logits])
    agreed = (nearest_mean(train.vectors, train.labels, seen.vectors) == says).mean()
    yield _row("nearest_mean", float(agreed), "", "agreement with the network", n)


def _at(layer: str, rows: Iterator[Row] | Sequence[Row]) -> Iterator[Row]:
    for row in rows:
        yield row | {"layer": layer}


def _row(
    quantity: str, value: float, unit: str, estimator: str, n: int, *, layer: str = "", null: float = math.nan,
    low: float = math.nan, high: float = math.nan, flag: str = "",
) -> Row:  # fmt: skip
    return {
        "layer": layer, "quantity": quantity, "value": value, "unit": unit, "estimator": estimator, "n": n,
        "null": null, "low": low, "high": high, "flag": flag,
    }  # fmt: skip
