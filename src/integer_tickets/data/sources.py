"""Where a corpus comes from: a generated language, a folder of files, or the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from integer_tickets.corpus_blocks import Data, Hub, Language
from integer_tickets.data.corpus import SPLITS
from integer_tickets.data.files import load_file, load_lines, split_files
from integer_tickets.data.splits import word_runs
from integer_tickets.errors import UserError
from integer_tickets.seeds import generator

if TYPE_CHECKING:
    from datasets import Dataset
    from pandas import DataFrame


_INTEGER = re.compile(r"-?[0-9]+")
UNLABELLED = "unsupervised"  # how data sets of the hub call a split without labels
_HIDDEN = "-1"  # what the hub writes where the labels of a test split are not public


@dataclass(frozen=True)
class Source:
    """A corpus as it comes, before anything is cut from it.

    name: `builtin` or `enumerable` for a generated language, else data.name, or where that is empty the id on the hub
    or the last part of data.folder, and `files` where that says nothing (`data`, a path of dots); labels: the names of
    the classes, each seen in train; splits: for each split a frame with the columns text, text2 (pairs only), label
    (int class), group (where asked for), score (generated languages only); facts: what is known exactly about such a
    language, else empty; unlabelled: texts without labels, which occur in no split of a corpus that is not generated.
    """

    name: str
    labels: tuple[str, ...]
    splits: dict[str, DataFrame]
    facts: dict[str, Any]
    unlabelled: list[str]


@dataclass(frozen=True)
class _Table:
    """One split of a corpus: the place that messages name, the columns, labels as text, the order of its classes."""

    where: str
    columns: dict[str, list[Any]]
    classes: tuple[str, ...]


def read(data: Data, language: Language, vocabulary: str = "") -> Source:
    """Read the corpus that `data` names. Every fault of it is a UserError naming file, row or column.

    vocabulary: the name of the file in data.folder that is no split but the vocabulary of the tokenizer.
    """
    if data.source == "builtin":
        return _builtin(language)
    if data.source == "enumerable":
        return _enumerable(language)
    if data.source == "files":
        folder = Path(data.folder)
        files = split_files(folder, SPLITS, vocabulary)
        name = data.name or ("files" if folder.name in ("", "..", "data") else folder.name)
        tables = {split: _table(str(path), load_file(path), data) for split, path in files.items()}
        more = load_lines(folder)
    else:
        name = data.name or "/".join(part for part in (data.hub.id, data.hub.configuration) if part)
        datasets = _load_hub(data.hub)
        tables = {split: _table(f"{name} {split}", datasets[split], data) for split in SPLITS if split in datasets}
        if "train" not in tables:
            raise UserError(f"{name}: no split train; it has {', '.join(datasets)}")
        more = _texts(f"{name} {UNLABELLED}", datasets[UNLABELLED], data.text[0]) if UNLABELLED in datasets else []
    if more and len(data.text) > 1:
        raise UserError(f"{name}: unlabelled texts, but data.text names pairs; a pair has no unlabelled form here")
    return _source(name, tables, data.labels, more)


def _builtin(language: Language) -> Source:
    import pandas as pd

    from integer_tickets.data.language import facts, generate

    splits = {}
    for number, split in enumerate(SPLITS):
        # A stream of its own for each split: the size of one changes no other.
        sentences = generate(language, getattr(language, split), number)
        splits[split] = pd.DataFrame(list(sentences), columns=["text", "label", "score"])
    unlabelled = [sentence.text for sentence in generate(language, language.unlabelled, len(SPLITS))]
    labels = ("negative", "positive")
    seen = splits["train"]["label"].unique().tolist()
    if len(seen) < 2:
        raise UserError(
            f"language.train = {language.train}: every label is {labels[seen[0]]!r}, expected so many sentences that "
            "both classes occur"
        )
    return Source("builtin", labels, splits, facts(language), unlabelled)


def _enumerable(language: Language) -> Source:
    import pandas as pd

    from integer_tickets.data.enumerable import LENGTH, draw, facts, scores_of, text_of

    splits = {}
    for number, split in enumerate(SPLITS):
        tokens, labels = draw(getattr(language, split), LENGTH, generator("enumerable", language.seed, number))
        columns = {"text": list(map(text_of, tokens)), "label": labels, "score": scores_of(tokens)}
        splits[split] = pd.DataFrame(columns)
    random = generator("enumerable", language.seed, len(SPLITS))
    unlabelled = list(map(text_of, draw(language.unlabelled, LENGTH, random)[0]))
    return Source("enumerable", ("negative", "positive"), splits, facts(), unlabelled)


def _load_hub(hub: Hub) -> dict[str, Dataset]:
    import datasets
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    where = f"data.hub.id = {hub.id!r}"
    if not hub.id:
        raise UserError(f"{where}: expected the id of a data set of the hub, as in stanfordnlp/sst2")
    revision: str | None = hub.revision
    try:
        # One quick question first: without a network the loader would try again for half a minute or longer.
        revision = HfApi().dataset_info(hub.id, revision=hub.revision, timeout=10).sha
    except OfflineModeIsEnabled:
        pass  # asked for by HF_HUB_OFFLINE: what the cache holds is loaded
    except (HfHubHTTPError, HFValidationError) as error:
        raise UserError(f"{where}, data.hub.revision = {hub.revision!r}: {_line(error)}") from None
    except Exception as error:  # each version of the library has its own names for a missing network
        raise UserError(
            f"{where}: the hub cannot be reached ({_line(error)}); HF_HUB_OFFLINE=1 takes what was loaded before, "
            "data.source: files reads a folder, data.source: builtin needs nothing"
        ) from None
    datasets.disable_progress_bars()
    try:
        return dict(datasets.load_dataset(hub.id, hub.configuration or None, revision=revision))
    except Exception as error:  # whatever a foreign data set or its loader can raise
        raise UserError(
            f"{where}, data.hub.configuration = {hub.configuration!r}: cannot be loaded ({_line(error)}); other "
            "sources are data.source: files and builtin"
        ) from None


def _texts(where: str, dataset: Dataset, column: str) -> list[str]:
    if column not in dataset.column_names:
        raise UserError(f"{where}: no column {column!r} (data.text); it has {', '.join(dataset.column_names)}")
    texts = list(dataset[column])
    _check_texts(where, column, texts)
    return texts


def _check_texts(where: str, column: str, texts: list[Any]) -> None:
    for row, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise UserError(f"{where}, row {row}, column {column!r}: {text!r}, expected a text")


def _table(where: str, dataset: Dataset, data: Data) -> _Table:
    """The wanted columns under their own names, labels as text, everything checked."""
    wanted = dict(zip(("text", "text2"), data.text, strict=False)) | {"label": data.label}
    if data.group:
        wanted["group"] = data.group
    for parameter, column in wanted.items():
        if column not in dataset.column_names:
            parameter = "text" if parameter == "text2" else parameter
            raise UserError(
                f"{where}: no column {column!r} (data.{parameter}); it has {', '.join(dataset.column_names)}"
            )
    if not len(dataset):
        raise UserError(f"{where}: no rows")
    columns = {name: list(dataset[column]) for name, column in wanted.items()}
    for name in ("text", "text2"):
        if name in columns:
            _check_texts(where, wanted[name], columns[name])
    for row, group in enumerate(columns.get("group", []), 1):
        if group is None or group == "":
            raise UserError(f"{where}, row {row}, column {data.group!r}: empty, expected the name of a group")
    classes = tuple(getattr(dataset.features[data.label], "names", None) or ())
    columns["label"] = [
        _label_text(value, classes, f"{where}, row {row}, column {data.label!r}")
        for row, value in enumerate(columns["label"], 1)
    ]
    return _Table(where, columns, classes)


def _label_text(value: Any, classes: tuple[str, ...], where: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of integers with a gap somewhere comes as floats
    if value is None or (isinstance(value, str) and not value.strip()):
        raise UserError(f"{where}: empty label")
    if not isinstance(value, str | int):
        raise UserError(f"{where}: label {value!r}, expected a text or an integer")
    if classes and isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    return str(value).strip()


def _source(name: str, tables: dict[str, _Table], names: list[str], unlabelled: list[str]) -> Source:
    import pandas as pd

    train = tables["train"]
    seen = set(train.columns["label"])
    if len(seen) < 2:
        raise UserError(f"{train.where}: every label is {min(seen)!r}, expected two classes or more")
    number, labels = _classes(train, seen, names)
    splits = {}
    for split, table in tables.items():
        column = table.columns["label"]
        if set(column) == {_HIDDEN} and _HIDDEN not in seen:
            continue
        for row, label in enumerate(column, 1):
            if label not in number:
                raise UserError(f"{table.where}, row {row}: label {label!r}, but train has only {_listed(number)}")
        splits[split] = pd.DataFrame(table.columns | {"label": [number[label] for label in column]})
    known = {key for frame in splits.values() for key in word_runs(frame["text"])}
    new = [text for text, key in zip(unlabelled, word_runs(unlabelled), strict=True) if key not in known]
    return Source(name, labels, splits, {}, new)


def _classes(train: _Table, seen: set[str], names: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """The class of each label of train, and the names of the classes in their order."""
    integers = all(_INTEGER.fullmatch(label) for label in seen)
    if not names:
        given = [label for label in train.classes if label in seen]
        rest = seen.difference(given)
        ordered = given + (sorted(rest, key=lambda label: (int(label), label)) if integers else sorted(rest))
        return {label: i for i, label in enumerate(ordered)}, tuple(ordered)
    if len(set(names)) < len(names):
        raise UserError(f"data.labels = {names}: a name occurs twice")
    # Either the labels themselves in the wished order, or names for the labels 0, 1, 2, ...
    number = {label: i for i, label in enumerate(names)}
    if integers and not seen <= set(number):
        number = {str(i): i for i in range(len(names))}
    if seen != set(number):
        raise UserError(f"data.labels = {names}: {train.where} has the labels {_listed(seen)}")
    return number, tuple(names)


def _listed(labels: Any) -> str:
    """The first labels of many, readable in one line."""
    ordered = sorted(labels)
    return ", ".join(ordered[:10]) + (f" and {len(ordered) - 10} more" if len(ordered) > 10 else "")


def _line(error: BaseException) -> str:
    """What an exception of a library says, as one short line."""
    text = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"
