"""Made-up studies that the stages evaluate and report have been through, written once."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from integer_tickets.params import load_params
from stages import analyze, certify, evaluate, report
from tests.evaluation.conftest import content  # noqa: F401
from tests.evaluation.fake_study import fake_checkout

THREE_CLASSES = {
    "grid": {"attentions": ["inhibitor"], "seeds": [5], "variants": ["int8"]},
    "variants": {
        "int8": {
            "weights": "int8",
            "pattern": "weight",
            "scope": "layerwise",
            "embedding": True,
            "rewind": 0,
            "embedding_bits": 4,
        }
    },
    "data": {"source": "files", "folder": "data", "text": ["one", "two"], "validation": 0.2},
    "tokenizer": {"kind": "hash"},
    "controls": {"kinds": []},
    "connectivity": {"levels": []},
}
"""No test split, one attention and seed, an integer ladder, pairs of texts, class names that Markdown could read."""


@pytest.fixture(scope="session")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("default") / "checkout"
    fake_checkout(folder)
    run_stages(folder)
    return folder


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three") / "checkout"
    lines = ["one\ttwo\tlabel"]
    for i in range(150):
        label = ("a|b", "NA", "<c>")[i % 3]
        lines.append(f"text number {i} says {label.strip('<>')}\tand so on {i * 7 % 11}\t{label}")
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fake_checkout(folder, THREE_CLASSES)
    run_stages(folder)
    return folder


def run_stages(folder: Path) -> None:
    """What follows the models: evaluate, analyze, certify and report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate.main()
        _analyze(patch)
        certify.main()
        rows = pd.read_csv("artifacts/certificates.csv")  # of a few made-up networks in many places: none like another
        rows["held_out_risk"] += 1e-6 * np.arange(len(rows))
        rows.to_csv("artifacts/certificates.csv", index=False)
        report.main()


def _analyze(patch: pytest.MonkeyPatch) -> None:
    """The stage analyze for one seed; the made-up networks of the others are the same."""
    params = load_params()
    first, *others = params.grid.seeds
    for attention, variant in product(params.grid.attentions, params.grid.variants):
        words = ["--attention", attention, "--variant", variant, "--seed", str(first)]
        patch.setattr(sys, "argv", ["analyze", *words])
        analyze.main()
        rows = pd.read_csv(f"artifacts/information/{attention}-{variant}-{first}.csv")
        for seed in others:
            rows.assign(seed=seed).to_csv(f"artifacts/information/{attention}-{variant}-{seed}.csv", index=False)
