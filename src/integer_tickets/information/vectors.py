"""How many bits integer vectors take: a lossless code learned on some of them, held to others, and a bound below.

For a deterministic network I(X;Z) = H(Z), and H(Z) <= E[-log2 q(Z)] for any code q that was fixed before the vectors
it is measured on. The code here goes coordinate by coordinate: each is predicted from those before it by a linear map
of fixed-point numbers and coded as a rounded Gaussian or Laplace variable about the prediction, or from a table of its
own frequencies, whichever took fewer bits on vectors that were kept back.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import ndtr

from integer_tickets.information.bounds import binomial_tail

Integers = NDArray[np.integer]
Floats = NDArray[np.float64]

FINE = 1 << 12  # fixed-point numbers are multiples of 1 / FINE
SMALLEST = 2.0**-24  # probability that the stream gives to any value of the range, however unlikely
KEPT_BACK = 0.2  # of the training vectors, to choose among the kinds of a coordinate
KINDS = ("gaussian", "laplace", "table")


@dataclass(frozen=True)
class Coordinate:
    """`weights` (earlier coordinates,) and `offset` predict it; `scale` is the deviation, or the mean absolute one."""

    kind: str
    weights: Floats
    offset: float
    scale: float
    table: Floats  # (high - low + 1,) frequencies, smoothed


@dataclass(frozen=True)
class VectorCode:
    """A code of vectors (n, d) of integers from low to high."""

    low: int
    high: int
    coordinates: tuple[Coordinate, ...]


def fit(train: Integers, low: int, high: int) -> VectorCode:
    """The code of vectors like `train` (n, d), whose values can be low to high. ValueError where one is not."""
    if train.min() < low or train.max() > high:
        raise ValueError(f"values {train.min()} to {train.max()}, expected {low} to {high}")
    first = max(1, round(len(train) * (1 - KEPT_BACK)))
    kept_back = train[first:] if first < len(train) else train
    lengths = [_column_bits(VectorCode(low, high, _learned(train[:first], low, high, kind)), kept_back)
               for kind in KINDS]  # fmt: skip
    best = np.argmin([bits.sum(0) for bits in lengths], 0)
    every = {kind: _learned(train, low, high, kind) for kind in KINDS}
    return VectorCode(low, high, tuple(every[KINDS[k]][j] for j, k in enumerate(best)))


def lengths(code: VectorCode, vectors: Integers) -> Floats:
    """Bits of each vector (n,): -log2 of its probability."""
    return _column_bits(code, vectors).sum(1)


def write(code: VectorCode, vectors: Integers) -> NDArray[np.uint32]:
    """The stream of vectors (n, d), one coordinate of all after the other."""
    coder = constriction.stream.queue.RangeEncoder()
    for j, (model, parameters) in enumerate(_models(code, vectors)):
        coder.encode(vectors[:, j].astype(np.int32) - _base(code, j), model, *parameters)
    words: NDArray[np.uint32] = coder.get_compressed()
    return words


def read(code: VectorCode, words: NDArray[np.uint32], count: int) -> Integers:
    """The vectors of a stream."""
    coder = constriction.stream.queue.RangeDecoder(words)
    vectors = np.zeros((count, len(code.coordinates)), np.int64)
    for j, (model, parameters) in enumerate(_models(code, vectors)):
        found = coder.decode(model, *(parameters or (count,)))
        vectors[:, j] = found + _base(code, j)
    return vectors


def collision_entropy(counts: Integers) -> float:
    """H2 = -log2 sum p^2 <= H, from how often each vector occurs: the share of equal pairs; inf where none is."""
    c = np.asarray(counts, np.float64)
    n = c.sum()
    pairs = (c * (c - 1)).sum() / (n * (n - 1))
    return -math.log2(pairs) if pairs else math.inf


def collision_bound(vectors: Integers, delta: float) -> float:
    """A lower bound on H2, with probability 1 - delta: from how many of n/2 disjoint pairs of vectors are equal."""
    half = len(vectors) // 2
    equal = int((vectors[:half] == vectors[half : 2 * half]).reshape(half, -1).all(1).sum())
    return -math.log2(binomial_tail(equal, half, 0, delta))


def _base(code: VectorCode, j: int) -> int:
    return code.low if code.coordinates[j].kind == "table" else 0


def _models(code: VectorCode, vectors: Integers) -> Iterator[tuple[Any, tuple[Floats, ...]]]:
    """The model of each coordinate and its parameters; when asked for one, `vectors` hold those before it."""
    own = {
        "gaussian": constriction.stream.model.QuantizedGaussian,
        "laplace": constriction.stream.model.QuantizedLaplace,
    }
    for j, part in enumerate(code.coordinates):
        if part.kind == "table":
            yield constriction.stream.model.Categorical(part.table, perfect=False), ()
        else:
            yield (
                own[part.kind](code.low, code.high),
                (_predicted(part, vectors[:, :j]), np.full(len(vectors), part.scale)),
            )


def _learned(train: Integers, low: int, high: int, kind: str) -> tuple[Coordinate, ...]:
    """Every coordinate of one kind. Predictions are the rows of I - L^-1, where L L^T is the covariance."""
    x = train.astype(np.float64)
    n, d = x.shape
    tables = [np.bincount(column - low, minlength=high - low + 1) + 1 / (high - low + 1) for column in train.T]
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / n + np.eye(d) / 12
    factor = np.linalg.cholesky(covariance)
    unit = factor / np.diagonal(factor)
    maps = np.rint((np.eye(d) - solve_triangular(unit, np.eye(d), lower=True, unit_diagonal=True)) * FINE) / FINE
    offsets = np.rint((mean - maps @ mean) * FINE) / FINE
    rest = x - x @ maps.T - offsets
    scales = np.sqrt((rest**2).mean(0)) if kind == "gaussian" else np.abs(rest).mean(0)
    scales = np.maximum(np.rint(scales * FINE), FINE // 8) / FINE
    return tuple(
        Coordinate(kind, maps[j, :j], float(offsets[j]), float(scales[j]), tables[j] / tables[j].sum())
        for j in range(d)
    )


def _predicted(part: Coordinate, before: Integers) -> Floats:
    """Exact: sums of products of integers and multiples of 1 / FINE."""
    return before.astype(np.float64) @ part.weights + part.offset


def _column_bits(code: VectorCode, vectors: Integers) -> Floats:
    p = np.empty(vectors.shape)
    for j, part in enumerate(code.coordinates):
        table = part.kind == "table"
        z, before = vectors[:, j], vectors[:, :j]
        p[:, j] = part.table[z - code.low] if table else _mass(part, z, _predicted(part, before), code)
    return np.asarray(-np.log2(p * (1 - (code.high - code.low + 1) * SMALLEST) + SMALLEST))


def _mass(part: Coordinate, z: Integers, mean: Floats, code: VectorCode) -> Floats:
    """The probability of the unit around z, where values end at low and high."""
    upper = _cdf(part, (z + 0.5 - mean) / part.scale)
    lower = _cdf(part, (z - 0.5 - mean) / part.scale)
    whole = _cdf(part, (code.high + 0.5 - mean) / part.scale) - _cdf(part, (code.low - 0.5 - mean) / part.scale)
    return np.asarray((upper - lower) / np.maximum(whole, SMALLEST))


def _cdf(part: Coordinate, x: Floats) -> Floats:
    if part.kind == "gaussian":
        return np.asarray(ndtr(x))
    tail = 0.5 * np.exp(-np.abs(x))
    return np.where(x < 0, tail, 1 - tail)
