"""The comparisons that a study makes, as they follow from its parameters, each with its question."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from integer_tickets.blocks import Kind, Variant
from integer_tickets.evaluation.collect import Configuration
from integer_tickets.params import Params

KINDS = get_args(Kind)
BAG_OF_WORDS = Configuration("baseline", "tfidf")

FAMILIES = {
    "pruning": "Does the ticket match its dense model?",
    "reinit": "Does the ticket gain from its rewound weights, beside fresh ones under the same mask?",
    "redrawn": "Does it gain from its initial weights, beside a rewind point of other ones under the same mask?",
    "signs": "Does it gain from the sizes of its rewound weights, beside fresh ones with the same signs?",
    "shuffled": "Does the ticket gain from the places of its mask, beside as many weights elsewhere in each layer?",
    "random": "Does it gain from its mask, beside as many weights anywhere?",
    "oneshot": "Does it gain from the ladder, beside the dense model pruned to its density at once?",
    "inverted": "Does it gain from keeping what is important, beside the least important weights of the dense model?",
    "lr_rewind": "Does it gain from rewound weights, beside trained ones under the schedule rewound alone?",
    "finetune": "Does it gain from training again, beside trained weights that go on at a low rate?",
    "small": "Does it gain from sparsity, beside a dense model of as many bits?",
    "longer": "Does it gain from pruning, beside the dense model trained for as long as its whole ladder?",
    "transfer": "Does the ticket gain from a mask of its own, beside one found elsewhere?",
    "transferred places": "Does a mask found elsewhere do better than the ticket's own, shuffled within each layer?",
    "transferred shares": "Does it do better than as many weights anywhere?",
    "rewind": "Does the ticket gain from the rewind point, beside one rewound to initialisation?",
    "blocks": "Is a ticket of blocks as accurate as one of single weights of the same density?",
    "structure": "Is a ticket of heads, q/k pairs and neurons as accurate as one of single weights of the same level?",
    "scope": "Is a ticket whose weights were compared another way as accurate as one in units of their layers?",
    "found in integers": "Is a ticket found in integers more accurate than a float one quantized later?",
    "attention": "Is Inhibitor attention as accurate as softmax attention, all else equal?",
    "quantization": "Does the integer network match its model before quantization?",
    "integer pruning": "Does the integer ticket match the dense integer network?",
    "distillation": "Does distillation make the integer network more accurate?",
    "bag of words": "Does the model beat a bag of words?",
}
"""The question of each family, in the order of the report; Holm's correction runs over the members of one."""


@dataclass(frozen=True)
class Declared:
    """Compare a with b."""

    family: str
    a: Configuration
    b: Configuration

    @property
    def question(self) -> str:
        return FAMILIES[self.family]


def declared(configurations: Iterable[Configuration], params: Params) -> list[Declared]:
    """All comparisons between these configurations, family by family, else in the given order."""
    known = list(configurations)
    found = [Declared(family, a, b) for a in known for family, b in _partners(a, params) if b in known]
    return sorted(found, key=lambda comparison: list(FAMILIES).index(comparison.family))


def _partners(a: Configuration, params: Params) -> Iterator[tuple[str, Configuration]]:
    """What `a` is compared with, by family, whether or not the study has it."""
    variants = params.variants
    if a.stage == "quantize" and variants[a.variant].weights != "float":
        return  # the model of its ladder, written as a file: it says the same, and would only widen Holm's families
    if a.attention == "inhibitor" and a.stage not in ("controls", "transfer", "connectivity"):
        yield "attention", replace(a, attention="softmax")
    if a.stage == "prune_rewind":
        yield "pruning", replace(a, stage="train_dense", role="dense", level=0)
        for kind in KINDS:
            yield kind, replace(a, stage="controls", role=kind)
        for source in {source.id: source for source in params.transfer.sources}.values():
            yield "transfer", replace(a, stage="transfer", role=f"from_{source.id}")
        for family, other in _related(a.variant, variants):
            yield family, replace(a, variant=other)
        for other in variants:
            if a.weights != "float" and variants[other] == variants[a.variant].as_float():
                yield "found in integers", replace(a, stage="quantize", variant=other)
    if a.stage == "transfer":
        yield "transferred places", replace(a, stage="controls", role="shuffled")
        yield "transferred shares", replace(a, stage="controls", role="random")
    dense = a.stage in ("train_dense", "distill") and not a.level
    if dense and params.train.adopted and variants[a.variant].weights != "float":
        yield "quantization", Configuration("adopt", "adopted", a.attention, "", 0, "float")  # where it began
    elif a.stage in ("quantize", "distill"):
        before = replace(a, stage="prune_rewind" if a.level else "train_dense", distilled=False)
        yield "quantization", replace(before, weights="float")
    if a.stage == "quantize" and a.level:
        yield "integer pruning", replace(a, role="dense", level=0)
    if a.stage == "distill":
        yield "distillation", replace(a, stage="quantize", distilled=False)
    if a.stage in ("train_dense", "distill", "supermask"):
        yield "bag of words", BAG_OF_WORDS


def _related(name: str, variants: Mapping[str, Variant]) -> Iterator[tuple[str, str]]:
    """Variants that differ from this one in its rewind point, which they lack, or in its pattern or scope alone."""
    own = variants[name]
    for other, variant in variants.items():
        if own.rewind and variant == own.model_copy(update={"rewind": 0}):
            yield "rewind", other
        if own.pattern != "weight" and variant == own.model_copy(update={"pattern": "weight"}):
            yield "blocks" if own.pattern == "block" else "structure", other
        if own.scope != "global" and variant == own.model_copy(update={"scope": "global"}):
            yield "scope", other
