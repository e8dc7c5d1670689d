"""Answers: what was saved comes back, and several runs are judged as one."""

import numpy as np
import pytest

from integer_tickets.errors import UserError
from integer_tickets.evaluation.answers import BASELINE, Answers, load_answers, merged, save_answers
from integer_tickets.evaluation.collect import Configuration

LABELS = np.array([0, 1, 2, 1])
DENSE = Configuration("train_dense", "dense", "inhibitor", "float", 0, "float")
TEACHER = Configuration("teacher", "teacher", "softmax")
ALIGNED = Configuration("adopt", "adopted", "inhibitor", "", 0, "float")
BAG = Configuration("baseline", "tfidf")


def answers(configuration, seed, start=0):
    return Answers(configuration, seed, {"role": configuration.role, "bits": None}, (LABELS + start + seed) % 3)


def test_what_was_saved_comes_back(tmp_path):
    models = [answers(DENSE, 3), answers(BAG, BASELINE)]
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        save_answers(folder, "test", LABELS, models)
    assert (tmp_path / "one/answers.npz").read_bytes() == (tmp_path / "other/answers.npz").read_bytes()
    split, labels, found = load_answers(tmp_path / "one")
    assert split == "test" and np.array_equal(labels, LABELS)
    for own, model in zip(found, models, strict=True):
        assert (own.configuration, own.seed, own.columns) == (model.configuration, model.seed, model.columns)
        assert np.array_equal(own.predictions, model.predictions)


def test_runs_are_judged_as_one(tmp_path):
    for name, models in (
        ("b", [answers(DENSE, 4), answers(BAG, BASELINE)]),
        ("a", [answers(DENSE, 1), answers(BAG, -1)]),
    ):
        (tmp_path / name).mkdir()
        save_answers(tmp_path / name, "test", LABELS, models)
    split, labels, groups, taught = merged([tmp_path / "b", tmp_path / "a"])
    assert split == "test" and not taught and np.array_equal(labels, LABELS)
    assert {name: [model.seed for model in group] for name, group in groups.items()} == {DENSE: [1, 4], BAG: [BASELINE]}
    (tmp_path / "c").mkdir()
    save_answers(tmp_path / "c", "test", LABELS[::-1], [answers(DENSE, 0)])
    with pytest.raises(UserError, match="c: its sentences are not those of the runs before"):
        merged([tmp_path / "a", tmp_path / "c"])
    for name, own in (("d", answers(TEACHER, 0)), ("e", answers(TEACHER, 0, 1)), ("f", answers(DENSE, 4, 1))):
        (tmp_path / name).mkdir()
        save_answers(tmp_path / name, "test", LABELS, [own])
    *_, groups, taught = merged([tmp_path / "d", tmp_path / "e"])  # another machine's
    assert taught == ["e"] and np.array_equal(groups[TEACHER][0].predictions, LABELS)
    for name, says in (("g", 0), ("h", 1)):  # and what began with its weights
        (tmp_path / name).mkdir()
        save_answers(tmp_path / name, "test", LABELS, [answers(TEACHER, 0, says), answers(ALIGNED, 0, says)])
    assert merged([tmp_path / "g", tmp_path / "h"])[-1] == ["h"]
    with pytest.raises(UserError, match="f: inhibitor dense, seed 4, answers otherwise than in a run before it;"):
        merged([tmp_path / "b", tmp_path / "f"])
    (tmp_path / "a/answers.npz").write_bytes(b"none")
    with pytest.raises(UserError, match="a: not the answers of a run"):
        load_answers(tmp_path / "a")
