"""The built-in language: generator, parser and exact statistics agree, and the truth it claims is the truth it has."""

import hashlib
import itertools
import math
import random
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from integer_tickets.corpus_blocks import Language
from integer_tickets.data import grammar, language
from integer_tickets.data.language import facts, generate, posterior, score_of
from integer_tickets.errors import UserError


def params(**changes: Any) -> Language:
    sizes = dict.fromkeys(("train", "selection", "validation", "test", "unlabelled"), 1)
    values = sizes | {"seed": 3, "bayes_error": 0.05, "nesting": 2, "vocabulary": 400, "distractors": 0.2}
    return Language(**values | changes)


DEFAULT = params()
SAMPLE = list(generate(DEFAULT, 100_000, 0))


def test_every_word_is_ascii_and_has_one_place() -> None:
    lists = grammar.lists(grammar.CONTENT_WORDS)
    literals = {
        token
        for alternatives in grammar.rules(grammar.MAX_NESTING, 0.5).values()
        for _, template in alternatives
        for token in template.split()
        if token.islower()
    }
    words = [word for columns in lists.values() for column in columns for word in column] + sorted(literals)
    assert len(words) == len(set(words))
    assert all(re.fullmatch("[a-z]+", word) for word in words)
    assert all(len(columns[0]) == len(columns[-1]) for columns in lists.values())


@pytest.mark.parametrize("nesting", [1, 2, 3])
@pytest.mark.parametrize("distractors", [0, 0.3, 1])
def test_probabilities_of_every_category_sum_to_one(nesting: int, distractors: float) -> None:
    for name, alternatives in grammar.rules(nesting, distractors).items():
        assert sum(probability for probability, _ in alternatives) == pytest.approx(1, abs=1e-12), name


@pytest.mark.parametrize("vocabulary", range(100, 401, 3))
def test_vocabulary_keeps_that_many_content_words_of_every_list(vocabulary: int) -> None:
    lists = grammar.lists(vocabulary)
    content = {name: columns for name, columns in lists.items() if name not in grammar.FUNCTION}
    assert sum(len(column) for columns in content.values() for column in columns) == vocabulary
    assert all(column for columns in lists.values() for column in columns)


def shapes(name: str, side: int) -> list[tuple[str, int]]:
    """All (text, score) of the phrases of a category with one word for each list, straight from the templates."""
    if name in grammar.LEANING:
        return [(grammar.LEANING[name][side < 0].split()[0], side)]
    categories = grammar.rules(2, 0.5)
    if name not in categories:
        return [((grammar.NEUTRAL | grammar.FUNCTION).get(name, name).split()[0], 0)]
    found = []
    for _, template in categories[name]:
        parts = []
        for token in template.split():
            *weight, part = token.removeprefix("!").split("*")
            factor = int(weight[0]) if weight else 1
            part_side = -side if token.startswith("!") else side
            parts.append([(text, factor * score) for text, score in shapes(part, part_side)])
        for choice in itertools.product(*parts):
            found.append((" ".join(text for text, _ in choice), sum(score for _, score in choice)))
    return found


def test_every_shape_of_a_clause_has_one_parse_and_an_odd_score() -> None:
    clauses = [(text.replace(" ,", ","), score) for side in (1, -1) for text, score in shapes("CLAUSE", side)]
    assert len(dict(clauses)) == len(clauses) > 300
    for text, score in clauses:
        assert language._parses(text) == [score]
        assert score % 2 == 1


def test_joined_clauses_have_one_parse() -> None:
    clauses = {side: shapes("CLAUSE", side) for side in (1, -1)}
    draw = random.Random(0)
    for _ in range(500):
        side = draw.choice((1, -1))
        (same, a), (rest, b), (other, c) = *draw.choices(clauses[side], k=2), draw.choice(clauses[-side])
        for text, score in (
            (f"{same} and {rest}", a + 2 * b),
            (f"{other} , but {same}", c + 4 * a),
            (f"although {other} , {same}", c + 4 * a),
            (f"{same} , even though {other}", 4 * a + c),
            (f"although {other} , {same} and {rest}", c + 4 * (a + 2 * b)),
            (f"{same} , even though {rest} , but {other}", 4 * a + b + 4 * c),
        ):
            assert language._parses(text.replace(" ,", ",")) == [score]


def test_parser_recovers_the_score() -> None:
    for sentence in SAMPLE[:4000]:
        assert language._parses(sentence.text) == [sentence.score]


@settings(max_examples=25)
@given(
    st.builds(
        params,
        seed=st.integers(0, 2**70),
        bayes_error=st.floats(0.0001, 0.45),
        nesting=st.integers(1, 3),
        vocabulary=st.integers(100, 400),
        distractors=st.floats(0, 1),
    ),
    st.integers(0, 3),
)
def test_every_setting_gives_clean_sentences_and_its_bayes_error(setting: Language, stream: int) -> None:
    truth = facts(setting)
    assert truth["bayes_error"] == pytest.approx(setting.bayes_error, rel=1e-9)
    assert truth["label_prior"] == pytest.approx(0.5)
    assert sum(truth["score"].values()) == pytest.approx(1)
    assert 4 <= truth["min_words"] <= truth["mean_words"] <= truth["max_words"] <= 40
    for text, label, score in generate(setting, 40, stream):
        assert score_of(text) == score
        assert score % 2 == 1 and score in truth["score"] and label in (0, 1)
        assert truth["min_words"] <= len(text.split()) <= truth["max_words"]


