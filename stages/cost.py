"""What a run is about to cost: `python -m stages cost JOBS` reads the commands of its items and says it in one line.

The time is that of a few steps on made-up sentences, measured here, times the steps that the trainings will take.
"""

import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from integer_tickets.blocks import SUPERMASKS, WEIGHT_NAMES, Shape, own_bits
from integer_tickets.data.batches import Split, pad
from integer_tickets.files import read_json
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.model.transformer import initialise
from integer_tickets.params import Params, load_params
from integer_tickets.seeds import generator
from integer_tickets.training.loop import train
from integer_tickets.training.state import fresh_state
from stages.models import DATA, build, ladder_schedule, prepare_torch
from stages.supermask import supermask_shape

STEPS, WARM = 8, 3
ITEM = 3.0  # seconds that starting and ending an item takes beside its trainings


@dataclass(frozen=True)
class Work:
    """Trainings of one kind that an item makes: weights as in params, `passes` over the train text in all of them.

    shape: where it is not that of the model; taught: whether a pass is over all lessons.
    """

    attention: str
    weights: str
    trainings: int
    passes: int
    batch: int
    shape: Shape | None = None
    taught: bool = False


def main() -> None:
    params, jobs = load_params(), int(sys.argv[1])
    commands = [line for line in sys.stdin.read().splitlines() if line]
    works = [work for command in commands for work in work_of(command, params)]
    trainings, passes = (sum(getattr(work, what) for work in works) for what in ("trainings", "passes"))
    if trainings:
        said = _estimate(params, works, len(commands), jobs)
        print(f"{trainings} trainings, {passes} passes over the train text{said}, less where the cache has some")


def work_of(command: str, params: Params) -> Iterator[Work]:
    """The trainings of one item, by the command that runs it."""
    stage, *words = command.partition(" stages ")[2].split()
    parser = ArgumentParser()
    for name in ("attention", "variant", "levels", "level", "kind"):
        parser.add_argument(f"--{name}", default="")
    own = parser.parse_known_args(words)[0]
    batch, taught = params.train.batch, params.train.taught
    if stage == "teacher":
        yield Work("softmax", "float", 1, params.teacher.epochs, batch, params.teacher)
    if stage == "adopt":
        if params.adopt.before:
            yield Work("softmax", "float", 1, params.adopt.before, params.adopt.batch, taught=True)
        yield Work(own.attention, "float", 1, params.adopt.epochs, params.adopt.batch, taught=True)
    if stage == "supermask":
        shape = supermask_shape(params)
        yield Work(own.attention, WEIGHT_NAMES[SUPERMASKS[own.kind]], 1, params.supermask.epochs, batch, shape, taught)
    if not own.variant:
        return
    variant = params.variants[own.variant]
    epochs = variant.epochs or params.train.epochs
    if stage in ("train_dense", "controls", "transfer", "connectivity"):
        passes = epochs * (int(own.level) + 1) if own.kind == "longer" else epochs
        yield Work(own.attention, variant.weights, 1, passes, batch, taught=taught)
    if stage == "prune_rewind":
        first, last = map(int, own.levels.split("-"))
        levels = last - first + 1
        yield Work(own.attention, variant.weights, levels, levels * epochs, batch, taught=taught)
    for name, block in (("quantize", params.quantize), ("distill", params.distill)):
        if stage == name and (name == "distill" or variant.weights == "float"):
            for bits in own_bits(variant, block.bits):
                lessons = taught or name == "distill"
                yield Work(own.attention, WEIGHT_NAMES[bits], 1, block.epochs, block.batch, taught=lessons)


def _estimate(params: Params, works: Iterable[Work], items: int, jobs: int) -> str:
    """As in `, about 5 minutes`; nothing where the size of the corpus is not known yet."""
    statistics = DATA / "statistics.json"
    if statistics.exists():
        prepared = read_json(statistics)
        found = prepared["splits"]["train"]
        rows, length = found["rows"], found["tokens"]["mean"]
        more = prepared["lessons"]
    elif params.data.source in ("builtin", "enumerable"):
        rows, length = params.language.train, params.tokenizer.positions / 2
        more = params.lessons.augmented + min(params.lessons.unlabelled, params.language.unlabelled)
    else:
        return ""
    length, pace = max(1, min(round(length), params.tokenizer.positions)), {}
    seconds = ITEM * items
    for work in works:
        key = work.attention, work.weights, work.batch, work.shape
        if key not in pace:
            pace[key] = seconds_a_step(params, *key, length)
        seconds += pace[key] * work.passes * (rows + more * work.taught) / work.batch
    minutes = max(1, round(seconds / min(jobs, items) / 60))
    about = "more than" if params.teacher.pretrained else "about"  # its own steps are not among those measured
    return f", {about} {minutes} minute{'s' if minutes > 1 else ''}"


def seconds_a_step(params: Params, attention: str, weights: str, batch: int, shape: Shape | None, length: int) -> float:
    """Of training on sentences of that many tokens."""
    prepare_torch(params, trains=False)
    tokenizer = SimpleNamespace(size=params.tokenizer.size, positions=params.tokenizer.positions)
    corpus: Any = SimpleNamespace(tokenizer=tokenizer, labels=("no", "yes"))
    variant = next((name for name, own in params.variants.items() if own.weights == weights), params.grid.variants[0])
    model = build(params, corpus, attention, weights, variant, shape)
    initialise(model, generator("cost"))
    rows = (STEPS + 1) * batch
    ids = generator("cost", 1).integers(3, tokenizer.size, rows * length).astype(np.int32)
    split = Split(ids, np.arange(rows + 1) * length, np.zeros(rows, np.int64))
    if isinstance(model, QuantizedTransformer):
        some = pad(split, np.arange(16))
        model.calibrate([(torch.from_numpy(some[0]), torch.from_numpy(some[1]))])
    schedule, begin = ladder_schedule(params, 0), 0.0
    for steps in (WARM, STEPS):
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            train(model, fresh_state(model), split, split, schedule, {}, Path(folder), until=steps, label="cost")
    return (time.perf_counter() - begin) / STEPS
