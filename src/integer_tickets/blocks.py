"""The blocks of `params.yaml` but for those of the corpus: what each value may be."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

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
    scope: Literal["global", "layerwise", "raw"]
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


DRAWN, ADOPTED = "artifacts/data/tokenizer.safetensors", "artifacts/adopted"
"""What training begins with, besides a ticket: weights that are drawn (a file that is always there), or adopted."""
LESSONS = "artifacts/lessons.safetensors"
"""What train.lessons names where all students learn what the teacher says; else it is the corpus with its labels."""


class Train(Block):
    epochs: Count
    batch: Count
    tokens: Count
    lr: Positive
    warmup: Share
    weight_decay: float = Field(ge=0)
    lessons: Literal["artifacts/data/corpus.safetensors", "artifacts/lessons.safetensors"]
    start: str = Field(min_length=1)

    @property
    def prior(self) -> str:
        """The folder of the ticket that training begins with, empty where it begins with drawn or adopted weights."""
        return "" if self.start in (DRAWN, ADOPTED) else self.start

    @property
    def adopted(self) -> bool:
        """Whether training begins with the weights of a pretrained encoder, aligned with it."""
        return self.start == ADOPTED

    @property
    def taught(self) -> bool:
        """Whether all students learn what the teacher says, not only those of the stage distill."""
        return self.lessons == LESSONS


class Prune(Block):
    keep: Fraction


Kind = Literal[
    "reinit", "redrawn", "signs", "shuffled", "random", "oneshot", "inverted", "lr_rewind", "finetune", "small",
    "longer",
]  # fmt: skip


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


class Tuning(Block):
    """A training that goes on from what another one made, at a pace of its own."""

    epochs: Count
    batch: Count
    lr: Positive


class Quantize(Tuning):
    levels: list[Level] = Field(min_length=1)
    bits: Distinct[Bits] = Field(min_length=1)
    embedding_bits: Bits


class Distill(Tuning):
    levels: list[Level] = Field(min_length=1)
    bits: Distinct[Bits] = Field(min_length=1)


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


class Adopt(Tuning):
    attentions: Distinct[Attention]
    before: Natural
    fit: Natural
    hidden: float = Field(ge=0)
    context: float = Field(ge=0)
    seed: Natural

    @property
    def passes(self) -> int:
        """Over the lessons, with whatever attention."""
        return self.before + self.epochs


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


def own_bits(variant: Variant, bits: list[Bits]) -> list[int]:
    """The bit widths a variant is lowered to: a float ladder to all of `bits`, an integer one to its own."""
    return list(bits) if variant.weights == "float" else [WEIGHT_BITS[variant.weights]]


def embedding_bits(variant: Variant, quantize: Quantize) -> int:
    """Bits of the embedding table of a variant's integer networks."""
    return quantize.embedding_bits if variant.embedding_bits is None else variant.embedding_bits
