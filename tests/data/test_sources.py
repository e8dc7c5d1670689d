"""Corpora from folders, the hub and the built-in language, and the one line that each bad input gets."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from integer_tickets.corpus_blocks import Data, Hub, Language
from integer_tickets.data.files import load_vocabulary
from integer_tickets.data.sources import Source, read
from integer_tickets.errors import UserError

LANGUAGE = Language(
    unlabelled=7,
    train=50,
    selection=20,
    validation=20,
    test=30,
    seed=3,
    bayes_error=0.05,
    nesting=2,
    vocabulary=400,
    distractors=0.2,
)
ROWS = [("a fine film", "1"), ("dull , and long", "0"), ('so "good" it hurts', "1"), ("", "0")]


def settings(folder: Path = Path(), **changes: Any) -> Data:
    values: dict[str, Any] = {
        "name": "",
        "source": "files",
        "folder": str(folder),
        "hub": Hub(id="someone/reviews", configuration="", revision="main"),
        "text": ["sentence"],
        "label": "label",
        "labels": [],
        "group": "",
        "selection": 0.1,
        "validation": 0.1,
        "shuffled": False,
        "seed": 0,
    }
    return Data(**(values | changes))


def load(folder: Path, **changes: Any) -> Source:
    return read(settings(folder, **changes), LANGUAGE)


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tsv(rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = ("sentence", "label")) -> str:
    return "".join("\t".join(row) + "\n" for row in [header, *rows])


def test_the_enumerable_language_is_a_corpus() -> None:
    source = read(settings(source="enumerable"), LANGUAGE)
    assert source.name == "enumerable" and source.labels == ("negative", "positive")
    assert {name: len(frame) for name, frame in source.splits.items()} == {
        "train": 50, "selection": 20, "validation": 20, "test": 30,
    }  # fmt: skip
    text = source.splits["train"]["text"].iloc[0]
    assert len(text.split()) == 4 and source.facts["information"] == pytest.approx(0.6636, abs=1e-4)
    assert read(settings(source="enumerable"), LANGUAGE).splits["test"].equals(source.splits["test"])


def message(folder: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, **changes)
    line = str(caught.value)
    assert "\n" not in line
    return line


def content(kind: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "tsv":
        return tsv(ROWS).encode()
    if kind == "csv":
        quoted = ['"' + text.replace('"', '""') + f'",{label}' for text, label in ROWS]
        return "\r\n".join(["sentence,label", *quoted, ""]).encode()
    if kind == "jsonl":
        return "".join(json.dumps({"sentence": t, "label": int(n)}) + "\n" for t, n in ROWS).encode()
    sink = pa.BufferOutputStream()
    table = pa.table({"sentence": [t for t, _ in ROWS], "label": [int(n) for _, n in ROWS]})
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, kind: str, packed: bool) -> None:
    plain = content(kind)
    put(tmp_path, f"train.{kind}" + packed * ".gz", gzip.compress(plain) if packed else plain)
    source = load(tmp_path)
    assert source.labels == ("0", "1")
    assert list(source.splits["train"].itertuples(index=False, name=None)) == [(t, int(n)) for t, n in ROWS]


def test_splits_may_be_of_different_kinds_and_other_files_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path, "test.csv", content("csv"))
    put(tmp_path, "train.tsv", content("tsv"))
    put(tmp_path, "train.tsv.dvc", "outs: []\n")
    put(tmp_path, "README.md", "about")
    assert list(load(tmp_path).splits) == ["train", "test"]


@pytest.mark.parametrize("name", ["train.txt", "test.vocab", "validation.csv"])
def test_a_vocabulary_is_no_split_whatever_its_name(tmp_path: Path, name: str) -> None:
    put(tmp_path, "train.tsv", tsv(ROWS))
    put(tmp_path, name, "[PAD]\n##s\n")
    assert list(read(settings(tmp_path), LANGUAGE, name).splits) == ["train"]
    assert name in message(tmp_path)


def test_the_lines_of_a_vocabulary(tmp_path: Path) -> None:
    path = put(tmp_path, "vocab.txt", "\ufeff[PAD]\r\n##é\r\n\r\na\u2028b\r\n".encode())
    assert load_vocabulary(path) == ["[PAD]", "##é", "a\u2028b"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "no such file (tokenizer.vocabulary in data.folder)"),
        (b"", "no pieces"),
        (b"\r\n\n", "no pieces"),
        (b"a\n##\xff\n", "line 2: byte 0xff is not valid UTF-8"),
    ],
)
def test_a_vocabulary_that_is_none(tmp_path: Path, content: bytes | None, fault: str) -> None:
    path = tmp_path / "vocab.txt" if content is None else put(tmp_path, "vocab.txt", content)
    with pytest.raises(UserError) as caught:
        load_vocabulary(path)
    assert str(caught.value).startswith(str(path)) and fault in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "wished", "name"),
    [("reviews", "", "reviews"), ("data", "", "files"), ("reviews/..", "", "files"), ("data", "mine", "mine")],
)
def test_the_name_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, wished: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for parent in ("reviews", "data", "."):
        Path(parent).mkdir(exist_ok=True)
        put(Path(parent), "train.tsv", tsv(ROWS))
    assert load(Path(folder), name=wished).name == name
    assert load(Path(".")).name == "files"


def test_a_folder_with_characters_of_patterns_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "a [b]*?"
    folder.mkdir()
    put(folder, "train.parquet", content("parquet"))
    assert len(load(folder).splits["train"]) == len(ROWS)


def test_tsv_is_split_on_tab_and_newline_alone(tmp_path: Path) -> None:
    texts = ['"', 'he said "no', "a\rb\u2028c\x0bd", " ' ,", "NA"]
    put(tmp_path, "train.tsv", tsv([(text, str(i % 2)) for i, text in enumerate(texts)]))
    assert load(tmp_path).splits["train"]["text"].tolist() == texts


def test_tsv_with_the_line_ends_of_windows_and_a_byte_order_mark(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", b"\xef\xbb\xbf" + tsv(ROWS).replace("\n", "\r\n").encode())
    assert load(tmp_path).splits["train"]["label"].tolist() == [1, 0, 1, 0]


def test_csv_with_line_breaks_in_quotes(tmp_path: Path) -> None:
    put(tmp_path, "train.csv", 'label,sentence\n1,"two\nlines"\n\n0,one\n')
    assert load(tmp_path).splits["train"]["text"].tolist() == ["two\nlines", "one"]


def test_pairs_and_groups(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", tsv([("a", "b", "x", "g"), ("c", "d", "y", "h")], ("p", "q", "label", "doc")))
    train = load(tmp_path, text=["p", "q"], group="doc").splits["train"]
    assert train.to_dict("list") == {"text": ["a", "c"], "label": [0, 1], "text2": ["b", "d"], "group": ["g", "h"]}


@pytest.mark.parametrize(
    ("found", "wished", "expected", "classes"),
    [
        (["10", "9", "-2"], [], ("-2", "9", "10"), [2, 1, 0]),
        (["b", "a", "10"], [], ("10", "a", "b"), [2, 1, 0]),
        (["pos", "neg"], ["pos", "neg"], ("pos", "neg"), [0, 1]),
        (["1", "0"], ["negative", "positive"], ("negative", "positive"), [1, 0]),
        (["1", "0"], ["1", "0"], ("1", "0"), [0, 1]),
    ],
)
def test_order_and_names_of_classes(
    tmp_path: Path, found: list[str], wished: list[str], expected: tuple[str, ...], classes: list[int]
) -> None:
    put(tmp_path, "train.tsv", tsv([("text", label) for label in found]))
    source = load(tmp_path, labels=wished)
    assert source.labels == expected
    assert source.splits["train"]["label"].tolist() == classes


def test_a_split_without_labels_is_dropped(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", tsv(ROWS))
    put(tmp_path, "test.tsv", tsv([("a", "-1"), ("b", "-1")]))
    assert list(load(tmp_path).splits) == ["train"]


def test_minus_one_can_be_a_class(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", tsv([("a", "-1"), ("b", "1")]))
    put(tmp_path, "test.tsv", tsv([("a", "-1"), ("b", "-1")]))
    assert load(tmp_path).splits["test"]["label"].tolist() == [0, 0]


def test_a_very_long_line(tmp_path: Path) -> None:
    long = "word " * 20_000
    put(tmp_path, "train.tsv", tsv([(long, "0"), ("x" * 100_000, "1")]))
    put(tmp_path, "test.csv", f'sentence,label\n"{long * 2}",0\n')
    source = load(tmp_path)
    assert source.splits["train"]["text"].map(len).tolist() == [100_000, 100_000]
    assert source.splits["test"]["text"].map(len).tolist() == [200_000]


def test_missing_folder_and_file(tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'}: no such folder (data.folder)" == message(tmp_path / "nowhere")
    put(tmp_path, "test.tsv", tsv(ROWS))
    assert message(tmp_path).startswith(f"{tmp_path}: no file for train")


def test_missing_column(tmp_path: Path) -> None:
    path = put(tmp_path, "train.tsv", tsv(ROWS, ("text", "label")))
    assert message(tmp_path) == f"{path}: no column 'sentence' (data.text); it has text, label"
    assert message(tmp_path, text=["text"], label="y") == f"{path}: no column 'y' (data.label); it has text, label"
    assert "no column 'z' (data.group)" in message(tmp_path, text=["text"], group="z")


@pytest.mark.parametrize("text", ["", "\n", "sentence\tlabel", "sentence\tlabel\n"])
def test_empty_split(tmp_path: Path, text: str) -> None:
    put(tmp_path, "train.tsv", tsv(ROWS))
    path = put(tmp_path, "validation.tsv", text)
    assert message(tmp_path).startswith(f"{path}: no ")


@pytest.mark.parametrize("name", ["test.csv", "test.jsonl"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    put(tmp_path, "train.tsv", tsv(ROWS))
    path = put(tmp_path, name, "")
    assert message(tmp_path).startswith(f"{path}: no ")


def test_one_class(tmp_path: Path) -> None:
    path = put(tmp_path, "train.tsv", tsv([("a", "0"), ("b", "0")]))
    assert message(tmp_path) == f"{path}: every label is '0', expected two classes or more"


def test_unseen_label(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", tsv(ROWS))
    path = put(tmp_path, "test.tsv", tsv([("a", "0"), ("b", "2")]))
    assert message(tmp_path) == f"{path}, row 2: label '2', but train has only 0, 1"


def test_labels_that_do_not_fit_train(tmp_path: Path) -> None:
    path = put(tmp_path, "train.tsv", tsv(ROWS))
    for labels in (["a", "b", "c"], ["1"]):
        assert message(tmp_path, labels=labels) == f"data.labels = {labels}: {path} has the labels 0, 1"
    assert "a name occurs twice" in message(tmp_path, labels=["a", "a"])


@pytest.mark.parametrize("packed", [False, True])
def test_invalid_utf8(tmp_path: Path, packed: bool) -> None:
    broken = tsv(ROWS).encode() + b"caf\xe9\t1\n"
    path = put(tmp_path, "train.tsv" + packed * ".gz", gzip.compress(broken) if packed else broken)
    assert message(tmp_path) == f"{path}, line 6: byte 0xe9 is not valid UTF-8"


@pytest.mark.parametrize("name", ["train.txt", "train.tsv.zip", "train.gz", "train"])
def test_unsupported_extension(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, name, tsv(ROWS))
    assert message(tmp_path) == f"{path}: expected one of .tsv .csv .jsonl .parquet, or one of them with .gz"


def test_two_files_for_one_split(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", content("tsv"))
    put(tmp_path, "train.csv.gz", gzip.compress(content("csv")))
    assert message(tmp_path) == f"{tmp_path}: train.csv.gz and train.tsv are both train; keep one of them"


@pytest.mark.parametrize("label", ["", "  "])
def test_empty_label(tmp_path: Path, label: str) -> None:
    path = put(tmp_path, "train.tsv", tsv([*ROWS, ("a", label)]))
    assert message(tmp_path) == f"{path}, row 5, column 'label': empty label"


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("train.tsv", "sentence\tlabel\na\t0\nb\n", "line 3: number of fields 1, expected 2"),
        ("train.tsv", "sentence\tlabel\na\tb\t0\n", "line 2: number of fields 3, expected 2"),
        ("train.tsv", "label\tlabel\na\t0\n", "line 1: two columns of the same name"),
        ("train.csv", "sentence,label\nwell, no,0\n", "line 2: number of fields 3, expected 2"),
        ("train.csv", 'sentence,label\na,0\n"b,1\n', "line 3: not valid CSV"),
        ("train.jsonl", '{"sentence": "a", "label": 0}\n{"sentence": \n', "line 2: not valid JSON"),
        ("train.jsonl", "\n[1]\n", "line 2: list, expected an object"),
        ("train.jsonl", '{"sentence": "a", "label": 0}\n{"label": 1}\n', "row 2, column 'sentence': None"),
        ("train.jsonl", '{"sentence": "a", "label": 0}\n{"sentence": "b"}\n', "row 2, column 'label': empty"),
        ("train.jsonl", '{"sentence": "a", "label": 0}\n{"sentence": 3, "label": 0}\n', "expected one type a column"),
        ("train.jsonl", '{"sentence": "\\ud800", "label": 0}\n', "a column cannot be stored"),
        ("train.jsonl", '{"sentence": "a", "label": 0.5}\n', "label 0.5, expected a text or an integer"),
        ("train.parquet", "sentence\tlabel\n", "not valid parquet"),
        ("train.tsv.gz", "sentence\tlabel\n", "not valid gzip"),
    ],
)
def test_broken_files_are_named_with_the_place(tmp_path: Path, name: str, text: str, place: str) -> None:
    path = put(tmp_path, name, text)
    line = message(tmp_path)
    assert line.startswith(str(path))
    assert place in line


def test_empty_group(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", tsv([("a", "0", "g"), ("b", "1", "")], ("sentence", "label", "doc")))
    assert "row 2, column 'doc': empty" in message(tmp_path, group="doc")


def test_reading_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("parquet", "jsonl"):
        put(tmp_path, "train." + kind, content(kind))
        load(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [f"train.{kind}"]
        (tmp_path / f"train.{kind}").unlink()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub with one data set, and what it was asked for."""
    import datasets
    import huggingface_hub

    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["worse", "better"])}
    )
    splits = {
        name: datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": labels}, features)
        for name, labels in (("train", [1, 0]), ("validation", [0, 0]), ("test", [-1, -1]))
    }
    asked: dict[str, Any] = {}

    def load_dataset(*arguments: Any, **named: Any) -> Any:
        asked["load"] = (arguments, named)
        return datasets.DatasetDict(splits)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha="c0ffee"))
    return asked


