"""The corpus: its splits, the tokenizer and the statistics, into artifacts/data."""

import shutil
from pathlib import Path

from integer_tickets.data.preparation import prepare, save
from integer_tickets.files import replacing
from integer_tickets.params import load_params

OUT = Path("artifacts/data")


def main() -> None:
    frames, corpus, unlabelled = prepare(load_params())
    with replacing(OUT) as folder:
        save(folder, frames, corpus, unlabelled)
        shutil.rmtree(OUT, ignore_errors=True)
    for name, numbers in corpus.statistics["splits"].items():
        print(f"{name}: {numbers['rows']} rows, {numbers['tokens']['mean']:.1f} tokens a text")
