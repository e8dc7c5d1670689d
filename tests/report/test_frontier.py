"""Tickets beside others: what is on the front, what is read of studies, the page, fastText where it is installed."""

import numpy as np
import pandas as pd
import pytest
import yaml

from integer_tickets.benchmark import fasttext, static_vectors
from integer_tickets.errors import UserError
from integer_tickets.report.frontier import COLUMNS, LITERATURE, front, published, write_page
from stages.frontier import compared, route, tickets

HEADER = "name,stage,attention,bits,split,metric,mean,low,high,seeds"
ROWS = [
    "inhibitor int8 dense,quantize,inhibitor,9000000,validation,accuracy,0.8,0.78,0.82,3",
    "inhibitor int4 dense distilled,distill,inhibitor,5000000,validation,accuracy,0.83,0.81,0.85,3",
    "inhibitor int4 dense distilled,distill,inhibitor,5000000,selection,accuracy,0.9,0.9,0.9,3",
    "inhibitor dense,train_dense,inhibitor,32000000,validation,accuracy,0.84,0.8,0.9,3",
    "inhibitor int4 ticket level 1 distilled,distill,inhibitor,4900000,validation,accuracy,0.86,0.81,0.88,1",
]
COMPARED = [
    "family,a,b,difference,low,high,seeds",
    "attention,inhibitor dense,softmax dense,-0.009,-0.02,0.01,3",
    "quantization,inhibitor int8 dense,inhibitor dense,-0.006,-0.02,0.01,3",
    "pruning,inhibitor ticket level 1,inhibitor dense,-0.5,-0.6,-0.4,3",
    "found in integers,inhibitor-int4 ticket level 1,inhibitor int4 ticket level 1,0.001,-0.6,0.4,3",
]
PARAMS = {"teacher": {"pretrained": "hub/encoder"}, "train": {"start": "artifacts/adopted"}}


@pytest.fixture
def studies(tmp_path):
    for name, corpus, place in (("one", "sst2", "."), ("other", "imdb", "."), ("parts", "sst2", "runs/first")):
        folder = tmp_path / "studies" / name
        (folder / place).mkdir(parents=True)
        (folder / place / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"data": {"name": corpus}}))
        (folder / "summary.csv").write_text("\n".join([HEADER, *(ROWS if place == "." else ROWS[:1]), ""]))
        if place == ".":
            (folder / "comparisons.csv").write_text("\n".join([*COMPARED, ""]))
        else:
            (folder / "comparisons.csv").write_text(COMPARED[0] + "\n")
    return tmp_path / "studies"


def test_integer_networks_of_studies_on_the_corpus_are_read(studies):
    found = list(tickets(studies))
    assert [(row["name"], row["study"], row["accuracy"]) for row in found] == [
        ("inhibitor int8 dense", "one", 0.8),
        ("inhibitor int4 dense distilled", "one", 0.83),
        ("inhibitor int4 ticket level 1 distilled", "one", 0.86),
        ("inhibitor int8 dense", "parts", 0.8),
    ]


def test_what_is_larger_and_no_better_is_not_on_the_front():
    rows = pd.DataFrame({"bits": [5, 3, 3, 8, 9], "accuracy": [0.8, 0.7, 0.75, 0.8, 0.81]})
    assert front(rows).tolist() == [True, False, True, False, True]


