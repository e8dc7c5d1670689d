"""From a pretrained BERT to an integer network that began with its weights, at a very small size."""

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from integer_tickets.data import preparation
from integer_tickets.data.corpus import load_corpus
from integer_tickets.data.grammar import vocabulary_words
from integer_tickets.errors import UserError
from integer_tickets.evaluation.collect import expected, read_model
from integer_tickets.files import read_json
from integer_tickets.integer import artefact
from integer_tickets.params import load_params, merge, parse_params
from integer_tickets.report.study import Study
from integer_tickets.report.tickets import lessons
from integer_tickets.training import loop, pretrained
from integer_tickets.training.state import load_model
from stages import adopt, quantize, teacher, train_dense
from stages import lessons as lessons_stage
from tests.stages.conftest import SMALL, run_lessons, run_stage, write_params

transformers = pytest.importorskip("transformers")

ITEM = ["--attention", "inhibitor", "--variant", "float", "--seed", "0"]
CHANGES = {
    "grid": {"attentions": ["inhibitor"]},
    "language": {"vocabulary": 100},
    "tokenizer": {"kind": "pretrained", "vocabulary": "vocab.txt", "size": 400},
    "model": {"width": 16, "layers": 2, "heads": 2, "hidden": 32, "post_norm": True},
    "train": {"start": "artifacts/adopted", "lessons": "artifacts/lessons.safetensors"},
    "teacher": {"pretrained": "bert", "epochs": 2, "lr": 0.005},
    "adopt": {"attentions": ["inhibitor"], "before": 2, "fit": 20},
}


PAIRS = {
    "data": {"source": "files", "name": "pairs", "text": ["sentence1", "sentence2"]},
    "train": {"epochs": 4},
}


