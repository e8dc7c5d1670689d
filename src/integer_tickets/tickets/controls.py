"""The controls beside a ticket: models that differ from it in one thing, as masks and the state training begins with.

A control that begins at step 0 trains the first steps, too, under its mask (Frankle et al. 2019); `redrawn`, a rewind
point of other initial weights under the ticket's masks, is made by the stage. All have the ticket's number of weights,
but for `random`, `oneshot` and `inverted` of structure, which have at most the share of weights that the ticket has
(`inverted` in the attention and in the neurons of each layer), and for two dense models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from integer_tickets.model.transformer import Transformer, initialise
from integer_tickets.seeds import generator
from integer_tickets.tickets.ladder import pruned, scales_of
from integer_tickets.tickets.masks import dense_masks, density, prune, shuffled
from integer_tickets.tickets.structure import (
    cut,
    masks_of,
    prune_units,
    random_units,
    relative,
    shuffled_units,
    units_of,
)
from integer_tickets.training.state import Masks, State, Weights, fresh_state, masked


@dataclass(frozen=True)
class Ticket:
    """A ticket and what it came from. `heads` and `block` as in tickets.ladder.

    rewind: the rewind point of the dense model; dense: its trained weights; before, before_masks: the trained weights
    and masks of the level above, from which the ticket was pruned.
    """

    masks: Masks
    rewind: State
    dense: Weights
    before: Weights
    before_masks: Masks
    scope: str
    heads: int | None
    block: int

    def begun(self, masks: Masks) -> tuple[Masks, State]:
        """At the rewind point, under other masks."""
        return masks, pruned(self.rewind, masks, self.heads)


Control = Callable[[Ticket, Transformer, int], tuple[Masks, State]]
"""Masks and start of a control of a ticket; of a dense model to initialise, and a seed."""


def reinit(ticket: Ticket, model: Transformer, seed: int) -> tuple[Masks, State]:
    """The ticket's masks, fresh initial weights, from step 0: does the rewind point matter? (arXiv 1803.03635)"""
    initialise(model, generator("reinit", seed))
    return dict(ticket.masks), pruned(fresh_state(model), ticket.masks, ticket.heads)


def signs(ticket: Ticket, model: Transformer, seed: int) -> tuple[Masks, State]:
    """As reinit, but with the signs of the rewind point: do the sizes matter? (arXiv 1905.01067)"""
    initialise(model, generator("reinit", seed))
    fresh = fresh_state(model)
    own = {name: fresh.weights[name].abs().copysign(ticket.rewind.weights[name]) for name in ticket.masks}
    state = State(0, fresh.weights | own, fresh.first, fresh.second)
    return dict(ticket.masks), pruned(state, ticket.masks, ticket.heads)


def shuffled_in_layers(ticket: Ticket, model: Transformer, seed: int) -> tuple[Masks, State]:
    """The masks shuffled within each layer, or its blocks, or its structure: do the places matter?"""
    if ticket.heads is None:
        return ticket.begun(shuffled(ticket.masks, seed, ticket.block))
    units = shuffled_units(units_of(ticket.masks, ticket.heads), seed)
    return ticket.begun(masks_of(units, ticket.masks))


def random(ticket: Ticket, model: Transformer, seed: int) -> tuple[Masks, State]:
    """As many weights anywhere, over all layers: do the shares of the layers matter?"""
    if ticket.heads is not None:
        whole = dense_masks(ticket.dense, list(ticket.masks))
        units = random_units(units_of(whole, ticket.heads), whole, density(ticket.masks), seed)
        return ticket.begun(masks_of(units, whole))
    stream = generator("random", seed)
    drawn = {name: torch.from_numpy(1 - stream.random(tuple(mask.shape))) for name, mask in ticket.masks.items()}
    return ticket.begun(_most_important(ticket, drawn, dict.fromkeys(drawn, 1.0), "global"))


