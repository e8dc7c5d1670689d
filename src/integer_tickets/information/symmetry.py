"""Bits that the order of parts wastes: permutations that change the code of a network but not one of its integers.

Sums of integers do not depend on the order of their terms, and the code of a ticket takes as many bits in any order.
If k different messages of C bits decode to networks that compute the same function, the function has the probability
k 2^-C, so it counts C - log2 k bits (Zhou et al., arXiv 1804.05862, in floats only approximately). Parts may swap: the
channels of the residual stream, the hidden neurons of a layer, its heads, in a head the pairs of q and k and the
coordinates of v. Parts that are equal do not count twice.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from integer_tickets.integer.network import IntegerNetwork, Layer, Linear
from integer_tickets.integer.rounding import Array

Rows = NDArray[np.int64]


def symmetry_bits(network: IntegerNetwork) -> float:
    """log2 of a number of different networks that compute the same: at least so many, by orbit and stabilizer.

    A permutation of channels that leaves the network as it is leaves the token table so, hence the channels count as
    many orders as there are of the table's columns; what permutes inside the layers does not touch the table.
    """
    tokens = network.tokens
    columns = [tokens.weight.T] + ([] if tokens.mask is None else [tokens.mask.T])
    return _orders(np.concatenate(columns, 1).astype(np.int64)) + sum(
        _hidden(layer) + _attention(layer) for layer in network.layers
    )


def _hidden(layer: Layer) -> float:
    return _orders(np.concatenate([_outputs(layer.up), _inputs(layer.down)], 1))


def _attention(layer: Layer) -> float:
    """Of the coordinates within each head, and of the heads whose coordinates cannot be ordered to make them equal."""
    attention = layer.attention
    heads, total, seen = layer.heads, 0.0, []
    scored = np.split(np.concatenate([_outputs(layer.query), _outputs(layer.key)], 1), heads)
    carried = np.split(np.concatenate([_outputs(layer.value), _inputs(layer.output)], 1), heads)
    vectors = [value for value in vars(attention).values() if isinstance(value, np.ndarray) and len(value) == heads]
    for head, (pairs, values) in enumerate(zip(scored, carried, strict=True)):
        total += _orders(pairs) + _orders(values)
        own = [_sorted(pairs), _sorted(values), np.array([int(vector[head]) for vector in vectors])]
        seen.append(np.concatenate([part.reshape(-1) for part in own]))
    return total + _orders(np.stack(seen))


def _outputs(linear: Linear) -> Rows:
    """What belongs to each output of a linear layer: its weights, mask, bias and multiplier."""
    own = [*_weights(linear), linear.bias[:, None]]
    if linear.rule is not None and len(linear.rule.multiplier) > 1:
        own.append(linear.rule.multiplier[:, None])
    return _joined(own)


def _inputs(linear: Linear) -> Rows:
    """What belongs to each input."""
    return _joined(part.T for part in _weights(linear))


def _weights(linear: Linear) -> list[Array]:
    return [linear.weight] + ([] if linear.mask is None else [linear.mask])


def _joined(parts: Iterable[Array]) -> Rows:
    return np.concatenate([part.astype(np.int64) for part in parts], 1)


def _sorted(rows: Rows) -> Rows:
    return rows[np.lexsort(rows.T[::-1])]


def _orders(rows: Rows) -> float:
    """log2 of the number of different orders of the rows."""
    counts = np.unique(rows, axis=0, return_counts=True)[1]
    nats = math.lgamma(len(rows) + 1) - sum(math.lgamma(count + 1) for count in counts.tolist())
    return nats / math.log(2)
