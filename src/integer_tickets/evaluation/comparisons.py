"""The comparisons that a study makes, declared before any result is seen, each with its question."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from integer_tickets.evaluation.collect import Configuration

BAG_OF_WORDS = Configuration("baseline", "tfidf")

FAMILIES = {
    "pruning": "Does the ticket match its dense model?",
    "reinit": "Does the ticket gain from its rewound weights, beside fresh ones under the same mask?",
    "shuffled": "Does the ticket gain from the places of its mask, beside as many weights elsewhere in each layer?",
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


def declared(configurations: Iterable[Configuration]) -> list[Declared]:
    """All comparisons between these configurations, family by family, else in the given order."""
    known = list(configurations)
    found = [Declared(family, a, b) for a in known for family, b in _partners(a) if b in known]
    return sorted(found, key=lambda comparison: list(FAMILIES).index(comparison.family))


def _partners(a: Configuration) -> Iterator[tuple[str, Configuration]]:
    """What `a` is compared with, by family, whether or not the study has it."""
    if a.attention == "inhibitor" and a.stage != "controls":
        yield "attention", replace(a, attention="softmax")
    if a.stage == "prune_rewind":
        yield "pruning", replace(a, stage="train_dense", role="dense", level=0)
        for kind in ("reinit", "shuffled"):
            yield kind, replace(a, stage="controls", role=kind)
    if a.stage in ("quantize", "distill"):
        before = replace(a, stage="prune_rewind" if a.level else "train_dense", distilled=False)
        yield "quantization", before  # a ladder of integer weights
        yield "quantization", replace(before, weights="float")
    if a.stage == "quantize" and a.level:
        yield "integer pruning", replace(a, role="dense", level=0)
    if a.stage == "distill":
        yield "distillation", replace(a, stage="quantize", distilled=False)
    if a.stage in ("train_dense", "distill"):
        yield "bag of words", BAG_OF_WORDS