def test_hub_names_of_classes_and_hidden_labels(hub: dict[str, Any]) -> None:
    source = load(Path(), source="hub", hub=Hub(id="someone/reviews", configuration="small", revision="main"))
    assert source.name == "someone/reviews/small"
    assert source.labels == ("worse", "better")
    assert {name: split["label"].tolist() for name, split in source.splits.items()} == {
        "train": [1, 0],
        "validation": [0, 0],
    }
    assert hub["load"] == (("someone/reviews", "small"), {"revision": "c0ffee"})


def test_hub_missing_column_and_id(hub: dict[str, Any]) -> None:
    assert "someone/reviews train: no column 'text'" in message(Path(), source="hub", text=["text"])
    assert "expected the id" in message(Path(), source="hub", hub=Hub(id="", configuration="", revision="main"))


def test_hub_without_a_network_is_one_line_at_once(tmp_path: Path) -> None:
    code = (
        "from integer_tickets.data.sources import _load_hub\n"
        "from integer_tickets.errors import UserError\n"
        "from integer_tickets.corpus_blocks import Hub\n"
        "try:\n    _load_hub(Hub(id='someone/reviews', configuration='', revision='main'))\n"
        "except UserError as error:\n    print(error)\n"
    )
    unwanted = ("HF_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith(unwanted)}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.startswith("data.hub.id = 'someone/reviews': the hub cannot be reached")
    assert "data.source: files" in result.stdout
    assert "data.source: builtin" in result.stdout
    assert result.stdout.count("\n") == 1


def test_builtin_sizes_labels_and_independent_splits() -> None:
    source = load(Path(), source="builtin")
    assert source.name == "builtin"
    assert source.labels == ("negative", "positive")
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 50, "selection": 20, "validation": 20, "test": 30}
    texts = {name: split["text"].tolist() for name, split in source.splits.items()}
    assert texts["selection"] != texts["validation"]
    assert texts["train"][:20] != texts["selection"]
    assert set(source.splits["train"].columns) == {"text", "label", "score"}
    assert source.facts["bayes_error"] == pytest.approx(0.05)


def test_builtin_of_one_class_names_the_parameter() -> None:
    few = LANGUAGE.model_copy(update={"train": 1})
    with pytest.raises(UserError, match=r"^language\.train = 1: every label is '(negative|positive)', expected .*$"):
        read(settings(source="builtin"), few)