def small_bert(top: Path) -> None:
    """An encoder with weights that nobody trained, and its vocabulary where the data lies."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary_words(100)]
    words += [
        f"{before}{letter}" for before in ("", "##") for letter in ascii_lowercase if before + letter not in words
    ]
    (top / "data").mkdir()
    (top / "data" / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}).save_pretrained(top / "bert")
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(top / "bert")


@pytest.fixture(scope="module")
def adopted(tmp_path_factory):
    top = tmp_path_factory.mktemp("adopt")
    small_bert(top)
    write_params(top, "tiny", SMALL, CHANGES)
    with contextlib.chdir(top):
        run_lessons()
        run_stage(adopt, "--attention", "inhibitor")
        run_stage(train_dense, *ITEM)
        run_stage(quantize, *ITEM, "--level", "0")
    return top


def test_students_begin_with_adopted_weights_and_end_as_integers(adopted):
    weights, _ = load_model(adopted / "artifacts/adopted/inhibitor/model.safetensors")
    start, _ = load_model(adopted / "artifacts/ladder/inhibitor-float-0/dense/level_0/model.safetensors")
    assert (weights["tokens.weight"] - start["tokens.weight"]).abs().max() < 0.5
    assert weights["tokens.weight"].std() > 0
    network = artefact.load(adopted / "artifacts/integer/inhibitor-float-0/level_0/int8/ticket.safetensors").network
    assert network.post_norm and len(network.layers) == 2
    teacher_files = {path.name for path in (adopted / "artifacts/teacher/encoder").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= teacher_files


def test_the_aligned_student_is_a_model_of_the_study(adopted):
    params = load_params(adopted / "params.yaml")
    entry = next(own for own in expected(params, adopted / "artifacts") if own.configuration.stage == "adopt")
    assert entry.name == "inhibitor adopted seed 0"
    rows = {name: len(split) for name, split in load_corpus(adopted / "artifacts" / "data").splits.items()}
    del rows["train"]
    model = read_model(entry, rows, 2)
    assert set(model.predictions) == set(rows) and model.bits == 32 * model.info["parameters"]


def test_the_report_says_what_students_begin_with(adopted):
    study = Study(load_params(adopted / "params.yaml"), {"lessons": 1234}, {}, {})
    said = lessons(study)
    assert "that the teacher (bert, fine-tuned) gives to train and to 1,234 other texts" in said
    row = pd.Series({"stage": "train_dense", "variant": "float"})
    assert study.epochs(row) == 3 + study.params.train.epochs
    assert study.epochs(pd.Series({"stage": "adopt", "variant": ""})) == 3
    assert "with softmax attention in 2 epochs, the Inhibitor put in place of their attention, fitted to what" in said
    at_once = study.params.adopt.model_copy(update={"before": 0, "fit": 0})
    said = lessons(replace(study, params=study.params.model_copy(update={"adopt": at_once})))
    assert "Students begin with weights of bert, the Inhibitor put in place of their attention and then drawn" in said


def test_alignment_gives_the_same_bytes_again(adopted, monkeypatch):
    monkeypatch.chdir(adopted)
    folder = Path("artifacts/adopted/inhibitor")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(".work/adopt", ignore_errors=True)
    run_stage(adopt, "--attention", "inhibitor")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_bytes_of_a_ticket_are_those_of_its_inputs(adopted, monkeypatch, tmp_path):
    """Parameters of stages before it count by what these have made."""
    made = shutil.copytree(adopted, tmp_path / "made")
    monkeypatch.chdir(made)
    file = Path("artifacts/integer/inhibitor-float-0/level_0/int8/ticket.safetensors")
    before, values = artefact.load(file).provenance, yaml.safe_load(Path("params.yaml").read_text())
    assert len(before["data_sha256"]) == len(before["params_sha256"]) == 64
    values["lessons"]["seed"], values["adopt"]["lr"], values["teacher"]["seed"] = 1, 0.1, 1
    Path("params.yaml").write_text(yaml.safe_dump(values))
    run_stage(quantize, *ITEM, "--level", "0")
    assert artefact.load(file).provenance == before
    run_stage(teacher)
    run_stage(lessons_stage)
    run_stage(quantize, *ITEM, "--level", "0")
    assert artefact.load(file).provenance["data_sha256"] != before["data_sha256"]
    assert artefact.load(file).provenance["params_sha256"] == before["params_sha256"]
    own = {before["params_sha256"]}
    for change in ("quantize", "train"):  # of the stage, and of the one before it, whose network is another one then
        values[change]["lr"] = 0.002
        Path("params.yaml").write_text(yaml.safe_dump(values))
        if change == "train":
            run_stage(train_dense, *ITEM)
            values["train"]["lr"] = load_params(adopted / "params.yaml").train.lr
            Path("params.yaml").write_text(yaml.safe_dump(values))
        run_stage(quantize, *ITEM, "--level", "0")
        own.add(artefact.load(file).provenance["params_sha256"])
    assert len(own) == 3


def test_the_teacher_says_with_which_weights_it_began(adopted):
    info = read_json(adopted / "artifacts" / "teacher" / "info.json")
    assert len(info["pretrained_sha256"]) == 64
    assert info["pretrained_sha256"] == pretrained.sha256(pretrained.load(str(adopted / "bert"), 2, 1, "cpu"))


@pytest.mark.parametrize("saves", [1, 3], ids=["before", "after"])  # epochs: two before the fit, one after it
def test_a_killed_alignment_ends_with_the_same_bytes(adopted, monkeypatch, killed_after, saves):
    monkeypatch.chdir(adopted)
    folder = Path("artifacts/adopted/inhibitor")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    with killed_after(loop, saves):
        run_stage(adopt, "--attention", "inhibitor")
    assert not folder.exists()
    run_stage(adopt, "--attention", "inhibitor")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pairs_of_texts_end_as_integers_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_bert(tmp_path)
    random = np.random.default_rng(0)
    for name, rows in (("train", 200), ("validation", 40)):
        texts = [" ".join(random.choice(vocabulary_words(100), 5)) for _ in range(2 * rows)]
        lines = [f"{texts[2 * i]}\t{texts[2 * i + i % 2]}\t{1 - i % 2}" for i in range(rows)]
        (tmp_path / "data" / f"{name}.tsv").write_text("\n".join(["sentence1\tsentence2\tlabel", *lines, ""]))
    write_params(tmp_path, "tiny", SMALL, CHANGES, PAIRS)
    run_lessons()
    run_stage(adopt, "--attention", "inhibitor")
    run_stage(train_dense, *ITEM)
    run_stage(quantize, *ITEM, "--level", "0")
    ticket = artefact.load(tmp_path / "artifacts/integer/inhibitor-float-0/level_0/int8/ticket.safetensors")
    one, other = (ticket.tokenizer.encode(*texts) for texts in (("a b", "c"), ("a", "b c")))
    assert one != other  # where a text ends is read


def test_an_encoder_that_reads_otherwise_is_refused(adopted, monkeypatch):
    monkeypatch.chdir(adopted)
    values = yaml.safe_load(Path("params.yaml").read_text())
    own = merge(values, {"tokenizer": {"kind": "pieces", "vocabulary": ""}, "language": {"vocabulary": 400}})
    tokenizer = preparation.prepare(parse_params(own))[1].tokenizer
    found = pretrained.load("artifacts/teacher/encoder", 2, 0, "cpu")
    with pytest.raises(UserError, match=r"reads by its vocabulary: tokenizer.kind = pretrained"):
        adopt.encoder_of(found, tokenizer)
    found.model.config.model_type = "roberta"
    with pytest.raises(UserError, match=r"of the type 'roberta'; a student can begin with a bert only"):
        adopt.encoder_of(found, tokenizer)
