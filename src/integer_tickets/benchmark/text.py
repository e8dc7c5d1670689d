"""What text costs: the tokenizer in C beside the network, and the command `predict` on many lines."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from integer_tickets.benchmark.peer_files import EncoderShape, random_network
from integer_tickets.benchmark.peers import peak_memory
from integer_tickets.benchmark.timing import interleaved
from integer_tickets.corpus_blocks import Language
from integer_tickets.data.language import generate
from integer_tickets.data.learning import learn_tokenizer
from integer_tickets.errors import UserError
from integer_tickets.integer import artefact, native_engine
from integer_tickets.integer.conformance import KIT, TICKET
from integer_tickets.integer.network import IntegerNetwork, padded
from integer_tickets.integer.tokenizer import Tokenizer
from integer_tickets.seeds import generator

SENTENCES, WORDS = 1024, 20_000
LETTERS = np.frombuffer(b"etaoinshrdlucmfw", np.uint8)


def costs(language: Language, width: int, pieces: int, rounds: int) -> list[dict[str, Any]]:
    """Microseconds a sentence on one thread, of texts to ids and of ids to logits.

    language: that of the ticket built in; width: of a network of 2 layers whose tokenizer learned that many pieces from
    sentences of random words, few of them frequent, as words are.
    """
    own = artefact.load(KIT / TICKET)
    sentences = [sentence.text for sentence in generate(language, SENTENCES, 3)]
    rows = [_row("built in", own.network, own.tokenizer, sentences, rounds)]
    texts = random_texts(8 * SENTENCES)
    tokenizer = learn_tokenizer(texts, "pieces", pieces, 64)
    network = random_network(EncoderShape(width, 2, 4, 4 * width, vocabulary=tokenizer.size), 1.0, 1)
    return [*rows, _row(f"2 x {width}", network, tokenizer, texts[:SENTENCES], rounds)]


def stream(language: Language, lines: int, threads: int, folder: Path) -> dict[str, Any]:
    """What `integer-tickets predict` says of so many lines of the built-in language in a file, and its peak memory."""
    file = folder / "lines.txt"
    block = "".join(f"{sentence.text}\n" for sentence in generate(language, min(lines, SENTENCES), 3))
    file.write_text(block * (lines // SENTENCES) if lines > SENTENCES else block, encoding="utf-8")
    command = [sys.executable, "-m", "integer_tickets.cli", "predict", "--threads", str(threads)]
    peak = 0.0
    with file.open("rb") as given, (folder / "out.txt").open("wb") as out, (folder / "said.txt").open("wb") as said:
        child = subprocess.Popen(command, stdin=given, stdout=out, stderr=said)
        while child.poll() is None:
            peak = max(peak, peak_memory(child.pid) or 0)
            time.sleep(0.01)
    text = (folder / "said.txt").read_text()
    found = re.fullmatch(r"([\d,]+) texts, ([\d,]+) a second\n", text)
    if child.returncode or found is None:
        raise UserError(f"predict: {text.strip()}")
    count, rate = (int(number.replace(",", "")) for number in found.groups())
    return {"lines": count, "threads": threads, "per_second": rate, "memory_mb": round(peak, 1)}


def random_texts(count: int) -> list[str]:
    """Sentences of 4 to 16 words; the word of rank r occurs in proportion to 1 / (r + 3)."""
    random = generator("engine texts")
    letters, lengths = random.choice(LETTERS, (WORDS, 12)), random.integers(2, 13, WORDS)
    words = [row[:length].tobytes().decode() for row, length in zip(letters, lengths, strict=True)]
    chance = 1 / np.arange(3, WORDS + 3)
    chosen = random.choice(WORDS, (count, 16), p=chance / chance.sum())
    return [" ".join(words[i] for i in row[: random.integers(4, 17)]) for row in chosen.tolist()]


def _row(name: str, network: IntegerNetwork, tokenizer: Tokenizer, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    ids, counts = padded(tokenizer.encode_batch(texts))
    calls: dict[str, Callable[[], object]] = {
        "tokenizer": partial(native_engine.encode, network, tokenizer, texts),
        "network": partial(native_engine.padded_logits, network, ids, counts),
    }
    taken = {name: float(np.median(seconds)) / len(texts) for name, seconds in interleaved(calls, rounds).items()}
    times = {f"{part}_us": round(1e6 * seconds, 2) for part, seconds in taken.items()}
    return {"ticket": name, "pieces": tokenizer.size, "tokens": round(float(counts.mean()), 1), **times}
