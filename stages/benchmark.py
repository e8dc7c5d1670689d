"""Stage benchmark: what a clock says of tickets, of float models, and of other engines at their shape."""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from integer_tickets.benchmark.peer_files import EncoderShape, write_files
from integer_tickets.benchmark.peers import Runner, present, versions
from integer_tickets.benchmark.timing import interleaved, summary
from integer_tickets.blocks import WEIGHT_NAMES, own_bits
from integer_tickets.data.corpus import Corpus, load_corpus
from integer_tickets.files import write_json, write_text
from integer_tickets.integer import artefact, native_engine, reference, torch_engine
from integer_tickets.integer.network import padded
from integer_tickets.integer.rounding import Array
from integer_tickets.model.transformer import Transformer
from integer_tickets.params import Params, load_params
from integer_tickets.report.markdown import timings_page
from stages.folders import read_float_model, rows_of
from stages.models import DATA, DISTILLED, Item, build, level_folder, level_name, prepare_torch

REPORTS = Path("reports")
SLOWEST = 16  # largest batch for the reference engine, which is for reading, not for speed

Call = Callable[[], object]


def main() -> None:
    params = load_params()
    prepare_torch(params, trains=False)
    corpus = load_corpus(DATA)
    every = rows_of(corpus.splits.get("test", corpus.splits["validation"]))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        own = params.model
        sizes = {"vocabulary": corpus.tokenizer.size, "positions": corpus.tokenizer.positions}
        absent = write_files(EncoderShape(own.width, own.layers, own.heads, own.hidden, **sizes), Path(folder))
        threads = params.runtime.threads
        peers: dict[str, Runner] = {}
        for one in present(Path(folder)):
            if one.compiles or not one.package:  # half a minute for each shape; tickets, which follow
                continue
            try:
                peers[one.name] = one.load(Path(folder) / one.file, threads)
                peers[one.name](*padded([[3]]))
            except RuntimeError:  # OpenVINO has bfloat16 with AVX-512 only, which the parameters may rule out
                absent[peers.popitem()[0]] = "does not run with this instruction set"
        for batch in params.benchmark.batches:
            sample = every[:batch] if batch > 1 else [sorted(every, key=len)[len(every) // 2]]
            ids, counts = padded(sample)
            calls: dict[tuple[str, str], Call] = dict(_trained(params, corpus, sample, ids, counts))
            calls |= {("encoder of this shape", name): partial(run, ids, counts) for name, run in peers.items()}
            taken = interleaved({" | ".join(key): call for key, call in calls.items()}, params.benchmark.rounds)
            for (what, engine), seconds in zip(calls, taken.values(), strict=True):
                shape = {"batch": batch, "tokens": int(counts.max()), "threads": threads}
                rows.append({"model": what, "engine": engine, **shape, **summary(seconds, batch)})
                print(f"batch {batch}: {what}, {engine}: {rows[-1]['median_us']} us")
    others = {name: value for name, value in versions().items() if name != "torch"}
    found = {"machine": machine() | others, "absent": absent, "rows": rows}
    write_json(REPORTS / "timings.json", found)
    write_text(REPORTS / "timings.md", timings_page(found))


def _trained(
    params: Params, corpus: Corpus, sample: list[list[int]], ids: Array, counts: Array
) -> Iterator[tuple[tuple[str, str], Call]]:
    """The dense float models in PyTorch and their last distilled tickets in every engine."""
    variant, seed = params.grid.variants[0], params.grid.seeds[0]
    weights = WEIGHT_NAMES[own_bits(params.variants[variant], params.distill.bits)[0]]
    for attention in params.grid.attentions:
        item = Item(attention, variant, seed)
        model = build(params, corpus, attention).cpu().eval()
        state = read_float_model(level_folder(item, params, 0))[0]
        model.load_state_dict({name: state[name] for name in model.state_dict()})
        yield (
            (f"{attention} float dense", "PyTorch"),
            partial(_infer, model, torch.from_numpy(ids), torch.from_numpy(counts)),
        )
        level = params.distill.levels[-1].level
        network = artefact.load(DISTILLED / item.name / level_name(level) / weights / "ticket.safetensors").network
        name = f"{attention} {weights} {'ticket' if level else 'dense'}"
        if native_engine.available() is None:
            run = partial(native_engine.padded_logits, network, ids, counts, params.runtime.threads, params.runtime.isa)
            yield (name, "integer, native"), run
        yield (name, "integer, torch"), partial(torch_engine.logits, network, sample)
        if len(sample) <= SLOWEST:
            yield (name, "integer, reference"), partial(reference.logits, network, sample)


@torch.inference_mode()
def _infer(model: Transformer, ids: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(ids, counts)
    return logits


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