@pytest.mark.parametrize("setting", [DEFAULT, params(nesting=3, vocabulary=150, distractors=0.6)])
def test_scores_follow_the_exact_distribution(setting: Language) -> None:
    count = 100_000
    drawn = Counter(sentence.score for sentence in generate(setting, count, 0))
    exact = facts(setting)["score"]
    assert drawn.keys() <= exact.keys()
    common = [score for score, chance in exact.items() if chance * count >= 10]
    observed = [drawn[score] for score in common]
    expected = [exact[score] * count for score in common]
    rare = count - sum(expected)
    if rare >= 10:
        observed, expected = [*observed, count - sum(observed)], [*expected, rare]
    expected = np.array(expected) * sum(observed) / sum(expected)
    assert chisquare(observed, expected).pvalue > 0.001


def test_labels_follow_the_posterior() -> None:
    truth = facts(DEFAULT)
    error = np.mean([label != (score > 0) for _, label, score in SAMPLE])
    assert error == pytest.approx(truth["bayes_error"], abs=4 * math.sqrt(0.05 * 0.95 / len(SAMPLE)))
    groups = Counter(score for _, _, score in SAMPLE)
    positive = Counter(score for _, label, score in SAMPLE if label)
    for score, count in groups.items():
        p = posterior(DEFAULT, score)
        assert p == pytest.approx(1 / (1 + math.exp(-truth["beta"] * score)))
        assert abs(positive[score] - count * p) <= 5 * math.sqrt(count * p * (1 - p)) + 1


def test_entropies_are_those_of_the_joint_distribution() -> None:
    truth = facts(DEFAULT)
    joint = {
        (score, label): chance * (posterior(DEFAULT, score) if label else 1 - posterior(DEFAULT, score))
        for score, chance in truth["score"].items()
        for label in (0, 1)
    }
    information = sum(p * math.log2(p / (truth["score"][score] * 0.5)) for (score, _), p in joint.items() if p > 0)
    assert truth["information"] == pytest.approx(information)
    assert truth["score_entropy"] == pytest.approx(-sum(p * math.log2(p) for p in truth["score"].values()))


def test_words_are_counted_exactly() -> None:
    truth = facts(DEFAULT)
    counts = [len(sentence.text.split()) for sentence in SAMPLE]
    assert np.mean(counts) == pytest.approx(truth["mean_words"], abs=0.1)
    assert (min(counts), max(counts)) == (truth["min_words"], truth["max_words"])
    assert len({word for s in SAMPLE for word in s.text.replace(",", "").split()}) == truth["vocabulary"]
    assert facts(params(nesting=3))["max_words"] == 40


def test_a_stream_is_the_beginning_of_a_longer_one_and_never_changes() -> None:
    longer = list(generate(DEFAULT, language.BLOCK + 10, 5))
    for count in (0, 1, 100, language.BLOCK, language.BLOCK + 1):
        assert list(generate(DEFAULT, count, 5)) == longer[:count]
    assert list(generate(DEFAULT, 100, 6)) != longer[:100]
    assert list(generate(params(seed=4), 100, 5)) != longer[:100]
    content = "".join(f"{text}\t{label}\t{score}\n" for text, label, score in longer)
    assert (
        hashlib.sha256(content.encode()).hexdigest()
        == "e50e7e566da8edfd53c575b901a816b43a2a50fc6a66b2da5a5fd401604f3c97"
    )


def test_less_noise_changes_labels_alone() -> None:
    clean = list(generate(params(bayes_error=0.01), 1000, 0))
    assert [(s.text, s.score) for s in clean] == [(s.text, s.score) for s in SAMPLE[:1000]]
    assert sum(s.label != (s.score > 0) for s in clean) < sum(s.label != (s.score > 0) for s in SAMPLE[:1000])


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("the plot is good", 1),
        ("the plot is brilliant", 3),
        ("the plot is utterly awful", -5),
        ("the plot is hardly awful", 1),
        ("nobody thinks the plot is awful", 3),
        ("nobody would call this film good", -3),
        ("perhaps the plot is brilliant", 1),
        ("the plot is not bad but brilliant", 3),
        ("this film is better than the awful original", 1),
        ("unlike the awful original, the plot is good", 1),
        ("the plot is bad, but the acting is good", 3),
        ("the plot is utterly awful, but the acting is good", -1),
        ("although the acting is good, the plot is bad", -3),
        ("the plot is good, even though the acting is bad", 3),
        ("nobody thinks the plot is good and the acting is bad", -3),
    ],
)
def test_composition(text: str, score: int) -> None:
    assert score_of(text) == score


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        "good",
        "the plot is",
        "the plot is good .",
        "the plot is  good",
        " the plot is good",
        "The plot is good",
        "the plot , is good",
        "the plot is good, but the acting is good",
        "the plot is good and the acting is bad",
        "this film is better than the good original",
        "the plot is SUBJECT",
        "the plot is gut\n",
        "é",
        "the plot is good and " * 10_000,
    ],
)
def test_other_texts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="not a sentence of the built-in language") as caught:
        score_of(text)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize(("field", "most"), [("nesting", grammar.MAX_NESTING), ("vocabulary", grammar.CONTENT_WORDS)])
def test_the_parameters_end_where_the_grammar_does(field: str, most: int) -> None:
    assert facts(params(**{field: most}))["bayes_error"] == pytest.approx(0.05)
    with pytest.raises(ValueError, match=field):
        params(**{field: most + 1})
