"""The cut by source units: exact on small cases, right against brute force, and honest on phrase corpora."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from integer_tickets.data.files import load_file
from integer_tickets.data.splits import cut, maximal, units_of, word_runs
from integer_tickets.errors import UserError

texts = st.lists(st.text("ab .", max_size=8), max_size=25)


def frame(texts: list[str], **columns: list) -> pd.DataFrame:
    return pd.DataFrame({"text": texts, "label": [i % 2 for i in range(len(texts))]} | columns)


def contains(longer: bytes, shorter: bytes) -> bool:
    a, b = longer.split(), shorter.split()
    return bool(b) and any(a[i : i + len(b)] == b for i in range(len(a) - len(b) + 1))


@given(texts)
def test_units_are_the_runs_that_no_other_contains(rows: list[str]) -> None:
    runs = set(word_runs(rows))
    expected = {run for run in runs if not any(run != other and contains(other, run) for other in runs)}
    assert set(maximal(runs)) == expected


@given(texts)
def test_every_run_belongs_to_a_unit_that_contains_it(rows: list[str]) -> None:
    runs = word_runs(rows)
    units = maximal(runs)
    assert all(run == units[i] or contains(units[i], run) for run, i in zip(runs, units_of(runs), strict=True))
    assert set(units_of(runs)) == set(range(len(units)))


@given(texts, st.integers(0, 3))
def test_nothing_of_a_cut_text_stays_in_train(rows: list[str], seed: int) -> None:
    rows = [*rows, "c d", "d e"]
    train = frame(rows, label=[0] * len(rows))
    try:
        splits, numbers = cut({"train": train}, {"selection": 0.3, "validation": 0.2}, seed)
    except UserError:
        return
    runs = {name: word_runs(split["text"]) for name, split in splits.items()}
    kept = [run for name in runs for run in runs[name]]
    assert len(kept) + numbers["left_out_rows"] == len(rows)
    assert all(runs.values())
    for name in ("selection", "validation"):
        assert set(runs[name]) <= set(maximal(word_runs(rows)))
        assert not any(contains(run, piece) or run == piece for run in runs[name] for piece in runs["train"])
    assert not set(runs["selection"]) & set(runs["validation"])


@given(st.permutations(range(12)), st.integers(0, 3))
def test_the_order_of_rows_does_not_matter(order: list[int], seed: int) -> None:
    rows = [f"{a} {b} x" for a in "abc" for b in "def"] + ["a d", "b", "x"]
    train = pd.DataFrame({"text": rows, "label": 0})
    first, _ = cut({"train": train}, {"selection": 0.2}, seed)
    second, _ = cut({"train": train.iloc[order]}, {"selection": 0.2}, seed)
    for name in first:
        assert set(first[name]["text"]) == set(second[name]["text"])
        assert first[name]["text"].tolist() == [text for text in rows if text in set(first[name]["text"])]


def test_pieces_leave_even_where_train_keeps_a_text_with_them() -> None:
    rows = ["the plot is thin .", "the plot is fine .", "the plot", "is thin", "is fine", "THE PLOT"]
    splits, numbers = cut({"train": frame(rows)}, {"selection": 0.5}, 0)
    chosen = splits["selection"]["text"].tolist()
    other = "fine" if "thin" in chosen[0] else "thin"
    assert chosen == [row for row in rows[:2] if other not in row]
    assert splits["train"]["text"].tolist() == [f"the plot is {other} .", f"is {other}"]
    assert numbers == {"train": 2, "selection": 1, "left_out_rows": 3}


def test_words_are_compared_not_characters() -> None:
    assert maximal([b"art", b"the party"]) == [b"the party", b"art"]


def test_equal_texts_stay_together() -> None:
    rows = [f"text {i // 3}" for i in range(30)]
    splits, _ = cut({"train": frame(rows)}, {"selection": 0.3}, 1)
    assert len(splits["selection"]) == 9
    assert not set(splits["train"]["text"]) & set(splits["selection"]["text"])


def test_groups_go_as_a_whole_and_nothing_is_lost() -> None:
    rows = [f"number {i}" for i in range(40)] + ["number"]
    groups = [i // 4 for i in range(41)]
    splits, numbers = cut({"train": frame(rows, group=groups)}, {"selection": 0.2, "validation": 0.1}, 0)
    chosen = {groups[rows.index(text)] for text in splits["selection"]["text"]}
    assert len(splits["selection"]) == sum(group in chosen for group in groups)
    assert sum(map(len, splits.values())) == 41
    assert numbers == {"train": 11, "selection": 2, "validation": 1, "left_out_rows": 0}
    assert set(splits["selection"]["group"]) == chosen


def test_the_unit_of_a_pair_is_its_first_text() -> None:
    rows = [f"premise {i // 2}" for i in range(20)]
    splits, _ = cut({"train": frame(rows, text2=[f"claim {i}" for i in range(20)])}, {"selection": 0.2}, 0)
    assert len(splits["selection"]) == 4
    assert not set(splits["train"]["text"]) & set(splits["selection"]["text"])


def test_only_missing_splits_are_cut_and_selection_stays_the_same_without_validation() -> None:
    train = frame([f"text {i}" for i in range(50)])
    fractions = {"selection": 0.1, "validation": 0.1}
    both, _ = cut({"train": train}, fractions, 0)
    one, _ = cut({"train": train, "validation": train[:3]}, fractions, 0)
    assert len(both["train"]) == 40
    assert len(one["train"]) == 45
    assert both["selection"].equals(one["selection"])
    none, numbers = cut({"train": train, "selection": train[:2], "validation": train[:3]}, fractions, 0)
    assert len(none["train"]) == 50
    assert numbers == {}


def test_too_few_units_and_a_class_that_vanishes() -> None:
    with pytest.raises(UserError, match="1 source units are too few to cut selection"):
        cut({"train": frame(["a b", "a"])}, {"selection": 0.1}, 0)
    train = pd.DataFrame({"text": ["a b", "a c", "a"], "label": [0, 0, 1]})
    with pytest.raises(UserError, match="class 1 has no row left"):
        cut({"train": train}, {"selection": 0.1}, 0)


def accuracies(train: pd.DataFrame, *splits: pd.DataFrame) -> list[float]:
    """Of TF-IDF and logistic regression."""
    vectorizer = TfidfVectorizer(token_pattern=r"\S+")
    model = LogisticRegression(max_iter=300).fit(vectorizer.fit_transform(train["text"]), train["label"])
    return [float(model.score(vectorizer.transform(split["text"]), split["label"])) for split in splits]


def phrase_corpus(seed: int, sentences: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All phrases of made sentences, and the sentences; a phrase shares the leaning of its sentence."""
    weights = np.random.default_rng(7).normal(size=20_000)
    chances = 1 / np.sqrt(np.arange(1, 20_001))
    rng = np.random.default_rng(seed)
    rows, whole = [], []
    for _ in range(sentences):
        length = int(rng.integers(8, 20))
        words = rng.choice(20_000, length, p=chances / chances.sum())
        leaning = 4 * rng.normal()
        spans = [(0, length)]
        while spans:
            start, end = spans.pop()
            text = " ".join(f"w{word}" for word in words[start:end])
            rows.append((text, int(weights[words[start:end]].sum() + leaning > 0)))
            if end - start == length:
                whole.append(rows[-1])
            if end - start > 3:
                middle = int(rng.integers(start + 1, end))
                spans += [(start, middle), (middle, end)]
    columns = ["text", "label"]
    return pd.DataFrame(rows, columns=columns), pd.DataFrame(whole, columns=columns)


