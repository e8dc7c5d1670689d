"""The built-in language: review sentences whose sentiment is decided by composition, with every truth about it exact.

`grammar` holds the words and rules. Three readers share them: a vectorised generator, a parser that recovers the
score from the text alone, and dynamic programming that gives the distribution of the score without sampling.
A label is drawn with p(y=1|x) = 1 / (1 + exp(-beta * score(x))), so the score is the minimal sufficient statistic of
the text for the label: I(X;Y) = I(score;Y).
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from integer_tickets.corpus_blocks import Language
from integer_tickets.data import grammar
from integer_tickets.errors import UserError
from integer_tickets.seeds import generator

BLOCK = 4096  # sentences drawn from one seed: part of what makes a stream, like the grammar

Integers = NDArray[np.int64]


class Sentence(NamedTuple):
    """A text of lower-case words and commas, its label (0 negative, 1 positive) and the score of its parse."""

    text: str
    label: int
    score: int


@dataclass(frozen=True)
class _Tables:
    """The grammar as arrays. Symbols are numbered: first the categories, then the terminals (word lists, literals).

    Rule r writes the symbols part_symbol[first[r] : first[r] + length[r]]. The rules of category c end with last[c];
    `bounds` holds c + (cumulative probability) for each. Terminal t has one rule, `terminal_rule` + t: itself. Its
    words are words[base[t] : base[t] + ranks[t]], and if leaning[t] is 1 the negative ones stand `ranks[t]` further on.
    """

    start: int
    categories: int
    bounds: NDArray[np.float64]
    last: Integers
    terminal_rule: int
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
    start, categories = grammar.categories(nesting, distractors)
    lists = grammar.lists(vocabulary)
    templates = [template for rules in categories.values() for _, template in rules]
    names = dict.fromkeys(part.name for template in templates for part in template)
    terminals = [name for name in names if name not in categories]
    number = {name: i for i, name in enumerate([*categories, *terminals])}
    terminal_rule = len(templates)
    templates += [(grammar.Part(name, 1, 1),) for name in terminals]
    parts = [part for template in templates for part in template]
    length = np.array([len(template) for template in templates])
    cumulative = [np.cumsum([probability for probability, _ in rules]) for rules in categories.values()]
    columns = [lists.get(name, ((name,),)) for name in terminals]
    sizes = np.array([len(column) * len(column[0]) for column in columns])
    return _Tables(
        start=number[start],
        categories=len(categories),
        bounds=np.concatenate([category + sums for category, sums in enumerate(cumulative)]),
        last=np.cumsum([len(sums) for sums in cumulative]) - 1,
        terminal_rule=terminal_rule,
        first=np.cumsum(length) - length,
        length=length,
        part_symbol=np.array([number[part.name] for part in parts]),
        part_flip=np.array([part.flip for part in parts]),
        part_weight=np.array([part.weight for part in parts]),
        words=np.array([word for column in columns for half in column for word in half], dtype=object),
        base=np.cumsum(sizes) - sizes,
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
        rule = symbol - tables.categories + tables.terminal_rule
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
    rank = (ranks * (uniform * uniform)).astype(np.int64)  # early words are common: P(rank < r) = sqrt(r / ranks)
    words = tables.words[tables.base[terminal] + rank + ranks * leaning * (side < 0)].tolist()
    ends = np.cumsum(np.bincount(sentence, minlength=BLOCK)).tolist()
    score = np.bincount(sentence, weights=leaning * side * weight, minlength=BLOCK).astype(np.int64)
    return [_text(words[begin:end]) for begin, end in pairwise([0, *ends])], score


def _text(tokens: list[str]) -> str:
    return " ".join(tokens).replace(" ,", ",")


def generate(params: Language, count: int, stream: int) -> Iterator[Sentence]:
    """The first `count` sentences of a stream of `params.seed`: a longer one begins with the shorter one.

    Streams that differ in `bayes_error` alone have the same texts and scores.
    """
    tables = _tables(params.nesting, params.vocabulary, params.distractors)
    for block in range(-(-count // BLOCK)):
        random = generator("language", params.seed, stream, block)
        uniform = random.random(BLOCK)
        texts, scores = _block(tables, random)
        values, index = np.unique(scores, return_inverse=True)
        chance = np.array([posterior(params, value) for value in values.tolist()])[index]
        labels = (uniform < chance).astype(np.int64)
        left = min(BLOCK, count - block * BLOCK)
        yield from map(Sentence, texts[:left], labels[:left].tolist(), scores[:left].tolist())


def posterior(params: Language, score: int) -> float:
    """p(y=1 | a text of this score)."""
    other = _logistic(-_beta(params) * abs(score))
    return 1 - other if score > 0 else other


def _logistic(x: float) -> float:
    """1 / (1 + exp(-x)) of x <= 0, where exp cannot overflow."""
    return math.exp(x) / (1 + math.exp(x))


@cache
def _joint(nesting: int, distractors: float) -> dict[tuple[int, int], float]:
    """The exact distribution of (score, number of words) of the sentences that lean to the positive side.

    The parts of a template are drawn independently, so their distributions convolve; the alternatives mix.
    """
    start, categories = grammar.categories(nesting, distractors)

    @cache
    def phrase(name: str) -> dict[tuple[int, int], float]:
        if name not in categories:
            return {(int(name in grammar.LEANING), int(name != ",")): 1.0}
        mixture: dict[tuple[int, int], float] = defaultdict(float)
        for probability, template in categories[name]:
            sums = {(0, 0): probability}
            for part in template:
                longer: dict[tuple[int, int], float] = defaultdict(float)
                for (score, words), chance in sums.items():
                    for (value, more), chance_of_part in phrase(part.name).items():
                        longer[score + part.flip * part.weight * value, words + more] += chance * chance_of_part
                sums = longer
            for value_and_words, chance in sums.items():
                mixture[value_and_words] += chance
        return mixture

    return phrase(start)


@cache
def _scores(nesting: int, distractors: float) -> dict[int, float]:
    """The exact distribution of the score: a sentence leans to either side with probability 1/2, in mirrored words."""
    scores: dict[int, float] = defaultdict(float)
    for (score, _), chance in _joint(nesting, distractors).items():
        scores[score] += chance / 2
        scores[-score] += chance / 2
    return dict(sorted(scores.items()))


def _bayes_error(scores: dict[int, float], beta: float) -> float:
    return math.fsum(chance * _logistic(-beta * abs(score)) for score, chance in scores.items())


@cache
def _beta(params: Language) -> float:
    """The slope at which the Bayes error is the one asked for, by bisection: the error falls as the slope grows."""
    scores, low, high = _scores(params.nesting, params.distractors), 0.0, 64.0
    while low < (middle := (low + high) / 2) < high:
        if _bayes_error(scores, middle) > params.bayes_error:
            low = middle
        else:
            high = middle
    return high


def facts(params: Language) -> dict[str, Any]:
    """The truth about the language, computed from the grammar without sampling.

    score: {score: probability}; score_entropy and information, I(X;Y) = I(score;Y), in bits; label_prior: p(y=1);
    bayes_error; beta: the slope of the posterior; min_words, mean_words, max_words of a sentence; vocabulary: the
    number of distinct words, content and function words together.
    """
    scores, beta = _scores(params.nesting, params.distractors), _beta(params)
    joint = _joint(params.nesting, params.distractors)
    tables = _tables(params.nesting, params.vocabulary, params.distractors)
    chances = [(chance, posterior(params, score)) for score, chance in scores.items()]
    prior = math.fsum(chance * p for chance, p in chances)
    return {
        "score": dict(scores),
        "score_entropy": _entropy(*scores.values()),
        "information": _entropy(prior, 1 - prior) - math.fsum(chance * _entropy(p, 1 - p) for chance, p in chances),
        "label_prior": prior,
        "bayes_error": _bayes_error(scores, beta),
        "beta": beta,
        "min_words": min(words for _, words in joint),
        "mean_words": math.fsum(words * chance for (_, words), chance in joint.items()),
        "max_words": max(words for _, words in joint),
        "vocabulary": sum(word != "," for word in tables.words),
    }


def _entropy(*probabilities: float) -> float:
    """In bits."""
    return -math.fsum(p * math.log2(p) for p in probabilities if p > 0)


def score_of(text: str) -> int:
    """The score of a text, by parsing it. Raises UserError for a text that is no sentence of the language."""
    scores = _parses(text)
    if not scores:
        raise UserError(f"not a sentence of the built-in language: {text[:80]!r}")
    return scores[0]


def _parses(text: str) -> list[int]:
    """The score of every parse of the text as a sentence of the deepest nesting, which holds the shallower ones."""
    tokens = re.findall("[a-z]+|,", text)
    if _text(tokens) != text:
        return []
    start, categories = grammar.categories(grammar.MAX_NESTING, 0.5)

    @cache
    def spans(name: str, begin: int) -> list[tuple[int, int, int]]:
        """(end, side, score) of every phrase of this name that begins at this token; side 0 leans no way."""
        if name not in categories:
            word = tokens[begin] if begin < len(tokens) else ""
            found, side = _listed().get(word, (word, 0))
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
def _listed() -> dict[str, tuple[str, int]]:
    """Of each listed word its list and the way it leans: 1, -1, or 0 if neutral."""
    listed = {}
    for name, columns in grammar.lists(grammar.CONTENT_WORDS).items():
        for side, column in zip((0,) if len(columns) == 1 else (1, -1), columns, strict=True):
            listed.update(dict.fromkeys(column, (name, side)))
    return listed
