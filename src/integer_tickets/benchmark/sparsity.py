"""From which sparsity on the native engine is faster without zeros: a network with every layer dense, and sparse."""

from dataclasses import replace
from typing import Any

import numpy as np

from integer_tickets.benchmark.peer_files import EncoderShape, random_network
from integer_tickets.benchmark.timing import interleaved
from integer_tickets.integer import native_engine
from integer_tickets.integer.flat import GROUP, NEVER, flatten
from integer_tickets.integer.network import IntegerNetwork
from integer_tickets.seeds import generator

ALWAYS = 1.0  # the share of groups up to which zeros are left out
DENSITIES = (0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)


def break_even(shape: EncoderShape, n: int, rounds: int, isa: str) -> list[dict[str, Any]]:
    """Microseconds of a sentence of n tokens by density of the weights, pruned alone or in blocks, on one thread.

    occupied: the share of groups of four neighbouring weights with one that is not 0, which is what the engine sees.
    """
    rows, form = [], native_engine.form_of(isa)
    ids = generator("break even", n).integers(3, shape.vocabulary, (1, n))
    counts = np.array([n])
    for block in (1, GROUP):
        for density in DENSITIES:
            network = random_network(shape, density, block)
            calls = {}
            for name, share in (("dense", NEVER), ("sparse", ALWAYS)):
                own = native_engine.Prepared(flatten(network, None, replace(form, sparse=share)))
                calls[name] = lambda own=own: native_engine.run_padded(own, ids, counts, 1, isa)
            medians = {name: float(np.median(taken)) * 1e6 for name, taken in interleaved(calls, rounds).items()}
            rows.append(
                {
                    "layout": form.layout, "n": n, "block": block, "density": density,
                    "occupied": round(occupied(network), 3),
                    **{f"{name}_us": round(value, 1) for name, value in medians.items()},
                    "ratio": round(medians["sparse"] / medians["dense"], 3),
                }
            )  # fmt: skip
    return rows


def occupied(network: IntegerNetwork) -> float:
    """Over all linear layers but the classifier."""
    groups = [
        np.pad(linear.weight, ((0, 0), (0, -linear.weight.shape[1] % GROUP))).reshape(-1, GROUP).any(1)
        for name, linear in network.linears()
        if name != "classifier"
    ]
    return float(np.concatenate(groups).mean())
