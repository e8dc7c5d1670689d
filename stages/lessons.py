"""Stage lessons: train and the texts beside it, with what the teacher says of each, in the form of a corpus."""

from dataclasses import replace

import numpy as np

from integer_tickets.blocks import Lessons
from integer_tickets.data.batches import Split
from integer_tickets.data.corpus import Corpus, Soft, load_corpus, load_texts, save_splits
from integer_tickets.params import load_params
from integer_tickets.training.state import load_tensors
from stages.models import DATA, LESSONS, TEACHER


def main() -> None:
    corpus = load_corpus(DATA)
    says = {name: logits.numpy() for name, logits in load_tensors(TEACHER / "logits.safetensors")[0].items()}
    taught = lessons(corpus, load_texts(DATA, "lessons"), says, load_params().lessons)
    save_splits(LESSONS, taught)
    train = len(corpus.splits["train"])
    print(f"{train} texts of train and {len(taught.splits['train']) - train} others, with what the teacher says")


def lessons(corpus: Corpus, more: Split, says: dict[str, np.ndarray], settings: Lessons) -> Corpus:
    """The corpus with `more` texts at the end of train, labelled as the teacher finds likeliest.

    says: logits (rows, classes) of `train` and, unless there are none, of `lessons`.
    """
    logits, train = says["train"], corpus.splits["train"]
    if len(more):
        logits = np.concatenate([logits, says["lessons"]])
        train = joined(train, replace(more, labels=says["lessons"].argmax(1)))
    soft = Soft(logits, settings.temperature, settings.hard)
    return replace(corpus, splits=corpus.splits | {"train": train}, soft=soft)


def joined(first: Split, second: Split) -> Split:
    """The rows of both."""
    return Split(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
        np.concatenate([first.labels, second.labels]),
    )
