"""The lottery-ticket ladder: prune what was trained, rewind what survives; and the controls beside a ticket."""

from collections.abc import Mapping

from torch import Tensor

from integer_tickets.model.transformer import Transformer, initialise
from integer_tickets.seeds import generator
from integer_tickets.tickets.masks import prune, scale_of, shuffled
from integer_tickets.training.state import Masks, State, Weights, fresh_state, masked


def rewound(trained: Weights, masks: Masks, rewind: State, keep: float, scope: str) -> tuple[Masks, State]:
    """Masks and start of the next level (iterative magnitude pruning, Frankle et al., arXiv 1903.01611).

    Importance is |w| over the root mean square of its layer at the rewind point; of the trained layer where all of it
    is zero there, as the classifier is at step 0. Rewound are all weights (the classifier too), grids of quantizers,
    the optimiser's moments and the step, hence learning rate and data order; pruned places are zero in weights and
    moments.
    """
    at_rewind, now = scale_of(rewind.weights, list(masks)), scale_of(trained, list(masks))
    scales = {name: at_rewind[name] or now[name] or 1.0 for name in masks}
    survivors = prune(trained, masks, scales, keep, scope)
    return survivors, masked(rewind, survivors)


def control(
    kind: str, model: Transformer, masks: Mapping[str, Tensor], rewind: State, seed: int
) -> tuple[Masks, State]:
    """Masks and start of a control.

    reinit: the ticket's masks with fresh initial weights, trained from step 0 (does the rewind point matter?).
    shuffled: the ticket's rewind point with the masks shuffled inside each layer (do the positions matter?).
    """
    if kind == "reinit":
        initialise(model, generator("reinit", seed))
        kept = dict(masks)
        return kept, masked(fresh_state(model), kept)
    assert kind == "shuffled"
    moved = shuffled(masks, seed)
    return moved, masked(rewind, moved)
