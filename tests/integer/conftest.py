"""Random valid integer networks: calibrated ones, which use the full range of every tensor, and extreme ones."""

from collections.abc import Callable

import numpy as np
import pytest

from integer_tickets.integer.network import (
    Bypass,
    Inhibitor,
    IntegerNetwork,
    Layer,
    Linear,
    Softmax,
    Table,
    roles,
    shapes,
    weight_range,
)
from integer_tickets.integer.rounding import Array, Rule, exp_table, half, length_table, rule_for
from integer_tickets.integer.tokenizer import Tokenizer

Network = Callable[..., IntegerNetwork]


KINDS = ["inhibitor", "unsigned", "softmax"]
SHAPES = [
    {"bits": 8},
    {"bits": 4, "density": 0.3, "d": 24, "heads": 2, "hidden": 7},
    {"bits": 2, "density": 0.05, "d": 8, "heads": 8, "layers": 1, "classes": 2},
    {"bits": 3, "d": 33, "heads": 1, "positions": 1, "layers": 3, "vocabulary": 1},
    {"bits": 8, "layers": 0},
    {"bits": 4, "sizes": [(1, 3, 5), (4, 8, 48), (3, 1, 1)]},
    {"bits": 4, "d": 18, "heads": 2, "post_norm": True},
]


def _matrix(rng: np.random.Generator, shape: tuple[int, int], bits: int, density: float | None) -> dict:
    low, high = weight_range(bits)
    weight = rng.integers(low, high, shape, dtype=np.int8, endpoint=True)
    mask = None
    if density is not None:
        mask = rng.random(shape) < density
        weight[~mask] = 0
    return {"weight": weight, "mask": mask, "bits": bits}


def _calibrated(rng, shape, bits, density, inputs, high, zero) -> Linear:
    """Factors that spread sums of inputs with that root mean square over the whole output range and a bit beyond."""
    matrix = _matrix(rng, shape, bits, density)
    typical = max(1.0, float(np.sqrt((matrix["weight"].astype(float) ** 2).sum(axis=1)).mean())) * inputs
    size = (1,) if rng.random() < 0.3 else (shape[0],)
    rule = rule_for(0.4 * high / typical * np.exp(rng.uniform(-1, 1, size)), high, zero)
    bias = rng.integers(-int(typical), int(typical), shape[0], endpoint=True) + half(rule)
    return Linear(**matrix, bias=bias.astype(np.int32), rule=rule)


def _calibrated_attention(rng, kind, heads, head_width) -> Inhibitor | Softmax:
    gain = int(rng.integers(0, 5))
    if kind == "softmax":
        rules = [rule_for(60 / (np.sqrt(head_width) * 5000 * 2) * f, 255) for f in np.exp(rng.uniform(-1, 1, heads))]
        return Softmax(
            np.array([r.pre_shift for r in rules], dtype=np.int32),
            np.array([int(r.multiplier[0]) for r in rules], dtype=np.int32),
            np.array([r.shift for r in rules], dtype=np.int32),
            gain,
            exp_table(),
        )
    shift = rng.integers(4, 14, heads).astype(np.int32)
    multiplier = np.maximum(1, 2.0**shift * 80 / (head_width * 70) * np.exp(rng.uniform(-1, 1, heads)))
    multiplier = np.minimum(multiplier, 32767).astype(np.int32)
    offset = (multiplier * head_width * rng.uniform(20, 80, heads)).astype(np.int32)
    return Inhibitor(multiplier, offset, shift, gain, signed=kind == "inhibitor")


def _extreme(rng, shape, bits, largest_input, zero) -> Linear:
    """Weights and biases at the ends of what they may be, and any rule."""
    low, high = weight_range(bits)
    signs = rng.choice([low, high], shape if rng.random() < 0.5 else (shape[0], 1))
    weight = np.broadcast_to(signs, shape).astype(np.int8)
    room = 2**31 - 1 - int(np.abs(weight.astype(np.int64)).sum(axis=1).max()) * largest_input
    bias = rng.choice([-room, room, 0, 1], shape[0]).astype(np.int32)
    rule = Rule(
        int(rng.integers(0, 32)),
        rng.choice([0, 1, 16384, 32767], shape[0]).astype(np.int32),
        int(rng.integers(1, 31)),
        zero,
    )
    return Linear(weight, None, bias, rule, bits)


def _extreme_attention(rng, kind, heads, head_width) -> Inhibitor | Softmax:
    gain = int(rng.choice([0, 8]))
    multiplier = rng.choice([0, 1, 32767], heads).astype(np.int32)
    if kind == "softmax":
        pre_shift = rng.integers(0, 32, heads).astype(np.int32)
        table = rng.integers(0, 256, 256).astype(np.uint8)
        table[0] = 255
        return Softmax(pre_shift, multiplier, rng.integers(1, 31, heads).astype(np.int32), gain, table)
    room = 2**31 - 1 - 255 * head_width * multiplier.astype(np.int64)
    offset = (room * rng.choice([-1, 0, 1], heads)).astype(np.int32)
    return Inhibitor(multiplier, offset, rng.integers(0, 31, heads).astype(np.int32), gain, kind == "inhibitor")


