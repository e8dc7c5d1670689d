"""Measure how fast training is, into reports/training_speed.md: `python -m stages.training_speed [--data DIR]`.

No stage of dvc.yaml, as seconds are no results. Each part is measured for itself and replaces what the file holds of
it, so that one can be repeated. Parts that need SST-2 (`trainer`, `autocast`, `ladder`) are left out without --data,
the folder of train.tsv.gz.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from integer_tickets.benchmark.gpu import measure as measure_gpu
from integer_tickets.benchmark.huggingface import bert_trainer_seconds
from integer_tickets.benchmark.training import (
    attention_times,
)
from integer_tickets.files import read_json, write_json, write_text
from integer_tickets.model.transformer import Transformer, initialise, linear_names
from integer_tickets.report.speed import page
from integer_tickets.seeds import generator
from integer_tickets.tickets.ladder import rewound
from integer_tickets.tickets.masks import dense_masks, density
from integer_tickets.tickets.structure import sizes_of, structured_names, units_of
from integer_tickets.training.loop import Schedule, train
from integer_tickets.training.state import fresh_state, load_state
from stages.benchmark import machine
from stages.models import build, ladder_schedule
from stages.step_speed import ROUNDS, Rows, Study, keep_memory, profile, quantization, sst2, structure

FILE = Path("reports/training_speed.json")
SHAPES = [(1024, 4, 8, 32), (512, 4, 16, 32), (256, 4, 32, 32), (128, 4, 64, 32), (16, 4, 256, 64)]
HUGGING_FACE = "Hugging Face Trainer, float32"
LEVELS, SHRINKING_LEVELS = 10, 5
"""Of the ladders that are timed on SST-2."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.training_speed", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, help="the folder of SST-2")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    arguments = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)  # except where a part says otherwise
    found: dict[str, Any] = read_json(FILE) if FILE.exists() else {}
    study = sst2(arguments.data) if arguments.data else None
    for part in arguments.parts:
        if part in NEED_DATA and study is None:
            print(f"{part}: left out, as it needs --data")
            continue
        print(f"{part} ...", flush=True)
        begin = time.perf_counter()
        rows = PARTS[part](study)
        if not rows:
            print(f"{part}: nothing to measure here, what was measured before stays")
            continue
        own = {name: value for name, value in machine().items() if name != "isa"}
        if part == "gpu":
            own["processor"] = f"{torch.cuda.get_device_name()}; its host"
        found[part] = {"machine": {**own, "versions": versions()}, "rows": rows}
        write_json(FILE, found)
        write_text(FILE.with_suffix(".md"), page(found))
        print(f"{part}: {time.perf_counter() - begin:.0f} s", flush=True)


def attention(study: Study | None) -> Rows:
    rows = []
    for threads in (1, 2):
        for shape in SHAPES:
            isas = ("avx2", "native") if threads == 2 else ("baseline", "avx2", "native")
            for row in attention_times(shape, isas, threads, ROUNDS):
                rows.append({**dict(zip(("batch", "heads", "n", "d"), shape, strict=True)), "threads": threads, **row})
    return rows


def trainer(study: Study | None) -> Rows:
    """Tokens per second of the training loop and of Hugging Face's Trainer, taking turns."""
    assert study is not None
    params, corpus = study
    split = corpus.splits["train"]
    chosen = np.sort(generator("trainer rows", 0).permutation(len(split))[:10000])
    part = split.rows(chosen)
    tokens = int(part.lengths.sum())
    shape: dict[str, Any] = {
        "vocabulary": corpus.tokenizer.size, "positions": corpus.tokenizer.positions, "classes": len(corpus.labels),
        "width": 128, "layers": 2, "heads": 4, "hidden": 512, "dropout": 0.1,
    }  # fmt: skip
    few = part.rows(np.arange(64))  # the loop looks at the selection split after an epoch

    def ours(kind: str, batch: int, autocast: bool) -> float:
        model = Transformer(**shape, attention=kind, isa="native")
        initialise(model, generator("speed", 0))
        schedule = Schedule(1, batch, params.train.tokens, 1e-3, 0.1, 0.01, 0, autocast)
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            train(model, fresh_state(model), part, few, schedule, {}, Path(folder), label=kind)
            return time.perf_counter() - begin

    peer = partial(bert_trainer_seconds, shape, part)
    contestants: dict[str, Callable[[int], float]] = {
        "Inhibitor, bf16 products": lambda batch: ours("inhibitor", batch, True),
        "Inhibitor, float32": lambda batch: ours("inhibitor", batch, False),
        "softmax, bf16 products": lambda batch: ours("softmax", batch, True),
        "softmax, float32": lambda batch: ours("softmax", batch, False),
        HUGGING_FACE: lambda batch: peer(batch),
        "Hugging Face Trainer, bf16": lambda batch: peer(batch, bf16=True),
        "Hugging Face Trainer, float32, BERT as it comes": lambda batch: peer(batch, as_it_comes=True),
    }
    rows: Rows = []
    for threads, batch in ((1, 16), (1, 32), (1, params.train.batch), (2, params.train.batch)):
        torch.set_num_threads(threads)
        taken: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(3):
            for name, run in contestants.items():
                taken[name].append(run(batch))
                print(f"{threads} threads, batch {batch}, {name}: {taken[name][-1]:.1f} s", flush=True)
        base = float(np.median(taken[HUGGING_FACE]))
        for name, seconds in taken.items():
            median = float(np.median(seconds))
            rows.append({
                "batch": batch, "threads": threads, "name": name, "tokens_per_second": round(tokens / median),
                "ratio": round(base / median, 3),
            })  # fmt: skip
    torch.set_num_threads(1)
    return rows


