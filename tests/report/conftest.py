"""Made-up studies that the stages evaluate and report have been through, written once."""

from pathlib import Path

import pytest

from stages import certify, evaluate, report
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
    _run(folder)
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
    _run(folder)
    return folder


def _run(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate.main()
        certify.main()
        report.main()
