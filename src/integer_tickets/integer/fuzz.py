"""Random sentences, random bytes and given texts through every engine: `conformance --fuzz N`, `--texts FILE`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from integer_tickets.integer import native_engine, reference
from integer_tickets.integer.artefact import Artefact
from integer_tickets.integer.engines import engine, engines
from integer_tickets.integer.rounding import Array
from integer_tickets.integer.tokenizer import Input, Text

CHUNK = 500
"""Sentences that are compared at once."""

Run = Callable[[Sequence[Sequence[int]]], Array]


@dataclass(frozen=True)
class Fuzzed:
    """How one way to run a ticket compared with the reference engine; for `tokenizer` with the training tokenizer."""

    name: str
    compared: int
    different: int


def ways(ticket: Artefact) -> dict[str, Run]:
    """Every engine that runs here but the reference; the native one for each instruction set, and on three threads."""
    network = ticket.network
    runs: dict[str, Run] = {
        name: partial(engine(name), network) for name in engines() if name not in ("reference", "native")
    }
    for isa in native_engine.ISAS:
        if native_engine.available(isa) is None:
            runs[f"native, {isa}"] = partial(native_engine.logits, network, isa=isa)
            runs[f"native, {isa}, 3 threads"] = partial(native_engine.logits, network, threads=3, isa=isa)
    return runs


def compare(ticket: Artefact, texts: Sequence[Text]) -> list[Fuzzed]:
    """How every way to run the ticket does on these texts, and the tokenizer in C."""
    rows = ticket.tokenizer.encode_batch(texts)
    expected, found = reference.logits(ticket.network, rows), []
    for name, run in ways(ticket).items():
        found.append(Fuzzed(name, len(rows), int((run(rows) != expected).any(1).sum())))
    for isa in (isa for isa in native_engine.ISAS if native_engine.available(isa) is None):
        found.append(Fuzzed(f"tokenizer, {isa}", len(rows), _encoded_otherwise(ticket, texts, rows, isa)))
    return found


def _encoded_otherwise(ticket: Artefact, texts: Sequence[Input], rows: Sequence[list[int]], isa: str) -> int:
    """How many texts, of which there is at least one, have other ids in C."""
    ids, ends = native_engine.encode(ticket.network, ticket.tokenizer, texts, isa)
    own = [part.tolist() for part in np.split(ids, ends[:-1])]
    return sum(a != b for a, b in zip(own, rows, strict=True))


def fuzz(ticket: Artefact, count: int, seed: int = 0) -> list[Fuzzed]:
    """Compare `count` random sentences of 0 to `positions` tokens, in random batches, and as many random texts."""
    random, runs = np.random.default_rng(seed), ways(ticket)
    different = dict.fromkeys([*runs, "tokenizer"], 0)
    for start in range(0, count, CHUNK):
        rows = list(_sentences(ticket, random, min(CHUNK, count - start)))
        expected = reference.logits(ticket.network, rows)
        for name, run in runs.items():
            order, found = random.permutation(len(rows)), np.empty_like(expected)
            cuts = np.unique([0, len(rows), *random.integers(0, len(rows), 8)]).tolist()
            for first, last in pairwise(cuts):
                part = order[first:last]
                found[part] = run([rows[i] for i in part])
            different[name] += int((found != expected).any(1).sum())
        if native_engine.available("baseline") is None:
            texts = list(_texts(ticket, random, len(rows)))
            different["tokenizer"] += _encoded_otherwise(
                ticket, texts, ticket.tokenizer.encode_batch(texts), "baseline"
            )
    return [Fuzzed(name, count, number) for name, number in different.items()]


def _sentences(ticket: Artefact, random: np.random.Generator, count: int) -> Iterator[list[int]]:
    """Any tokens; padding or unknown ones alone; one token again and again."""
    vocabulary, positions = len(ticket.network.tokens.weight), len(ticket.network.positions.weight)
    for kind, n in zip(random.integers(0, 6, count), random.integers(0, positions + 1, count), strict=True):
        if kind == 0:
            yield [int(random.integers(0, 2))] * int(n)
        elif kind == 1:
            yield [int(random.integers(0, vocabulary))] * int(n)
        else:
            yield random.integers(0, vocabulary, n).tolist()


def _texts(ticket: Artefact, random: np.random.Generator, count: int) -> Iterator[Input]:
    """Bytes, and pieces of the vocabulary among them, short or too long; texts and pairs of them."""
    pieces = [*ticket.tokenizer.pieces, b" ", b" ", b".", b"\xff"]

    def text() -> bytes:
        n = int(random.integers(0, 2 * ticket.tokenizer.positions))
        return (
            random.bytes(n)
            if random.integers(0, 2)
            else b"".join(pieces[i] for i in random.integers(0, len(pieces), n))
        )

    for pair in random.integers(0, 2, count):
        yield (text(), text()) if pair else text()
