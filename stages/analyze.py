"""Stage analyze: what the layers of an item's integer networks keep of the label and the rest, and what flips them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from integer_tickets.data.batches import Split
from integer_tickets.data.corpus import Corpus, load_corpus
from integer_tickets.data.enumerable import enumeration, text_of
from integer_tickets.data.statistics import text_columns
from integer_tickets.evaluation.collect import expected
from integer_tickets.evaluation.summary import columns_of
from integer_tickets.information.analysis import Row, Settings, Texts, analysis, exact
from integer_tickets.information.robustness import (
    robustness,
    substitutions,
    synonyms_of_the_language,
    typos,
)
from integer_tickets.integer import artefact, torch_engine
from integer_tickets.integer.artefact import Artefact
from integer_tickets.integer.engines import text_logits
from integer_tickets.params import Params, load_params
from integer_tickets.seeds import generator
from stages.evaluate import rounded, write_table
from stages.folders import rows_of
from stages.models import item_from_arguments, prepare_torch

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
    found: list[dict[str, Any]] = []
    for entry in expected(params, ARTIFACTS):
        configuration = entry.configuration
        own = (configuration.attention, configuration.variant, entry.seed) == (item.attention, item.variant, item.seed)
        if not own or configuration.stage not in ("quantize", "distill"):
            continue
        ticket = artefact.load(entry.folder / "ticket.safetensors")
        rows = [
            *analysis(ticket.network, torch_engine.logits, train, held_out, settings, streams),
            *_planes(ticket, corpus),
            *_flips(ticket, texts, corpus, params),
        ]
        fixed = columns_of(configuration) | {"seed": entry.seed}
        found += [fixed | {name: rounded(value) for name, value in row.items()} for row in rows]
    write_table(ARTIFACTS / "information" / f"{item.name}.csv", found)


def _sample(split: Split, name: str, params: Params) -> Texts:
    """Examples of a split, at random and in their order: the same for all networks."""
    chosen = generator(f"analyze {name}", params.analyze.seed).permutation(len(split))[: params.analyze.examples]
    rows = split.rows(np.sort(chosen))
    return Texts(rows_of(rows), rows.labels)


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
    """How many of the texts no slip of the pen and, in the built-in language, no synonym can flip."""
    if not texts:
        return

    def logits(every: Any) -> Any:
        return text_logits(ticket.network, ticket.tokenizer, every)

    kinds: dict[str, Callable[[str], list[str]]] = {"typos": typos}
    if corpus.statistics["corpus"] == "builtin":
        synonyms = synonyms_of_the_language(params.language.vocabulary)
        kinds["synonyms"] = lambda text: substitutions(text, synonyms)
    for kind, changes in kinds.items():
        found = robustness(logits, texts, changes)
        tried = int(found.changes.sum())
        common = {
            "layer": "logits",
            "estimator": "every change",
            "null": np.nan,
            "low": np.nan,
            "high": np.nan,
            "flag": "",
        }
        yield common | {"quantity": f"safe_from_{kind}", "value": found.safe, "unit": "share of texts", "n": len(texts)}
        yield common | {
            "quantity": f"flips_by_{kind}", "value": float(found.flips.sum() / max(tried, 1)),
            "unit": "share of changes", "n": tried,
        }  # fmt: skip
