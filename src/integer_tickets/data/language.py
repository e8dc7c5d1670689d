"""The built-in language: review sentences whose sentiment is decided by composition, with every truth about it exact.

`grammar` holds the words and rules. Three readers share them: a vectorised generator, a parser that recovers the
score from the text alone, and dynamic programming that gives the distribution of the score without sampling.
A label is drawn with p(y=1|x) = 1 / (1 + exp(-beta * score(x))), so the score is the minimal sufficient statistic of
the text for the label: I(X;Y) = I(score;Y).
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from integer_tickets.data import grammar
from integer_tickets.errors import UserError

BLOCK = 4096  # sentences drawn from one seed: part of what makes a stream, like the grammar

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class LanguageParams:
    """How hard the language is.

    bayes_error: the error of the best possible classifier, 0.0001 to 0.45;
    nesting: the largest number of clauses in a sentence, 1 to 3;
    vocabulary: the number of content words, 100 to 400 (function words come on top);
    distractors: the share of clauses with a phrase that carries words of the other sign, 0 to 1.
    """

    bayes_error: float = 0.05
    nesting: int = 2
    vocabulary: int = 400
    distractors: float = 0.2

    def __post_init__(self) -> None:
        _check("bayes_error", self.bayes_error, 0.0001, 0.45)
        _check("nesting", self.nesting, 1, grammar.MAX_NESTING)
        _check("vocabulary", self.vocabulary, 100, 400)
        _check("distractors", self.distractors, 0.0, 1.0)


def _check(name: str, value: object, low: float, high: float) -> None:
    whole = isinstance(low, int)
    right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right_type or not low <= value <= high:  # type: ignore[operator]
        kind = "a whole number" if whole else "a number"
        raise UserError(f"built-in language: {name} is {value!r}, expected {kind} from {low} to {high}")


class Sentence(NamedTuple):
    """A text of lower-case words and commas, its label (0 negative, 1 positive) and the score of its parse."""

    text: str
    label: int
    score: int


class _Part(NamedTuple):
    """One place of a template: a category, word list or literal word; -1 if it leans the other way; its weight."""

    name: str
    flip: int
    weight: int


_Alternatives = dict[str, list[tuple[float, tuple[_Part, ...]]]]


@cache
def _rules(nesting: int, distractors: float) -> tuple[str, _Alternatives]:
    """The start category, and the rules that can occur with their templates taken apart."""
    mark = re.compile(r"(!?)(?:(-?\d+)\*)?(.+)")
    categories: _Alternatives = {}
    for name, alternatives in grammar.rules(nesting, distractors).items():
        categories[name] = []
        for probability, template in alternatives:
            if probability > 0:
                marks = [mark.fullmatch(token).groups() for token in template.split()]  # type: ignore[union-attr]
                parts = tuple(_Part(part, -1 if flip else 1, int(weight or 1)) for flip, weight, part in marks)
                categories[name].append((probability, parts))
    return f"REVIEW{nesting}", categories


@cache
def _lists(vocabulary: int) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The words of each list, cut in proportion to `vocabulary`: (positive, negative), or one tuple if neutral."""
    content = {name: tuple(tuple(words.split()) for words in pair) for name, pair in grammar.LEANING.items()}
    content |= {name: (tuple(words.split()),) for name, words in grammar.NEUTRAL.items()}
    total = sum(len(columns) * len(columns[0]) for columns in content.values())
    lists, before, taken = {}, 0, 0
    for name, columns in content.items():
        before += len(columns) * len(columns[0])
        ranks = (before * vocabulary // total - taken) // len(columns)
        taken += ranks * len(columns)
        lists[name] = tuple(column[:ranks] for column in columns)
    return lists | {name: (tuple(words.split()),) for name, words in grammar.FUNCTION.items()}


@dataclass(frozen=True)
class _Tables:
    """The grammar as arrays. Symbols are numbered: first the categories, then terminals (word lists and literals).

    Rule r writes the symbols part_*[first[r] : first[r] + length[r]]. Rules of category c come in order and `bounds`
    holds c + (cumulative probability); terminal t has the one rule `rules_of_categories` + t that repeats it.
    Terminal t draws a word from words[base[t] : base[t] + ranks[t]], and if leaning[t] its negative twin `ranks[t]`
    further on.
    """

    start: int
    categories: int
    rules_of_categories: int
    bounds: NDArray[np.float64]
    last: Integers
    first: Integers
    length: Integers
    part_symbol: Integers
    part_flip: Integers
    part_weight: Integers
    words: NDArray[np.object_]
    base: Integers
    ranks: Integers
    leaning: Integers


@cache
def _tables(nesting: int, vocabulary: int, distractors: float) -> _Tables:
    start, categories = _rules(nesting, distractors)
    lists = _lists(vocabulary)
    parts = [part for rules in categories.values() for _, template in rules for part in template]
    terminals = [name for name in dict.fromkeys(part.name for part in parts) if name not in categories]
    number = {name: i for i, name in enumerate([*categories, *terminals])}
    templates = [template for rules in categories.values() for _, template in rules]
    rules_of_categories = len(templates)
    templates += [(_Part(name, 1, 1),) for name in terminals]
    bounds: list[float] = []
    for c, rules in enumerate(categories.values()):
        bounds.extend(c + sum(p for p, _ in rules[: i + 1]) for i in range(len(rules)))
    columns = [lists.get(name, ((name,),)) for name in terminals]
    words = [word for column in columns for half in column for word in half]
    lengths = np.array([len(template) for template in templates])
    flat = [part for template in templates for part in template]
    return _Tables(
        start=number[start],
        categories=len(categories),
        rules_of_categories=rules_of_categories,
        bounds=np.array(bounds),
        last=np.cumsum([len(rules) for rules in categories.values()]) - 1,
        first=np.cumsum(lengths) - lengths,
        length=lengths,
        part_symbol=np.array([number[part.name] for part in flat]),
        part_flip=np.array([part.flip for part in flat]),
        part_weight=np.array([part.weight for part in flat]),
        words=np.array(words, dtype=object),
        base=np.cumsum([0] + [sum(map(len, column)) for column in columns])[:-1],
        ranks=np.array([len(column[0]) for column in columns]),
        leaning=np.array([len(column) - 1 for column in columns]),
    )


def _block(tables: _Tables, random: np.random.Generator) -> tuple[list[str], Integers]:
    """BLOCK texts and scores: every open symbol of all sentences is rewritten at once until only words are left."""
    symbol = np.full(BLOCK, tables.start)
    sentence = np.arange(BLOCK)
    side = np.where(random.random(BLOCK) < 0.5, 1, -1)  # the way each phrase leans
    weight = np.ones(BLOCK, dtype=np.int64)  # the product of the weights on the way down
    while (is_open := symbol < tables.categories).any():
        category = symbol[is_open]
        rule = symbol - tables.categories + tables.rules_of_categories
        drawn = np.searchsorted(tables.bounds, category + random.random(len(category)), side="right")
        rule[is_open] = np.minimum(drawn, tables.last[category])  # a sum of probabilities can end short of 1
        length = tables.length[rule]
        end = np.cumsum(length)
        part = np.arange(end[-1]) + np.repeat(tables.first[rule] - end + length, length)
        symbol = tables.part_symbol[part]
        sentence = np.repeat(sentence, length)
        side = np.repeat(side, length) * tables.part_flip[part]
        weight = np.repeat(weight, length) * tables.part_weight[part]
    terminal = symbol - tables.categories
    leaning, ranks = tables.leaning[terminal], tables.ranks[terminal]
    uniform = random.random(len(terminal))
    rank = (ranks * (uniform * uniform)).astype(np.int64)  # early ranks are common: P(rank < r) = sqrt(r / ranks)
    words = tables.words[tables.base[terminal] + rank + ranks * leaning * (side < 0)].tolist()
    ends = np.cumsum(np.bincount(sentence, minlength=BLOCK)).tolist()
    texts = [_text(words[a:b]) for a, b in pairwise([0, *ends])]
    score = np.bincount(sentence, weights=leaning * side * weight, minlength=BLOCK)
    return texts, score.astype(np.int64)


def _text(tokens: list[str]) -> str:
    return " ".join(tokens).replace(" ,", ",")


def generate(params: LanguageParams, count: int, seed: int) -> Iterator[Sentence]:
    """The first `count` sentences of the stream of `seed`: a longer stream begins with the shorter one.

    Streams that differ in `bayes_error` alone have the same texts and scores. Raises UserError for a negative seed.
    """
    if seed < 0:
        raise UserError(f"built-in language: seed is {seed}, expected 0 or more")
    tables = _tables(params.nesting, params.vocabulary, params.distractors)
    for block in range(-(-count // BLOCK)):
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(block,))))
        uniform = random.random(BLOCK)
        texts, scores = _block(tables, random)
        values, index = np.unique(scores, return_inverse=True)
        chance = np.array([posterior(params, value) for value in values.tolist()])[index]
        left = min(BLOCK, count - block * BLOCK)
        labels = (uniform < chance).astype(np.int64).tolist()
        yield from map(Sentence, texts[:left], labels[:left], scores[:left].tolist())


