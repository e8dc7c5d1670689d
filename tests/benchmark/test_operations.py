"""Operation counts: by hand, against PyTorch's own, the network's numbers, and a run of the reference that counts."""

from collections import Counter
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from integer_tickets.benchmark.energy import PICOJOULES, cost_rows
from integer_tickets.benchmark.operations import (
    Shape,
    average,
    dense_bytes,
    dense_operations,
    integer_bytes,
    integer_operations,
)
from integer_tickets.integer import reference
from integer_tickets.integer.layout import network_tensors
from integer_tickets.integer.network import Softmax, roles
from integer_tickets.model.transformer import Transformer
from tests.integer.conftest import build_network

SHAPE = Shape(width=16, layers=2, heads=4, hidden=24, classes=3)


def by(counts, **columns):
    """The sum of the counts that have these values (part, operation, number)."""
    place = {"part": 0, "operation": 1, "number": 2}
    return sum(count for key, count in counts.items() if all(key[place[c]] == v for c, v in columns.items()))


def float_model():
    return Transformer(
        vocabulary=50, positions=12, classes=3, width=16, layers=2, heads=4, hidden=24, dropout=0.0,
        attention="softmax", kernel="plain",
    )  # fmt: skip


@pytest.mark.parametrize("n", [1, 7, 12])
def test_dense_products_are_those_that_pytorch_counts(n):
    model = float_model().eval()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.ones(1, n, dtype=torch.long), torch.tensor([n]))
    e = SHAPE.width // SHAPE.heads
    counts = dense_operations(SHAPE, n)
    products = by(counts, part="linear", operation="multiply") + 2 * SHAPE.layers * n * n * SHAPE.heads * e
    assert 2 * products == counter.get_total_flops()


def test_dense_bytes_are_the_parameters_that_a_sentence_touches():
    model = float_model()
    tables = model.tokens.weight.numel() + model.positions.weight.numel()
    rest = sum(parameter.numel() for parameter in model.parameters()) - tables
    assert dense_bytes(SHAPE, 5) == 4 * (rest + 2 * 5 * SHAPE.width)


@pytest.mark.parametrize("attention", ["inhibitor", "unsigned", "softmax"])
def test_every_living_weight_is_multiplied_and_added_once_per_token(attention):
    network = build_network(3, attention, density=0.4)
    n = 9
    alive = {name: int(np.count_nonzero(linear.weight)) for name, linear in network.linears()}
    products = n * sum(alive.values()) - (n - 1) * alive["classifier"]
    counts = integer_operations(network, n)
    assert by(counts, part="linear", operation="multiply", number="int8") == products
    outputs = n * sum(linear.bias.size for _, linear in network.linears()) - (n - 1) * 3
    assert by(counts, part="linear", operation="multiply", number="int16") == outputs - 3  # the rounding rule
    assert by(counts, part="linear", operation="add") >= products + outputs


def test_ternary_weights_need_no_multiplication():
    counts = integer_operations(replace_bits(build_network(1, bits=2)), 4)
    assert by(counts, part="linear", operation="multiply", number="int8") == 0


def replace_bits(network):
    """The classifier of the test networks has 8 bits; give it ternary weights too."""
    classifier = replace(network.classifier, weight=np.sign(network.classifier.weight), bits=2)
    return replace(network, classifier=classifier)


def test_inhibitor_attention_multiplies_no_two_variables():
    n, d, heads, layers = 11, 32, 4, 2
    inhibitor = integer_operations(build_network(0, "inhibitor"), n)
    assert by(inhibitor, part="attention", number="int8", operation="multiply") == 0
    # One product with a constant for each pair and head, and one for each mean.
    assert by(inhibitor, part="attention", operation="multiply") == layers * (n * n * heads + n * d)
    assert by(inhibitor, part="attention", operation="absolute difference") == layers * n * n * d
    softmax = integer_operations(build_network(0, "softmax"), n)
    assert by(softmax, part="attention", number="int8", operation="multiply") == layers * 2 * n * n * d
    assert by(softmax, part="attention", operation="division") == layers * n * d
    unsigned = integer_operations(build_network(0, "unsigned"), n)
    assert by(unsigned, part="attention") < by(inhibitor, part="attention")


@pytest.mark.parametrize("attention", ["inhibitor", "unsigned", "softmax"])
def test_a_network_with_fewer_heads_counts_those_it_has(attention):
    n, e = 7, 8
    one, four = (integer_operations(build_network(0, attention, sizes=[(heads, 8, 48)]), n) for heads in (1, 4))
    assert by(four, part="attention", operation="multiply") == 4 * by(one, part="attention", operation="multiply")
    assert by(one, part="linear", operation="multiply", number="int8") <= n * (4 * e * 32 + 2 * 48 * 32) + 3 * 32
    assert by(one, part="normalization") == by(four, part="normalization")


def test_average_is_over_sentences():
    lengths = np.array([3, 3, 8])
    counts = [Counter(dense_operations(SHAPE, n)) for n in lengths]
    for key, value in average(lambda n: dense_operations(SHAPE, n), lengths).items():
        assert value == pytest.approx(sum(count[key] for count in counts) / 3)


def test_bytes_of_dense_integer_weights_by_hand():
    network = build_network(2, bits=4)
    weights = sum(linear.weight.size * linear.bits / 8 for _, linear in network.linears())
    others = sum(4 * linear.bias.size for _, linear in network.linears())
    others += sum(2 * linear.rule.multiplier.size for _, linear in network.linears() if linear.rule is not None)
    attention = network.heads * (2 + 4 + 1) * len(network.layers)
    rows = 6 * network.width * 4 / 8
    length = 2 + 1
    assert integer_bytes(network, 6) == pytest.approx(weights + others + attention + 2 * rows + length)


