"""Structure: attention heads, q/k pairs and hidden neurons as units of pruning, and states cut to those that live.

A head is rows of query, key and value, columns of output, its gamma and delta. A pair is a row of query and the same
row of key: one coordinate of the distance (or product) of a head; a dead row of either alone would still add the other.
A neuron is a row of up and a column of down. Every head of a layer has as many pairs, though not the same. Three groups
of units stand for a layer: `layers.0.attention`, heads; `layers.0.attention.pairs`, pairs; `layers.0`, neurons. Masks
stay as they are for single weights, of full shape, so that both are counted alike.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from integer_tickets.errors import UserError
from integer_tickets.model.transformer import LayerSize, Transformer, linear_names
from integer_tickets.seeds import generator
from integer_tickets.training.state import Masks, State, Weights

Units = dict[str, Tensor]  # name of a group -> bool, True where the unit lives: (units,), of pairs (heads, of a head)

_Ranked = dict[str, tuple[Tensor, Tensor]]
"""Of each group what can go at once: its importance, float64 (count,), and which units that is, (count, units)."""

HEADS, PAIRS = ".attention", ".attention.pairs"
AXES = {  # of what belongs to units, the axis along which they lie
    **{f"{part}.{kind}": 0 for part in ("query", "key", "value", "up") for kind in ("weight", "bias")},
    **{"output.weight": 1, "down.weight": 1, "log_gamma": 0, "delta": 0},
}


def structured_names(model: Transformer) -> list[str]:
    """Names of the weights that heads, pairs and neurons consist of."""
    return list(_places(linear_names(model)))


def units_of(masks: Mapping[str, Tensor], heads: int) -> Units:
    """The units that live under masks; `heads` are those of a layer of the dense model."""
    units: Units = {}
    for name, (module, axis) in _places(masks).items():
        lives = masks[name].any(1 - axis)
        if name.endswith(".query.weight"):
            units[module] = masks[f"{module}.value.weight"].any(1).unflatten(0, (heads, -1)).any(1)
            units[f"{module}.pairs"] = lives.unflatten(0, (heads, -1))
        elif name.endswith(".up.weight"):
            units[module] = lives
    return units


def masks_of(units: Units, shapes: Mapping[str, Tensor]) -> Masks:
    """Masks of the names and shapes of other masks, True where the units of a weight live."""
    masks: Masks = {}
    for name, (_, axis) in _places(shapes).items():
        masks[name] = _living(units, name).unsqueeze(1 - axis).expand_as(shapes[name]).clone()
    return masks


def sizes_of(units: Units) -> list[LayerSize]:
    """How many units live in each layer."""
    counts = {group: int(lives.sum()) for group, lives in units.items()}
    layers = [f"layers.{i}" for i in range(len(units) // 3)]
    return [LayerSize(counts[i + HEADS], counts[i + PAIRS] // counts[i + HEADS], counts[i]) for i in layers]


def cut(state: State, units: Units) -> State:
    """The state of a model without those of its units that do not live: weights and moments of the small model."""

    def apply(tensors: Weights) -> Weights:
        small = dict(tensors)
        for name, (_, axis) in _places(tensors).items():
            lives = _living(units, name, tensors[name].shape[axis])
            small[name] = tensors[name].index_select(axis, lives.nonzero()[:, 0])
        return small

    return State(state.step, apply(state.weights), apply(state.first), apply(state.second))


def relative(units: Units, among: Units) -> Units:
    """Which of the units that live in `among` live in `units`, all of which do."""
    inner = {group: lives[among[group]] for group, lives in units.items()}
    for group in (group for group in inner if group.endswith(PAIRS)):
        inner[group] = inner[group].unflatten(0, (int(among[group.removesuffix(".pairs")].sum()), -1))
    return inner


def prune_units(weights: Weights, units: Units, scales: Mapping[str, float], keep: float, scope: str) -> Units:
    """Remove units, the least important first, until at most the fraction `keep` of the weights of all is left.

    weights: of the small model that has the living units; the names in `scales` count. Importance is the mean of
    (w / scale)^2 over the weights of a unit, compared over all layers (`global`, `raw`) or in the attention and in the
    neurons of each (`layerwise`); of equals the later is removed (groups in the order of `units`). Pairs go from all
    heads of a layer at once, the least important of each, by the mean over them. The last unit of a group stays, even
    where more is left than asked for. Raises UserError if every group is down to one.
    """
    return _without(units, _ranked(weights, units, scales), {name: weights[name] for name in scales}, keep, scope)


def random_units(units: Units, shapes: Mapping[str, Tensor], keep: float, seed: int) -> Units:
    """As prune_units over all layers, in an order drawn by chance, in which every unit can be the next.

    shapes: of the weights that count, of the small model. Random weights would not do: their mean over the many of a
    head is always near the middle.
    """
    random = generator("random", seed)
    ranked: _Ranked = {}
    for group, lives in units.items():
        alive = lives.flatten().nonzero()
        if group.endswith(PAIRS):  # one of each head at once
            heads = alive.view(int(units[group.removesuffix(".pairs")].sum()), -1)
            alive = torch.stack([own[torch.from_numpy(random.permutation(len(own)))] for own in heads], 1)
        ranked[group] = torch.from_numpy(random.random(len(alive))), alive
    return _without(units, ranked, shapes, keep, "global")


def _without(units: Units, ranked: _Ranked, shapes: Mapping[str, Tensor], keep: float, scope: str) -> Units:
    kept = {group: lives.clone() for group, lives in units.items()}
    modules = list(dict.fromkeys(group.removesuffix(".pairs") for group in units))
    for pool in [[module] for module in modules] if scope == "layerwise" else [modules]:
        groups = [group for group in units if group.removesuffix(".pairs") in pool]
        row = {name: shapes[name].shape[1 - axis] for name, (module, axis) in _places(shapes).items() if module in pool}
        places = [(group, index) for group in groups for index in range(len(ranked[group][0]))]
        left = {group: len(ranked[group][0]) for group in groups}
        target = keep * _count(units, row)
        for place in torch.cat([ranked[group][0] for group in groups]).flip(0).argsort(stable=True).tolist():
            group, index = places[-1 - place]
            if _count(kept, row) <= target:
                break
            if left[group] > 1:
                left[group] -= 1
                kept[group].view(-1)[ranked[group][1][index]] = False
                if group.endswith(HEADS):
                    kept[f"{group}.pairs"][~kept[group]] = False
    if all(torch.equal(kept[group], lives) for group, lives in units.items()):
        only = "every layer is down to one head, one q/k pair and one neuron, nothing is left to prune"
        raise UserError(f"{only}; shorten the ladder or raise prune.keep")
    return kept


def shuffled_units(units: Units, seed: int) -> Units:
    """The same number of heads, pairs of a head and neurons in every layer, at random places."""
    random = generator("shuffled", seed)
    moved: Units = {}
    for group, lives in units.items():
        if group.endswith(PAIRS):
            heads = moved[group.removesuffix(".pairs")].nonzero().flatten().tolist()
            moved[group] = torch.zeros_like(lives)
            for head in heads:
                moved[group][head, random.permutation(lives.shape[1])[: int(lives.sum()) // len(heads)]] = True
        else:
            moved[group] = lives[torch.from_numpy(random.permutation(len(lives)))]
    return moved


def _ranked(weights: Weights, units: Units, scales: Mapping[str, float]) -> _Ranked:
    ranked: _Ranked = {}
    for group, lives in units.items():
        module, alive = group.removesuffix(".pairs"), lives.flatten().nonzero()
        parts = []
        for name, (own, axis) in _places(scales).items():
            if own == module and (group == module or name.endswith((".query.weight", ".key.weight"))):
                square = (weights[name].double() / scales[name]).square().movedim(axis, 0)
                parts.append(square.reshape(len(alive), -1))
        importance = torch.cat(parts, 1).mean(1)
        if group != module:  # the most important of each head, the second, and so on
            of_heads = importance.unflatten(0, (int(units[module].sum()), -1))
            values, order = of_heads.sort(dim=1, descending=True, stable=True)
            importance, alive = values.mean(0), alive.view_as(of_heads).gather(1, order).T
        ranked[group] = importance, alive
    return ranked


def _count(units: Units, row: Mapping[str, int]) -> int:
    """How many weights live in the tensors named, of which a row (or column) that belongs to a unit has so many."""
    return sum(size * int(_living(units, name).sum()) for name, size in row.items())


def _places(names: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Of those tensors that consist of units: the module that holds them, and the axis along which the units lie."""
    ends = [(name, part) for name in names for part in AXES if name.endswith(f".{part}")]
    return {name: (name.removesuffix(f".{part}"), AXES[part]) for name, part in ends}


def _living(units: Units, name: str, length: int | None = None) -> Tensor:
    """Whether each row (column) of a tensor belongs to a unit that lives; bool (length,), by default of the dense."""
    ((module, _),) = _places([name]).values()
    if name.removeprefix(f"{module}.").startswith(("query", "key")):
        return units[f"{module}.pairs"].flatten()
    if name.removeprefix(f"{module}.").startswith(("value", "output")):
        return units[module].repeat_interleave((length or units[f"{module}.pairs"].numel()) // len(units[module]))
    return units[module]