def oneshot(ticket: Ticket, model: Transformer, seed: int) -> tuple[Masks, State]:
    """The dense model pruned to the ticket's density at once: is the ladder worth its cost?"""
    scales = scales_of(ticket.rewind, ticket.dense, list(ticket.masks), ticket.scope)
    return ticket.begun(_most_important(ticket, ticket.dense, scales, ticket.scope))


def inverted(ticket: Ticket, model: Transformer, seed: int) -> tuple[Masks, State]:
    """In each layer as many weights, those least important in the dense model: is anything of this size as good?

    Of structure, in the attention and in the neurons of each layer the share that the ticket has of everything. Over
    all layers at once the classifier would go, which begins at zero: nothing would be learned.
    """
    scales = scales_of(ticket.rewind, ticket.dense, list(ticket.masks), ticket.scope)
    sizes = {name: ticket.dense[name].double().abs() / scales[name] for name in ticket.masks}
    highest = max(size.max().item() for size in sizes.values())
    # So that the means over blocks (of sizes), and over structure (of squares), turn around as well.
    power = 1 if ticket.heads is None else 2
    turned = {name: (highest**power - size**power) ** (1 / power) for name, size in sizes.items()}
    return ticket.begun(_most_important(ticket, turned, dict.fromkeys(turned, 1.0), "layerwise"))


def trained(ticket: Ticket, model: Transformer, seed: int) -> tuple[Masks, State]:
    """The ticket's masks over the trained weights that it was pruned from, with fresh moments, at the rewind step.

    With the schedule of the ticket this is learning-rate rewinding, with a low constant rate fine-tuning
    (arXiv 2003.02389).
    """
    zeros = {name: torch.zeros_like(tensor) for name, tensor in ticket.before.items() if name in ticket.rewind.first}
    state = State(ticket.rewind.step, ticket.before, zeros, zeros)
    if ticket.heads is None:
        return dict(ticket.masks), masked(state, ticket.masks)
    after, before = units_of(ticket.masks, ticket.heads), units_of(ticket.before_masks, ticket.heads)
    return dict(ticket.masks), cut(state, relative(after, before))


CONTROLS: dict[str, Control] = {
    "reinit": reinit,
    "signs": signs,
    "shuffled": shuffled_in_layers,
    "random": random,
    "oneshot": oneshot,
    "inverted": inverted,
    "lr_rewind": trained,
    "finetune": trained,
}
FROM_STEP_0 = ("reinit", "signs")
MASKLESS = ("small", "longer")
"""Dense models, which the stage makes as well: a smaller one, and one that is trained for longer."""


def _most_important(ticket: Ticket, weights: Weights, scales: Mapping[str, float], scope: str) -> Masks:
    """Masks over the dense model of the ticket's density, in all layers or in each, by the sizes of these weights."""
    whole = dense_masks(weights, list(ticket.masks))
    if ticket.heads is not None:
        units = prune_units(weights, units_of(whole, ticket.heads), scales, density(ticket.masks), scope)
        return masks_of(units, whole)
    if scope != "layerwise":
        return prune(weights, whole, scales, density(ticket.masks), scope, ticket.block)
    kept: Masks = {}
    for name, mask in ticket.masks.items():
        if mask.any():
            kept |= prune(weights, {name: whole[name]}, scales, density({name: mask}), "global", ticket.block)
        else:  # a layer that the ticket does without
            kept[name] = mask
    return kept


def small_size(budget: int, count: Callable[[int, int], int], heads: int, width: int, hidden: int) -> tuple[int, int]:
    """Width (a multiple of `heads`) and hidden neurons (of 4) of a dense model that takes at most `budget` bits.

    count: bits of a model by the two. As wide as the model (width, hidden) made smaller in proportion can be, then as
    many neurons as fit; `heads` wide with 4 neurons where nothing does.
    """

    def proportionate(own: int) -> int:
        return max(4, own * hidden // width // 4 * 4)

    fitting = [own for own in range(heads, width + 1, heads) if count(own, proportionate(own)) <= budget]
    if not fitting:
        return heads, 4
    neurons = proportionate(fitting[-1])
    while count(fitting[-1], neurons + 4) <= budget:
        neurons += 4
    return fitting[-1], neurons
