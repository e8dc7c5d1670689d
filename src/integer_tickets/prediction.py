"""Classify lines as they come, however many: the command `predict`."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO

from integer_tickets.integer.ticket import Ticket, decide

CHUNK = 1024
"""Lines that are classified at once."""
CLEAR = "\x1b[K"  # what an earlier, longer line has left


def predict(ticket: Ticket, texts: Sequence[bytes], engine: str | None, threads: int, form: str) -> None:
    """Print a line for each text, as `form` says, "text" or "json"."""
    for line in _predictions(ticket, texts, engine, threads, form):
        sys.stdout.buffer.write(line)


def predict_stream(ticket: Ticket, stream: BinaryIO, engine: str | None, threads: int, form: str) -> None:
    """The same of the lines of a stream, at once where someone types them; at the end how many a second."""
    typed, watched = stream.isatty(), sys.stderr.isatty()
    size = os.fstat(stream.fileno()).st_size if watched and not typed else 0  # 0: not known, as of a pipe
    begin, done, read = time.monotonic(), 0, stream.tell() if size else 0
    for chunk in _chunks(stream, 1 if typed else CHUNK):
        lines = [line.removesuffix(b"\n").removesuffix(b"\r") for line in chunk]
        predict(ticket, lines, engine, threads, form)
        sys.stdout.buffer.flush()
        done, read = done + len(chunk), read + sum(map(len, chunk))
        if watched and not typed:
            print(f"\r{_bar(read, size)}{_count(done, begin)}{CLEAR}", end="", file=sys.stderr, flush=True)
    if done and not typed:
        start, end = ("\r", CLEAR) if watched else ("", "")
        print(f"{start}{_bar(read, size)}{_count(done, begin)}{end}", file=sys.stderr)


def _chunks(lines: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    iterator = iter(lines)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _bar(done: int, size: int) -> str:
    if not size:
        return ""
    share = min(done / size, 1.0)  # a file may grow
    return f"[{'#' * int(20 * share):<20}] {100 * share:.0f} %  "


def _count(done: int, begin: float) -> str:
    return f"{done:,} texts, {done / max(time.monotonic() - begin, 1e-9):,.0f} a second"


def _predictions(
    ticket: Ticket, texts: Sequence[bytes], engine: str | None, threads: int, form: str
) -> Iterator[bytes]:
    pairs = [text.split(b"\t", 1) for text in texts]
    logits = ticket.logits([(pair[0], pair[1]) if len(pair) > 1 else pair[0] for pair in pairs], engine, threads)
    decided = decide(logits, ticket.labels)
    if form == "json":
        for text, row, (label, margin) in zip(texts, logits.tolist(), decided, strict=True):
            own = {"text": text.decode("utf-8", "surrogateescape"), "label": label, "margin": margin, "logits": row}
            yield json.dumps(own).encode("ascii") + b"\n"
        return
    labels = {label: shown(label).encode("utf-8", "surrogateescape") for label in ticket.labels}
    for text, (label, margin) in zip(texts, decided, strict=True):
        yield b"%b\t%d\t%b\n" % (labels[label], margin, text.replace(b"\n", b" "))


def shown(text: str) -> str:
    """A text of a file on one line: as it is, or as a JSON string where a terminal could not just print it."""
    return text if text.isprintable() else json.dumps(text)
