"""What an integer network must be, and the proofs about it."""

from dataclasses import replace

import numpy as np
import pytest

from integer_tickets.errors import UserError
from integer_tickets.integer.bounds import linear_bound, prove
from integer_tickets.integer.network import Linear, density, padded, zeros
from integer_tickets.integer.rounding import Rule, norm


def with_layer(network, part, **changes):
    """The network with one part of its layer 1 changed."""
    layer = network.layers[1]
    layer = replace(layer, **{part: replace(getattr(layer, part), **changes)})
    return replace(network, layers=(network.layers[0], layer))


def rule(**changes):
    return replace(Rule(3, np.array([20000], dtype=np.int32), 20), **changes)


ONES = np.ones((32, 32), dtype=np.int8)
BROKEN_PARTS = [
    ("query", {"weight": ONES.astype(np.int32)}, "layers.1.query: weight must be an int8 matrix"),
    ("value", {"weight": ONES[:, :30]}, r"layers.1.value: weight has shape \(32, 30\), expected \(32, 32\)"),
    ("value", {"weight": ONES * 8, "bits": 4}, r"layers.1.value: weights outside -8..7"),
    ("value", {"weight": ONES * -2, "bits": 2}, r"layers.1.value: weights outside -1..1"),
    ("key", {"bits": 5}, "layers.1.key: 5 bits"),
    ("key", {"mask": np.zeros((32, 32), dtype=bool)}, "layers.1.key: a pruned weight is not zero"),
    ("key", {"mask": np.ones((32, 30), dtype=bool)}, "layers.1.key: mask must be bool"),
    ("value", {"weight": ONES[:15]}, "layers.1.value: 15 rows, expected whole heads of 8, at most 32"),
    ("value", {"weight": ONES[[*range(32), *range(8)]]}, "layers.1.value: 40 rows, expected whole heads of 8"),
    ("query", {"weight": ONES[:15]}, "layers.1.query: 15 rows, expected as many for each of 4 heads, at most 32"),
    ("query", {"weight": ONES[[*range(32), *range(8)]]}, "layers.1.query: 40 rows, expected as many for each of 4"),
    ("query", {"weight": ONES[:16], "bias": np.zeros(16, dtype=np.int32)}, r"layers.1.key: .*, expected \(16, 32\)"),
    ("up", {"bias": np.zeros(48, dtype=np.int64)}, r"layers.1.up: bias must be int32 \(48,\)"),
    ("up", {"rule": None}, "layers.1.up: the classifier alone has no rounding rule"),
    ("up", {"rule": rule(zero=128)}, "layers.1.up: zero point 128, expected 0"),
    ("down", {"rule": rule(shift=0)}, "layers.1.down: shift 0"),
    ("down", {"rule": rule(pre_shift=32)}, "layers.1.down: pre-shift 32"),
    ("down", {"rule": rule(multiplier=np.array([1, 2], dtype=np.int32))}, "layers.1.down: multiplier must be"),
    ("down", {"rule": rule(multiplier=np.array([2**15], dtype=np.int32))}, "layers.1.down: multiplier outside"),
    ("query", {"rule": rule()}, "layers.1.query: zero point 0, expected 128"),
    ("attention", {"gain": 9}, "layers.1.attention: gain 9"),
    ("attention", {"shift": np.array([31, 1, 1, 1], dtype=np.int32)}, "layers.1.attention: shift outside 0..30"),
    ("attention", {"offset": np.zeros(3, dtype=np.int32)}, "layers.1.attention: offset must have one number per head"),
    ("attention", {"multiplier": np.zeros(4)}, "layers.1.attention: multiplier must be int32"),
]


@pytest.mark.parametrize(("part", "changes", "message"), BROKEN_PARTS)
def test_a_broken_part_is_named(random_network, part, changes, message):
    with pytest.raises(UserError, match=message):
        with_layer(random_network(0), part, **changes)


def test_a_broken_softmax_table_is_named(random_network):
    network = random_network(0, "softmax")
    with pytest.raises(UserError, match=r"layers.1.attention: table must begin with 255"):
        with_layer(network, "attention", table=np.zeros(256, dtype=np.uint8))
    with pytest.raises(UserError, match=r"layers.1.attention: table must be 256"):
        with_layer(network, "attention", table=np.zeros(255, dtype=np.uint8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, "5 heads do not divide the width 32"),
        ({"labels": ("a", "b", "a")}, "labels: one occurs twice"),
        ({"labels": ("a", 1, "b")}, "labels: expected names"),
        ({"labels": ("a",)}, "labels: expected at least two"),
        ({"labels": ("a", "b")}, r"classifier: weight has shape \(3, 32\), expected \(2, 32\)"),
        ({"pool_gain": -1}, "pool: gain -1"),
        ({"length_shift": np.zeros(21, dtype=np.int32)}, "length_shift: not the table for 20 tokens"),
        ({"logit_multiplier": 0}, "logit_multiplier"),
        ({"logit_shift": 63}, "logit_shift"),
    ],
)
def test_a_broken_network_is_named(random_network, changes, message):
    with pytest.raises(UserError, match=message):
        replace(random_network(0), **changes)


