"""What a deterministic representation Z = f(X) holds, exactly, where every x can be listed with its probability.

For Y - X - Z with Z = f(X): I(X;Z) = H(Z), I(X;Z|Y) = H(Z) - I(Z;Y), and I(X;Y) - I(Z;Y) = I(X;Y|Z) >= 0. All in bits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Held:
    """Bits that a representation holds: how little (minimality) and of what (sufficiency)."""

    states: int  # distinct values
    entropy: float  # H(Z) = I(X;Z)
    label: float  # I(Z;Y)
    gap: float  # I(X;Y) - I(Z;Y): 0 where Z is sufficient
    superfluous: float  # I(X;Z|Y) = H(Z) - I(Z;Y)


def held(codes: NDArray[np.integer], chance: Floats, posterior: Floats) -> Held:
    """Of integer representations `codes` (x, ...), given p(x) and p(y=1|x), both (x,), for two classes."""
    rows = np.ascontiguousarray(codes).reshape(len(codes), -1)
    state = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    size = int(state.max()) + 1
    mass, positive = (_sums(state, x, size) for x in (chance, chance * posterior))
    whole = label_bits(chance, chance * posterior)
    label, total = label_bits(mass, positive), entropy(mass)
    return Held(size, total, label, whole - label, total - label)


def _sums(state: NDArray[np.integer], x: Floats, size: int) -> Floats:
    return np.bincount(state, x, size).astype(np.float64)


def label_bits(mass: Floats, positive: Floats) -> float:
    """I(Z;Y) from p(z) and p(z, y=1)."""
    marginal = np.array([mass.sum() - positive.sum(), positive.sum()])
    joint = np.stack([mass - positive, positive])
    return entropy(marginal) + entropy(mass) - entropy(joint)


def entropy(probabilities: Floats) -> float:
    """-sum p log2 p, where 0 log 0 = 0."""
    p = np.asarray(probabilities, np.float64).reshape(-1)
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())
