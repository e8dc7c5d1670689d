"""Stage certify: of every integer network its code length and a bound on its true error; of every mask its bits."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from integer_tickets.blocks import BLOCK, DRAWN, Certify
from integer_tickets.data.corpus import Corpus, load_corpus, load_texts
from integer_tickets.data.statistics import text_columns
from integer_tickets.errors import UserError
from integer_tickets.evaluation.collect import Configuration, Entry, expected, read_model
from integer_tickets.evaluation.summary import columns_of
from integer_tickets.information.bag_of_words import places_of, smallest_bound
from integer_tickets.information.certificates import (
    certificate,
    held_out,
    length_of,
    numbers_of,
    through_a_teacher,
)
from integer_tickets.information.mask_code import buckets, mask_bits
from integer_tickets.information.ticket_code import Ticket
from integer_tickets.integer import artefact
from integer_tickets.integer.engines import engine
from integer_tickets.model.transformer import initialise
from integer_tickets.params import Params, load_params
from integer_tickets.seeds import generator
from integer_tickets.tickets.masks import blocks, density, shuffled
from integer_tickets.training.state import Masks, Weights, load_model, load_state, load_tensors
from stages.evaluate import rounded, write_table
from stages.folders import rows_of
from stages.models import Item, build

ARTIFACTS = Path("artifacts")
SEEN = ("train", "selection")
KNOWN = ("initial", "rewind", "seed", "shuffled")
MASK_COLUMNS = [
    *("name", "stage", "role", "attention", "variant", "level", "weights", "distilled", "seed", "density", "size"),
    *("alone", *(f"given_{what}" for what in KNOWN)),
]


def main() -> None:
    params = load_params()
    corpus = load_corpus(ARTIFACTS / "data")
    splits = {name: split for name, split in corpus.splits.items() if name != "train"}  # with predictions
    counts = {name: len(split) for name, split in splits.items()}
    headline = "test" if "test" in splits else "validation"
    # The bound holds for all tickets at once, so what chose among them counts with what they were trained on.
    sentences = [row for name in SEEN for row in rows_of(corpus.splits[name])]
    labels = np.concatenate([corpus.splits[name].labels for name in SEEN])
    frame = pd.concat([pd.read_parquet(ARTIFACTS / "data" / f"{name}.parquet") for name in SEEN])
    run, own = engine(), params.certify
    groups = frame["group"].tolist() if "group" in frame else None
    texts = frame[text_columns(frame)[0]].tolist()
    number = numbers_of(texts, groups, own.unit)
    found = []
    prior = _prior(Path(params.train.prior), corpus) if params.train.prior else None
    says, errs = _teacher(headline, splits[headline].labels)
    unlabelled = rows_of(load_texts(ARTIFACTS / "data", "unlabelled")) if len(says) else []
    for entry in expected(params, ARTIFACTS):
        if entry.configuration.stage not in ("quantize", "distill"):
            continue
        ticket = artefact.load(entry.folder / "ticket.safetensors")
        bits, symmetry = length_of(ticket.network, ticket.tokenizer, prior)
        wrong = run(ticket.network, sentences).argmax(1) != labels
        bound = certificate(wrong, labels, number, bits.pop("total"), symmetry, own)
        model = read_model(entry, counts, len(corpus.labels))
        new = model.predictions[headline] != splits[headline].labels
        seen = {"held_out_n": len(new), "held_out_risk": new.mean(), "held_out_error": held_out(new, own.delta)}
        if unlabelled:
            apart = run(ticket.network, unlabelled).argmax(1) != says
            error, apart_error = through_a_teacher(apart, errs, bound.bits, bound.symmetry, own.delta)
            seen |= {"apart_n": len(apart), "apart": apart.mean(), "apart_error": apart_error, "taught_error": error}
        fixed = columns_of(entry.configuration) | {"seed": entry.seed, "density": model.info["density"]}
        parts = {f"bits_{part}": count for part, count in bits.items()}
        found.append(fixed | {name: rounded(value) for name, value in (asdict(bound) | seen | parts).items()})
    if len(corpus.labels) == 2 and len(text_columns(frame)) == 1:
        new = pd.read_parquet(ARTIFACTS / "data" / f"{headline}.parquet")["text"].tolist()
        found.append(bag_of_words_row(texts, labels, number, new, splits[headline].labels, own))
    write_table(ARTIFACTS / "certificates.csv", found)
    write_table(ARTIFACTS / "mask_bits.csv", mask_rows(params, corpus), MASK_COLUMNS)
    best = min((row for row in found if row["stage"] != "baseline"), key=lambda row: float(row["error"]))
    print(f"{len(found)} certificates; the lowest: {best['name']}, error at most {100 * best['error']:.2f} %")


def bag_of_words_row(
    texts: list[str], labels: NDArray[np.integer], number: NDArray[np.int64], new: list[str],
    new_labels: NDArray[np.integer], settings: Certify,
) -> dict[str, Any]:  # fmt: skip
    """The certificate of the simplest ticket, on the same texts; `new` are those of the headline split."""
    places = places_of(texts)
    own = smallest_bound(places, labels, number, settings.delta)
    bound = certificate(own.predict(places) != labels, labels, number, own.bits, 0.0, settings)
    wrong = own.predict(places_of(new)) != new_labels
    fixed = columns_of(Configuration("baseline", "bag of words", weights="ternary")) | {"seed": 0}
    row = asdict(bound) | {"density": float(np.count_nonzero(own.signs) / len(own.signs)), "held_out_n": len(new)}
    row |= {"held_out_risk": wrong.mean(), "held_out_error": held_out(wrong, settings.delta)}
    return fixed | {name: rounded(value) for name, value in row.items()}


def _teacher(headline: str, labels: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The classes that the teacher gives unlabelled texts (pretrained: none), and where it errs on held-out ones."""
    says = load_tensors(ARTIFACTS / "teacher" / "logits.safetensors")[0]
    held_out = load_tensors(ARTIFACTS / "teacher" / "predictions.safetensors")[0][headline]
    found = says["unlabelled"].argmax(1).numpy() if "unlabelled" in says else np.zeros(0, np.int64)
    return found, held_out.argmax(1).numpy() != labels


