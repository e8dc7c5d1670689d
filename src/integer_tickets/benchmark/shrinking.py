"""What a training step takes along a ladder of heads and neurons, whose models shrink from level to level."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from integer_tickets.benchmark.timing import interleaved
from integer_tickets.benchmark.training import training_step
from integer_tickets.data.batches import Split
from integer_tickets.model.transformer import Transformer, initialise
from integer_tickets.seeds import generator
from integer_tickets.tickets.masks import dense_masks, density, scale_of
from integer_tickets.tickets.structure import cut, masks_of, prune_units, sizes_of, structured_names, units_of
from integer_tickets.training.state import fresh_state


def step_times(
    shape: Mapping[str, Any], densities: Sequence[float], batch: int, tokens: int, rounds: int
) -> list[dict[str, Any]]:
    """Milliseconds of a training step of each model cut to at most a density (1: dense), in interleaved rounds.

    shape: the arguments of Transformer; each step is one on `batch` random sentences of `tokens` tokens. Which heads
    and neurons go is decided by the random initial weights. Rows: the density that is left (never less than one head
    and one neuron a layer), heads and neurons of all layers, 10th percentile and median in milliseconds, steps timed.
    """
    dense = Transformer(**shape)
    random = generator("shrinking", 0)
    initialise(dense, random)
    state = fresh_state(dense)
    whole = dense_masks(state.weights, structured_names(dense))
    scales, units = scale_of(state.weights, list(whole)), units_of(whole, dense.heads)
    ids = random.integers(shape["vocabulary"], size=batch * tokens)
    sentences = Split(ids, np.arange(0, len(ids) + 1, tokens), random.integers(shape["classes"], size=batch))
    rows: list[dict[str, Any]] = []
    steps: dict[str, Callable[[], None]] = {}
    for target in densities:
        kept = prune_units(state.weights, units, scales, target, "global") if target < 1 else units
        sizes = sizes_of(kept)
        heads, neurons = (sum(column) for column in zip(*sizes, strict=True))
        rows.append({"density": round(density(masks_of(kept, whole)), 6), "heads": heads, "neurons": neurons})
        model = Transformer(**shape, sizes=sizes)
        model.load_state_dict(cut(state, kept).weights)
        steps[f"level {len(steps)}"] = training_step(model, sentences, batch, batch * tokens)
    taken = interleaved(steps, rounds)
    for row, seconds in zip(rows, taken.values(), strict=True):
        low, median = (round(float(value), 3) for value in np.percentile(1000 * seconds, [10, 50]))
        row |= {"p10_ms": low, "median_ms": median, "steps": len(seconds)}
    return rows
