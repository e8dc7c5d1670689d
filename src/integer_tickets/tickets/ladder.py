"""The lottery-ticket ladder: prune what was trained, rewind what survives.

Everywhere here `heads` says what is pruned: None where it is weights, which stay in their tensors as zeros, one by one
or in blocks of `block` neighbours along the input; the heads of a layer of the dense model where it is whole heads,
q/k pairs and neurons, of which the tensors are then cut free.
"""

from integer_tickets.tickets.masks import prune, scale_of
from integer_tickets.tickets.structure import cut, masks_of, prune_units, units_of
from integer_tickets.training.state import Masks, State, Weights, masked


def rewound(
    trained: Weights, masks: Masks, rewind: State, keep: float, scope: str, heads: int | None = None, block: int = 1
) -> tuple[Masks, State]:
    """Masks and start of the next level (iterative magnitude pruning, Frankle et al., arXiv 1903.01611).

    Importance is |w| over the root mean square of its layer at the rewind point; of the trained layer where all of it
    is zero there, as the classifier is at step 0. With the scope `raw` it is |w|, over all layers. That of a block is
    the mean of such values, that of structure the mean square. Rewound are all weights (the classifier too), grids of
    quantizers, the optimiser's moments and the step, hence learning rate and data order; what is pruned is zero or cut
    away in weights and moments.
    """
    scales = scales_of(rewind, trained, list(masks), scope)
    if heads is None:
        survivors = prune(trained, masks, scales, keep, scope, block)
    else:
        survivors = masks_of(prune_units(trained, units_of(masks, heads), scales, keep, scope), masks)
    return survivors, pruned(rewind, survivors, heads)


def scales_of(rewind: State, trained: Weights, names: list[str], scope: str) -> dict[str, float]:
    """The unit of importance of each layer: its root mean square at the rewind point, or once trained; 1 if `raw`."""
    if scope == "raw":
        return dict.fromkeys(names, 1.0)
    at_rewind, now = scale_of(rewind.weights, names), scale_of(trained, names)
    return {name: at_rewind[name] or now[name] or 1.0 for name in names}


def pruned(state: State, masks: Masks, heads: int | None) -> State:
    """A state of the dense model under masks: with zeros, or without the structure that does not live."""
    return masked(state, masks) if heads is None else cut(state, units_of(masks, heads))
