"""Time the native engine beside the engines people use: `python -m stages.engine_speed`, into reports/engines.md.

`--parts` measures some parts again. Engines that are not installed are listed as absent; the extra `engines` of
pyproject.toml names them all.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from integer_tickets.benchmark.peer_files import EncoderShape, write_files, write_tickets
from integer_tickets.benchmark.peers import (
    AVX2,
    fresh,
    present,
    size_on_disk,
    versions,
)
from integer_tickets.benchmark.sparsity import break_even
from integer_tickets.benchmark.text import costs, stream
from integer_tickets.benchmark.timing import interleaved, summary
from integer_tickets.errors import UserError
from integer_tickets.files import read_json, write_json, write_text
from integer_tickets.integer.native_engine import has_tiles
from integer_tickets.params import load_params
from integer_tickets.report.engines import page
from integer_tickets.seeds import generator
from stages.benchmark import machine

FILE = Path("reports/engines.json")
SHAPES = {"2 x 128": EncoderShape(128, 2, 4, 512), "4 x 256": EncoderShape(256, 4, 4, 1024)}
CASES = {"2 x 128": [(1, 16), (1, 32), (1, 64), (64, 32)], "4 x 256": [(1, 16), (1, 32), (64, 32)]}
"""Sentences and tokens of a call."""
SENTENCES, LENGTH, MORE = 32, 24, 16
"""Of the part `answers`: so many of this length, padded by so many tokens."""
ROUNDS = 5

Rows = list[dict[str, Any]]
Folders = dict[str, Path]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.engine_speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    arguments = parser.parse_args()
    found: dict[str, Any] = read_json(FILE) if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        folders: Folders = {}
        absent: dict[str, str] = {}
        for name, shape in SHAPES.items():
            folders[name] = Path(folder) / name
            folders[name].mkdir()
            absent |= write_files(shape, folders[name])
            write_tickets(shape, folders[name])
        for part in arguments.parts:
            begin = time.perf_counter()
            rows = PARTS[part](folders)
            own = {name: value for name, value in machine().items() if name not in ("isa", "torch")}
            found[part] = {"machine": {**own, "versions": versions()}, "absent": absent, "rows": rows}
            write_json(FILE, found)
            write_text(FILE.with_suffix(".md"), page(found))
            print(f"{part}: {time.perf_counter() - begin:.0f} s", flush=True)


def speed(folders: Folders) -> Rows:
    """Latency of one sentence and throughput of a batch, on one thread; the batch on two as well."""
    rows: Rows = []
    for name, folder in folders.items():
        for threads in (1, 2)[: os.cpu_count()]:
            cases = [case for case in CASES[name] if threads == 1 or case[0] > 1]
            runners = {one.name: one.load(folder / one.file, threads) for one in present(folder)}
            for batch, n in cases:
                ids = generator("engine speed", batch, n).integers(3, SHAPES[name].vocabulary, (batch, n))
                counts = np.full(batch, n)
                calls = {own: partial(run, ids, counts) for own, run in runners.items()}
                taken = interleaved(calls, ROUNDS)
                for own, seconds in taken.items():
                    place = {"shape": name, "threads": threads, "batch": batch, "n": n, "engine": own}
                    rows.append({**place, **summary(seconds, batch)})
                print(f"{name}, batch {batch}, n {n}, {threads} threads: done", flush=True)
    return rows


def footprint(folders: Folders) -> Rows:
    """A fresh process with each contestant, three times: seconds to its first logits, peak memory; size on disk."""
    rows: Rows = []
    name, folder = next(iter(folders.items()))
    for one in present(folder):
        runs = [fresh(folder, one.name) for _ in range(3)]
        rows.append(
            {
                "shape": name, "engine": one.name, "bytes": size_on_disk(folder / one.file),
                "seconds": round(min(run["seconds"] for run in runs), 3),
                "memory_mb": round(min(run["memory_mb"] or 0 for run in runs), 1),
            }
        )  # fmt: skip
    return rows


def answers(folders: Folders) -> Rows:
    """Do the logits of a sentence change with the sentences beside it, its padding, the instruction set?"""
    rows: Rows = []
    name, folder = next(iter(folders.items()))
    ids = generator("engine answers").integers(3, SHAPES[name].vocabulary, (SENTENCES, LENGTH))
    counts = np.full(SENTENCES, LENGTH)
    alone = [(ids[i : i + 1], counts[i : i + 1]) for i in range(SENTENCES)]
    padded = [(np.pad(own, ((0, 0), (0, MORE))), count) for own, count in alone]
    with tempfile.TemporaryDirectory() as own_folder:
        file = Path(own_folder) / "batches.npz"
        pairs = [(ids, counts), *alone, *padded]
        arrays = {f"{kind}_{i}": pair[j] for i, pair in enumerate(pairs) for j, kind in enumerate(("ids", "counts"))}
        np.savez(file, **arrays)  # type: ignore[arg-type]  # of numpy: keywords are taken for its own
        for one in present(folder):
            logits = fresh(folder, one.name, file)["logits"]
            together, single = np.array(logits[0]), np.concatenate(logits[1 : SENTENCES + 1])
            longer = np.concatenate(logits[SENTENCES + 1 :])
            row = {"shape": name, "engine": one.name, "mates": _changed(together, single, single)}
            row["padding"] = _changed(longer, single, single)
            if one.told:
                try:
                    older = fresh(folder, one.name, file, AVX2)["logits"]
                    row["instructions"] = _changed(np.array(older[0]), together, single)
                except UserError:
                    row["instructions"] = "does not run"
            rows.append(row)
    return rows


def _changed(one: np.ndarray, other: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """How many sentences have other logits, the largest difference in standard deviations, and other labels."""
    return {
        "sentences": int((one != other).any(1).sum()),
        "of": len(one),
        "deviations": float(f"{np.abs(one - other).max() / scale.std():.2g}"),
        "labels": int((one.argmax(1) != other.argmax(1)).sum()),
    }


def sparsity(folders: Folders) -> Rows:
    isas = ["native", "avx512"] if has_tiles() else ["native"]
    places = [(isa, name, n) for isa in isas for name in SHAPES for n in (16, 32)]
    return [{"shape": name} | row for isa, name, n in places for row in break_even(SHAPES[name], n, ROUNDS, isa)]


def text(folders: Folders) -> Rows:
    return costs(load_params().language, 128, 11_000, ROUNDS)


def predict(folders: Folders) -> Rows:
    """The command on a thousand lines, and on a million; on one thread, and on all."""
    language, folder = load_params().language, next(iter(folders.values()))
    runs = [(lines, threads) for threads in (1, 2)[: os.cpu_count()] for lines in (1024, 1024 * 1000)]
    return [stream(language, lines, threads, folder) for lines, threads in runs]


PARTS: dict[str, Callable[[Folders], Rows]] = {
    "speed": speed,
    "footprint": footprint,
    "answers": answers,
    "sparsity": sparsity,
    "text": text,
    "predict": predict,
}

if __name__ == "__main__":
    main()
