"""The parameters of a study: `params.yaml` read, checked once, and given as typed objects."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from integer_tickets.errors import UserError
from integer_tickets.faults import explain

T = TypeVar("T")


def _distinct(values: list[T]) -> list[T]:
    if len(set(values)) != len(values):
        raise ValueError("something is named twice")
    return values


Distinct = Annotated[list[T], AfterValidator(_distinct)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]
Bits = Literal[8, 4, 3, 2]
Attention = Literal["inhibitor", "softmax"]
Weights = Literal["float", "int8", "int4", "int3", "ternary"]

WEIGHT_BITS: dict[str, int] = {"int8": 8, "int4": 4, "int3": 3, "ternary": 2}
SUPERMASKS = {"signs": 2, "integers": 3}  # bits of the weights of each kind
WEIGHT_NAMES = {bits: name for name, bits in WEIGHT_BITS.items()}


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Segment(Block):
    id: Name
    previous: Name
    first: Count
    last: Count


class Level(Block):
    """A level of the ladder and where it lies: dense, or the id of a segment."""

    level: Natural
    segment: Name


class Control(Level):
    """A level with controls; `before` is the folder of the level above, as in lower/level_3."""

    before: str


class Grid(Block):
    attentions: list[Attention] = Field(min_length=1)
    variants: list[Name] = Field(min_length=1)
    seeds: list[Natural] = Field(min_length=1)
    segments: list[Segment] = Field(min_length=1)

    @model_validator(mode="after")
    def chained(self) -> "Grid":
        previous, level = "dense", 0
        for segment in self.segments:
            if segment.previous != previous or segment.first != level + 1 or segment.last < segment.first:
                raise ValueError(f"segment {segment.id!r} must follow {previous!r} and begin with level {level + 1}")
            previous, level = segment.id, segment.last
        parts = ["dense", *(segment.id for segment in self.segments)]  # each is a folder of the ladder
        for values in (self.attentions, self.variants, self.seeds, parts):
            if len(set(values)) != len(values):
                raise ValueError(f"{values} names something twice")
        return self

    @property
    def levels(self) -> int:
        """The last level of the ladder."""
        return self.segments[-1].last

    def segment_of(self, level: int) -> str | None:
        """Where a level lies: dense, the id of a segment, or None beyond the ladder."""
        if level == 0:
            return "dense"
        return next((part.id for part in self.segments if part.first <= level <= part.last), None)


BLOCK = 4  # neighbouring weights that pattern block prunes as one


class Variant(Block):
    weights: Weights
    pattern: Literal["weight", "block", "structure"]
    scope: Literal["global", "layerwise"]
    embedding: bool | Literal["only"]
    rewind: Natural
    embedding_bits: Bits | None = None
    epochs: Count | None = None

    def as_float(self) -> "Variant":
        """The variant that differs from this one in its weights alone, which are float."""
        return self.model_copy(update={"weights": "float", "embedding_bits": None, "epochs": None})

    @model_validator(mode="after")
    def of_one_kind(self) -> "Variant":
        if (self.weights == "float") != (self.embedding_bits is None):
            raise ValueError(
                "embedding_bits belongs to variants whose weights are integers, and they need it;"
                " for float ones quantize.embedding_bits says it"
            )
        if self.pattern == "structure" and self.embedding:
            raise ValueError(
                "embedding = true, but pattern = structure prunes heads, q/k pairs and hidden neurons alone"
            )
        return self


class Runtime(Block):
    threads: Count
    processes: Count
    isa: Literal["avx2", "native"]
    kernel: Literal["fused", "plain"]
    device: Literal["cpu", "cuda"]
    autocast: bool
    versions: dict[str, str]


class Hub(Block):
    id: str
    configuration: str
    revision: str


class Data(Block):
    name: str
    source: Literal["builtin", "enumerable", "files", "hub"]
    folder: str
    hub: Hub
    text: Distinct[str] = Field(min_length=1, max_length=2)
    label: str
    labels: list[str]
    group: str
    selection: Fraction
    validation: Fraction
    shuffled: bool
    seed: Natural


class Language(Block):
    train: Count
    selection: Count
    validation: Count
    test: Count
    unlabelled: Natural
    seed: Natural
    bayes_error: float = Field(ge=0.0001, le=0.45)
    nesting: int = Field(ge=1, le=3)
    vocabulary: int = Field(ge=100, le=400)
    distractors: Share


class Tokenizer(Block):
    kind: Literal["pieces", "words", "hash", "pretrained"]
    vocabulary: str = Field(pattern=r"^[^/\\]*$")
    size: int = Field(ge=8, le=65536)
    positions: int = Field(ge=1, le=255)

    @model_validator(mode="after")
    def named(self) -> "Tokenizer":
        if (self.kind == "pretrained") != bool(self.vocabulary):
            raise ValueError("vocabulary names a file in data.folder where kind is pretrained, else it is empty")
        return self


class Shape(Block):
    width: int = Field(ge=4, le=1020)
    layers: Count
    heads: Count
    hidden: int = Field(ge=4, le=4096)
    dropout: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def divisible(self) -> "Shape":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.width // self.heads > 128:
            raise ValueError(f"a head is {self.width // self.heads} wide, at most 128 are possible")
        return self


class Model(Shape):
    biases: bool
    places: bool
    post_norm: bool
    signed: bool
    power_of_two: bool
    per_channel: bool


class Train(Block):
    epochs: Count
    batch: Count
    tokens: Count
    lr: Positive
    warmup: Share
    weight_decay: float = Field(ge=0)
    lessons: Literal["artifacts/data/corpus.safetensors", "artifacts/lessons.safetensors"]
    start: Literal["artifacts/data/tokenizer.safetensors", "artifacts/adopted"]
    prior: str


class Prune(Block):
    keep: Fraction


Kind = Literal["reinit", "signs", "shuffled", "random", "oneshot", "inverted", "lr_rewind", "finetune", "small"]


class Controls(Block):
    levels: list[Control]
    kinds: Distinct[Kind]
    finetune: Positive


class Source(Block):
    """Masks found elsewhere: those of PREFIX-VARIANT-SEED/SEGMENT/level_N, tried on the models of one attention."""

    id: Name
    attention: Attention
    prefix: str


class Transfer(Block):
    levels: list[Level]
    sources: list[Source]


class Supermask(Block):
    kinds: Distinct[Literal["signs", "integers"]]
    width: int = Field(ge=4, le=1020)
    keep: Fraction
    epochs: Count
    lr: Positive


class Connectivity(Block):
    levels: list[Level]
    points: int = Field(ge=3)


class Quantize(Block):
    levels: list[Level] = Field(min_length=1)
    bits: Distinct[Bits] = Field(min_length=1)
    embedding_bits: Bits
    epochs: Count
    batch: Count
    lr: Positive


class Distill(Block):
    levels: list[Level] = Field(min_length=1)
    bits: Distinct[Bits] = Field(min_length=1)
    epochs: Count
    batch: Count
    lr: Positive


class Teacher(Shape):
    pretrained: str
    epochs: Count
    lr: Positive
    seed: Natural


class Lessons(Block):
    temperature: Positive
    hard: Annotated[float, Field(gt=0, le=1)]
    augmented: Natural
    unlabelled: Natural
    words: list[Count] = Field(max_length=2)
    seed: Natural

    @model_validator(mode="after")
    def ordered(self) -> "Lessons":
        if self.words and not (len(self.words) == 2 and self.words[0] <= self.words[1]):
            raise ValueError(f"words = {self.words}: expected the fewest and the most of a sentence, or nothing")
        return self


class Adopt(Block):
    attentions: Distinct[Attention]
    epochs: Count
    batch: Count
    lr: Positive
    hidden: float = Field(ge=0)
    seed: Natural


class Evaluate(Block):
    bootstrap: int = Field(ge=100)
    confidence: Fraction
    margin: float = Field(ge=0, lt=1)
    seed: Natural


class Analyze(Block):
    examples: int = Field(ge=200)
    orders: Count
    sentences: Count
    seed: Natural


class Certify(Block):
    delta: Fraction
    unit: Literal["row", "text", "group"]
    clusters: Count


class Benchmark(Block):
    batches: Distinct[Count] = Field(min_length=1)
    rounds: Count


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
        if self.supermask.width % self.model.heads:
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
                raise ValueError(f"variants.{name}: with train.prior weights are integers, and rewind is 0")
        if self.adopt.attentions and not self.teacher.pretrained:
            raise ValueError(
                "adopt.attentions: students begin with the weights of a teacher.pretrained, which is empty"
            )
        drawn = set(self.grid.attentions) - set(self.adopt.attentions)
        if self.train.start == "artifacts/adopted" and drawn:
            raise ValueError(f"train.start = artifacts/adopted, but {min(drawn)} is not among adopt.attentions")
        if self.certify.unit == "group" and not self.data.group:
            raise ValueError("certify.unit = group: name the column of groups, data.group")
        if self.train.prior and len(self.grid.attentions) > 1:
            raise ValueError("grid.attentions: with train.prior only that of the prior network")
        quantized = {part.level for part in self.quantize.levels}
        for part in self.distill.levels:
            if part.level not in quantized:
                raise ValueError(f"distill.levels: {part.level} is not among quantize.levels")
        missing = set(self.distill.bits) - set(self.quantize.bits)
        if missing:
            raise ValueError(f"distill.bits: {min(missing)} is not among quantize.bits")
        return self


def own_bits(variant: Variant, bits: list[Bits]) -> list[int]:
    """The bit widths a variant is lowered to: a float ladder to all of `bits`, an integer one to its own."""
    return list(bits) if variant.weights == "float" else [WEIGHT_BITS[variant.weights]]


def embedding_bits(variant: Variant, quantize: Quantize) -> int:
    """Bits of the embedding table of a variant's integer networks."""
    return quantize.embedding_bits if variant.embedding_bits is None else variant.embedding_bits


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
