"""Measure how fast training is, into reports/training_speed.md: `python -m stages.training_speed [--data DIR]`.

No stage of dvc.yaml, as seconds are no results. Each part is measured for itself and replaces what the file holds of
it, so that one can be repeated. Parts that need SST-2 (`trainer`, `ladder`) are left out without --data, the folder of
train.tsv.gz.
"""

import argparse
import ctypes
import json
import platform
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
import yaml

from integer_tickets.benchmark.huggingface import bert_trainer_seconds
from integer_tickets.benchmark.shrinking import step_times as shrinking_times
from integer_tickets.benchmark.training import attention_times, step_parts, step_times, training_step
from integer_tickets.data.corpus import Corpus
from integer_tickets.data.preparation import prepare
from integer_tickets.files import read_json, write_json, write_text
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.model.transformer import Transformer, initialise, linear_names
from integer_tickets.params import Params, load_params, merge, parse_params
from integer_tickets.report.speed import page
from integer_tickets.seeds import generator
from integer_tickets.tickets.ladder import rewound
from integer_tickets.tickets.masks import dense_masks, density
from integer_tickets.training.loop import Schedule, train
from integer_tickets.training.state import fresh_state, load_state
from stages.benchmark import machine
from stages.models import build, calibration, ladder_schedule

FILE = Path("reports/training_speed.json")
SHAPES = [(1024, 4, 8, 32), (512, 4, 16, 32), (256, 4, 32, 32), (128, 4, 64, 32), (16, 4, 256, 64)]
ROUNDS = 9
HUGGING_FACE = "Hugging Face Trainer, float32"
LEVELS = 10
"""Of the ladder that is timed on SST-2."""


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
        found[part] = {"machine": {**machine(), "versions": versions()}, "rows": rows}
        write_json(FILE, found)
        write_text(FILE.with_suffix(".md"), page(found))
        print(f"{part}: {time.perf_counter() - begin:.0f} s", flush=True)


def keep_memory() -> None:
    """Let freed memory stay with the process (glibc); else a contestant pays for the state others leave the heap in."""
    if platform.libc_ver()[0] == "glibc":
        for option in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            ctypes.CDLL(None).mallopt(option, 1 << 30)


Study = tuple[Params, Corpus]


def sst2(folder: Path) -> Study:
    """The parameters of the preset, and its corpus."""
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    preset = yaml.safe_load(Path("presets/sst2.yaml").read_text(encoding="utf-8"))
    params = parse_params(merge(merge(values, preset), {"data": {"folder": str(folder)}}))
    return params, prepare(params)[1]


def attention(study: Study | None) -> list[dict[str, Any]]:
    rows = []
    for threads in (1, 2):
        for shape in SHAPES:
            isas = ("avx2", "native") if threads == 2 else ("baseline", "avx2", "native")
            for row in attention_times(shape, isas, threads, ROUNDS):
                rows.append({**dict(zip(("batch", "heads", "n", "d"), shape, strict=True)), "threads": threads, **row})
    return rows


def builtin() -> Study:
    params = load_params()
    return params, prepare(params)[1]


def quantization(study: Study | None) -> list[dict[str, Any]]:
    """A quantization-aware step beside a float one, default and SST-2."""
    rows = []
    for params, corpus in filter(None, (builtin(), study)):
        steps: dict[str, Callable[[], None]] = {}
        for kind in params.grid.attentions:
            for weights in ("float", "int8", "int4"):
                model = build(params, corpus, kind, weights, "float")
                initialise(model, generator("speed", 0))
                if isinstance(model, QuantizedTransformer):
                    with torch.no_grad():
                        model.classifier.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
                    model.calibrate(calibration(corpus, params))
                steps[f"{kind} {weights}"] = training_step(
                    model, corpus.splits["train"], params.quantize.batch, params.train.tokens
                )
        times = {row["name"]: row for row in step_times(steps, ROUNDS)}
        for name, row in times.items():
            base = times[f"{name.partition(' ')[0]} float"]["median_ms"]
            rows.append({"corpus": corpus.statistics["corpus"], **row, "ratio": round(row["median_ms"] / base, 3)})
    return rows


