"""What training_speed.py measures of single steps: quantization-aware ones, their parts, those of shrinking models."""

import ctypes
import multiprocessing
import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import torch
import yaml

from integer_tickets.benchmark.training import shrinking_times, step_parts, step_times, training_steps
from integer_tickets.data.corpus import Corpus
from integer_tickets.data.preparation import prepare
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.model.transformer import Transformer, initialise
from integer_tickets.params import Params, load_params, merge, parse_params
from integer_tickets.seeds import generator
from stages.models import build, calibration
from stages.runner import pin

Rows = list[dict[str, Any]]
ROUNDS = 9


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


def builtin() -> Study:
    params = load_params()
    return params, prepare(params)[1]


def quantization(study: Study | None) -> Rows:
    """Quantization-aware steps beside float ones, those of the default run and of SST-2."""
    return pinned(quantization_steps, study)


def quantization_steps(params: Params, corpus: Corpus) -> Rows:
    steps: dict[str, Callable[[], None]] = {}
    shape = params.quantize.batch, params.train.tokens
    for kind in params.grid.attentions:
        for weights, autocast in product(("float", "int8", "int4"), sorted({False, params.runtime.autocast})):
            model = untrained(params, corpus, kind, weights)
            name = f"{kind} {weights}{' bf16' if autocast else ''}"
            steps[name] = training_steps(model, corpus.splits["train"], *shape, autocast)
    times = {row["name"]: row for row in step_times(steps, ROUNDS)}
    rows = []
    for name, row in times.items():
        kind = name.partition(" ")[0]
        ratios = {
            weights: round(row["median_ms"] / times[f"{kind} {weights}"]["median_ms"], 3)
            for weights in ("float", "float bf16") if f"{kind} {weights}" in times
        }  # fmt: skip
        rows.append({"corpus": corpus.statistics["corpus"], "isa": params.runtime.isa, **row, "ratios": ratios})
    return rows


def untrained(params: Params, corpus: Corpus, kind: str, weights: str) -> Transformer:
    model = build(params, corpus, kind, weights, "float")
    initialise(model, generator("speed", 0))
    if isinstance(model, QuantizedTransformer):
        with torch.no_grad():  # it starts from 0, of which no grid can be made
            model.classifier.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
        model.calibrate(calibration(corpus, params))
    return model


def profile(study: Study | None) -> Rows:
    return pinned(profile_steps, study)


def profile_steps(params: Params, corpus: Corpus) -> Rows:
    rows = []
    for kind, weights, autocast in (("inhibitor", "float", False), ("inhibitor", "float", True),
                                    ("softmax", "float", False), ("inhibitor", "int8", False),
                                    ("inhibitor", "int8", True)):  # fmt: skip
        if autocast and not params.runtime.autocast:
            continue
        model, split = untrained(params, corpus, kind, weights), corpus.splits["train"]
        steps = training_steps(model, split, params.train.batch, params.train.tokens, autocast)
        name = f"{kind} {weights}{' bf16' if autocast else ''}"
        rows += [{"corpus": corpus.statistics["corpus"], "model": name, **row} for row in step_parts(steps, 12)]
    return rows


def pinned(measure: Callable[[Params, Corpus], Rows], study: Study | None) -> Rows:
    """What `measure` finds for the default run and for SST-2, each in a process with the environment of a stage."""
    rows: Rows = []
    for params, folder in [(load_params(), None), *([(study[0], Path(study[0].data.folder))] if study else [])]:
        before = dict(os.environ)
        pin(params.runtime, pretrained=False)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows += pool.submit(measured, measure, folder).result()
        os.environ.clear()
        os.environ.update(before)
    return rows


def measured(measure: Callable[[Params, Corpus], Rows], folder: Path | None) -> Rows:
    keep_memory()
    torch.set_num_threads(1)
    return measure(*(sst2(folder) if folder else builtin()))


def structure(study: Study | None) -> Rows:
    """A step at each level of a ladder of heads, pairs and neurons, default shape and that of SST-2."""
    rows = []
    densities = (1.0, 0.63, 0.4, 0.25, 0.16)
    for name, own, batch, tokens in (
        ("default", {"vocabulary": 1024, "width": 32, "heads": 4, "hidden": 64}, 64, 12),
        ("SST-2", {"vocabulary": 8000, "width": 128, "heads": 4, "hidden": 512}, 128, 11),
    ):
        for kind in ("inhibitor", "softmax"):
            shape = {"positions": 64, "classes": 2, "layers": 2, "dropout": 0.0, "attention": kind, **own}
            for row in shrinking_times({**shape, "isa": "native"}, densities, batch, tokens, ROUNDS):
                rows.append({"shape": name, "batch": batch, "tokens": tokens, "attention": kind, **row})
    return rows
