"""Stage analyze: what the layers of an item's integer networks keep of the label and the rest, and what flips them."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from integer_tickets.data.batches import Split, evaluation_batches, pad
from integer_tickets.data.corpus import Corpus, load_corpus
from integer_tickets.data.enumerable import enumeration, text_of
from integer_tickets.data.statistics import text_columns
from integer_tickets.evaluation.collect import Configuration, expected
from integer_tickets.evaluation.summary import columns_of
from integer_tickets.information.analysis import Row, Settings, Texts, analysis, exact, floats
from integer_tickets.information.robustness import (
    robustness,
    share_interval,
    substitutions,
    synonyms_of_the_language,
    typos,
)
from integer_tickets.information.synonyms import synonyms_of_english
from integer_tickets.integer import artefact, torch_engine
from integer_tickets.integer.artefact import Artefact
from integer_tickets.integer.engines import text_logits
from integer_tickets.model.transformer import Transformer
from integer_tickets.params import Params, load_params
from integer_tickets.seeds import generator
from integer_tickets.tickets.structure import sizes_of, units_of
from integer_tickets.training.state import load_tensors
from stages.evaluate import rounded, write_table
from stages.folders import read_float_model, rows_of
from stages.models import TEACHER, Item, build, item_from_arguments, prepare_torch

ARTIFACTS = Path("artifacts")


def main() -> None:
    params = load_params()
    item = item_from_arguments("analyze", params)
    prepare_torch(params, trains=False)
    corpus = load_corpus(ARTIFACTS / "data")
    headline = "test" if "test" in corpus.splits else "validation"
    train, held_out = (_sample(corpus.splits[name], name, params) for name in ("train", headline))
    settings = Settings(params.analyze.orders, params.evaluate.bootstrap, params.evaluate.confidence)
    texts, streams = _texts(headline, params), _streams(params)
    teacher = _teacher(train, held_out, headline)
    found: list[dict[str, Any]] = []
    own = {"attention": item.attention, "variant": item.variant}
    entries = [
        entry
        for entry in expected(params, ARTIFACTS)
        if entry.seed == item.seed and own.items() <= asdict(entry.configuration).items()
    ]
    dense = {
        entry.configuration.weights: entry.folder
        for entry in entries
        if entry.configuration.stage == "quantize" and entry.configuration.level == 0
    }
    for entry in entries:
        configuration = entry.configuration
        if configuration.stage in ("quantize", "distill"):
            ticket = artefact.load(entry.folder / "ticket.safetensors")
            below = configuration.level or configuration.stage == "distill"
            before = dense.get(configuration.weights) if below else None
            beside = None if before is None else artefact.load(before / "ticket.safetensors").network
            rows = [
                *analysis(
                    ticket.network,
                    torch_engine.logits,
                    train.texts,
                    held_out.texts,
                    settings,
                    streams,
                    teacher,
                    beside,
                ),
                *_planes(ticket, corpus),
                *_flips(ticket, texts, corpus, params),
            ]
        elif _is_quantized(configuration, params):
            model = _float_model(entry.folder, item, params, corpus)
            learnt, seen = (float_states(model, sample.split) for sample in (train, held_out))
            rows = list(floats(learnt, seen, train.texts, held_out.texts, settings, streams))
        else:
            continue
        fixed = columns_of(configuration) | {"seed": entry.seed}
        found += [fixed | {name: rounded(value) for name, value in row.items()} for row in rows]
    write_table(ARTIFACTS / "information" / f"{item.name}.csv", found)


@dataclass(frozen=True)
class Chosen:
    """Examples of a split, as a split of their own and as texts."""

    split: Split
    texts: Texts


def _sample(split: Split, name: str, params: Params) -> Chosen:
    """Examples of a split, at random and in their order: the same for all networks."""
    chosen = generator(f"analyze {name}", params.analyze.seed).permutation(len(split))[: params.analyze.examples]
    places = np.sort(chosen)
    rows = split.rows(places)
    return Chosen(rows, Texts(rows_of(rows), rows.labels, places))


def _teacher(train: Chosen, held_out: Chosen, headline: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the teacher says of the examples."""
    files = {"train": TEACHER / "logits.safetensors", headline: TEACHER / "predictions.safetensors"}
    learnt, seen = (load_tensors(file)[0][name].numpy().astype(np.float64) for name, file in files.items())
    return learnt[train.texts.rows], seen[held_out.texts.rows]


def _is_quantized(configuration: Configuration, params: Params) -> bool:
    """Whether this is a float model of the ladder from which integer networks are made."""
    levels = {part.level for part in params.quantize.levels}
    ladder = configuration.stage in ("train_dense", "prune_rewind")
    return ladder and configuration.weights == "float" and configuration.level in levels


