"""Random streams: one for every purpose, so that equal seeds of two purposes never give the same numbers."""

import hashlib

import numpy as np


def _entropy(purpose: str, numbers: tuple[int, ...]) -> int:
    return int.from_bytes(hashlib.sha256(repr((purpose, numbers)).encode()).digest(), "little")


def generator(purpose: str, *numbers: int) -> np.random.Generator:
    """A stream of its own for a purpose and numbers (a seed, an epoch, ...), the same on every machine."""
    return np.random.default_rng(_entropy(purpose, numbers))


def seed_for(purpose: str, *numbers: int) -> int:
    """A 63-bit seed for libraries that want one number."""
    return int(np.random.SeedSequence(_entropy(purpose, numbers)).generate_state(1, np.uint64)[0] >> np.uint64(1))
