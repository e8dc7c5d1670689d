"""An encoder from texts alone: what is masked, what it learns, and its folder, the same after it was killed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.errors import UserError
from integer_tickets.params import merge, parse_params
from integer_tickets.training import huggingface, masked, pretrained
from stages import pretrain
from stages.presets import ROOT, with_preset

transformers = pytest.importorskip("transformers")

WORDS = ["red", "green", "Blue", "seven", "Éight"]
TEXTS = [f"the {WORDS[i % 5]} house is {WORDS[i % 5]} number {i % 7} and {i % 3} “{i}”" for i in range(400)]
SMALL = {
    "runtime": {"threads": 1, "autocast": False, "isa": "avx2"},
    "tokenizer": {"size": 100, "positions": 22},
    "train": {"batch": 32},
    "teacher": {"width": 32, "heads": 4, "layers": 1, "hidden": 64, "epochs": 4, "lr": 0.01},
}
PARAMS = parse_params(merge(with_preset("encoder", []), SMALL))


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32))
def test_of_every_batch_something_is_predicted_and_nothing_special(batch, n, seed):
    random = np.random.default_rng(seed)
    ids = random.integers(0, 40, (batch, n))
    shown, chosen = masked.mask_tokens(ids, 40, random)
    special = ids < len(masked.SPECIAL)
    assert not chosen[special].any() and (shown[~chosen] == ids[~chosen]).all()
    assert chosen.any() == (not special.all())
    drawn = shown[chosen & (shown != masked.MASK)]
    assert ((drawn >= len(masked.SPECIAL)) & (drawn < 40)).all()


def test_shares_of_what_is_masked():
    ids = np.full((400, 250), 7)
    shown, chosen = masked.mask_tokens(ids, 1000, np.random.default_rng(0))
    assert abs(chosen.mean() - masked.CHOSEN) < 0.005
    assert abs((shown[chosen] == masked.MASK).mean() - masked.AS_MASK) < 0.01
    assert abs((shown[chosen] == 7).mean() - (1 - masked.AS_MASK - masked.AS_RANDOM)) < 0.01


def test_texts_that_are_measured_on_are_not_trained_on():
    train, held = masked.split_texts([*TEXTS, TEXTS[0]])
    assert len(held) == 8 and not set(train) & set(held) and set(train) | set(held) == set(TEXTS)


def test_pieces_are_those_that_its_tokenizer_finds_in_the_texts():
    pieces = masked.vocabulary(TEXTS, 200)
    assert tuple(pieces[: len(masked.SPECIAL)]) == masked.SPECIAL and len(pieces) <= 200
    own = masked.untrained(PARAMS.teacher, pieces, 30, 0, "cpu")
    split = own.encode(TEXTS, np.full(len(TEXTS), -1), 30)
    read = [own.tokenizer.convert_ids_to_tokens(int(i)) for i in np.unique(split.ids)]
    assert "[UNK]" not in read and {"blue", "éight", "“"} <= set(read)
    with pytest.raises(UserError, match=r"tokenizer.size = 12: too few"):
        masked.vocabulary(TEXTS, 12)
    odd = own.encode(["\U0001f3a5", "red", ""], np.full(3, -1), 30)  # unknown, known, nothing
    assert masked.with_words(odd).lengths.tolist() == [3]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "unlabelled.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_encoder_learns_and_is_the_same_after_it_was_killed(folder, killed_after, monkeypatch, capsys):
    data = folder / "texts"
    pretrain.pretrain(PARAMS, data, folder / "one")
    rows = (folder / "one" / "history.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[-1]) for row in rows]
    pieces = (folder / "one" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(losses) == 4 and losses[-1] < 0.8 * np.log(len(pieces)) and losses[-1] < losses[0]
    assert "% of the tokens that are masked" in capsys.readouterr().out

    with killed_after(huggingface, 2):
        pretrain.pretrain(PARAMS, data, folder / "two")
    assert not (folder / "two").exists()
    with killed_after(huggingface, 2):  # the third and fourth epoch alone were left
        pretrain.pretrain(PARAMS, data, folder / "two")
    monkeypatch.setattr(huggingface, "save_state", lambda *_: pytest.fail("an epoch is trained again"))
    pretrain.pretrain(PARAMS, data, folder / "two")
    assert contents(folder / "two") == contents(folder / "one")
    assert not any(str(folder).encode() in content for content in contents(folder / "one").values())

    classifier = pretrained.load("two", 2, 0, "cpu")  # as a teacher begins
    ids = classifier.tokenizer("The red house")["input_ids"]
    assert classifier.tokenizer.convert_ids_to_tokens(ids)[:3] == ["[CLS]", "the", "red"]
    assert classifier.tokenizer.model_max_length == 24
    with pytest.raises(UserError, match="is there already"):
        pretrain.pretrain(PARAMS, data, folder / "two")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "0 lines in unlabelled.txt or unlabelled.txt.gz, which are 0 different texts"),
        (["the same four words"] * 300, "300 lines .* 1 different texts"),
        (["one two"] * 300, r"0 different texts by lessons.words = \[4, 48\], expected more than 50"),
    ],
)
def test_too_few_texts(folder, lines, says):
    (folder / "texts" / "unlabelled.txt").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match=says):
        pretrain.pretrain(PARAMS, folder / "texts", folder / "new")
    assert not (folder / "new").exists()
