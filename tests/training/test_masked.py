"""An encoder from texts alone: what is left out of them, what it learns, and that a student can begin with it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.params import load_params
from integer_tickets.training import masked, pretrained
from integer_tickets.training.loop import Schedule

transformers = pytest.importorskip("transformers")

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")
WORDS = ["red", "green", "blue", "seven", "eight"]
TEXTS = [f"the {WORDS[i % 5]} house is {WORDS[i % 5]} number {i % 7} and {i % 3} {i}" for i in range(400)]


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32))
def test_of_every_batch_something_is_left_out_and_nothing_special(batch, n, seed):
    random = np.random.default_rng(seed)
    ids = random.integers(0, 40, (batch, n))
    shown, guessed = masked.left_out(ids, 40, random)
    special = ids < len(masked.SPECIAL)
    assert not guessed[special].any() and (shown[~guessed] == ids[~guessed]).all()
    assert guessed.any() == (not special.all())
    other = shown[guessed & (shown != masked.MASK)]
    assert ((other >= len(masked.SPECIAL)) & (other < 40)).all()


def test_shares_of_what_is_left_out():
    ids = np.full((400, 250), 7)
    shown, guessed = masked.left_out(ids, 1000, np.random.default_rng(0))
    assert abs(guessed.mean() - masked.LEFT_OUT) < 0.005
    assert abs((shown[guessed] == masked.MASK).mean() - masked.AS_MASK) < 0.01
    assert abs((shown[guessed] == 7).mean() - (1 - masked.AS_MASK - masked.AS_OTHER)) < 0.01


def test_texts_that_are_measured_on_are_not_trained_on():
    train, held = masked.divided([*TEXTS, TEXTS[0]])
    assert len(held) == 8 and not set(train) & set(held) and set(train) | set(held) == set(TEXTS)
    assert masked.divided([str(i) for i in range(3_000_000)])[1].__len__() <= masked.HELD


def test_it_learns_to_guess_and_goes_on_with_the_same_bits(tmp_path):
    shape = PARAMS.teacher
    train, held = masked.divided(TEXTS)
    pieces = masked.vocabulary(train, 80)
    assert tuple(pieces[: len(masked.SPECIAL)]) == masked.SPECIAL and len(pieces) <= 80
    schedule = Schedule(4, 32, 4096, 0.01, 0.1, 0.01, 0, purpose="pretrain")

    def trained(work, epochs=4):
        own = masked.blank(shape, pieces, 24, 0, "cpu")
        splits = [own.encode(part, np.full(len(part), -1), 24) for part in (train, held)]
        return own, masked.pretrain(own, *splits, schedule, work)

    own, result = trained(tmp_path / "one")
    losses = [row["selection_loss"] for row in result.history]
    assert losses[-1] < 0.7 * np.log(len(pieces)) and losses[-1] < losses[0]
    assert trained(tmp_path / "two")[1].history == result.history
    own.save(tmp_path / "encoder")
    classifier = pretrained.load(str(tmp_path / "encoder"), 2, 0, "cpu")
    assert classifier.tokenizer("the red house")["input_ids"] == own.tokenizer("the red house")["input_ids"]
    name, weight = next(iter(own.model.bert.state_dict().items()))
    assert (classifier.model.bert.state_dict()[name] == weight).all()