def test_tables_are_checked(random_network):
    network = random_network(0)
    with pytest.raises(UserError, match="tokens: shift 16"):
        replace(network, tokens=replace(network.tokens, shift=16))
    with pytest.raises(UserError, match="positions: width is not that of the tokens, 32"):
        replace(network, positions=replace(network.positions, weight=ONES[:, :8]))
    with pytest.raises(UserError, match="positions: 256 of them"):
        replace(network, positions=replace(network.positions, weight=np.zeros((256, 32), dtype=np.int8)))
    with pytest.raises(UserError, match="tokens: weight is empty"):
        replace(network, tokens=replace(network.tokens, weight=ONES[:0]))


def test_a_layer_may_have_fewer_heads(random_network):
    network = random_network(0, sizes=[(1, 8, 5), (3, 8, 48)])
    assert network.heads == 4 and [layer.heads for layer in network.layers] == [1, 3]
    assert network.layers[0].output.weight.shape == (32, 8) and network.layers[0].up.weight.shape == (5, 32)
    with pytest.raises(UserError, match=r"layers.1.output: weight has shape \(32, 32\), expected \(32, 24\)"):
        with_layer(network, "output", weight=ONES)
    with pytest.raises(UserError, match=r"layers.1.attention: shift must have one number per head \(3\)"):
        with_layer(network, "attention", shift=np.ones(4, dtype=np.int32))


def test_q_and_k_may_be_narrower_than_a_head(random_network):
    network = random_network(0, sizes=[(1, 3, 5), (3, 8, 48)])
    assert [layer.pairs for layer in network.layers] == [3, 8]
    first = network.layers[0]
    assert first.query.weight.shape == first.key.weight.shape == (3, 32) and first.value.weight.shape == (8, 32)


def test_zeros_of_a_mask_and_of_rounding_are_counted_apart(random_network):
    network = random_network(0, bits=2, density=0.25)
    found = zeros(network)
    linears = [linear for _, linear in network.linears()]
    assert found.size == sum(linear.weight.size for linear in linears)
    assert found.pruned == sum((~linear.mask).sum() for linear in linears if linear.mask is not None) > 0
    assert found.rounded == sum(
        (linear.weight[linear.mask if linear.mask is not None else ...] == 0).sum() for linear in linears
    )
    assert found.rounded > 0


def test_density_counts_weights_that_live(random_network):
    network = random_network(0, density=0.25)
    assert density(network.classifier) == 1.0
    assert density(network.layers[0].up) == network.layers[0].up.mask.mean() < 0.4


def test_names_are_in_the_order_of_computation(random_network):
    names = [name for name, _ in random_network(0, layers=1).matrices()]
    parts = ["query", "key", "value", "output", "up", "down"]
    assert names == ["tokens", "positions", *(f"layers.0.{part}" for part in parts), "classifier"]


def test_bounds_hold_and_are_reached(random_network):
    network = random_network(1)
    bounds = prove(network)
    assert list(bounds) == sorted(bounds, key=list(bounds).index) and "layers.0.attention" in bounds
    up = network.layers[0].up
    worst = 128 * np.sign(up.weight).astype(np.int64) * np.where(up.bias < 0, -1, 1)[:, None]
    reached = np.abs((up.weight * worst).sum(axis=1) + up.bias).max()
    assert reached == bounds["layers.0.up"] == linear_bound(up, 128)
    assert bounds["layers.0.down"] == linear_bound(network.layers[0].down, 255)
    u = norm(np.random.default_rng(0).integers(-32768, 32768, (50, 32)))
    assert np.abs(u @ up.weight.T.astype(np.int64) + up.bias).max() <= bounds["layers.0.up"]


def test_bounds_of_softmax_and_inhibitor(random_network):
    assert prove(random_network(1, "softmax"))["layers.0.attention"] == 2 * 128 * 128 * 8
    a = random_network(1).layers[0].attention
    expected = max(255 * 8 * int(m) + abs(int(o)) for m, o in zip(a.multiplier, a.offset, strict=True))
    assert prove(random_network(1))["layers.0.attention"] == expected


def test_a_network_that_could_overflow_is_refused(random_network):
    network = random_network(0)
    room = 2**31 - 1 - 128 * 32
    weight, bias = ONES[:1].repeat(32, axis=0), np.zeros(32, dtype=np.int32)
    bias[7] = -room
    fits = with_layer(network, "value", weight=weight, bias=bias)
    assert prove(fits)["layers.1.value"] == 2**31 - 1
    bias = bias.copy()
    bias[7] = -room - 1
    with pytest.raises(UserError, match=r"layers.1.value: a sum could reach 2147483648, beyond 32 bits"):
        prove(with_layer(network, "value", weight=weight, bias=bias))
    offset = np.array([0, 0, 0, 2**31 - 1], dtype=np.int32)
    with pytest.raises(UserError, match=r"layers.1.attention: a sum could reach"):
        prove(with_layer(network, "attention", offset=offset))
    classifier = Linear(network.classifier.weight, None, np.full(3, 2**31 - 1, dtype=np.int32), None, 8)
    with pytest.raises(UserError, match="classifier: a sum could reach"):
        prove(replace(network, classifier=classifier))


def test_padded():
    ids, counts = padded([[5, 6], [7, 8, 9], [1], []])
    assert ids.tolist() == [[5, 6, 0], [7, 8, 9], [1, 0, 0], [0, 0, 0]] and counts.tolist() == [2, 3, 1, 0]
    assert ids.dtype == counts.dtype == np.int64
    assert padded([[]])[0].shape == (1, 1)  # no engine meets a batch without a token
