"""The parameters of a study: `params.yaml` read, checked once, and given as typed objects."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from integer_tickets.blocks import (
    ADOPTED,
    BLOCK,
    Adopt,
    Analyze,
    Benchmark,
    Block,
    Certify,
    Connectivity,
    Controls,
    Distill,
    Evaluate,
    Grid,
    Lessons,
    Model,
    Name,
    Prune,
    Quantize,
    Runtime,
    Supermask,
    Teacher,
    Train,
    Transfer,
    Variant,
)
from integer_tickets.corpus_blocks import Data, Language, Tokenizer
from integer_tickets.errors import UserError
from integer_tickets.faults import explain


class Params(Block):
    grid: Grid
    variants: dict[Name, Variant]
    runtime: Runtime
    data: Data
    language: Language
    tokenizer: Tokenizer
    model: Model
    train: Train
    prune: Prune
    controls: Controls
    transfer: Transfer
    connectivity: Connectivity
    supermask: Supermask
    quantize: Quantize
    distill: Distill
    teacher: Teacher
    lessons: Lessons
    adopt: Adopt
    evaluate: Evaluate
    analyze: Analyze
    certify: Certify
    benchmark: Benchmark

    @model_validator(mode="after")
    def consistent(self) -> "Params":
        for name in self.grid.variants:
            if name not in self.variants:
                raise ValueError(f"grid.variants names {name!r}, but variants has only {sorted(self.variants)}")
        for where in ("controls", "transfer", "connectivity", "quantize", "distill"):
            levels = getattr(self, where).levels
            for part in levels:
                segment = self.grid.segment_of(part.level)
                if segment is None:
                    raise ValueError(f"{where}.levels: {part.level}, but the ladder ends at level {self.grid.levels}")
                if part.segment != segment:
                    raise ValueError(f"{where}.levels: level {part.level} lies in {segment!r}, not in {part.segment!r}")
            if len({part.level for part in levels}) < len(levels):
                raise ValueError(f"{where}.levels names a level twice")
        if self.tokenizer.kind == "words" and self.data.source != "builtin":
            raise ValueError("tokenizer.kind = words: those of the built-in language, so data.source must be builtin")
        if any(part.level == 0 for part in self.controls.levels):
            raise ValueError("controls.levels: level 0 is dense and has no mask to compare with")
        if any(part.level == 0 for part in self.transfer.levels):
            raise ValueError("transfer.levels: level 0 is dense and has no mask to try elsewhere")
        if self.supermask.kinds and self.supermask.width % self.model.heads:
            raise ValueError(f"supermask.width: {self.supermask.width} is not a multiple of model.heads")
        for source in self.transfer.sources:
            if source.attention not in self.grid.attentions:
                raise ValueError(f"transfer.sources: {source.id!r} is for {source.attention}, not in grid.attentions")
        if len({(source.id, source.attention) for source in self.transfer.sources}) < len(self.transfer.sources):
            raise ValueError("transfer.sources names something twice")
        for part in self.controls.levels:
            before = f"{self.grid.segment_of(part.level - 1)}/level_{part.level - 1}"
            if part.before != before:
                raise ValueError(f"controls.levels: the level before level {part.level} is {before}, not {part.before}")
        for name in self.grid.variants:
            if self.variants[name].pattern == "block" and (self.model.width % BLOCK or self.model.hidden % BLOCK):
                raise ValueError(
                    f"variants.{name}: pattern = block needs model.width and model.hidden to be multiples of {BLOCK}"
                )
            whole = self.variants[name].weights != "float" and self.variants[name].pattern == "structure"
            if whole and self.model.per_channel:
                raise ValueError(
                    f"variants.{name}: heads, pairs and neurons of integers are cut with model.per_channel = false"
                )
            if self.train.prior and (self.variants[name].weights == "float" or self.variants[name].rewind):
                raise ValueError(f"variants.{name}: with a ticket as train.start weights are integers, rewind is 0")
        if self.adopt.attentions and not self.teacher.pretrained:
            raise ValueError(
                "adopt.attentions: students begin with the weights of a teacher.pretrained, which is empty"
            )
        for name in ("post_norm", "places", "biases") if self.adopt.attentions else ():
            if not getattr(self.model, name):
                raise ValueError(
                    f"model.{name} = false, but a student of adopt.attentions begins as a bert, with {name}"
                )
        drawn = set(self.grid.attentions) - set(self.adopt.attentions)
        if self.train.adopted and drawn:
            raise ValueError(f"train.start = {ADOPTED}, but {min(drawn)} is not among adopt.attentions")
        if self.certify.unit == "group" and not self.data.group:
            raise ValueError("certify.unit = group: name the column of groups, data.group")
        if self.train.prior and len(self.grid.attentions) > 1:
            raise ValueError("grid.attentions: with a ticket as train.start only its own")
        quantized = {part.level for part in self.quantize.levels}
        for part in self.distill.levels:
            if part.level not in quantized:
                raise ValueError(f"distill.levels: {part.level} is not among quantize.levels")
        missing = set(self.distill.bits) - set(self.quantize.bits)
        if missing:
            raise ValueError(f"distill.bits: {min(missing)} is not among quantize.bits")
        return self


def parse_params(values: Any, where: str = "params.yaml") -> Params:
    """Check a nested dictionary; every fault is one line naming the parameter."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error.errors()[0], Params)}") from None


def load_params(path: Path = Path("params.yaml")) -> Params:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run from the top folder of the project") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    return parse_params(values, str(path))


def merge(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Lay the differences of a preset over the values of params.yaml; lists and plain values are replaced."""
    merged = dict(values)
    for key, change in changes.items():
        both = isinstance(change, dict) and isinstance(values.get(key), dict)
        merged[key] = merge(values[key], change) if both else change
    return merged