def profile(study: Study | None) -> list[dict[str, Any]]:
    rows = []
    for params, corpus in filter(None, (builtin(), study)):
        for kind, weights, autocast in (("inhibitor", "float", False), ("inhibitor", "float", True),
                                        ("softmax", "float", False), ("inhibitor", "int8", False)):  # fmt: skip
            if autocast and not (study and params is study[0]):
                continue  # the default run has no autocast
            model = build(params, corpus, kind, weights, "float")
            initialise(model, generator("speed", 0))
            if isinstance(model, QuantizedTransformer):
                model.calibrate(calibration(corpus, params))
            step = training_step(model, corpus.splits["train"], params.train.batch, params.train.tokens, autocast)
            name = f"{kind} {weights}{' bf16' if autocast else ''}"
            rows += [{"corpus": corpus.statistics["corpus"], "model": name, **row} for row in step_parts(step, 60)]
    return rows


def trainer(study: Study | None) -> list[dict[str, Any]]:
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
    rows: list[dict[str, Any]] = []
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


def ladder(study: Study | None) -> list[dict[str, Any]]:
    """Ten levels of the Inhibitor's ladder on SST-2, 3 epochs each, one seed, on two threads."""
    assert study is not None
    params, corpus = study
    torch.set_num_threads(2)
    split, selection = corpus.splits["train"], corpus.splits["selection"]
    schedule = ladder_schedule(params, "float", 0)
    model = build(params, corpus, "inhibitor")
    initialise(model, generator("initial", 0))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        keep = params.variants["float"].rewind
        result = train(model, fresh_state(model), split, selection, schedule, {}, Path(folder) / "0", keep_at=keep)
        rewind = load_state(Path(folder) / "0" / "rewind.safetensors")[0]
        masks = dense_masks(rewind.weights, linear_names(model))
        for level in range(LEVELS):
            if level:
                masks, start = rewound(result.weights, masks, rewind, params.prune.keep, "global")
                result = train(model, start, split, selection, schedule, masks, Path(folder) / str(level))
            accuracy = max(row["selection_accuracy"] for row in result.history)
            seconds = round(time.perf_counter() - begin, 1)
            row = {
                "level": level,
                "density": round(density(masks), 4),
                "seconds": seconds,
                "selection_accuracy": accuracy,
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    torch.set_num_threads(1)
    return rows


def autocast(study: Study | None) -> list[dict[str, Any]]:
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
                schedule = replace(ladder_schedule(params, "float", seed), autocast=on)
                splits = corpus.splits["train"], corpus.splits["selection"]
                with tempfile.TemporaryDirectory() as folder:
                    result = train(model, fresh_state(model), *splits, schedule, {}, Path(folder))
                row[name] = max(part["selection_accuracy"] for part in result.history)
            rows.append(row)
    torch.set_num_threads(1)
    return rows


def structure(study: Study | None) -> list[dict[str, Any]]:
    """A step at each level of a ladder of heads and neurons, default shape and that of SST-2."""
    rows = []
    densities = (1.0, 0.63, 0.4, 0.25, 0.16)
    for name, own, batch, tokens in (
        ("default", {"vocabulary": 1024, "width": 32, "heads": 4, "hidden": 64}, 64, 12),
        ("SST-2", {"vocabulary": 8000, "width": 128, "heads": 4, "hidden": 512}, 128, 11),
    ):
        for kind in ("inhibitor", "softmax"):
            shape = {"positions": 64, "classes": 2, "layers": 2, "dropout": 0.0, "attention": kind, **own}
            for row in shrinking_times({**shape, "isa": "native"}, densities, batch, tokens, ROUNDS):
                rows.append({"shape": name, "attention": kind, **row})
    return rows


def pipeline(study: Study | None) -> list[dict[str, Any]]:
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


PARTS: dict[str, Callable[[Study | None], list[dict[str, Any]]]] = {
    "attention": attention,
    "quantization": quantization,
    "profile": profile,
    "trainer": trainer,
    "autocast": autocast,
    "ladder": ladder,
    "structure": structure,
    "pipeline": pipeline,
}
NEED_DATA = {"trainer", "autocast", "ladder"}

if __name__ == "__main__":
    main()
