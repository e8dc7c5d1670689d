"""A pretrained teacher: fine-tuned by its own tokenizer, the same after it was killed, kept without its origin."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from integer_tickets.errors import UserError
from integer_tickets.training import huggingface, pretrained
from integer_tickets.training.loop import Schedule

transformers = pytest.importorskip("transformers")

TEXTS = [f"{'good' if i % 2 else 'bad'} film number{' very' * (i % 5)}" for i in range(64)]
LABELS = np.arange(64) % 2
SCHEDULE = Schedule(3, 4, 4096, 0.02, 0.1, 0.01, 0, purpose="teacher")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT encoder of 8 numbers a token, as its makers save one."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "number", "very"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def trained(folder, work):
    own = pretrained.load(str(folder), 2, 0, "cpu")
    splits = own.encode(TEXTS[:48], LABELS[:48], 16), own.encode(TEXTS[48:], LABELS[48:], 16)
    return own, pretrained.fine_tune(own, *splits, SCHEDULE, work), pretrained.predict(own, splits[1], False)


def test_a_teacher_learns_and_goes_on_where_it_was_killed(folder, tmp_path, killed_after):
    own, result, logits = trained(folder, tmp_path / "whole")
    assert (logits.argmax(1) == LABELS[48:]).all() and len(result.history) == 3

    with killed_after(huggingface, 2):
        trained(folder, tmp_path / "killed")
    _, again, same = trained(folder, tmp_path / "killed")
    assert again.history == result.history and (same == logits).all()
    own.save(tmp_path / "kept")
    for file in (tmp_path / "kept").glob("*.json"):
        assert str(folder) not in file.read_text()
    kept = pretrained.load(str(tmp_path / "kept"), 2, 1, "cpu")
    assert (pretrained.predict(kept, kept.encode(TEXTS[48:], LABELS[48:], 16), False) == logits).all()
    assert json.loads((tmp_path / "kept" / "config.json").read_text())["architectures"] == [
        "BertForSequenceClassification"
    ]


def test_the_hash_is_that_of_the_encoder(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "masked")  # saved without a pooler, which loading then draws
    transformers.BertForMaskedLM.from_pretrained(folder).save_pretrained(tmp_path / "masked")
    places = [(folder, 0), (folder, 1), (tmp_path / "masked", 0), (tmp_path / "masked", 1)]
    found = [pretrained.load(str(place), 2, seed, "cpu") for place, seed in places]
    assert len({pretrained.sha256(own) for own in found}) == 1
    with torch.no_grad():
        found[0].model.base_model.embeddings.word_embeddings.weight[5, 0] += 1
    assert pretrained.sha256(found[0]) != pretrained.sha256(found[1])


def test_pairs_have_an_end_between_them_and_long_texts_end(folder):
    own = pretrained.load(str(folder), 2, 0, "cpu")
    split = own.encode([("good film", "bad film"), ("very " * 40, "bad")], np.zeros(2, np.int64), 12)
    assert split.lengths.tolist() == [7, 12]


def test_the_teacher_reads_the_end_that_its_student_reads(folder):
    own = pretrained.load(str(folder), 2, 0, "cpu")
    text, none = ["good bad film number very"], np.zeros(1, np.int64)
    assert own.encode(text, none, 5, "left").ids.tolist() == [2, 7, 8, 9, 3]
    assert own.encode(text, none, 5).ids.tolist() == [2, 5, 6, 7, 3]


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"teacher\.pretrained = .*: no such model on the hub or in a folder"):
        pretrained.load(str(tmp_path / "nowhere"), 2, 0, "cpu")


def test_weights_that_are_damaged_or_would_be_unpickled_are_refused(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    weights = own / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match=r"no such model on the hub or in a folder \("):
        pretrained.load(str(own), 2, 0, "cpu")
    weights.unlink()
    torch.save({}, own / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no such model on the hub or in a folder \(.*safetensors"):
        pretrained.load(str(own), 2, 0, "cpu")


def test_a_revision_of_the_hub_is_asked_for(folder, monkeypatch):
    asked = []
    library = huggingface.transformers()
    for name in ("AutoTokenizer", "AutoModelForSequenceClassification"):
        whole = getattr(library, name).from_pretrained

        def of_folder(place, whole=whole, **given):
            asked.append((place, given["revision"]))
            return whole(folder, **given | {"revision": "main"})

        monkeypatch.setattr(getattr(library, name), "from_pretrained", of_folder)
    pretrained.load("makers/encoder@v2", 2, 0, "cpu")
    pretrained.load("makers/encoder", 2, 0, "cpu")
    assert asked == [("makers/encoder", "v2")] * 2 + [("makers/encoder", "main")] * 2


def test_a_parameter_without_a_gradient_is_kept_too(folder, tmp_path):
    own = pretrained.load(str(folder), 2, 0, "cpu")
    own.model.register_parameter("idle", torch.nn.Parameter(torch.ones(3)))
    splits = own.encode(TEXTS[:48], LABELS[:48], 16), own.encode(TEXTS[48:], LABELS[48:], 16)
    pretrained.fine_tune(own, *splits, replace(SCHEDULE, epochs=1), tmp_path)
    assert own.model.idle.tolist() == [1.0] * 3
