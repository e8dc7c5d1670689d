"""What is known about a prepared corpus: sizes, classes, lengths, unknown tokens, repeated and shared texts."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from integer_tickets.data.batches import Split
from integer_tickets.data.splits import word_runs
from integer_tickets.integer.tokenizer import UNKNOWN, Input, Tokenizer

if TYPE_CHECKING:
    from pandas import DataFrame

_UNLIMITED = 1 << 40  # tokens


def statistics(
    frames: dict[str, DataFrame], splits: dict[str, Split], labels: tuple[str, ...], tokenizer: Tokenizer
) -> dict[str, Any]:
    """The statistics of the splits as plain JSON values, rounded to 6 digits.

    splits, per split: `rows`; `classes`, the rows of each; `tokens` of a text before truncation (mean, p50, p95, max)
    and the share of texts `truncated`; `unknown`, the share of tokens as encoded; `repeats`, see below; `sha256` of
    texts and labels. overlaps: for each split the texts it shares with an earlier one. Texts are the same if their
    normalised words are; `other_label` counts those rows that carry a label the text does not have there.
    """
    keys = {name: text_keys(frame) for name, frame in frames.items()}
    classes = {name: frame["label"].tolist() for name, frame in frames.items()}
    overlaps: dict[str, dict[str, Any]] = defaultdict(dict)
    for earlier, later in combinations(frames, 2):
        there = _labels_by_text(keys[earlier], classes[earlier])
        shared = [(there[key], label) for key, label in zip(keys[later], classes[later], strict=True) if key in there]
        overlaps[later][earlier] = _counts(shared)
    return {
        "splits": {
            name: {
                "rows": len(frame),
                "classes": {label: classes[name].count(i) for i, label in enumerate(labels)},
                "tokens": _lengths(frame, tokenizer),
                "unknown": _rounded(np.mean(splits[name].ids == UNKNOWN)),
                "repeats": _repeats(keys[name], classes[name]),
                "sha256": _sha256(frame),
            }
            for name, frame in frames.items()
        },
        "overlaps": dict(overlaps),
    }


def text_columns(frame: DataFrame) -> list[str]:
    return [column for column in ("text", "text2") if column in frame]


def frame_of(texts: Sequence[Input]) -> DataFrame:
    """The inverse of `texts_of`."""
    import pandas as pd

    pairs = [text if isinstance(text, tuple) else (text,) for text in texts]
    columns = ["text", "text2"][: len(pairs[0]) if pairs else 1]
    return pd.DataFrame(pairs, columns=columns, dtype=str)


def texts_of(frame: DataFrame) -> list[Any]:
    """The texts as the tokenizer takes them: strings, or pairs of them."""
    columns = [frame[column].tolist() for column in text_columns(frame)]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def text_keys(frame: DataFrame) -> list[tuple[bytes, ...]]:
    """What two rows have in common if their texts are the same after normalisation."""
    return list(zip(*(word_runs(frame[column]) for column in text_columns(frame)), strict=True))


def _labels_by_text(keys: list[tuple[bytes, ...]], labels: list[int]) -> dict[tuple[bytes, ...], set[int]]:
    found = defaultdict(set)
    for key, label in zip(keys, labels, strict=True):
        found[key].add(label)
    return dict(found)


def _repeats(keys: list[tuple[bytes, ...]], labels: list[int]) -> dict[str, int]:
    """Rows beyond the first of the same text; a label is another one if it is not that of the first."""
    first: dict[tuple[bytes, ...], int] = {}
    repeated = []
    for key, label in zip(keys, labels, strict=True):
        if key in first:
            repeated.append(({first[key]}, label))
        first.setdefault(key, label)
    return _counts(repeated)


def _counts(rows: list[tuple[set[int], int]]) -> dict[str, int]:
    return {"rows": len(rows), "other_label": sum(label not in known for known, label in rows)}


def _lengths(frame: DataFrame, tokenizer: Tokenizer) -> dict[str, Any]:
    whole = replace(tokenizer, positions=_UNLIMITED)
    lengths = np.array([len(ids) for ids in whole.encode_batch(texts_of(frame))])
    return {
        "mean": _rounded(lengths.mean()),
        "p50": int(np.quantile(lengths, 0.5, method="higher")),
        "p95": int(np.quantile(lengths, 0.95, method="higher")),
        "max": int(lengths.max()),
        "truncated": _rounded(np.mean(lengths > tokenizer.positions)),
    }


def _sha256(frame: DataFrame) -> str:
    digest = hashlib.sha256()
    columns = [*text_columns(frame), "label"]
    for row in zip(*(frame[column].tolist() for column in columns), strict=True):
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def _rounded(value: Any) -> float:
    return round(float(value), 6)