@pytest.mark.parametrize("attention", ["inhibitor", "softmax"])
@pytest.mark.parametrize("bits", [8, 2])
@pytest.mark.parametrize(("density", "encodings"), [(None, set()), (0.5, {"bitmap"}), (0.01, {"gaps"})])
def test_bytes_of_integer_weights_are_those_of_its_packed_tensors(attention, bits, density, encodings):
    """A sentence that named every row of the tables once would read all tensors of the network, but for the
    entries of the length table that it does not need."""
    positions = 20
    network = build_network(2, attention, bits=bits, density=density, vocabulary=positions, positions=positions)
    tensors = network_tensors(network)
    assert {name.rpartition(".")[2] for name in tensors if ".mask." in name} == encodings
    stored = sum(tensor.nbytes for tensor in tensors.values())
    assert integer_bytes(network, positions) == pytest.approx(stored - 3 * positions)


@pytest.mark.parametrize("attention", ["inhibitor", "unsigned", "softmax"])
def test_every_operation_has_a_price(attention):
    for counts in (integer_operations(build_network(0, attention), 5), dense_operations(SHAPE, 5)):
        assert {key[1:] for key in counts} <= set(PICOJOULES)


def test_energy_is_count_times_price():
    rows = cost_rows({("linear", "add", "int32"): 1000.0, ("linear", "multiply", "int8"): 10.0}, 64)
    energy = {(row["operation"], row["number"]): row["picojoules"] for row in rows}
    assert energy == {
        ("add", "int32"): 100.0,
        ("multiply", "int8"): 2.0,
        ("byte", "sram"): 80.0,  # 64 bytes are eight reads of 64 bits at 10 pJ
        ("byte", "dram"): 10_400.0,
    }


NAMES = {
    "multiply": "multiply", "add": "add", "subtract": "add", "left_shift": "shift", "right_shift": "shift",
    "minimum": "compare", "maximum": "compare", "floor_divide": "division", "absolute": "absolute difference",
    "negative": "add",
}  # fmt: skip


class Counted(np.ndarray):
    """An array that counts what NumPy computes with it, in `seen`."""

    seen: ClassVar[Counter[str]] = Counter()

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(x) if isinstance(x, Counted) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            self.product(result.size * plain[0].shape[-1])
        else:
            self.seen[NAMES[ufunc.__name__]] += plain[0].size if method == "reduce" else result.size
        return np.asarray(result).view(Counted)

    def __array_function__(self, function, types, arguments, options):
        plain = [np.asarray(x) if isinstance(x, Counted) else x for x in arguments]
        if function is np.einsum:  # (n, in), (out, in) -> (n, out)
            self.product(len(plain[1]) * plain[2].size)
        else:
            assert function in (np.searchsorted, np.empty_like, np.count_nonzero)
        return np.asarray(function(*plain, **options)).view(Counted)

    def product(self, count):
        self.seen["multiply"] += count
        self.seen["add"] += count


def counted(network):
    """The network with weights that count, none of them 0."""
    layers = []
    for layer in network.layers:
        parts = {name: counting(getattr(layer, name)) for name in roles(layer.attention)}
        if isinstance(layer.attention, Softmax):
            parts["attention"] = replace(layer.attention, table=layer.attention.table.view(Counted))
        layers.append(replace(layer, **parts))
    return replace(
        network, layers=tuple(layers), tokens=counting(network.tokens), positions=counting(network.positions),
        classifier=counting(network.classifier),
    )  # fmt: skip


def counting(matrix):
    return replace(matrix, weight=np.where(matrix.weight == 0, 1, matrix.weight).astype(np.int8).view(Counted))


@pytest.mark.parametrize("n", [1, 7, 20])
@pytest.mark.parametrize("sizes", [None, [(4, 8, 48), (3, 2, 5)]])
@pytest.mark.parametrize("kind", ["inhibitor", "unsigned", "softmax"])
def test_counts_are_those_of_a_counted_run_of_the_reference(kind, n, sizes):
    """Exactly, once what NumPy does besides is taken off; the look-ups alone are not seen."""
    network = counted(build_network(1, kind, d=32, heads=4, sizes=sizes))
    Counted.seen.clear()
    reference.logits(network, [list(range(3, 3 + n))])
    formula: Counter[str] = Counter()
    for (_, operation, _), count in integer_operations(network, n).items():
        formula[operation] += int(count)
    besides: Counter[str] = Counter()
    for linear in (linear for _, linear in network.linears() if linear.rule is not None):
        outputs = n * len(linear.weight)
        besides["shift"] += outputs * (linear.rule.pre_shift == 0)  # by nothing
        besides["add"] += outputs * (linear.rule.zero == 0)  # of nothing
    rows = n * (2 * len(network.layers) + 1)
    besides += Counter({"compare": rows, "shift": rows, "add": 3 * rows})  # of norms: no sum of 0; 2^(t - 5); t
    for layer in network.layers:
        pairs = n * n * layer.heads
        if kind == "softmax":
            besides["add"] += pairs  # of the zero point, nothing
            besides["shift"] += n * n * int((layer.attention.pre_shift == 0).sum())
            besides["multiply"] += n * layer.heads  # by 2, which is a shift
            besides["shift"] -= n * layer.heads
        else:
            besides["add"] += pairs * layer.pairs  # |q - k| is one operation
    del formula["look-up"]
    assert Counted.seen == formula + besides
