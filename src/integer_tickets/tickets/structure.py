"""Structure: attention heads and hidden neurons as the units of pruning, and states cut to those that live.

A head is rows of query, key and value, columns of output, its gamma and delta; a neuron is a row of up and a column of
down. The units of one kind in one layer are a group, named by the module that holds them: `layers.0.attention` heads,
`layers.0` neurons. Masks stay as they are for single weights, of full shape, so that both are counted alike.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from integer_tickets.errors import UserError
from integer_tickets.model.transformer import Transformer, linear_names
from integer_tickets.seeds import generator
from integer_tickets.training.state import Masks, State, Weights

Units = dict[str, Tensor]  # name of a group -> bool (units,), True where the unit lives

AXES = {  # of what belongs to units, the axis along which they lie
    **{f"{part}.{kind}": 0 for part in ("query", "key", "value", "up") for kind in ("weight", "bias")},
    **{"output.weight": 1, "down.weight": 1, "log_gamma": 0, "delta": 0},
}


def structured_names(model: Transformer) -> list[str]:
    """Names of the weights that heads and neurons consist of."""
    return list(_places(linear_names(model)))


def units_of(masks: Mapping[str, Tensor], heads: int) -> Units:
    """The units that live under masks; `heads` are those of a layer of the dense model."""
    units: Units = {}
    for name, (group, axis) in _places(masks).items():
        lives = masks[name].any(1 - axis)
        units[group] = lives.unflatten(0, (heads, -1)).any(1) if group.endswith(".attention") else lives
    return units


def masks_of(units: Units, shapes: Mapping[str, Tensor]) -> Masks:
    """Masks of the names and shapes of other masks, True where the unit of a weight lives."""
    masks: Masks = {}
    for name, (group, axis) in _places(shapes).items():
        lives = _spread(units[group], shapes[name], axis)
        masks[name] = lives.unsqueeze(1 - axis).expand_as(shapes[name]).clone()
    return masks


def sizes_of(units: Units) -> list[tuple[int, int]]:
    """Living heads and neurons of each layer."""
    layers = range(len(units) // 2)
    return [(int(units[f"layers.{i}.attention"].sum()), int(units[f"layers.{i}"].sum())) for i in layers]


def cut(state: State, units: Units) -> State:
    """The state of the dense model without the units that do not live: weights and moments of the small model."""

    def apply(tensors: Weights) -> Weights:
        small = dict(tensors)
        for name, (group, axis) in _places(tensors).items():
            small[name] = tensors[name].index_select(axis, _spread(units[group], tensors[name], axis).nonzero()[:, 0])
        return small

    return State(state.step, apply(state.weights), apply(state.first), apply(state.second))


def relative(units: Units, among: Units) -> Units:
    """Which of the units that live in `among` live in `units`, all of which do."""
    return {group: lives[among[group]] for group, lives in units.items()}


def prune_units(weights: Weights, units: Units, scales: Mapping[str, float], keep: float, scope: str) -> Units:
    """Remove units, the least important first, until at most the fraction `keep` of the weights of all is left.

    weights: of the small model that has the living units; the names in `scales` count. Importance is the mean of
    (w / scale)^2 over the weights of a unit, compared over all layers (`global`) or in each group (`layerwise`); of
    equals the later is removed (groups in the order of `units`). The last unit of a group stays, even where more is
    left than asked for. Raises UserError if every group is down to one.
    """
    squares = _squares(weights, units, scales)
    kept = {group: lives.clone() for group, lives in units.items()}
    for pool in [list(units)] if scope == "global" else [[group] for group in units]:
        places = [(group, index) for group in pool for index in units[group].nonzero().flatten().tolist()]
        importance = torch.cat([squares[group].mean(1) for group in pool])
        left = alive = sum(squares[group].numel() for group in pool)
        for place in importance.flip(0).argsort(stable=True).tolist():
            group, index = places[-1 - place]
            if left <= keep * alive:
                break
            if kept[group].sum() > 1:
                kept[group][index] = False
                left -= squares[group].shape[1]
    if all(torch.equal(kept[group], lives) for group, lives in units.items()):
        only = "every layer is down to one head and one neuron, nothing is left to prune"
        raise UserError(f"{only}; shorten the ladder or raise prune.keep")
    return kept


def shuffled_units(units: Units, seed: int) -> Units:
    """The same number of heads and neurons in every layer, at random places."""
    random = generator("shuffled", seed)
    return {group: lives[torch.from_numpy(random.permutation(len(lives)))] for group, lives in units.items()}


def _squares(weights: Weights, units: Units, scales: Mapping[str, float]) -> dict[str, Tensor]:
    """(w / scale)^2 of each group, float64 (living units, weights of one)."""
    parts: dict[str, list[Tensor]] = {group: [] for group in units}
    for name, (group, axis) in _places(scales).items():
        own = (weights[name].double() / scales[name]).square().movedim(axis, 0)
        parts[group].append(own.reshape(int(units[group].sum()), -1))
    return {group: torch.cat(own, 1) for group, own in parts.items()}


def _places(names: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Of those tensors that consist of units: the group, and the axis along which the units lie."""
    ends = [(name, part) for name in names for part in AXES if name.endswith(f".{part}")]
    return {name: (name.removesuffix(f".{part}"), AXES[part]) for name, part in ends}


def _spread(lives: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """Whether each row (column) of a tensor belongs to a unit that lives: a head has several."""
    return lives.repeat_interleave(tensor.shape[axis] // len(lives))
