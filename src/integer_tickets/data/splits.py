"""Cutting selection, and validation where it is missing, from train so that nothing of a source text is in two splits.

A corpus may hold a text and pieces of it (most rows of SST-2 are phrases of its sentences). Cut at random, such a
corpus has in every split what train has, and the split says nothing about new texts. So whole source units are cut:
a group where the corpus names groups, else a text that no longer text of train contains as a run of words. What a cut
unit contains leaves train, and is nowhere: a split made for choosing should look like validation, and that holds
whole texts.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from integer_tickets.errors import UserError
from integer_tickets.integer.tokenizer import words
from integer_tickets.seeds import seed_for

if TYPE_CHECKING:
    from pandas import DataFrame


def cut(
    splits: dict[str, DataFrame], fractions: dict[str, float], seed: int
) -> tuple[dict[str, DataFrame], dict[str, int]]:
    """Cut each split of `fractions` that is missing from train; give all splits, and the numbers of the cut.

    fractions: of the source units of train. A unit's place depends on its text and the seed alone, not on the order of
    the rows. The unit of a pair is found from its first text. The numbers: units of train before the cut, units of
    each split cut, and rows that left train without going anywhere; empty if nothing was missing.
    Raises UserError if there are too few units, or if a class would have no row left in train.
    """
    train = splits["train"]
    missing = {split: fraction for split, fraction in fractions.items() if split not in splits}
    if not missing:
        return splits, {}
    grouped = "group" in train
    keys = [str(group).encode() for group in train["group"]] if grouped else word_runs(train["text"])
    units = sorted(set(keys)) if grouped else maximal(keys)
    order = seed_for("cut", seed)
    units.sort(key=lambda unit: hashlib.sha256(b"%d\n%b" % (order, unit)).digest())
    home: dict[bytes, str] = {}
    for split, fraction in missing.items():
        count = max(1, round(fraction * len(units)))
        home |= dict.fromkeys(units[len(home) : len(home) + count], split)
    if len(home) == len(units):
        raise UserError(f"train: {len(units)} source units are too few to cut {', '.join(missing)} from them")
    inside = _Texts([] if grouped else home)
    place = [home.get(key) or ("" if inside.holding(key) is not None else "train") for key in keys]

    result = dict(splits)
    for split in ("train", *missing):
        result[split] = train[[where == split for where in place]].reset_index(drop=True)
    lost = set(train["label"]) - set(result["train"]["label"])
    if lost:
        raise UserError(f"train: class {min(lost)} has no row left after {', '.join(missing)} were cut from it")
    numbers = {"train": len(units), "left_out_rows": place.count("")}
    numbers |= {split: list(home.values()).count(split) for split in missing}
    return result, numbers


def word_runs(texts: Iterable[str]) -> list[bytes]:
    """Each text as its normalised words with one space between them."""
    return [b" ".join(words(text)) for text in texts]


def maximal(runs: Iterable[bytes]) -> list[bytes]:
    """Those runs of words that no longer run contains, each once, longest first."""
    return list(dict.fromkeys(_units(runs).values()))


def units_of(runs: Sequence[bytes]) -> list[int]:
    """The number of the source unit of each run of words: the first of the maximal runs that contain it."""
    home = _units(runs)
    number = {unit: i for i, unit in enumerate(dict.fromkeys(home.values()))}
    return [number[home[run]] for run in runs]


def _units(runs: Iterable[bytes]) -> dict[bytes, bytes]:
    """Of each run, longest first, a maximal run that contains it."""
    found, home = _Texts([]), {}
    # A run can only be in a longer one, and what is in any other run is in a maximal one.
    for run in sorted(set(runs), key=lambda run: (-run.count(b" "), run)):
        holder = found.holding(run)
        if holder is None:
            found.add(run)
        home[run] = run if holder is None else holder
    return home


class _Texts:
    """Runs of words that can be asked whether one of them contains another run: an inverted index of word pairs."""

    def __init__(self, runs: Iterable[bytes]) -> None:
        self._words: dict[bytes, bytes] = {}
        self._pairs: defaultdict[tuple[bytes, bytes], list[bytes]] = defaultdict(list)
        for run in runs:
            self.add(run)

    def add(self, run: bytes) -> None:
        sequence = run.split()
        for word in sequence:
            self._words.setdefault(word, run)
        text = b" %b " % run
        for pair in set(pairwise(sequence)):
            self._pairs[pair].append(text)

    def holding(self, run: bytes) -> bytes | None:
        """The first that was added of the texts that contain the run."""
        sequence = run.split()
        if len(sequence) < 2:
            return self._words.get(run)
        # Every text that contains the run has its rarest pair; few texts are left to compare.
        rarest = min((self._pairs.get(pair, []) for pair in pairwise(sequence)), key=len)
        wanted = b" %b " % run
        return next((text[1:-1] for text in rarest if wanted in text), None)