def posterior(params: LanguageParams, score: int) -> float:
    """p(y=1 | a text of this score)."""
    likelier = 1 / (1 + math.exp(-_beta(params) * abs(score)))
    return likelier if score >= 0 else 1 - likelier


@cache
def _distribution(params: LanguageParams, of: Callable[[str], int], scale: Callable[[_Part], int]) -> dict[int, float]:
    """The exact distribution of a sum over the words of a positive sentence: `of` a word, times `scale` on each part.

    Parts of a template are drawn independently, so their distributions convolve; alternatives mix.
    """
    start, categories = _rules(params.nesting, params.distractors)

    @cache
    def total(name: str) -> dict[int, float]:
        if name not in categories:
            return {of(name): 1.0}
        mixture: dict[int, float] = defaultdict(float)
        for probability, template in categories[name]:
            sums = {0: probability}
            for part in template:
                longer: dict[int, float] = defaultdict(float)
                for value, chance in total(part.name).items():
                    for before, chance_before in sums.items():
                        longer[before + scale(part) * value] += chance * chance_before
                sums = longer
            for value, chance in sums.items():
                mixture[value] += chance
        return mixture

    return total(start)


def _word_value(name: str) -> int:
    return int(name in grammar.LEANING)


def _signed_weight(part: _Part) -> int:
    return part.flip * part.weight


