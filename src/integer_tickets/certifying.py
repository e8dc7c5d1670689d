"""The certificate of any ticket on any labelled file: what the command `certify` computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from integer_tickets.blocks import Certify
from integer_tickets.data.files import load_file
from integer_tickets.errors import UserError
from integer_tickets.information.certificates import Certificate, certificate, length_of, numbers_of
from integer_tickets.integer.artefact import load
from integer_tickets.integer.engines import text_logits


@dataclass(frozen=True)
class Certified:
    """A certificate, the bits of each part of its ticket's code, and, with unit `row`, how many rows repeat others or
    parts of them."""

    certificate: Certificate
    bits: dict[str, float]
    repeats: int


def certify(
    file: Path, data: Path, text: Sequence[str], label: str, group: str, settings: Certify,
    prior: Path | None = None,
) -> Certified:  # fmt: skip
    """Run the ticket on every row of `data` and bound its true error.

    text: one column, or two for pairs; label: names of the ticket's classes, or their numbers from 0; settings.unit:
    with `text`, rows whose first column is part of a longer one count as one, with `group` those of the same entry in
    the column `group`; prior: a ticket found on other data, beside which only what differs is counted.
    Raises UserError where a file, a column or a label is not what the ticket needs.
    """
    ticket = load(file)
    if not data.is_file():
        raise UserError(f"{data}: no such file")
    rows = load_file(data)
    grouped = settings.unit == "group"
    for column in (*text, label, *([group] if grouped else [])):
        if column not in rows.column_names:
            raise UserError(f"{data}: no column {column!r}; there are {', '.join(rows.column_names)}")
    if len(rows) == 0:
        raise UserError(f"{data}: no rows")
    number = {name: i for i, name in enumerate(ticket.network.labels)}
    given = [str(value) for value in rows[label]]
    if not number.keys() & set(given):  # no names: numbers of classes
        number = {str(i): i for i in number.values()}
    unknown = next((i for i, value in enumerate(given) if value not in number), None)
    if unknown is not None:
        known = ", ".join(ticket.network.labels)
        raise UserError(f"{data}, row {unknown + 1}: label {given[unknown]!r}, but the ticket knows {known}")
    columns = [[str(value) for value in rows[column]] for column in text]
    texts = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    predicted = text_logits(ticket.network, ticket.tokenizer, texts).argmax(1)
    labels = np.array([number[value] for value in given])
    earlier = None if prior is None else load(prior)
    beside = None if earlier is None else (earlier.network, earlier.tokenizer)
    bits, symmetry = length_of(ticket.network, ticket.tokenizer, beside)
    units = numbers_of(columns[0], rows[group] if grouped else None, settings.unit)
    own = certificate(predicted != labels, labels, units, bits.pop("total"), symmetry, settings)
    repeats = len(rows) - int(numbers_of(columns[0], None, "text").max()) - 1 if settings.unit == "row" else 0
    return Certified(own, bits, repeats)
