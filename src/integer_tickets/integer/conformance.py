"""The conformance kit: a small ticket with golden vectors, against which any engine can be checked."""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from integer_tickets.errors import UserError
from integer_tickets.files import read_json, write_bytes, write_text
from integer_tickets.integer import artefact, reference
from integer_tickets.integer.engines import engine as engine_of
from integer_tickets.integer.rounding import Array
from integer_tickets.integer.tokenizer import Input

KIT = Path(__file__).parent / "kit"
"""The kit that comes with the package."""

EDGES: tuple[Input, ...] = (
    "",
    " \t\v\f ",
    "?!...",
    "a",
    "UPPER lower MiXeD 0123456789 don't -- [x]^_`{|}~",
    "na\u00efve caf\u00e9 \u4f60\u597d \U0001f600 \u00a0\u2003",
    b"\x00 \x7f \x80\xff not utf-8 \xc3(".decode("utf-8", "surrogateescape"),
    "x" * 200,
    "x" * 201,
    "the end is cut off " * 60,
    ("", ""),
    ("first text", "second, longer text"),
    ("the first one is the longer one " * 20, "short"),
    ("both are too long " * 40, "both of them are " * 40),
)
"""Texts at the edges of what a tokenizer must read; part of every kit."""

TICKET, GOLDEN = "ticket.safetensors", "golden.json"


@dataclass(frozen=True)
class Report:
    """What a check saw: how many sentences and inner tensors were compared, and a line per difference."""

    engine: str
    sentences: int
    tensors: int
    mismatches: tuple[str, ...]


def checksum(values: Array) -> int:
    """CRC-32 of the values as little-endian int32, in C order."""
    return crc32(np.ascontiguousarray(values, dtype="<i4").tobytes())


def make_kit(folder: Path, ticket: Path, sentences: Sequence[Input]) -> None:
    """Copy the ticket into `folder` and write beside it what the reference engine computes for the sentences.

    EDGES and a sentence without tokens, which no text makes, are added.
    """
    loaded = artefact.load(ticket)
    sentences = [*sentences, *EDGES]
    cases: list[dict[str, Any]] = [
        {"text": list(text) if isinstance(text, tuple) else text, "ids": ids}
        for text, ids in zip(sentences, loaded.tokenizer.encode_batch(sentences), strict=True)
    ]
    cases.append({"text": None, "ids": []})
    for case in cases:
        case["tensors"] = {}

    def remember(sentence: int, name: str, values: Array) -> None:
        cases[sentence]["tensors"][name] = checksum(values)

    logits = reference.logits(loaded.network, [case["ids"] for case in cases], remember)
    for case, row in zip(cases, logits.tolist(), strict=True):
        case["logits"] = row
    write_bytes(folder / TICKET, ticket.read_bytes())
    # ASCII, so that text that is not UTF-8 survives: its bytes 0x80 to 0xff are the code points \udc80 to \udcff.
    lines = ",\n".join(json.dumps(case, sort_keys=True, separators=(",", ":")) for case in cases)
    write_text(folder / GOLDEN, f'{{"format": 1, "ticket": "{loaded.sha256}", "sentences": [\n{lines}\n]}}\n')


def check(engine: str, kit: Path = KIT) -> Report:
    """Compare an engine with the kit: token ids, logits of one batch and of each sentence alone, inner tensors.

    Inner tensors are compared where the engine takes `trace`. Raises UserError if it does not run here.
    """
    run = engine_of(engine)
    loaded, golden = artefact.load(kit / TICKET), read_json(kit / GOLDEN)
    if golden["ticket"] != loaded.sha256:
        raise UserError(f"{kit / GOLDEN}: was made for another ticket")
    cases = golden["sentences"]
    mismatches: list[str] = []
    compared = 0

    def compare(case: int, name: str, same: bool) -> None:
        nonlocal compared
        compared += 1
        if not same:
            mismatches.append(f"sentence {case}: {name} differ")

    batch = [case["ids"] for case in cases]
    together = run(loaded.network, batch)
    for i, case in enumerate(cases):
        text = case["text"]
        if text is not None:
            ids = loaded.tokenizer.encode(*text) if isinstance(text, list) else loaded.tokenizer.encode(text)
            compare(i, "token ids", ids == case["ids"])
        compare(i, "logits in a batch", together[i].tolist() == case["logits"])
        compare(i, "logits alone", run(loaded.network, [case["ids"]])[0].tolist() == case["logits"])
    if "trace" in inspect.signature(run).parameters:
        seen: dict[tuple[int, str], int] = {}
        run(loaded.network, batch, trace=lambda i, name, values: seen.update({(i, name): checksum(values)}))  # type: ignore[call-arg]
        for i, case in enumerate(cases):
            for name, expected in case["tensors"].items():
                compare(i, f"the values of {name}", seen.get((i, name)) == expected)
    return Report(engine, len(cases), compared, tuple(mismatches))
