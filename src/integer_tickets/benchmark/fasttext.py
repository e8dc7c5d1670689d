"""fastText (arXiv 1607.01759), whole and with quantized tables (1612.03651): the bag of word vectors to stand beside.

Its package is no dependency of the project; ImportError where it is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from integer_tickets.files import write_bytes
from integer_tickets.integer.rounding import Array
from integer_tickets.integer.tokenizer import words

PLACES = 200_000  # of the table into which pairs of words are hashed
CUTOFFS = (20_000, 5_000, 2_000, 1_000)  # words and pairs that are kept where tables are quantized
GRID = tuple(
    {"dim": dim, "wordNgrams": pairs, "bucket": PLACES if pairs > 1 else 1, "epoch": epochs, "lr": 0.2}
    for dim, pairs, epochs in product((10, 32), (1, 2), (3, 5))
)
"""What is tried; the selection split chooses."""
ALWAYS = {"thread": 1, "seed": 0, "verbose": 0}  # even so, a rerun gives other numbers
LABEL = b"__label__"


@dataclass(frozen=True)
class Classifier:
    """bits: of the file; predictions: classes (rows,) of every split but train."""

    name: str
    bits: int
    predictions: dict[str, Array]


def classifiers(texts: Mapping[str, Sequence[str]], labels: Mapping[str, Array], folder: Path) -> Iterator[Classifier]:
    """The best on the selection split: with whole tables, with quantized ones, and of so many words and pairs alone.

    Files are written into `folder`. Words are those of the tickets' normaliser, so that both sides read the same text.
    """
    import fasttext

    lines = {name: [b" ".join(words(text)) for text in own] for name, own in texts.items()}
    train, file = folder / "train.txt", folder / "model"
    marked = (b"%b%d %b\n" % (LABEL, label, line) for label, line in zip(labels["train"], lines["train"], strict=True))
    write_bytes(train, b"".join(marked))

    def judged(name: str, model: Any) -> Classifier:
        model.save_model(str(file))
        says = {split: _says(model, own) for split, own in lines.items() if split != "train"}
        return Classifier(name, 8 * file.stat().st_size, says)

    def right(own: Classifier) -> float:
        return float((own.predictions["selection"] == labels["selection"]).mean())

    found: dict[str, list[Classifier]] = {}
    for settings, cutoff in product(GRID, (None, 0, *CUTOFFS)):
        name = "fastText"
        try:
            model = fasttext.train_supervised(input=str(train), **settings, **ALWAYS)
            if cutoff is not None:
                kept = {"cutoff": cutoff, "retrain": True} if cutoff else {}
                own = {key: settings[key] for key in ("epoch", "lr")} | {"thread": 1, "verbose": 0}
                model.quantize(input=str(train), qnorm=True, **kept, **own)
                name = f"fastText quantized{f', {cutoff:,} words and pairs' if cutoff else ''}"
            found.setdefault(name, []).append(judged(name, model))
        except RuntimeError as error:
            if "NaN" not in str(error):  # some settings run into it, in training or after
                raise
    for tried in found.values():
        yield max(tried, key=right)


def _says(model: Any, lines: Sequence[bytes]) -> Array:
    texts = [line.decode("utf-8", "replace") for line in lines]
    names, _ = model.predict(texts)
    return np.array([int(name[0].removeprefix(LABEL.decode())) if name else 0 for name in names])