def _word_count(name: str) -> int:
    return int(name != ",")


def _once(_: _Part) -> int:
    return 1


def _scores(params: LanguageParams) -> dict[int, float]:
    positive = _distribution(params, _word_value, _signed_weight)
    support = sorted(positive.keys() | {-score for score in positive})
    return {score: (positive.get(score, 0.0) + positive.get(-score, 0.0)) / 2 for score in support}


def _bayes_error(scores: dict[int, float], beta: float) -> float:
    return math.fsum(chance / (1 + math.exp(min(beta * abs(score), 700.0))) for score, chance in scores.items())


@cache
def _beta(params: LanguageParams) -> float:
    """The slope at which the Bayes error is the one asked for, by bisection (it falls as the slope grows)."""
    scores, low, high = _scores(params), 0.0, 64.0
    while low < (middle := (low + high) / 2) < high:
        if _bayes_error(scores, middle) > params.bayes_error:
            low = middle
        else:
            high = middle
    return high


def facts(params: LanguageParams) -> dict[str, Any]:
    """The truth about the language, computed from the grammar without sampling.

    score: {score: probability}; score_entropy and information (I(X;Y) = I(score;Y)) in bits; label_prior: p(y=1);
    bayes_error; beta: the slope of the posterior; min_words, mean_words, max_words of a sentence; vocabulary: the
    number of distinct words, content and function words together.
    """
    scores, beta = _scores(params), _beta(params)
    words = _distribution(params, _word_count, _once)
    tables = _tables(params.nesting, params.vocabulary, params.distractors)
    prior = math.fsum(chance * posterior(params, score) for score, chance in scores.items())
    noise = math.fsum(chance * _entropy(p, 1 - p) for s, chance in scores.items() for p in [posterior(params, s)])
    return {
        "score": scores,
        "score_entropy": _entropy(*scores.values()),
        "information": _entropy(prior, 1 - prior) - noise,
        "label_prior": prior,
        "bayes_error": _bayes_error(scores, beta),
        "beta": beta,
        "min_words": min(words),
        "mean_words": math.fsum(count * chance for count, chance in words.items()),
        "max_words": max(words),
        "vocabulary": len(tables.words) - 1,  # without the comma
    }


def _entropy(*probabilities: float) -> float:
    """In bits."""
    return -math.fsum(p * math.log2(p) for p in probabilities if p > 0)


def score_of(text: str) -> int:
    """The score of a text, by parsing it. Raises UserError for a text that is no sentence of the language."""
    parses = _parses(text)
    if not parses:
        raise UserError(f"not a sentence of the built-in language: {text[:80]!r}")
    return parses[0]


def _parses(text: str) -> list[int]:
    """The scores of all parses of the text as a sentence of the deepest nesting, which holds the shallower ones."""
    tokens = re.findall("[a-z]+|,", text)
    if _text(tokens) != text:
        return []
    start, categories = _rules(grammar.MAX_NESTING, 0.5)
    terminal_of = _lexicon()

    @cache
    def spans(name: str, begin: int) -> list[tuple[int, int, int]]:
        """(end, side, score) of every phrase of this name that begins here; side 0 leans no way."""
        if name not in categories:
            found, side = terminal_of.get(tokens[begin], (tokens[begin], 0)) if begin < len(tokens) else ("", 0)
            return [(begin + 1, side, side)] if found == name else []
        phrases = []
        for _, template in categories[name]:
            partial = [(begin, 0, 0)]
            for part in template:
                partial = [
                    (end, side or inner * part.flip, score + part.weight * value)
                    for middle, side, score in partial
                    for end, inner, value in spans(part.name, middle)
                    if side * inner * part.flip >= 0
                ]
            phrases += partial
        return phrases

    return [score for end, _, score in spans(start, 0) if end == len(tokens)]


@cache
def _lexicon() -> dict[str, tuple[str, int]]:
    """Of each listed word, its list and the way it leans (1, -1, or 0 if neutral)."""
    sides = {1: (0,), 2: (1, -1)}
    return {
        word: (name, side)
        for name, columns in _lists(400).items()
        for side, column in zip(sides[len(columns)], columns, strict=True)
        for word in column
    }