def _float_model(folder: Path, item: Item, params: Params, corpus: Corpus) -> Transformer:
    weights, masks, _ = read_float_model(folder)
    variant = params.variants[item.variant]
    heads = params.model.heads if variant.pattern == "structure" else None
    sizes = sizes_of(units_of(masks, heads)) if heads else None
    model = build(params, corpus, item.attention, sizes=sizes).cpu()
    model.load_state_dict(weights)
    return model.eval()


@torch.no_grad()
def float_states(model: Transformer, split: Split) -> dict[str, list[NDArray[np.float64]]]:
    """The residual stream after each layer, the pooled vector and the logits of every row, under the names of taps."""
    taps = {f"residual.{i}": f"layers.{i}.hidden_sum" for i in range(len(model.layers))} | {"pooled": "pooled"}
    found: dict[str, list[Any]] = {name: [None] * len(split) for name in [*taps.values(), "logits"]}
    seen: dict[str, torch.Tensor] = {}
    model.observe = seen.__setitem__
    for indices in evaluation_batches(split.lengths):
        ids, counts = (torch.from_numpy(array) for array in pad(split, indices))
        seen["logits"] = model(ids, counts)
        for tap, name in (taps | {"logits": "logits"}).items():
            each = counts.tolist() if tap.startswith("residual") else [1] * len(indices)
            for place, part in zip(indices, seen[tap].double().split(each), strict=True):
                found[name][place] = part.numpy()
    model.observe = None
    return found


def _streams(params: Params) -> Callable[[str], np.random.Generator]:
    return lambda purpose: generator(f"analyze {purpose}", params.analyze.seed)


def _planes(ticket: Artefact, corpus: Corpus) -> Iterator[Row]:
    """The exact information plane, where every sentence can be listed."""
    if corpus.statistics["corpus"] == "enumerable":
        every = enumeration()
        sentences = corpus.tokenizer.encode_batch(map(text_of, every.tokens))
        yield from exact(ticket.network, torch_engine.logits, sentences, every.chance, every.posterior)


def _texts(headline: str, params: Params) -> list[str]:
    """Some held-out texts to change, none of pairs: either text could change, and no one has said which."""
    frame = pd.read_parquet(ARTIFACTS / "data" / f"{headline}.parquet")
    if len(text_columns(frame)) > 1:
        return []
    chosen = generator("analyze flips", params.analyze.seed).permutation(len(frame))[: params.analyze.sentences]
    return [text.lower() for text in frame["text"].iloc[np.sort(chosen)]]


def _flips(ticket: Artefact, texts: list[str], corpus: Corpus, params: Params) -> Iterator[Row]:
    """How many of the texts no slip of the pen and no synonym can flip; no synonyms where no text has any."""
    if not texts:
        return

    def logits(every: Any) -> Any:
        return text_logits(ticket.network, ticket.tokenizer, every)

    builtin = corpus.statistics["corpus"] == "builtin"
    synonyms = synonyms_of_the_language(params.language.vocabulary) if builtin else synonyms_of_english()
    kinds: dict[str, Callable[[str], list[str]]] = {"typos": typos}
    if any(substitutions(text, synonyms) for text in texts):
        kinds["synonyms"] = lambda text: substitutions(text, synonyms)
    unit = ticket.network.logit_multiplier / 2.0**ticket.network.logit_shift
    for kind, changes in kinds.items():
        found = robustness(logits, texts, changes)
        tried, safe, margin = int(found.changes.sum()), found.flips == 0, found.margin * unit
        low, high = share_interval(int(safe.sum()), len(texts), params.evaluate.confidence)
        for quantity, value, of, n in (
            (f"safe_from_{kind}", found.safe, "share of texts", len(texts)),
            (f"flips_by_{kind}", float(found.flips.sum() / max(tried, 1)), "share of changes", tried),
            (f"margin_safe_from_{kind}", margin[safe].sum() / max(safe.sum(), 1), "logits", int(safe.sum())),
            (f"margin_flipped_by_{kind}", margin[~safe].sum() / max((~safe).sum(), 1), "logits", int((~safe).sum())),
        ):
            if n:
                yield {
                    "layer": "logits", "quantity": quantity, "value": float(value), "unit": of,
                    "estimator": "every change", "n": n, "null": np.nan, "flag": "",
                    **({"low": low, "high": high} if quantity.startswith("safe") else {"low": np.nan, "high": np.nan}),
                }  # fmt: skip
