"""The lottery-ticket ladder: prune what was trained, rewind what survives; and the controls beside a ticket.

Everywhere here `heads` says what is pruned: None where it is weights, which stay in their tensors as zeros, one by one
or in blocks of `block` neighbours along the input; the heads of a layer of the dense model where it is whole heads and
neurons, of which the tensors are then cut free.
"""

from collections.abc import Mapping

from torch import Tensor

from integer_tickets.model.transformer import Transformer, initialise
from integer_tickets.seeds import generator
from integer_tickets.tickets.masks import prune, scale_of, shuffled
from integer_tickets.tickets.structure import cut, masks_of, prune_units, shuffled_units, units_of
from integer_tickets.training.state import Masks, State, Weights, fresh_state, masked


def rewound(
    trained: Weights, masks: Masks, rewind: State, keep: float, scope: str, heads: int | None = None, block: int = 1
) -> tuple[Masks, State]:
    """Masks and start of the next level (iterative magnitude pruning, Frankle et al., arXiv 1903.01611).

    Importance is |w| over the root mean square of its layer at the rewind point; of the trained layer where all of it
    is zero there, as the classifier is at step 0. That of a block is the mean of such values, that of a head or neuron
    the mean square. Rewound are all weights (the classifier too), grids of quantizers, the optimiser's moments and the
    step, hence learning rate and data order; what is pruned is zero or cut away in weights and moments.
    """
    at_rewind, now = scale_of(rewind.weights, list(masks)), scale_of(trained, list(masks))
    scales = {name: at_rewind[name] or now[name] or 1.0 for name in masks}
    if heads is None:
        survivors = prune(trained, masks, scales, keep, scope, block)
    else:
        survivors = masks_of(prune_units(trained, units_of(masks, heads), scales, keep, scope), masks)
    return survivors, _pruned(rewind, survivors, heads)


def control(
    kind: str,
    model: Transformer,
    masks: Mapping[str, Tensor],
    rewind: State,
    seed: int,
    heads: int | None = None,
    block: int = 1,
) -> tuple[Masks, State]:
    """Masks and start of a control; `model` is a dense one.

    reinit: the ticket's masks with fresh initial weights, those of a dense model, trained from step 0 (does the rewind
    point matter?). shuffled: the ticket's rewind point with the masks shuffled inside each layer, or its blocks, or its
    heads and neurons (do the positions matter?).
    """
    if kind == "reinit":
        initialise(model, generator("reinit", seed))
        kept = dict(masks)
        return kept, _pruned(fresh_state(model), kept, heads)
    assert kind == "shuffled"
    if heads is None:
        moved = shuffled(masks, seed, block)
    else:
        moved = masks_of(shuffled_units(units_of(masks, heads), seed), masks)
    return moved, _pruned(rewind, moved, heads)


def _pruned(state: State, masks: Masks, heads: int | None) -> State:
    return masked(state, masks) if heads is None else cut(state, units_of(masks, heads))
