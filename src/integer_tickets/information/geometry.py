"""How the vectors of a layer lie: dimensions they fill, bits they would take as Gaussians, how classes part.

Vectors are rows, (n, d), integers or floats. Every one of these depends on n: only values at equal n compare.
"""

import numpy as np
from numpy.typing import NDArray

from integer_tickets.information.exact import entropy

Floats = NDArray[np.float64]
Vectors = NDArray[np.floating] | NDArray[np.integer]
Labels = NDArray[np.integer]

NOISE = 1 / 12  # variance of rounding to integers: the distortion at which a rate is the entropy of the integers
GAUSSIAN = 0.5 * np.log2(2 * np.pi * np.e * NOISE)  # bits a coordinate from the rate to that entropy


def participation_ratio(vectors: Vectors) -> tuple[float, float]:
    """(sum l)^2 / sum l^2 of the covariance's eigenvalues l: of the sample, and without its bias.

    The bias is that of Gaussian data: with m = n - 1, E tr(S)^2 = a + 2b/m and E tr(S^2) = a/m + (1 + 1/m) b, where
    a = tr(C)^2 and b = tr(C^2) of the true covariance C. NaN where all vectors are equal.
    """
    spectrum = _spectrum(vectors)
    m = len(vectors) - 1
    trace, square = spectrum.sum() ** 2, (spectrum**2).sum()
    if not square:
        return np.nan, np.nan
    b = (square - trace / m) / (1 + 1 / m - 2 / m**2)
    return float(trace / square), float((trace - 2 * b / m) / b)


def spectral_entropy(vectors: Vectors) -> float:
    """Von Neumann entropy, in bits, of the centred Gram matrix over its trace; 2 to this is the effective rank."""
    spectrum = _spectrum(vectors)
    return entropy(spectrum / spectrum.sum()) if spectrum.sum() else 0.0


def coding_rate(vectors: Vectors, distortion: float = NOISE) -> float:
    """Bits a vector, 1/2 log2 det(I + C / distortion) (Yu et al., arXiv 2006.08558, about the mean).

    With the default, rate + GAUSSIAN * d is the entropy of integers that are rounded Gaussians of that covariance,
    where their deviations are 1 or more.
    """
    return float(0.5 * np.log2(1 + _spectrum(vectors) * (len(vectors) - 1) / len(vectors) / distortion).sum())


def rate_reduction(vectors: Vectors, labels: Labels, distortion: float = NOISE) -> float:
    """The coding rate of all vectors less the mean rate within the classes: bits that the classes explain."""
    within = sum((labels == c).mean() * coding_rate(vectors[labels == c], distortion) for c in np.unique(labels))
    return coding_rate(vectors, distortion) - float(within)


def class_distance_normalized_variance(vectors: Vectors, labels: Labels) -> float:
    """(V1 + V2) / (2 |m1 - m2|^2), mean over pairs of classes (Galanti et al., arXiv 2112.15121); 0 is collapse."""
    groups = [np.asarray(vectors[labels == c], np.float64) for c in np.unique(labels)]
    means = [group.mean(0) for group in groups]
    variances = [((group - mean) ** 2).sum(1).mean() for group, mean in zip(groups, means, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = [
            (variances[i] + variances[j]) / (2 * ((means[i] - means[j]) ** 2).sum())
            for i in range(len(groups)) for j in range(i)
        ]  # fmt: skip
    return float(np.mean(pairs))


def nearest_mean(train: Vectors, labels: Labels, vectors: Vectors) -> Labels:
    """The class whose mean over `train` lies nearest to each of `vectors` (n,); the first of equals."""
    means = np.stack([np.asarray(train[labels == c], np.float64).mean(0) for c in np.unique(labels)])
    distance = ((np.asarray(vectors, np.float64)[:, None] - means) ** 2).sum(-1)
    return np.unique(labels)[distance.argmin(1)]


def _spectrum(vectors: Vectors) -> Floats:
    """Eigenvalues of the unbiased covariance, at most min(n, d) of them: by the smaller of X^T X and X X^T."""
    x = np.asarray(vectors, np.float64)
    x = x - x.mean(0)
    gram = x.T @ x if x.shape[1] <= len(x) else x @ x.T
    return np.maximum(np.linalg.eigvalsh(gram / (len(x) - 1)), 0)
