"""From a corpus as it comes to the folder that later stages read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from integer_tickets.data.augmentation import lesson_texts
from integer_tickets.data.batches import Split
from integer_tickets.data.corpus import SPLITS, Corpus, encode, save_corpus, save_texts
from integer_tickets.data.files import load_vocabulary
from integer_tickets.data.grammar import vocabulary_words
from integer_tickets.data.learning import learn_tokenizer
from integer_tickets.data.sources import read
from integer_tickets.data.splits import cut
from integer_tickets.data.statistics import frame_of, statistics, text_columns, texts_of
from integer_tickets.params import Params
from integer_tickets.seeds import generator

if TYPE_CHECKING:
    from pandas import DataFrame


def prepare(params: Params) -> tuple[dict[str, DataFrame], Corpus, dict[str, Split]]:
    """Read, cut and encode the corpus of `params`.

    The rows of each split and the texts of `lessons`; the splits as token ids; and as such, too, the texts without
    labels, by what they are for: `unlabelled` as they came, and `lessons`.
    """
    data = params.data
    wanted = params.tokenizer
    vocabulary: Sequence[str] = []
    if wanted.kind == "pretrained":
        vocabulary = load_vocabulary(Path(data.folder, wanted.vocabulary))
    elif wanted.kind == "words":
        vocabulary = vocabulary_words(params.language.vocabulary)
    source = read(data, params.language, wanted.vocabulary)
    fractions = {"selection": data.selection, "validation": data.validation}
    cut_splits, units = cut(source.splits, fractions, data.seed)
    frames = {name: cut_splits[name] for name in SPLITS if name in cut_splits}
    for name in ("train", "selection") if data.shuffled else ():
        random = generator(f"shuffled {name}", data.seed)
        frames[name] = frames[name].assign(label=random.permutation(frames[name]["label"].to_numpy()))
    train = frames["train"]
    learned = learn_tokenizer(
        (text for column in text_columns(train) for text in train[column]),
        wanted.kind,
        wanted.size,
        wanted.positions,
        vocabulary,
    )
    tokenizer = replace(learned, truncation_side=wanted.truncation_side)
    splits = {name: encode(tokenizer, texts_of(frame), frame["label"]) for name, frame in frames.items()}
    known = [text for name in frames if name != "train" for text in frames[name]["text"]]
    lessons = lesson_texts(texts_of(train), source.unlabelled, params.lessons, known)
    more = {
        name: encode(tokenizer, texts, [-1] * len(texts))
        for name, texts in (("unlabelled", source.unlabelled), ("lessons", lessons))
    }
    found = statistics(frames, splits, source.labels, tokenizer) | {
        "corpus": source.name,
        "labels": list(source.labels),
        "units": units,
        "lessons": len(lessons),
        "language": source.facts,
        "tokenizer": {"kind": params.tokenizer.kind, "size": tokenizer.size, "positions": tokenizer.positions},
    }
    return frames | {"lessons": frame_of(lessons)}, Corpus(splits, source.labels, tokenizer, found), more


def save(folder: Path, frames: dict[str, DataFrame], corpus: Corpus, more: dict[str, Split]) -> None:
    """Write the rows of each split as parquet, and what they became beside them, into the new folder `folder`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    for name, frame in frames.items():
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, folder / f"{name}.parquet")
    save_corpus(folder, corpus)
    for name, split in more.items():
        save_texts(folder, name, split)
