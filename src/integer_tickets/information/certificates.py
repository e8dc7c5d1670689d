"""Certificates: what a ticket's errors on its own training examples say of its true error, and under what assumptions.

The classifier that is bounded is the integer network itself, decoded from a stream of so many bits, not a float model
near it. See `bounds` for the inequalities and docs/theory.md, sections 7 and 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from integer_tickets.blocks import Certify
from integer_tickets.data.splits import units_of, word_runs
from integer_tickets.information.bounds import (
    binomial_tail,
    description_length,
    maurer,
    occam,
    square_root,
)
from integer_tickets.information.symmetry import symmetry_bits
from integer_tickets.information.ticket_code import Ticket, code_bits
from integer_tickets.integer.network import IntegerNetwork
from integer_tickets.integer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Certificate:
    """`error` is the true error at most, with probability 1 - delta over samples of `n` independent units.

    risk: mean loss of the units; commonest: that of a classifier that always names their commonest class. bits: of the
    code, `symmetry` of them regained. occam, maurer and square_root are other forms of the bound; clustered: the first
    of them if the units hang together in clusters as large as the settings fear; description_length: bits a label of
    code and corrections.
    """

    unit: str
    n: int
    rows: int
    risk: float
    commonest: float
    bits: float
    symmetry: float
    delta: float
    error: float
    occam: float
    maurer: float
    square_root: float
    clustered: float
    description_length: float

    @property
    def tells(self) -> bool:
        """Whether the bound promises more than naming the commonest class does."""
        return self.error < self.commonest


def length_of(
    network: IntegerNetwork, tokenizer: Tokenizer, prior: Ticket | None = None
) -> tuple[dict[str, float], float]:
    """Bits of a ticket's code by part and in total, and how many of them its symmetries give back.

    None beside a prior, whose places are no one else's.
    """
    return code_bits(network, tokenizer, prior), 0.0 if prior else symmetry_bits(network)


def numbers_of(texts: Sequence[str], groups: Sequence[object] | None, unit: str) -> NDArray[np.int64]:
    """The number of the independent unit of each row: its own (`row`), that of the text it is part of (`text`), or
    that of the rows with the same entry in `groups` (`group`)."""
    if unit == "row":
        return np.arange(len(texts))
    if unit == "text":
        return np.array(units_of(word_runs(texts)), np.int64)
    assert groups is not None
    return np.unique([str(group) for group in groups], return_inverse=True)[1]


def losses_of(wrong: NDArray[np.bool_], number: NDArray[np.int64]) -> NDArray[np.float64]:
    """The loss of each unit: the mean over its rows."""
    return np.asarray(np.bincount(number, wrong) / np.bincount(number))


def certificate(
    wrong: NDArray[np.bool_], labels: NDArray[np.integer], number: NDArray[np.int64], bits: float, symmetry: float,
    settings: Certify,
) -> Certificate:  # fmt: skip
    """From the errors and labels of rows, and the number of each row's unit, whose loss is the mean over its rows.

    By the exact tail of the binomial where every unit is one row, whose loss is 0 or 1.
    """
    delta = settings.delta
    losses = losses_of(wrong, number)
    n, risk, counted = len(losses), float(losses.mean()), bits - symmetry
    counts = np.bincount(labels)
    commonest = float(losses_of(labels != counts.argmax(), number).mean())
    kl_form = occam(risk, n, counted, delta)
    single = n == len(wrong)
    error = binomial_tail(round(losses.sum()), n, counted, delta) if single else kl_form
    length = description_length(losses.sum(), n, counted, max(2, len(counts)))
    return Certificate(
        settings.unit, n, len(labels), risk, commonest, bits, symmetry, delta, error, kl_form,
        maurer(risk, n, counted, delta), square_root(risk, n, counted, delta),
        occam(risk, max(1, n // settings.clusters), counted, delta), length,
    )  # fmt: skip


def held_out(wrong: NDArray[np.bool_], delta: float) -> float:
    """The true error at most, from rows that no choice of the classifier has seen."""
    return binomial_tail(int(wrong.sum()), len(wrong), 0, delta)


def through_a_teacher(
    disagree: NDArray[np.bool_], teacher_wrong: NDArray[np.bool_], bits: float, symmetry: float, delta: float
) -> tuple[float, float]:
    """The true error of a student, and its disagreement with its teacher, at most: by unlabelled text.

    disagree: student against teacher on texts the teacher has not seen; teacher_wrong: on labelled texts no choice of
    the teacher has seen. Each bound takes half of delta; the error is at most their sum.
    """
    apart = binomial_tail(int(disagree.sum()), len(disagree), bits - symmetry, delta / 2)
    return min(1.0, apart + held_out(teacher_wrong, delta / 2)), apart


def explained(own: Certificate, clusters: int = 1, prior: bool = False) -> list[str]:
    """A certificate and its assumptions in plain words, a sentence a line; prior: the code is beside such a ticket."""
    of, one = {
        "row": ("error on new texts", "row"),
        "text": ("mean error over the rows cut from a new text", "text, the mean over the rows that are part of it"),
        "group": ("mean error over the rows of a new group", "group, the mean over its rows"),
    }[own.unit]
    if own.tells:
        verdict = "promises more"
    elif own.risk >= own.commonest:
        verdict = "promises nothing more, as the ticket errs as often on these"
    else:
        verdict = "promises nothing more, the code being too long for so few examples"
    orders = f", less {own.symmetry:,.0f} for orders of its parts that compute the same"
    shared = [
        "And: the prior ticket was found and chosen without these examples; only what differs from it is counted. The "
        "less that is, the more this is a test of the prior on examples that it has not seen."
    ]
    return [
        f"With probability {1 - own.delta:.3g} its {of} is at most {100 * own.error:.2f} %.",
        f"It errs on {100 * own.risk:.2f} % of {own.n:,} examples, one for each {one}.",
        f"Its code takes {own.bits:,.0f} bits{'' if prior else orders}.",
        f"Code and corrections take {own.description_length:.3f} bits a label.",
        f"Always naming the commonest class errs on {100 * own.commonest:.2f} % of them; the bound {verdict}.",
        "Assumed: the examples were drawn independently, from what new texts are drawn from, and the decoder was fixed "
        "before anyone looked at them.",
        *([f"If {clusters} of them hang together, at most {100 * own.clustered:.2f} %."] if clusters > 1 else []),
        *(shared if prior else []),
        "Counted: all that decodes the ticket, its vocabulary too, unless a hash or the built-in language fixes that.",
        "Not counted, as the bound holds for all tickets at once: epochs, levels, a teacher, how many were tried.",
    ]