def test_the_page_holds_every_row_and_the_same_bytes(studies, tmp_path):
    row = {"name": "a bag", "kind": "measured", "bits": 1e6, "accuracy": 0.81, "split": "validation", "source": "here"}
    frame = pd.concat([pd.DataFrame([*tickets(studies), row], columns=COLUMNS), published()], ignore_index=True)
    content = []
    for place in ("first", "second"):
        path = tmp_path / place / "frontier.md"
        write_page(frame, compared(studies), ["parts"], {"fastText": "not installed"}, path)
        content.append([path.read_bytes() for path in sorted((tmp_path / place).rglob("*.*"))])
    assert content[0] == content[1] and len(content[0]) == 3
    text = (tmp_path / "first" / "frontier.md").read_text()
    assert all(own.name in text for own in LITERATURE) and "Absent: fastText (not installed)." in text
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "| yes |" in lines["a bag"] and "| yes |" in lines["inhibitor int4 ticket level 1 distilled"]
    assert "| yes |" not in lines["inhibitor int8 dense"] and "| yes |" not in lines["BiT 1-1-1"]
    within = [line for line in text.splitlines() if line.startswith("| 5 |")]
    assert within[0].endswith("| 86.00 | 1 | with the weights of hub/encoder | goal, by 1 of 3 seeds |")
    assert within[1].endswith("| 83.00 | 3 | with the weights of hub/encoder | no |") and len(within) == 2
    # One seed is enough for the largest size alone.
    assert lines["40"].split(" | ")[3:] == [
        "inhibitor int4 ticket level 1 distilled, 4.90 Mbit", "86.00", "1", "with the weights of hub/encoder", "no |"
    ]  # fmt: skip
    assert lines["inhibitor dense against softmax dense"].endswith("| -1.00 | yes |")
    assert "| [one](studies/one/report.md) | -0.90 |" in lines["inhibitor dense against softmax dense"]
    assert lines["inhibitor int8 dense against inhibitor dense"].endswith("| -0.50 | no |")
    assert lines["inhibitor-int4 ticket level 1 against inhibitor int4 ticket level 1"].endswith("| -0.50 | yes |")
    assert "inhibitor ticket level 1 against inhibitor dense" not in lines
    assert "Not measured yet." not in text
    write_page(frame, compared(studies).iloc[:1], [], {}, tmp_path / "first" / "frontier.md")
    lines = (tmp_path / "first" / "frontier.md").read_text().splitlines()
    assert [line for line in lines if "Not measured yet." in line] == [
        "| Does the integer network match its model before quantization? Not measured yet. |  |  |  |  | -0.50 |  |",
        "| Is a ticket found in integers more accurate than a float one quantized later? Not measured yet. "
        "|  |  |  |  | -0.50 |  |",
    ]
    assert "what else was tried: [parts](studies/parts/report.md#ablations)." in text


def test_the_route_says_where_students_begin_and_who_teaches_them():
    scratch = {"teacher": {"pretrained": "/folder/of/encoder"}, "train": {"start": "artifacts/data/tokenizer"}}
    taught = scratch | {"train": scratch["train"] | {"lessons": "artifacts/lessons.safetensors"}}
    assert route(scratch, "quantize") == "from scratch, by labels alone"
    assert route(scratch, "distill") == route(taught, "quantize") == "from scratch, taught by encoder"
    assert route(PARAMS, "quantize") == "with the weights of hub/encoder"
    assert route({"teacher": {}, "train": {}}, "distill") == "from scratch, taught by a model trained here"


def test_a_study_without_parameters_is_named(studies):
    (studies / "one" / "params.yaml").unlink()
    with pytest.raises(UserError, match="one: a study without params"):
        list(tickets(studies))


@pytest.fixture
def corpus():
    random = np.random.default_rng(0)
    texts, labels = {}, {}
    for name, count in (("train", 2000), ("selection", 100), ("validation", 100)):
        labels[name] = random.integers(0, 2, count)
        own = [("bad", "good")[label] for label in labels[name]]
        texts[name] = [f"the film {random.integers(3000)} is {word} I say" for word in own]
    return texts, labels


def test_fasttext_learns_and_is_smaller_quantized(corpus, tmp_path):
    pytest.importorskip("fasttext")
    texts, labels = corpus
    found = {own.name: own for own in fasttext.classifiers(texts, labels, tmp_path)}
    assert len(found) == 2 + len(fasttext.CUTOFFS)
    assert (found["fastText"].predictions["validation"] == labels["validation"]).mean() > 0.95
    assert found["fastText quantized, 1,000 words and pairs"].bits < found["fastText"].bits


def test_model2vec_learns_and_counts_its_vectors(corpus, tmp_path):
    model2vec = pytest.importorskip("model2vec")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[UNK]", "the", "film", "is", "bad", "good", "I", "say"]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.random.default_rng(0).normal(size=(len(words), 256)).astype(np.float32)
    model2vec.StaticModel(vectors, tokenizer).save_pretrained(tmp_path / "static")
    texts, labels = corpus
    found = list(static_vectors.classifiers(str(tmp_path / "static"), texts, labels))
    for size, own in zip(static_vectors.SIZES, found, strict=True):
        assert (own.predictions["validation"] == labels["validation"]).mean() > 0.95
        assert 8 * len(words) * size < own.bits < 8 * len(words) * size + 32 * 600 * (size + 4)
    with pytest.raises(UserError, match="no model of Model2Vec"):
        next(static_vectors.classifiers(str(tmp_path), texts, labels))
