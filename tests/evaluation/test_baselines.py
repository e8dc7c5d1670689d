"""Baselines: what they predict and what they cost."""

import numpy as np

from integer_tickets.evaluation.baselines import bayes, majority, tfidf


def test_majority_is_the_most_frequent_class_of_train():
    labels = {"train": np.array([2, 2, 0, 1]), "test": np.array([0, 1])}
    found = majority(labels)
    assert found.predictions["test"].tolist() == [2, 2]
    assert "train" not in found.predictions and found.bits == 2
    assert majority({"train": np.array([1, 0]), "test": np.array([1])}).predictions["test"].tolist() == [0]


def test_bayes_takes_the_sign_of_the_score():
    found = bayes({"train": np.array([1]), "test": np.array([-2, 0, 3])})
    assert found.predictions["test"].tolist() == [0, 0, 1] and found.bits is None


def reviews(good, bad, count):
    return [f"it was {good}", f"it was {bad}"] * count, np.array([1, 0] * count)


def test_a_bag_of_words_learns_words():
    texts, labels = {}, {}
    for split, count in (("train", 20), ("selection", 4), ("test", 4)):
        texts[split], labels[split] = reviews("Good!", "bad", count)
    found = tfidf(texts, labels)
    assert (found.predictions["test"] == labels["test"]).all()
    # it was good ! bad, and the pairs: it was, was good, good !, was bad
    vocabulary = [b"it", b"was", b"good", b"!", b"bad", b"it was", b"was good", b"good !", b"was bad"]
    assert found.bits == 32 * (2 * len(vocabulary) + 1) + 8 * sum(map(len, vocabulary))
    again = tfidf(texts, labels)
    assert again.bits == found.bits and (again.predictions["test"] == found.predictions["test"]).all()


def test_pairs_of_words_do_not_cross_the_border_of_a_pair_of_texts():
    rows = [("a", "b"), ("b", "a")] * 10
    labels = np.array([0, 1] * 10)
    splits = {"train": rows, "selection": rows, "test": rows}
    found = tfidf(splits, dict.fromkeys(splits, labels))
    assert found.bits <= 32 * (2 * 2 + 1) + 8 * 2  # a and b alone


def test_empty_texts_are_texts():
    rows, labels = ["", "word"] * 10, np.array([0, 1] * 10)
    splits = {"train": rows, "selection": rows, "test": ["", "other"]}
    found = tfidf(splits, {"train": labels, "selection": labels, "test": labels[:2]})
    assert found.predictions["test"][0] == 0