def ladder(study: Study | None) -> Rows:
    """The Inhibitor's ladder on SST-2, one seed, on two threads: ten levels of weights, five of structure."""
    assert study is not None
    params, corpus = study
    torch.set_num_threads(2)
    split, selection = corpus.splits["train"], corpus.splits["selection"]
    schedule, rows = ladder_schedule(params, 0), []
    with tempfile.TemporaryDirectory() as folder:
        for pattern, levels in (("weight", LEVELS), ("structure", SHRINKING_LEVELS)):
            begin, work = time.perf_counter(), Path(folder) / pattern
            heads = params.model.heads if pattern == "structure" else None
            model = build(params, corpus, "inhibitor")
            initialise(model, generator("initial", 0))
            keep = params.variants["float"].rewind
            result = train(model, fresh_state(model), split, selection, schedule, {}, work / "0", keep_at=keep)
            rewind = load_state(work / "0" / "rewind.safetensors")[0]
            masks = dense_masks(rewind.weights, structured_names(model) if heads else linear_names(model))
            before = 0.0
            for level in range(levels):
                if level:
                    masks, start = rewound(result.weights, masks, rewind, params.prune.keep, "global", heads)
                    sizes = sizes_of(units_of(masks, heads)) if heads else None
                    model = build(params, corpus, "inhibitor", sizes=sizes)
                    zeros = {} if heads else masks
                    result = train(model, start, split, selection, schedule, zeros, work / str(level))
                seconds = time.perf_counter() - begin
                row = {
                    "pattern": pattern, "level": level, "density": round(density(masks), 4),
                    "own_seconds": round(seconds - before, 1), "seconds": round(seconds, 1),
                    "steps": len(result.history) and result.history[-1]["step"] - (start.step if level else 0),
                    "selection_accuracy": max(row["selection_accuracy"] for row in result.history),
                }  # fmt: skip
                before = seconds
                rows.append(row)
                print(json.dumps(row), flush=True)
    torch.set_num_threads(1)
    return rows


def autocast(study: Study | None) -> Rows:
    """Selection accuracy of dense models on SST-2 with and without bfloat16 products."""
    assert study is not None
    params, corpus = study
    torch.set_num_threads(2)
    rows = []
    for kind in params.grid.attentions:
        for seed in (0, 1):
            row: dict[str, Any] = {"attention": kind, "seed": seed}
            for name, on in (("float32", False), ("bf16", True)):
                model = build(params, corpus, kind)
                initialise(model, generator("initial", seed))
                schedule = replace(ladder_schedule(params, seed), autocast=on)
                splits = corpus.splits["train"], corpus.splits["selection"]
                with tempfile.TemporaryDirectory() as folder:
                    result = train(model, fresh_state(model), *splits, schedule, {}, Path(folder))
                row[name] = max(part["selection_accuracy"] for part in result.history)
            rows.append(row)
    torch.set_num_threads(1)
    return rows


def gpu(study: Study | None) -> Rows:
    """Attention on a GPU, where there is one."""
    return list(measure_gpu()) if torch.cuda.is_available() else []


def pipeline(study: Study | None) -> Rows:
    """The last whole run of the pipeline, as the runner timed it."""
    file = Path(".work/run.json")
    return [read_json(file)] if file.exists() else []


def versions() -> dict[str, str]:
    known = {}
    for name in ("torch", "numpy", "transformers", "accelerate"):
        try:
            known[name] = version(name)
        except ImportError:
            known[name] = "absent"
    return known


PARTS: dict[str, Callable[[Study | None], Rows]] = {
    "attention": attention,
    "quantization": quantization,
    "profile": profile,
    "trainer": trainer,
    "autocast": autocast,
    "ladder": ladder,
    "structure": structure,
    "gpu": gpu,
    "pipeline": pipeline,
}
NEED_DATA = {"trainer", "autocast", "ladder"}

if __name__ == "__main__":
    main()
