"""What masks keep in which layers, and how alike those of other seeds and from elsewhere are.

They are kept with a run, so that several can be judged as one.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from integer_tickets.errors import UserError
from integer_tickets.evaluation.metrics import Array
from integer_tickets.files import write_bytes

OVERLAP_COLUMNS = ["attention", "variant", "level", "source", "pairs", "overlap", "chance"]
DENSITY_COLUMNS = ["attention", "variant", "level", "source", "part", "density"]
PARTS = {
    "query, key": ("query.weight", "key.weight"),
    "value, output": ("value.weight", "output.weight"),
    "up, down": ("up.weight", "down.weight"),
    "classifier": ("classifier.weight",),
    "tables": ("tokens.weight", "positions.weight"),
}
"""The prunable weights of all layers by what they do: scores, what is passed on, neurons; tables are embeddings."""


class Place(NamedTuple):
    """Where a ticket stands in its ladder; source: where its mask was found instead, "" of the ladder's own."""

    attention: str
    variant: str
    level: int
    source: str = ""


Masks = Mapping[str, Array]
"""Of each layer, flat, bool."""
Tickets = dict[Place, dict[int, Masks]]
"""The masks of tickets by place and seed."""


def overlap_rows(tickets: Mapping[Place, Mapping[int, Masks]]) -> Iterator[dict[str, Any]]:
    """A row for every place with several seeds, and for every mask from elsewhere beside that of the same seed."""
    for place, seeds in tickets.items():
        if place.source:
            own = tickets[place._replace(source="")]
            pairs = [(own[seed], masks) for seed, masks in seeds.items()]
        else:
            pairs = list(combinations(seeds.values(), 2))
        if pairs:
            yield place._asdict() | overlap(pairs)


def density_rows(tickets: Mapping[Place, Mapping[int, Masks]]) -> Iterator[dict[str, Any]]:
    """For every place and part of the layers the fraction of its weights that is kept, the mean over seeds."""
    for place, seeds in tickets.items():
        for part, ends in PARTS.items():
            own = [[mask for name, mask in masks.items() if name.endswith(ends)] for masks in seeds.values()]
            if own[0]:
                kept = [float(np.concatenate(masks).mean()) for masks in own]
                yield place._asdict() | {"part": part, "density": round(float(np.mean(kept)), 6)}


def overlap(pairs: Sequence[tuple[Masks, Masks]]) -> dict[str, Any]:
    """Means over pairs of masks.

    overlap: the share of kept weights that the other mask keeps too; chance: the same if each layer kept as many
    weights at random places.
    """
    shared, chance = [], []
    for one, other in pairs:
        kept = sum(int(one[name].sum() + other[name].sum()) for name in one) / 2
        shared.append(sum(int((one[name] & other[name]).sum()) for name in one) / kept)
        chance.append(sum(one[name].sum() * other[name].mean() for name in one) / kept)
    return {
        "pairs": len(shared),
        "overlap": round(float(np.mean(shared)), 6),
        "chance": round(float(np.mean(chance)), 6),
    }


def save_masks(path: Path, tickets: Mapping[Place, Mapping[int, Masks]]) -> None:
    """As npz, eight places a byte: `attention/variant/level/seed/layer/size`, and `/source` where it has one."""
    content = io.BytesIO()
    named = {
        "/".join(map(str, (*place[:3], seed, layer, mask.size, *filter(None, place[3:])))): np.packbits(mask)
        for place, seeds in tickets.items()
        for seed, masks in seeds.items()
        for layer, mask in masks.items()
    }
    np.savez_compressed(content, **named)  # type: ignore[arg-type]
    write_bytes(path, content.getvalue())


def load_masks(paths: Sequence[Path]) -> Tickets:
    """The tickets of several runs; what several runs have counts once. UserError where a file is none of these."""
    found: dict[Place, dict[int, dict[str, Array]]] = {}
    for path in paths:
        try:
            with np.load(path) as file:
                for key in file.files:
                    attention, variant, level, seed, layer, size, *source = key.split("/")
                    of_place = found.setdefault(Place(attention, variant, int(level), *source), {})
                    of_place.setdefault(int(seed), {})[layer] = np.unpackbits(file[key], count=int(size)).astype(bool)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not the masks of a run ({error})") from None
    return {place: dict(sorted(seeds.items())) for place, seeds in found.items()}
