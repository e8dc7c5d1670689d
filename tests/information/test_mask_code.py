"""What is known beforehand takes nothing; what has nothing to do with a mask saves nothing."""

import numpy as np
import pytest

from integer_tickets.information.coder import adaptive_bits
from integer_tickets.information.mask_code import BUCKETS, buckets, mask_bits


@pytest.fixture
def layers():
    random = np.random.default_rng(0)
    weights = {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in {"a": (64, 64), "b": (32, 64)}.items()
    }
    return random, weights


def test_alone_a_mask_takes_what_its_counts_say(layers):
    random, weights = layers
    masks = {name: random.random(weight.shape) < 0.1 for name, weight in weights.items()}
    expected = sum(adaptive_bits(np.bincount(mask.reshape(-1), minlength=2)) for mask in masks.values())
    assert mask_bits(masks) == pytest.approx(expected)


def test_a_mask_of_the_largest_first_weights_takes_next_to_nothing(layers):
    _, weights = layers
    masks = {name: np.abs(weight) > np.quantile(np.abs(weight), 1 - 1 / BUCKETS) for name, weight in weights.items()}
    assert mask_bits(masks, buckets(weights)) < 0.05 * mask_bits(masks)


def test_what_has_nothing_to_do_with_it_saves_nothing(layers):
    random, weights = layers
    masks = {name: random.random(weight.shape) < 0.1 for name, weight in weights.items()}
    others = {name: (random.random(weight.shape) < 0.1).astype(np.int64) for name, weight in weights.items()}
    alone = mask_bits(masks)
    for known in (buckets(weights), others):
        assert alone - 10 < mask_bits(masks, known) < 1.05 * alone
    assert mask_bits(masks, {name: mask.astype(np.int64) for name, mask in masks.items()}) < 0.02 * alone


def test_buckets_are_equally_full_and_ordered():
    weight = np.array([[0.5, -3.0, 0.0, 0.0], [1.0, -0.25, 2.0, 0.75]], np.float32)
    assert buckets({"w": weight})["w"].tolist() == [[3, 7, 0, 1], [5, 2, 6, 4]]
