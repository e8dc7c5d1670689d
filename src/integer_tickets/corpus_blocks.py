"""The blocks of `params.yaml` about the corpus and its tokens: what each value may be."""

from typing import Literal

from pydantic import Field, model_validator

from integer_tickets.blocks import Block, Count, Distinct, Fraction, Natural, Share


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
    truncation_side: Literal["right", "left"]

    @model_validator(mode="after")
    def named(self) -> "Tokenizer":
        if (self.kind == "pretrained") != bool(self.vocabulary):
            raise ValueError("vocabulary names a file in data.folder where kind is pretrained, else it is empty")
        return self
