"""A ticket ready for use: text in, labels out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from integer_tickets.errors import UserError
from integer_tickets.integer import artefact
from integer_tickets.integer.artefact import Artefact
from integer_tickets.integer.engines import text_logits
from integer_tickets.integer.rounding import Array
from integer_tickets.integer.tokenizer import Input

RELEASED = Path(__file__).parents[1] / "released"


@dataclass(frozen=True)
class Ticket:
    """An integer network with its tokenizer. Which engine runs it changes the speed and not one bit of the result."""

    artefact: Artefact

    @property
    def labels(self) -> tuple[str, ...]:
        return self.artefact.network.labels

    def logits(self, texts: Sequence[Input], engine: str | None = None, threads: int = 1) -> Array:
        """int32 logits (texts, labels), by an engine of `integer_tickets.engines()`, the first without a name.

        threads: of the engines native and onnx. Raises UserError if the engine does not run here.
        """
        if isinstance(texts, str | bytes):
            raise TypeError("texts must be a list of texts, not a single one")
        return text_logits(self.artefact.network, self.artefact.tokenizer, texts, engine, threads)

    def classify(self, texts: Sequence[Input], engine: str | None = None, threads: int = 1) -> list[tuple[str, int]]:
        """For each text its label and the margin, the largest logit minus the largest of the others."""
        return decide(self.logits(texts, engine, threads), self.labels)


def decide(logits: Array, labels: Sequence[str]) -> list[tuple[str, int]]:
    """Label and margin of each row of logits; at a tie the first label wins, with margin 0."""
    wide = logits.astype(np.int64)  # a margin may need 33 bits
    second, first = np.sort(wide, axis=1)[:, -2:].T
    best = wide.argmax(axis=1).tolist()
    return [(labels[i], margin) for i, margin in zip(best, (first - second).tolist(), strict=True)]


def released() -> tuple[str, ...]:
    """Names of the tickets that come with the package; beside the file of each, NAME.md says what it is."""
    return tuple(sorted(path.stem for path in RELEASED.glob("*.safetensors")))


def file_of(ticket: str | Path) -> Path:
    """The file of a ticket that comes with the package, or of any other one by its path.

    Raises UserError, one line, for a bare name that is neither.
    """
    if str(ticket) in released():
        return RELEASED / f"{ticket}.safetensors"
    path = Path(ticket)
    if str(ticket) == path.stem and not path.exists():
        names = ", ".join(released()) or "none"
        raise UserError(f"{ticket}: no such file, nor a ticket that comes with the package (they are: {names})")
    return path


def load(ticket: str | Path) -> Ticket:
    """Load a ticket by its name or from its file. Raises UserError, one line, if it is missing, damaged or none."""
    return Ticket(artefact.load(file_of(ticket)))
