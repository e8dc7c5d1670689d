"""The models of a study: which folders the parameters call for, what lies in them, and the tidy table of results."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from integer_tickets.blocks import SUPERMASKS, WEIGHT_NAMES, own_bits
from integer_tickets.errors import UserError
from integer_tickets.evaluation.metrics import METRICS, Array, confusion
from integer_tickets.files import read_json
from integer_tickets.integer.artefact import artefact_bits
from integer_tickets.params import Params

RESULT_COLUMNS = [
    *[
        "corpus",
        "attention",
        "variant",
        "seed",
        "role",
        "level",
        "density",
        "pattern",
        "weights",
        "rewind",
        "mask_from",
    ],
    *["distilled", "split", "metric", "value", "n", "bits", "model"],
]


@dataclass(frozen=True)
class Configuration:
    """What models that differ in the seed alone have in common; `stage` is the one that makes them."""

    stage: str
    role: str
    attention: str = ""
    variant: str = ""
    level: int | None = None
    weights: str = ""
    distilled: bool = False

    @property
    def name(self) -> str:
        """How tables and comparisons call it, as in `inhibitor int8 ticket level 4 distilled`."""
        if self.stage in ("teacher", "baseline"):
            return self.role
        ladder = self.attention if self.variant in ("", "float") else f"{self.attention}-{self.variant}"
        weights = self.weights if self.stage in ("quantize", "distill") else ""
        level = f"level {self.level}" if self.level else ""
        return " ".join(filter(None, (ladder, weights, self.role, level, "distilled" if self.distilled else "")))


@dataclass(frozen=True)
class Entry:
    """One model that the parameters call for, and its folder relative to the top folder of the project."""

    configuration: Configuration
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.configuration.name} seed {self.seed}"


@dataclass(frozen=True)
class Model:
    """One trained model: its info.json, predicted classes (rows,) per split, bits of what is shipped, history rows.

    bits: of the file of an integer network, but of a supermask those of its seed and mask, of the control `small` those
    it was planned to take; of a float model 32 for each parameter that was not pruned, be it held as a zero (pattern
    weight) or no more in the model (structure); None for the rest of the ladder of an integer variant, which ships as
    the integer networks made from it.
    """

    entry: Entry
    info: dict[str, Any]
    predictions: dict[str, Array]
    bits: int | None
    history: list[dict[str, str]]


def expected(params: Params, artifacts: Path) -> list[Entry]:
    """Every model folder of the study: the teacher, students aligned with it, then per configuration all seeds."""
    grid = params.grid
    teacher = Configuration("teacher", "teacher", "softmax", "", 0, "float")
    entries = [Entry(teacher, params.teacher.seed, artifacts / "teacher")]
    for attention in params.adopt.attentions if params.train.adopted else ():
        adopted = Configuration("adopt", "adopted", attention, "", 0, "float")
        entries.append(Entry(adopted, params.adopt.seed, artifacts / "adopted" / attention))
    for attention in grid.attentions:
        for kind in params.supermask.kinds:
            weights = WEIGHT_NAMES[SUPERMASKS[kind]]
            configuration = Configuration("supermask", "supermask", attention, kind, 0, weights)
            entries += [
                Entry(configuration, seed, artifacts / "controls" / f"{attention}-supermask-{seed}" / kind)
                for seed in grid.seeds
            ]
        for variant in grid.variants:
            for configuration, place in _configurations(params, attention, variant):
                stage, _, rest = place.partition("/")
                entries += [
                    Entry(configuration, seed, artifacts / stage / f"{attention}-{variant}-{seed}" / rest)
                    for seed in grid.seeds
                ]
    return entries


def _configurations(params: Params, attention: str, variant: str) -> list[tuple[Configuration, str]]:
    """The configurations of one attention and variant, each with its place below (STAGE/.../FOLDER)."""
    settings = params.variants[variant]
    found = []

    def add(place: str, stage: str, role: str, level: int, weights: str, distilled: bool = False) -> None:
        found.append((Configuration(stage, role, attention, variant, level, weights, distilled), place))

    add("ladder/dense/level_0", "train_dense", "dense", 0, settings.weights)
    for segment in params.grid.segments:
        for level in range(segment.first, segment.last + 1):
            add(f"ladder/{segment.id}/level_{level}", "prune_rewind", "ticket", level, settings.weights)
    for part in params.controls.levels:
        for kind in params.controls.kinds:
            add(f"controls/level_{part.level}/{kind}", "controls", kind, part.level, settings.weights)
    for source in params.transfer.sources:
        for other in params.transfer.levels if source.attention == attention else []:
            role = f"from_{source.id}"
            add(f"controls/level_{other.level}/{role}", "transfer", role, other.level, settings.weights)
    for again in params.connectivity.levels:
        add(f"controls/level_{again.level}/order", "connectivity", "order", again.level, settings.weights)
    for folder, stage, block in (
        ("integer", "quantize", params.quantize),
        ("distilled", "distill", params.distill),
    ):
        for own in block.levels:
            role = "ticket" if own.level else "dense"
            for bits in own_bits(settings, block.bits):
                weights = WEIGHT_NAMES[bits]
                place = f"{folder}/level_{own.level}/{weights}"
                add(place, stage, role, own.level, weights, stage == "distill")
    return found


def stale(params: Params, artifacts: Path) -> list[Path]:
    """What lies where outputs of model stages lie and is none: left by an earlier grid or other levels, sorted.

    DVC does not remove them, and a stage that depends on the whole folder would hash them along.
    """
    grid = params.grid
    parts: dict[str, list[str]] = {"ladder": ["dense", *(segment.id for segment in grid.segments)]}
    parts["controls"] = [
        *(f"level_{part.level}/{kind}" for part in params.controls.levels for kind in params.controls.kinds),
        *(f"level_{part.level}/order" for part in params.connectivity.levels),
        *(f"level_{part.level}/from_{own.id}" for part in params.transfer.levels for own in params.transfer.sources),
    ]
    for stage, block in (("integer", params.quantize), ("distilled", params.distill)):
        parts[stage] = [f"level_{part.level}" for part in block.levels]
    names = [f"{a}-{v}-{s}" for a in grid.attentions for v in grid.variants for s in grid.seeds]
    wanted = {artifacts / stage / name / part for stage in parts for name in names for part in parts[stage]}
    wanted |= {entry.folder for entry in expected(params, artifacts) if entry.configuration.stage == "supermask"}
    wanted |= {artifacts / "information" / f"{name}.csv" for name in names}
    above = {folder for part in wanted for folder in part.parents}

    def strangers(folder: Path) -> Iterator[Path]:
        for path in folder.glob("*"):
            if path in above:
                yield from strangers(path)
            elif path not in wanted:
                yield path

    return sorted(path for stage in (*parts, "information") for path in strangers(artifacts / stage))


def read_model(entry: Entry, rows: Mapping[str, int], classes: int) -> Model:
    """Read a model folder; `rows` are the expected rows of each split. UserError if it is missing or another one."""
    folder, configuration = entry.folder, entry.configuration
    if not (folder / "info.json").is_file():
        raise UserError(f"{folder}: no model there; the stage {configuration.stage} makes it, run dvc repro")
    info = read_json(folder / "info.json")
    wanted = {key: value for key, value in asdict(configuration).items() if key != "stage"} | {"seed": entry.seed}
    for key, value in wanted.items():
        if not isinstance(info, dict) or info.get(key) != value:
            raise UserError(f"{folder / 'info.json'}: {key} is not {value!r}; not the model that params.yaml asks for")
    return Model(entry, info, _predictions(folder, rows, classes), _bits(folder, info), _history(folder))


def _predictions(folder: Path, rows: Mapping[str, int], classes: int) -> dict[str, Array]:
    path = folder / "predictions.safetensors"
    logits = _tensors(path)
    for split, count in rows.items():
        shape = logits[split].shape if split in logits else None
        if shape != (count, classes):
            raise UserError(f"{path}: {split} has shape {shape}, expected {(count, classes)}; made from other data")
        if not np.isfinite(logits[split]).all():
            raise UserError(f"{path}: a logit of {split} is not finite; the training diverged, lower its learning rate")
    return {split: logits[split].argmax(1) for split in rows}


def stored_logits(entry: Entry, split: str) -> Array:
    """The logits (rows, classes) that the stage wrote."""
    return _tensors(entry.folder / "predictions.safetensors")[split]


def masks(entry: Entry) -> dict[str, Array]:
    """The masks of a float model by layer, flat bool."""
    tensors = _tensors(entry.folder / "model.safetensors")
    return {
        name.removeprefix("mask."): tensor.astype(bool).ravel()
        for name, tensor in sorted(tensors.items())
        if name.startswith("mask.")
    }


def _tensors(path: Path) -> dict[str, Array]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; remove the folder and run dvc repro") from None
    except SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None


def _bits(folder: Path, info: Mapping[str, Any]) -> int | None:
    ticket = folder / "ticket.safetensors"
    for planned in ("seed_and_mask_bits", "planned_bits"):
        if planned in info:
            return int(info[planned])
    if ticket.exists():
        return artefact_bits(ticket)
    if info["weights"] != "float":
        return None
    zeros = info["layers"].values() if info["pattern"] != "structure" else ()
    pruned = sum(layer["size"] - layer["kept"] for layer in zeros)
    return int(32 * (info["parameters"] - pruned))


def _history(folder: Path) -> list[dict[str, str]]:
    path = folder / "history.csv"
    if not path.is_file():
        raise UserError(f"{path}: no such file; remove the folder and run dvc repro")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def result_rows(
    fixed: Mapping[str, Any], predictions: Mapping[str, Array], labels: Mapping[str, Array], classes: int
) -> list[dict[str, Any]]:
    """Rows of the tidy table, one per split and metric; `fixed` holds the columns that say which model it is."""
    rows = []
    for split, predicted in predictions.items():
        matrix = confusion(labels[split], predicted, classes)
        for name, metric in METRICS.items():
            value = round(float(metric(matrix)), 6)
            rows.append({**fixed, "split": split, "metric": name, "value": value, "n": len(predicted)})
    return rows


def describe(model: Model) -> dict[str, Any]:
    """The columns of the tidy table that say which model it is."""
    configuration = asdict(model.entry.configuration)
    columns = {key: configuration[key] for key in ("role", "attention", "variant", "level", "weights", "distilled")}
    columns |= {key: model.info[key] for key in ("density", "pattern", "rewind", "mask_from")}
    return columns | {"seed": model.entry.seed, "bits": model.bits, "model": model.entry.folder.as_posix()}