def _prior(folder: Path, corpus: Corpus) -> Ticket:
    """The ticket that training began with."""
    found = artefact.load(folder / "ticket.safetensors")
    if found.tokenizer != corpus.tokenizer:
        raise UserError(
            f"train.start: {folder} reads text by another tokenizer; a hash must have the same size, positions and side"
        )
    return found.network, found.tokenizer


def mask_rows(params: Params, corpus: Corpus) -> Iterator[dict[str, Any]]:
    """Of every ticket's mask the bits alone, and where the decoder knows weights or another mask in its places."""
    tickets = [
        entry
        for entry in expected(params, ARTIFACTS)
        if entry.configuration.stage == "prune_rewind"
        and params.variants[entry.configuration.variant].pattern != "structure"  # what is cut away has no mask
    ]
    masks = {entry.name: load_model(entry.folder / "model.safetensors")[1] for entry in tickets}
    seeds = params.grid.seeds
    for entry in tickets:
        own, configuration = masks[entry.name], entry.configuration
        block = BLOCK if params.variants[configuration.variant].pattern == "block" else 1
        ladder = Item(configuration.attention, configuration.variant, entry.seed).ladder("dense")
        rewind = load_state(ladder / "rewind.safetensors")[0].weights
        following = replace(entry, seed=seeds[(seeds.index(entry.seed) + 1) % len(seeds)])
        known = {
            "initial": _sizes(_drawn(entry, params, corpus), own, block) if params.train.start == DRAWN else None,
            "rewind": _sizes(rewind, own, block),
            "seed": _kept(masks[following.name], block) if len(seeds) > 1 else None,
            "shuffled": _kept(shuffled(own, entry.seed, block), block),
        }
        row: dict[str, Any] = columns_of(configuration) | {"seed": entry.seed, "density": density(own)}
        kept = _kept(own, block)
        row |= {"size": sum(mask.size for mask in kept.values()), "alone": mask_bits(kept)}
        row |= {f"given_{what}": np.nan if c is None else mask_bits(kept, c) for what, c in known.items()}
        yield {name: rounded(value) for name, value in row.items()}


def _drawn(entry: Entry, params: Params, corpus: Corpus) -> Weights:
    """The initial weights of a ladder."""
    model = build(params, corpus, entry.configuration.attention).cpu()
    initialise(model, generator("initial", entry.seed))
    return model.state_dict()


def _kept(masks: Masks, block: int) -> dict[str, NDArray[np.int64]]:
    """1 where a weight lives, or a block of them that lives and dies as one."""
    return {name: blocks(mask, block).numpy().astype(np.int64) for name, mask in masks.items()}


def _sizes(weights: Weights, masks: Masks, block: int) -> dict[str, NDArray[np.int64]]:
    """Buckets of weights, or of the mean size of a block."""
    sizes = {name: weights[name].abs().unflatten(1, (-1, block)).mean(-1).numpy() for name in masks}
    return buckets(sizes)
