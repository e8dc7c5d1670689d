"""The teacher's lessons: train and what lies beside it as one corpus, and students that learn from it."""

import contextlib

import numpy as np
import pytest
import yaml

from integer_tickets.data.corpus import load_corpus
from integer_tickets.training.state import load_tensors
from stages import quantize, train_dense
from stages.lessons import joined
from stages.models import DATA, LESSONS, TEACHER
from tests.model.conftest import split_of
from tests.stages.conftest import SMALL, run_lessons, run_stage, write_params

ITEM = ["--attention", "inhibitor", "--variant", "float", "--seed", "0"]
CHANGES = {
    "train": {"lessons": str(LESSONS)},
    "lessons": {"augmented": 30, "unlabelled": 40, "words": [1, 12], "hard": 0.4},
}


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Every student's lessons, a dense model that learned from them, and its integer networks."""
    top = tmp_path_factory.mktemp("lessons")
    write_params(top, "tiny", SMALL, CHANGES)
    with contextlib.chdir(top):
        run_lessons()
        run_stage(train_dense, *ITEM)
        run_stage(quantize, *ITEM, "--level", "0")
    return top


def test_lessons_are_a_corpus_with_what_the_teacher_says(taught, monkeypatch):
    monkeypatch.chdir(taught)
    plain, own = load_corpus(DATA), load_corpus(DATA, LESSONS)
    says = load_tensors(TEACHER / "logits.safetensors")[0]
    rows, train = len(plain.splits["train"]), own.splits["train"]
    assert (
        plain.soft is None and own.soft is not None and (own.soft.hard, own.soft.temperature) == (pytest.approx(0.4), 2)
    )
    assert len(train) == len(own.soft.logits) and rows + 30 < len(train) <= rows + 70
    assert (own.soft.logits[:rows] == says["train"].numpy()).all()
    assert (own.soft.logits[rows:] == says["lessons"].numpy()).all()
    assert (train.labels[:rows] == plain.splits["train"].labels).all()
    assert (train.labels[rows:] == own.soft.logits[rows:].argmax(1)).all()
    assert (own.splits["selection"].ids == plain.splits["selection"].ids).all()


def test_students_learn_from_all_of_it(taught):
    """An epoch has more steps than train alone would fill."""
    rows = load_corpus(taught / DATA, taught / LESSONS).splits["train"]
    steps = int(
        (taught / "artifacts/ladder/inhibitor-float-0/dense/level_0/history.csv").read_text().split()[1].split(",")[1]
    )
    assert steps >= len(rows) / yaml.safe_load((taught / "params.yaml").read_text())["train"]["batch"]


def test_rows_are_joined():
    first, second = split_of(5, 0), split_of(7, 1)
    both = joined(first, second)
    assert both.lengths.tolist() == [*first.lengths, *second.lengths]
    assert both.labels.tolist() == [*first.labels, *second.labels]
    assert (both.rows(np.arange(5, 12)).ids == second.ids).all()