def _bypass(rng, d: int, extreme: bool) -> Bypass:
    """Gains and offsets as of a trained network, or the largest."""
    if extreme:
        gain, offset = rng.choice([-32767, -1, 0, 1, 32767], (2, d))
    else:
        gain, offset = rng.integers(-20, 200, d), rng.integers(-3000, 3000, d)
    return Bypass(gain.astype(np.int32), offset.astype(np.int32))


def build_network(
    seed: int,
    attention: str = "inhibitor",
    d: int = 32,
    heads: int = 4,
    layers: int = 2,
    hidden: int = 48,
    vocabulary: int = 60,
    positions: int = 20,
    classes: int = 3,
    bits: int = 8,
    density: float | None = None,
    extreme: bool = False,
    sizes: list[tuple[int, int, int]] | None = None,
    post_norm: bool = False,
) -> IntegerNetwork:
    """A random network; attention is `inhibitor` (signed), `unsigned` or `softmax`.

    sizes: heads, pairs and hidden neurons of each layer, where they are not all the same.
    """
    rng = np.random.default_rng(seed)
    make = _extreme_attention if extreme else _calibrated_attention
    made = []
    for own_heads, pairs, own_hidden in [(heads, d // heads, hidden)] * layers if sizes is None else sizes:
        own = make(rng, attention, own_heads, d // heads)
        linears = {}
        for name, role in roles(own).items():
            shape = shapes(d, own_heads * pairs, own_heads * (d // heads), own_hidden)[name]
            if extreme:
                linears[name] = _extreme(rng, shape, bits, role.largest_input, role.zero)
            else:
                inputs = {"output": 40, "down": 90}.get(name, 20)
                high = min(role.high - role.zero, 20000) if role.high > 255 else role.high - role.zero
                linears[name] = _calibrated(rng, shape, bits, density, inputs, high, role.zero)
        past = [_bypass(rng, d, extreme) if post_norm else None for _ in range(2)]
        made.append(Layer(**linears, attention=own, attention_bypass=past[0], hidden_bypass=past[1]))
    classifier = (
        _extreme(rng, (classes, d), bits, 128, 0)
        if extreme
        else Linear(
            **_matrix(rng, (classes, d), 8, None),
            bias=rng.integers(-9999, 9999, classes).astype(np.int32),
            rule=None,
        )
    )
    classifier = Linear(classifier.weight, classifier.mask, classifier.bias, None, classifier.bits)
    multiplier, shift = length_table(positions)
    table_shift = 15 if extreme else 14 - bits
    return IntegerNetwork(
        tokens=Table(**_matrix(rng, (vocabulary, d), bits, density), shift=table_shift),
        positions=Table(**_matrix(rng, (positions, d), bits, None), shift=max(0, table_shift - 1)),
        layers=tuple(made),
        classifier=classifier,
        pool_gain=int(rng.integers(0, 9)),
        length_multiplier=multiplier,
        length_shift=shift,
        heads=heads,
        labels=tuple(f"label {i}" for i in range(classes)),
        logit_multiplier=12345,
        logit_shift=20,
    )


def build_tokenizer(size: int = 60, positions: int = 20, seed: int = 0) -> Tokenizer:
    """Every letter as a beginning and as a continuation, then random longer pieces."""
    rng = np.random.default_rng(seed)
    letters = [bytes([c]) for c in b"abcdefghijklmnopqrstuvwxyz"]
    pieces = dict.fromkeys([(p, c) for c in (False, True) for p in letters][: size - 3])
    while len(pieces) < size - 3:
        word = b"".join(rng.choice(letters, int(rng.integers(2, 5))))
        pieces[word, bool(rng.integers(0, 2))] = None
    return Tokenizer("pieces", tuple(p for p, _ in pieces), tuple(c for _, c in pieces), size, positions)


@pytest.fixture
def random_network() -> Network:
    return build_network


@pytest.fixture
def random_tokenizer() -> Callable[..., Tokenizer]:
    return build_tokenizer


@pytest.fixture
def sentences() -> Callable[..., list[list[int]]]:
    """Random sentences of every length 0..positions and of the first and the last token alone."""

    def make(network: IntegerNetwork, seed: int = 0, count: int = 40) -> list[list[int]]:
        rng = np.random.default_rng(seed)
        vocabulary, positions = network.tokens.weight.shape[0], network.positions.weight.shape[0]
        lengths = [*range(positions + 1), *rng.integers(0, positions + 1, count)]
        made: list[list[int]] = [rng.integers(0, vocabulary, n).tolist() for n in lengths]
        made += [[0] * positions, [vocabulary - 1] * positions, [0], [vocabulary - 1], []]
        return [made[i] for i in rng.permutation(len(made))]

    return make


@pytest.fixture
def traced() -> Callable[..., tuple[Array, dict[tuple[int, str], Array]]]:
    """Logits and every tensor of every sentence, by sentence and name."""

    def run(engine, network, batch, **options):
        seen: dict[tuple[int, str], Array] = {}
        logits = engine(network, batch, trace=lambda i, name, values: seen.update({(i, name): values}), **options)
        return logits, seen

    return run
