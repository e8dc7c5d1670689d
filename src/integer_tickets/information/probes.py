"""What a layer tells about the label to a reader of limited means: held-out cross-entropies of probes, in bits.

I(Z;Y) >= H(Y) - CE(q) for every q that was fixed before the examples it is measured on. For the best q of a family it
is the usable information of Xu et al. (arXiv 2002.10689): computation can create it, so a later layer may have more.
Probabilities are clipped, lest one example decide all, and add up to 1.
"""

from dataclasses import dataclass
from warnings import catch_warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]
Vectors = NDArray[np.floating] | NDArray[np.integer]
Labels = NDArray[np.integer]

CLIP = 0.02, 0.98
FIRST_BLOCK = 64  # examples of an online code that are coded at one bit a binary label
HIDDEN = 64  # neurons of the probe that is not linear
PASSES = 30  # over the training vectors, of that probe
SMALLEST_SHARE = 1e-9  # of a class in a marginal


@dataclass(frozen=True)
class Sample:
    """Vectors (n, d) of a layer, one of each example, and the examples' labels (n,)."""

    vectors: Vectors
    labels: Labels


def usable(train: Sample, held_out: Sample, family: str, seed: int = 0) -> Floats:
    """Pointwise usable information of held-out examples (n,), in bits (Ethayarajh et al., arXiv 2110.08420).

    log2 of what the probe gives the true label, less log2 of its share among the labels of train. The mean is
    H_V(Y) - H_V(Y|Z); where held-out labels have other shares, H_V(Y) is larger than H(Y) by their divergence. family:
    `linear` or `mlp`.
    """
    classes = _classes(train, held_out)
    chances = _fitted(train, family, seed, classes, held_out.vectors)
    return _log_chance(chances, held_out.labels) - _log_chance(_shares(train.labels, classes), held_out.labels)


def online_bits(sample: Sample, order: NDArray[np.integer], family: str = "linear", seed: int = 0) -> float:
    """Bits a label of the online code (Voita and Titov, arXiv 2003.12298): blocks of 64, 64, 128, ... in that order.

    The first block is sent at log2 of the number of classes, each later one with a probe of all that came before.
    """
    shuffled = Sample(sample.vectors[order], sample.labels[order])
    n, classes = len(order), _classes(sample)
    end = min(FIRST_BLOCK, n)
    bits = end * np.log2(classes)
    while end < n:
        begin, end = end, min(2 * end, n)
        known = Sample(shuffled.vectors[:begin], shuffled.labels[:begin])
        chances = _fitted(known, family, seed, classes, shuffled.vectors[begin:end])
        bits -= _log_chance(chances, shuffled.labels[begin:end]).sum()
    return float(bits / n)


def random_label_bits(sample: Sample, family: str, random: np.random.Generator) -> float:
    """Bits an example that a probe fits of random labels within each class, on its own training set.

    How well a layer lets examples of one class be told apart: the less, the more minimal it is for the family
    (after Dubois et al., arXiv 2009.12789).
    """
    total = 0.0
    for c in np.unique(sample.labels):
        vectors = sample.vectors[sample.labels == c]
        own = Sample(vectors, random.permutation(np.arange(len(vectors)) % 2))
        total += usable(own, own, family).sum()
    return total / len(sample.labels)


def paired_interval(
    one: Floats, other: Floats, resamples: int, confidence: float, random: np.random.Generator
) -> tuple[float, float]:
    """Bootstrap interval of the mean difference of two pointwise quantities of the same examples."""
    difference = one - other
    means = [difference[random.integers(0, len(difference), len(difference))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _fitted(train: Sample, family: str, seed: int, classes: int, vectors: Vectors) -> Floats:
    """What a probe of `train` gives each class for `vectors`, (n, classes); the marginal where train has one class."""
    found, labels = np.tile(_shares(train.labels, classes), (len(vectors), 1)), np.unique(train.labels)
    if len(labels) > 1 and np.ptp(train.vectors, 0).any():
        probe = LogisticRegression(max_iter=1000) if family == "linear" else _mlp(seed)
        with catch_warnings(action="ignore", category=ConvergenceWarning):  # so many passes, converged or not
            model = make_pipeline(StandardScaler(), probe).fit(train.vectors, train.labels)
        found[:] = 0
        found[:, labels] = model.predict_proba(vectors)
    return found


def _mlp(seed: int) -> MLPClassifier:
    return MLPClassifier((HIDDEN,), alpha=1e-3, learning_rate_init=0.005, max_iter=PASSES, tol=0.0, random_state=seed)


def _shares(labels: Labels, classes: int) -> Floats:
    share = np.bincount(labels, minlength=classes) / len(labels)
    return np.maximum(share, SMALLEST_SHARE)


def _log_chance(chances: Floats, labels: Labels) -> Floats:
    if chances.ndim == 1:
        return np.log2(chances[labels])
    clipped = np.clip(chances, *CLIP)
    own = clipped[np.arange(len(labels)), labels] / clipped.sum(1)
    return np.asarray(np.log2(own))


def _classes(*samples: Sample) -> int:
    return max(2, *(int(sample.labels.max()) + 1 for sample in samples))
