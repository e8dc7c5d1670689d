"""The prepared corpus: written, read back, described, and the same bytes every time."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import stages.prepare
from integer_tickets.data.corpus import encode, load_corpus, load_texts
from integer_tickets.data.grammar import vocabulary_words
from integer_tickets.data.learning import learn_tokenizer
from integer_tickets.data.preparation import prepare, save
from integer_tickets.data.statistics import statistics
from integer_tickets.errors import UserError
from integer_tickets.integer.tokenizer import SEPARATOR
from integer_tickets.params import Params, merge, parse_params

ROOT = Path(__file__).resolve().parents[2]
LANGUAGE = {"train": 300, "selection": 60, "validation": 60, "test": 80, "unlabelled": 40}


def settings(**changes: Any) -> Params:
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return parse_params(merge(values, {"language": LANGUAGE} | changes))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", ["pieces", "hash"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, kind: str, side: str) -> None:
    reads = {"kind": kind, "size": 200, "positions": 5, "truncation_side": side}
    frames, corpus, more = prepare(settings(tokenizer=reads))
    assert corpus.tokenizer.truncation_side == side
    save(tmp_path / "data", frames, corpus, more)
    loaded = load_corpus(tmp_path / "data")
    again = load_texts(tmp_path / "data", "unlabelled")
    assert len(again) == settings().language.unlabelled and (again.labels == -1).all()
    assert (again.ids == more["unlabelled"].ids).all() and (again.offsets == more["unlabelled"].offsets).all()
    assert list(loaded.splits) == ["train", "selection", "validation", "test"]
    assert loaded.labels == ("negative", "positive")
    assert loaded.tokenizer == corpus.tokenizer
    assert loaded.statistics == json.loads(json.dumps(corpus.statistics))
    for name, split in loaded.splits.items():
        assert [part.dtype for part in (split.ids, split.offsets, split.labels)] == [np.int32, np.int64, np.int64]
        frame = pd.read_parquet(tmp_path / "data" / f"{name}.parquet")
        assert frame["label"].tolist() == split.labels.tolist()
        rows = np.split(split.ids, split.offsets[1:-1])
        assert [row.tolist() for row in rows] == loaded.tokenizer.encode_batch(frame["text"])
    assert list(frame.columns) == ["text", "label", "score"]


def test_a_pretrained_vocabulary_gives_pieces(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("[PAD]\nthe\n##ed\nfilm\nnever\n")
    wanted = {"kind": "pretrained", "vocabulary": "train.txt", "size": 200}
    _, corpus, _ = prepare(settings(data={"folder": str(tmp_path)}, tokenizer=wanted))
    assert {piece for piece in corpus.tokenizer.pieces if len(piece) > 1} == {b"the", b"film", b"never", b"ed"}
    assert (corpus.statistics["tokenizer"]["kind"], corpus.tokenizer.kind) == ("pretrained", "pieces")
    assert corpus.statistics["splits"]["train"]["unknown"] == 0
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file \(tokenizer\.vocabulary in data\.folder\)"):
        prepare(settings(data={"folder": str(tmp_path)}, tokenizer=wanted | {"vocabulary": "nowhere.txt"}))


def test_the_words_of_the_language_are_a_vocabulary(tmp_path: Path) -> None:
    wanted = {"kind": "words", "size": 512}
    _, corpus, _ = prepare(settings(tokenizer=wanted))
    words = tuple(word.encode() for word in vocabulary_words(settings().language.vocabulary))
    assert corpus.tokenizer.pieces == words and corpus.tokenizer.size == 3 + len(words)
    for name in corpus.splits:
        assert corpus.statistics["splits"][name]["unknown"] == 0
    with pytest.raises(UserError, match=r"tokenizer\.size = 100: the words and reserved ids are"):
        prepare(settings(tokenizer=wanted | {"size": 100}))


def test_unlabelled_texts_are_those_of_no_split(tmp_path: Path) -> None:
    lines = [f"{'good' if i % 2 else 'bad'} film number {i}\t{i % 2}" for i in range(50)]
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "\n".join(lines) + "\n")
    (tmp_path / "unlabelled.txt.gz").write_bytes(gzip.compress(b"A new film\n\n  BAD film   number 0\nand another\n"))
    data = {"source": "files", "folder": str(tmp_path)}
    assert len(prepare(settings(data=data))[2]["unlabelled"]) == 2
    (tmp_path / "unlabelled.txt").write_text("one\n")
    with pytest.raises(UserError, match="are both there; keep one of them"):
        prepare(settings(data=data))


def test_a_missing_split_is_cut_and_a_missing_test_stays_absent(tmp_path: Path) -> None:
    lines = [f"{'good' if i % 2 else 'bad'} film number {i}\tclaim {i}\t{i % 2}" for i in range(50)]
    (tmp_path / "train.tsv").write_text("a\tb\tlabel\n" + "\n".join(lines) + "\n")
    data = {"source": "files", "folder": str(tmp_path), "text": ["a", "b"], "labels": ["bad", "good"]}
    frames, corpus, more = prepare(settings(data=data))
    assert not any(map(len, more.values()))
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 40,
        "selection": 5,
        "validation": 5,
    }
    assert list(frames["train"].columns) == ["text", "text2", "label"]
    assert corpus.labels == ("bad", "good")
    assert all((split.ids == SEPARATOR).sum() == len(split) for split in corpus.splits.values())
    assert corpus.statistics["units"] == {"train": 50, "selection": 5, "validation": 5, "left_out_rows": 0}
    assert str(tmp_path) not in json.dumps(corpus.statistics)


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps({"sentence": f"text {i} of many", "label": i % 2}) + "\n" for i in range(40))
    )
    code = (
        "import sys, yaml; from pathlib import Path\n"
        "from integer_tickets.data.preparation import prepare, save\n"
        "from integer_tickets.params import parse_params\n"
        "save(Path(sys.argv[1]), *prepare(parse_params(yaml.safe_load(sys.stdin.read()))))\n"
    )
    written = []
    for run in ("first", "second"):
        params = settings(data={"source": "files", "folder": str(tmp_path)}).model_dump_json()
        command = [sys.executable, "-c", code, str(tmp_path / run)]
        subprocess.run(command, input=params, text=True, check=True)
        written.append(contents(tmp_path / run))
    assert written[0] == written[1]
    assert len(written[0]) == 9


def test_statistics_of_a_small_corpus() -> None:
    def frame(rows: list[tuple[str, int]]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=["text", "label"])

    frames = {
        "train": frame([("a b", 0), ("A  b", 1), ("a b", 0), ("c", 1)]),
        "validation": frame([("A B", 1), ("c", 0), ("d", 0), ("a a a", 1)]),
    }
    tokenizer = learn_tokenizer(frames["train"]["text"], "pieces", 50, 2)
    splits = {name: encode(tokenizer, rows["text"], rows["label"]) for name, rows in frames.items()}
    found = statistics(frames, splits, ("no", "yes"), tokenizer)
    train, validation = found["splits"]["train"], found["splits"]["validation"]
    assert train["classes"] == {"no": 2, "yes": 2}
    assert train["repeats"] == {"rows": 2, "other_label": 1}
    assert validation["repeats"] == {"rows": 0, "other_label": 0}
    assert found["overlaps"] == {"validation": {"train": {"rows": 2, "other_label": 1}}}
    assert validation["tokens"] == {"mean": 1.75, "p50": 2, "p95": 3, "max": 3, "truncated": 0.25}
    assert validation["unknown"] == round(1 / 6, 6)
    assert train["sha256"] != validation["sha256"]


def test_the_stage_replaces_its_output_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = Path("params.yaml")
    params.write_text(settings().model_dump_json())
    stages.prepare.main()
    before = contents(tmp_path / "artifacts" / "data")
    stages.prepare.main()
    assert contents(tmp_path / "artifacts" / "data") == before
    params.write_text(settings(data={"source": "files", "folder": "nowhere"}).model_dump_json())
    with pytest.raises(UserError, match="nowhere: no such folder"):
        stages.prepare.main()
    assert contents(tmp_path / "artifacts" / "data") == before
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["data"]


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_corpus(tmp_path)
    save(tmp_path / "data", *prepare(settings()))
    (tmp_path / "data" / "corpus.safetensors").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"corpus\.safetensors: not a safetensors file"):
        load_corpus(tmp_path / "data")
    (tmp_path / "data" / "corpus.safetensors").unlink()
    with pytest.raises(UserError, match="run dvc repro prepare"):
        load_corpus(tmp_path / "data")


def test_what_training_imports_is_light() -> None:
    heavy = "{'pandas', 'pyarrow', 'datasets', 'tokenizers', 'torch', 'sklearn'}"
    code = f"import sys, integer_tickets.data.corpus, integer_tickets.data.batches; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
