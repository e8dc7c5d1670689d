"""Stage benchmark: what a clock says of the integer networks and of float peers of the same shape."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from integer_tickets.benchmark.peers import integer, onnx_runtime, padded, pytorch
from integer_tickets.benchmark.timing import interleaved, summary
from integer_tickets.data.corpus import load_corpus
from integer_tickets.files import write_json, write_text
from integer_tickets.integer import artefact
from integer_tickets.params import WEIGHT_NAMES, load_params, own_bits
from integer_tickets.report.markdown import timings_page
from stages.models import (
    DATA,
    DISTILLED,
    Item,
    build,
    level_folder,
    level_name,
    prepare_torch,
    read_float_model,
    rows_of,
)

REPORTS = Path("reports")
SLOWEST = 16  # largest batch for the reference engine, which is for reading, not for speed


def main() -> None:
    params = load_params()
    prepare_torch(params, trains=False)
    corpus = load_corpus(DATA)
    split = corpus.splits.get("test", corpus.splits["validation"])
    every = rows_of(split)
    variant, seed = params.grid.variants[0], params.grid.seeds[0]
    weights = WEIGHT_NAMES[own_bits(params.variants[variant], params.distill.bits)[0]]
    rows = []
    for batch in params.benchmark.batches:
        sample = every[:batch] if batch > 1 else [sorted(every, key=len)[len(every) // 2]]
        ids, counts = padded(sample)
        contestants: dict[tuple[str, str], Callable[[], object]] = {}
        for attention in params.grid.attentions:
            item = Item(attention, variant, seed)
            model = build(params, corpus, attention).cpu()
            state = read_float_model(level_folder(item, params, 0))[0]
            model.load_state_dict({name: state[name] for name in model.state_dict()})
            contestants[f"{attention} float dense", f"PyTorch {version('torch')}"] = pytorch(model, ids, counts)
            if attention == "softmax":
                for engine, call in onnx_runtime(model, ids, counts, params.runtime.threads).items():
                    contestants[f"{attention} float dense", engine] = call
            level = params.distill.levels[-1].level
            final = DISTILLED / item.name / level_name(level) / weights
            network = artefact.load(final / "ticket.safetensors").network
            for engine in ("torch", "reference"):
                if engine == "torch" or batch <= SLOWEST:
                    contestants[f"{attention} {weights} {'ticket' if level else 'dense'}", f"integer, {engine}"] = (
                        integer(network, engine, sample)
                    )
        taken = interleaved({" | ".join(key): call for key, call in contestants.items()}, params.benchmark.rounds)
        for (what, engine), seconds in zip(contestants, taken.values(), strict=True):
            shape = {"batch": batch, "tokens": int(counts.max()), "threads": params.runtime.threads}
            rows.append({"model": what, "engine": engine, **shape, **summary(seconds, batch)})
            print(f"batch {batch}: {what}, {engine}: {rows[-1]['median_us']} us")
    found = {"machine": machine(), "rows": rows}
    write_json(REPORTS / "timings.json", found)
    write_text(REPORTS / "timings.md", timings_page(found))


def machine() -> dict[str, Any]:
    """What the numbers were measured on: processor and versions, no names."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__.partition("+")[0],
        "isa": load_params().runtime.isa,
    }