def test_selection_predicts_validation_on_a_phrase_corpus() -> None:
    train, _ = phrase_corpus(0, 4000)
    _, validation = phrase_corpus(1, 2500)
    # A large share, so that chance moves the accuracy on selection by less than the bound.
    splits, _ = cut({"train": train, "validation": validation}, {"selection": 0.6}, 0)
    on_selection, on_validation = accuracies(splits["train"], splits["selection"], validation)
    assert abs(on_selection - on_validation) < 0.03

    random = np.random.default_rng(0).random(len(train)) < 0.1
    on_random, on_validation = accuracies(train[~random], train[random], validation)
    assert on_random - on_validation > 0.1


@pytest.mark.skipif("INTEGER_TICKETS_SST2" not in os.environ, reason="INTEGER_TICKETS_SST2 names no folder")
def test_selection_predicts_validation_on_sst2() -> None:
    raw = {}
    for split in ("train", "validation"):
        rows = load_file(Path(os.environ["INTEGER_TICKETS_SST2"], f"{split}.tsv.gz"))
        raw[split] = pd.DataFrame({"text": list(rows["sentence"]), "label": [int(y) for y in rows["label"]]})
    splits, numbers = cut(raw, {"selection": 0.1}, 0)
    assert 6800 < numbers["train"] < 7000
    on_selection, on_validation = accuracies(splits["train"], splits["selection"], splits["validation"])
    assert abs(on_selection - on_validation) < 0.03
