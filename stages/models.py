"""What the stages that make models share: items and their arguments, the job of a stage, and building a model."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from integer_tickets.blocks import ADOPTED as START_ADOPTED
from integer_tickets.blocks import BLOCK, WEIGHT_BITS, Shape, Tuning, Variant, embedding_bits
from integer_tickets.blocks import LESSONS as TAUGHT
from integer_tickets.data.batches import evaluation_batches, pad
from integer_tickets.data.corpus import Corpus, load_corpus
from integer_tickets.errors import UserError
from integer_tickets.model.kernel import available
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.model.transformer import LayerSize, Transformer, linear_names
from integer_tickets.params import Params, load_params
from integer_tickets.tickets.structure import sizes_of, units_of
from integer_tickets.training import processes
from integer_tickets.training.loop import Schedule
from integer_tickets.training.state import Masks
from stages.work import work_folder

CHANGING = ("tokens.weight", "classifier.bias")
"""What training from a prior network changes beside the weights of linear layers: each number of the rest that changed
would count in full in the code of the ticket."""
DATA = Path("artifacts/data")
BESIDE = [DATA / "tokenizer.safetensors", DATA / "statistics.json"]
PREPARED = [DATA / "corpus.safetensors", *BESIDE]  # of load_corpus
TEACHER = Path("artifacts/teacher")
LESSONS = Path(TAUGHT)
ADOPTED = Path(START_ADOPTED)
LADDER = Path("artifacts/ladder")
CONTROLS = Path("artifacts/controls")
INTEGER = Path("artifacts/integer")
DISTILLED = Path("artifacts/distilled")


@dataclass(frozen=True)
class Item:
    """One cell of the grid: attention x variant x seed, and a segment, level or kind where the stage has them."""

    attention: str
    variant: str
    seed: int
    segment: str = ""
    level: int = 0
    kind: str = ""

    @property
    def name(self) -> str:
        return f"{self.attention}-{self.variant}-{self.seed}"

    def ladder(self, part: str) -> Path:
        """Where `dense` or a segment of the ladder lies."""
        return LADDER / self.name / part


@dataclass(frozen=True)
class Job:
    """An item and what its stage works with."""

    item: Item
    params: Params
    variant: Variant
    corpus: Corpus
    work: Path  # unfinished work; `work / "out"` becomes the item's output
    settings: Mapping[str, Any]  # the parameters that its output depends on
    lessons: Path  # the texts of train, and what is said of them
    shape: Shape | None = None  # where it is not that of the model
    passes: int = 1  # how many times as many epochs as the variant has

    @property
    def heads(self) -> int | None:
        """Heads of a layer of the dense model where structure is pruned, None where weights are."""
        return self.params.model.heads if self.variant.pattern == "structure" else None

    @property
    def block(self) -> int:
        """How many neighbouring weights are pruned as one."""
        return BLOCK if self.variant.pattern == "block" else 1

    def model(self, masks: Mapping[str, Tensor], weights: str = "float") -> Transformer:
        """An untrained model of the item; of the heads, pairs and neurons that live where these are pruned."""
        sizes = None if self.heads is None or not masks else sizes_of(units_of(masks, self.heads))
        model = build(self.params, self.corpus, self.item.attention, weights, self.item.variant, self.shape, sizes)
        if self.params.train.prior:
            for name, parameter in model.named_parameters():
                changes = name in CHANGING or name in linear_names(model)
                parameter.requires_grad_(changes and name not in model.zeros)
        return model

    @property
    def schedule(self) -> Schedule:
        """Of dense models, tickets and controls."""
        schedule = ladder_schedule(self.params, self.item.seed)
        return replace(schedule, epochs=self.passes * (self.variant.epochs or schedule.epochs))

    def zeros(self, masks: Masks) -> Masks:
        """The masks under which a model holds zeros: none where what is pruned is not in it."""
        return masks if self.heads is None else {}


def level_name(level: int) -> str:
    return f"level_{level}"


def level_folder(item: Item, params: Params, level: int) -> Path:
    """Where the trained model of a level lies."""
    return item.ladder(params.grid.segment_of(level) or "dense") / level_name(level)


def item_from_arguments(stage: str, params: Params) -> Item:
    """The item that the command line names; prune_rewind has a segment, what comes after it a level of its own."""
    parser = argparse.ArgumentParser(prog=f"python -m stages {stage}")
    parser.add_argument("--attention", required=True, choices=params.grid.attentions)
    parser.add_argument("--seed", required=True, type=int, choices=params.grid.seeds)
    if stage == "supermask":
        parser.add_argument("--kind", required=True, choices=params.supermask.kinds)
        return Item(variant=stage, **vars(parser.parse_args()))
    parser.add_argument("--variant", required=True, choices=params.grid.variants)
    if stage == "prune_rewind":
        levels = {segment.id: f"{segment.first}-{segment.last}" for segment in params.grid.segments}
        parser.add_argument("--segment", required=True, choices=list(levels))
        parser.add_argument("--levels", required=True, choices=list(levels.values()))
    elif stage in ("controls", "transfer", "connectivity", "quantize", "distill"):
        chosen = [part.level for part in getattr(params, stage).levels]
        parser.add_argument("--level", required=True, type=int, choices=chosen)
    if stage == "controls":
        parser.add_argument("--kind", required=True, choices=params.controls.kinds)
    elif stage == "transfer":
        parser.add_argument("--kind", required=True, choices=sorted({part.id for part in params.transfer.sources}))
    arguments = vars(parser.parse_args())
    arguments.pop("levels", None)  # for DVC, which compares commands: a segment cut elsewhere is another one
    return Item(**arguments)


def begin(stage: str, inputs: Callable[[Item, Params], Iterable[Path]], blocks: Iterable[str]) -> Job:
    """What every stage with items does first; `inputs` and `blocks` are what its output depends on.

    `blocks` names parts of params, as in quantize.lr, beside the item's variant, runtime and model.
    """
    params = load_params()
    item = item_from_arguments(stage, params)
    prepare_torch(params)
    level = str(item.level) if item.level else ""
    name = "-".join(filter(None, [item.name, item.segment, level, item.kind]))
    settings = chosen_settings(params, item, blocks)
    settings["segment"] = [part.model_dump() for part in params.grid.segments if part.id == item.segment]
    lessons = LESSONS if stage == "distill" else Path(params.train.lessons)
    work = work_folder(stage, name, settings, [lessons, *BESIDE, *inputs(item, params)])
    return Job(item, params, params.variants[item.variant], load_corpus(DATA, lessons), work, settings, lessons)


def chosen_settings(params: Params, item: Item, blocks: Iterable[str]) -> dict[str, Any]:
    """The parameters that an item depends on, by name."""
    values = params.model_dump(mode="json")
    found: dict[str, Any] = {"variant": values["variants"][item.variant], "runtime": training_runtime(params)}
    for block in ("model", *blocks):
        value = values
        for part in block.split("."):
            value = value[part]
        found[block] = value
    return found


def training_runtime(params: Params, *packages: str) -> dict[str, Any]:
    """The part of `runtime` that the bits of training depend on; packages: whose versions count beside the usual."""
    runtime, counts = params.runtime.model_dump(mode="json"), ("torch", "numpy", *packages)
    versions = {name: version for name, version in runtime["versions"].items() if name in counts}
    return runtime | {"versions": versions}


def prepare_torch(params: Params, *, trains: bool = True) -> None:
    """Threads, device and determinism as the parameters say; a stage that `trains` meets the other processes, too."""
    runtime = params.runtime
    torch.set_num_threads(runtime.threads)
    if runtime.device == "cuda":
        if not torch.cuda.is_available():
            raise UserError("runtime.device = cuda, but PyTorch finds no GPU; set it to cpu")
        torch.use_deterministic_algorithms(True)
    if runtime.kernel == "fused" and runtime.device == "cpu":
        reason = available(runtime.isa)
        if reason is not None:
            raise UserError(f"runtime.kernel = fused, but {reason}; set it to plain (slower, other bits)")
    can = torch.cpu.get_capabilities()
    if runtime.autocast and runtime.device == "cpu" and not (can.get("avx512_bf16") or can.get("bf16")):
        raise UserError("runtime.autocast = true, but this processor has no products in bfloat16; set it to false")
    if trains:
        processes.join(runtime.processes, runtime.device)


def build(
    params: Params,
    corpus: Corpus,
    attention: str,
    weights: str = "float",
    variant: str = "",
    shape: Shape | None = None,
    sizes: list[LayerSize] | None = None,
) -> Transformer:
    """An untrained model: float, or quantization-aware where `weights` names integers (then of a variant).

    sizes: those of the layers, where they are not those of the shape.
    """
    arguments = shape_arguments(params, corpus, attention, shape or params.model, sizes)
    if weights == "float":
        return Transformer(**arguments).to(params.runtime.device)
    arguments["bits"] = WEIGHT_BITS[weights]
    arguments["embedding_bits"] = embedding_bits(params.variants[variant], params.quantize)
    arguments |= {"power_of_two": params.model.power_of_two, "per_channel": params.model.per_channel}
    return QuantizedTransformer(**arguments).to(params.runtime.device)


def shape_arguments(
    params: Params, corpus: Corpus, attention: str, shape: Shape, sizes: list[LayerSize] | None = None
) -> dict[str, Any]:
    """What every Transformer is made with."""
    return {
        "vocabulary": corpus.tokenizer.size,
        "positions": corpus.tokenizer.positions,
        "classes": len(corpus.labels),
        "width": shape.width,
        "layers": shape.layers,
        "heads": shape.heads,
        "hidden": shape.hidden,
        "dropout": shape.dropout,
        "attention": attention,
        "biases": params.model.biases,
        "places": params.model.places,
        "post_norm": params.model.post_norm,
        "signed": params.model.signed,
        "kernel": params.runtime.kernel,
        "isa": params.runtime.isa,
        "sizes": sizes,
    }


def ladder_schedule(params: Params, seed: int) -> Schedule:
    """The schedule of the parameters, as far as a variant or a stage has none of its own."""
    own, autocast = params.train, params.runtime.autocast
    return Schedule(own.epochs, own.batch, own.tokens, own.lr, own.warmup, own.weight_decay, seed, autocast)


def tuning_schedule(params: Params, own: Tuning, seed: int, purpose: str) -> Schedule:
    """Epochs, batch and learning rate of a stage's own, all else as on the ladder."""
    schedule = ladder_schedule(params, seed)
    return replace(schedule, epochs=own.epochs, batch=own.batch, lr=own.lr, purpose=purpose)


def calibration(corpus: Corpus, params: Params, rows: int = 1024) -> list[tuple[Tensor, Tensor]]:
    """The first rows of train as batches (ids, counts), to set the grids of a quantizer."""
    split = corpus.splits["train"]
    lengths = split.lengths[:rows]
    device = params.runtime.device
    return [
        (torch.from_numpy(ids).to(device), torch.from_numpy(counts).to(device))
        for ids, counts in (pad(split, indices) for indices in evaluation_batches(lengths))
    ]
