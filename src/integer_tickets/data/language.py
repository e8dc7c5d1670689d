"""The built-in language: generated review sentences whose sentiment is decided by composition, with exact truth."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from integer_tickets.data import grammar
from integer_tickets.errors import UserError

BLOCK = 4096
SKEW = 1.5
MARK = re.compile(r"(!?)(?:(-?\d+)\*)?(.+)")


@dataclass(frozen=True)
class LanguageParams:
    bayes_error: float = 0.05
    nesting: int = 2
    vocabulary: int = 0
    distractors: float = 0.3


class Sentence(NamedTuple):
    text: str
    label: int
    score: int


class Part(NamedTuple):
    name: str
    flip: int
    weight: int


def _template(text):
    parts = []
    for token in text.split():
        flip, weight, name = MARK.fullmatch(token).groups()
        parts.append(Part(name, -1 if flip else 1, int(weight) if weight else 1))
    return tuple(parts)


@lru_cache
def _rules(nesting, distractors):
    return {
        name: [(p, _template(t)) for p, t in alts if p > 0]
        for name, alts in grammar.rules(nesting, distractors).items()
    }


def _lists(params):
    out = {}
    for name, (pos, neg) in grammar.LEANING.items():
        out[name] = (tuple(pos.split()), tuple(neg.split()))
        assert len(out[name][0]) == len(out[name][1]), (name, len(out[name][0]), len(out[name][1]))
    for name, w in (grammar.NEUTRAL | grammar.FUNCTION).items():
        out[name] = (tuple(w.split()),) * 2
    return out


class Tables:
    def __init__(self, params):
        rules = _rules(params.nesting, params.distractors)
        lists = _lists(params)
        names = list(rules)
        for alts in rules.values():
            for _, t in alts:
                for part in t:
                    if part.name not in names:
                        names.append(part.name)
        index = {n: i for i, n in enumerate(names)}
        self.categories = len(rules)
        self.start = index[f"REVIEW{params.nesting}"]
        cum, off, length, sym, flip, wt = [], [], [], [], [], []
        for k, alts in enumerate(rules.values()):
            acc = 0.0
            tot = sum(p for p, _ in alts)
            assert abs(tot - 1) < 1e-9, (names[k], tot)
            for p, t in alts:
                acc += p / tot
                cum.append(k + acc)
                off.append(len(sym))
                length.append(len(t))
                for part in t:
                    sym.append(index[part.name])
                    flip.append(part.flip)
                    wt.append(part.weight)
            cum[-1] = k + 1.0
        self.cum = np.array(cum)
        # terminals
        words, base, size, lean = [], [], [], []
        for n in names[self.categories :]:
            base.append(len(words))
            if n in grammar.LEANING:
                words += lists[n][0] + lists[n][1]
                size.append(len(lists[n][0]))
                lean.append(1)
            else:
                w = lists[n][0] if n in lists else (n,)
                words += w
                size.append(len(w))
                lean.append(0)
        self.words = np.array(words, dtype=object)
        self.base, self.size, self.lean = map(np.array, (base, size, lean))
        # identity rules for terminals
        nr = len(off)
        self.nrules = nr
        for j in range(len(names) - self.categories):
            off.append(len(sym)); length.append(1)
            sym.append(self.categories + j); flip.append(1); wt.append(1)
        self.off, self.length = np.array(off), np.array(length)
        self.sym, self.flip, self.wt = np.array(sym), np.array(flip), np.array(wt)

    def block(self, rng, n):
        sym = np.full(n, self.start)
        sent = np.arange(n)
        pol = np.where(rng.random(n) < 0.5, 1, -1)
        wt = np.ones(n, dtype=np.int64)
        while True:
            open_ = sym < self.categories
            k = int(open_.sum())
            if not k:
                break
            rule = sym - self.categories + self.nrules
            rule[open_] = np.searchsorted(self.cum, sym[open_] + rng.random(k), side="right")
            length = self.length[rule]
            ends = np.cumsum(length)
            pos = np.arange(ends[-1]) - np.repeat(ends - length - self.off[rule], length)
            sym = self.sym[pos]
            sent = np.repeat(sent, length)
            pol = np.repeat(pol, length) * self.flip[pos]
            wt = np.repeat(wt, length) * self.wt[pos]
        t = sym - self.categories
        lean = self.lean[t]
        score = np.bincount(sent, weights=lean * pol * wt, minlength=n).astype(int)
        w = self.base[t] + (self.size[t] * rng.random(len(t)) ** SKEW).astype(int) + self.size[t] * (lean * (pol < 0))
        tokens = self.words[w].tolist()
        bounds = np.concatenate(([0], np.cumsum(np.bincount(sent, minlength=n)))).tolist()
        texts = [" ".join(tokens[a:b]).replace(" ,", ",") for a, b in zip(bounds, bounds[1:])]
        return texts, score


@lru_cache
def tables(params):
    return Tables(params)


@lru_cache
def dist(params):
    """score dist (leaning +) per category"""
    rules = _rules(params.nesting, params.distractors)

    @lru_cache(None)
    def of(name):
        if name in grammar.LEANING:
            return {1: 1.0}
        if name not in rules:
            return {0: 1.0}
        total = defaultdict(float)
        for p, t in rules[name]:
            acc = {0: p}
            for part in t:
                new = defaultdict(float)
                for s, q in of(part.name).items():
                    for a, b in acc.items():
                        new[a + s * part.flip * part.weight] += b * q
                acc = new
            for s, q in acc.items():
                total[s] += q
        return dict(total)

    d = of(f"REVIEW{params.nesting}")
    return {s: (d.get(s, 0) + d.get(-s, 0)) / 2 for s in sorted(set(d) | {-x for x in d})}


@lru_cache
def beta(params):
    d = dist(params)
    lo, hi = 0.0, 64.0
    for _ in range(200):
        mid = (lo + hi) / 2
        e = sum(p / (1 + math.exp(mid * abs(s))) for s, p in d.items())
        lo, hi = (mid, hi) if e > params.bayes_error else (lo, mid)
    return mid


def generate(params, count, seed):
    t = tables(params)
    b = beta(params)
    for i in range(0, count, BLOCK):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, i // BLOCK))))
        u = rng.random(BLOCK)
        texts, score = t.block(rng, BLOCK)
        labels = (u < 1 / (1 + np.exp(-b * score))).astype(int)
        n = min(BLOCK, count - i)
        yield from map(Sentence, texts[:n], labels[:n].tolist(), score[:n].tolist())
