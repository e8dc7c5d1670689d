"""An integer network as an ONNX graph whose every tensor is of an integer type (or bool, in masks).

Products are MatMulInteger of unsigned bytes, which runtimes compute exactly on every processor (signed ones saturate
sums of two products where there is no VNNI). ONNX has no arithmetic shift; x >> s is the floor of x / 2^s, and that of
a negative number is reached by adding a multiple of the divisor first.
"""

from typing import Any

import numpy as np

from integer_tickets.errors import UserError
from integer_tickets.integer.network import (
    Bypass,
    Inhibitor,
    IntegerNetwork,
    Layer,
    Linear,
    Role,
    Softmax,
    Table,
    roles,
)
from integer_tickets.integer.rounding import S8, S16, U8, Array

OPSET, IR_VERSION = 17, 8
HALF = 2**31  # no quotient of the rounding rule is larger
ABOVE = 128  # what a byte of the graph is above the s8 it stands for


def onnx_model(network: IntegerNetwork) -> Any:
    """The network as an `onnx.ModelProto`.

    Inputs: `ids`, int64 (batch, n), right-padded with any token id, n at least 1 and at most `positions`; `counts`,
    int64 (batch,), the tokens of each sentence, 0 to n. Output: `logits`, int32 (batch, classes). Raises UserError
    where the package onnx is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper
    except ImportError:
        raise UserError("export to ONNX needs the package onnx (the extra `peers`)") from None
    graph = _Graph()
    graph.logits(network)
    kind = TensorProto.INT64
    made = helper.make_graph(
        graph.nodes,
        "ticket",
        [
            helper.make_tensor_value_info("ids", kind, ["batch", "n"]),
            helper.make_tensor_value_info("counts", kind, ["batch"]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.INT32, ["batch", len(network.labels)])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="integer-tickets")
    numbers = {"logit_multiplier": network.logit_multiplier, "logit_shift": network.logit_shift}
    names = {f"label {index}": label for index, label in enumerate(network.labels)}
    helper.set_model_props(model, names | {key: str(number) for key, number in numbers.items()})
    checker.check_model(model)
    return model


class _Graph:
    """Nodes and constants in the making; values are names, and int64 where nothing else is said."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.known: dict[Any, str] = {}

    def op(self, kind: str, *inputs: str | int | Array, output: str = "", **attributes: Any) -> str:
        """A node; numbers and arrays among its inputs become constants."""
        from onnx import helper

        output = output or f"{kind}_{len(self.nodes)}"
        names = [own if isinstance(own, str) else self.constant(own) for own in inputs]
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def constant(self, values: int | Array) -> str:
        from onnx import numpy_helper

        array = np.array(values, np.int64) if isinstance(values, int) else np.ascontiguousarray(values)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self.known:
            self.known[key] = f"constant_{len(self.known)}"
            self.constants.append(numpy_helper.from_array(array, self.known[key]))
        return self.known[key]

    def cast(self, x: str, dtype: type[np.generic]) -> str:
        from onnx import helper

        return self.op("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def clamp(self, x: str, low: int, high: int) -> str:
        return self.op("Clip", x, low, high)

    def floor(self, x: str, divisor: str | Array, largest: int = HALF) -> str:
        """floor(x / divisor), a positive divisor; |x / divisor| is at most `largest`."""
        raised = self.op("Add", x, self.op("Mul", divisor, largest))
        return self.op("Sub", self.op("Div", raised, divisor), largest)

    def requantize(self, x: str, pre: Array, multiplier: Array, shift: Array, zero: int, low: int, high: int) -> str:
        """The rounding rule; its numbers broadcast."""
        y = self.clamp(self.floor(x, _power(pre)), *S16)
        y = self.op("Add", self.op("Mul", y, multiplier.astype(np.int64)), _power(shift - 1))
        return self.clamp(self.op("Add", self.floor(y, _power(shift)), zero), low, high)

    def product(self, linear: Linear, x: str, above: int) -> str:
        """Sums, int32, of inputs that are kept `above` higher, as bytes."""
        weight = (linear.weight.astype(np.int16).T + ABOVE).astype(np.uint8)
        zeros = np.array(above, np.uint8), np.array(ABOVE, np.uint8)
        acc = self.op("MatMulInteger", self.bytes(x, above), weight, *zeros)
        return self.op("Add", acc, linear.bias.astype(np.int32))

    def bytes(self, x: str, above: int) -> str:
        return self.cast(self.op("Add", x, above), np.uint8)

    def linear(self, linear: Linear, role: Role, x: str) -> str:
        acc = self.cast(self.product(linear, x, ABOVE if role.largest_input == 128 else 0), np.int64)
        rule = linear.rule
        assert rule is not None
        shift = np.array(rule.shift, np.int64)
        return self.requantize(acc, np.array(rule.pre_shift), rule.multiplier, shift, rule.zero, role.low, role.high)

    def norm(self, x: str, d: int) -> str:
        """Mean-absolute normalization: the powers of two of a row are looked up by the length of its sum in binary."""
        total = self.op("Max", self.op("ReduceSum", self.op("Abs", x), _axes(-1)), 1)
        reached = self.op("GreaterOrEqual", total, 1 << np.arange(26, dtype=np.int64))  # d numbers of 16 bits
        length = self.op("ReduceSum", self.cast(reached, np.int64), _axes(-1))
        t = 14 + np.arange(27) - d.bit_length()
        power, half, divisor = (self.op("Gather", _power(np.maximum(t - less, 0)), length) for less in (0, 5, 4))
        reciprocal = self.op("Div", self.op("Mul", power, d), total)
        y = self.op("Add", self.op("Mul", x, reciprocal), half)
        return self.clamp(self.floor(y, divisor), *S8)

    def mean(self, total: str, network: IntegerNetwork, gain: int, axes: int) -> str:
        """Sums (batch, ...) to means, by the length table; `axes` are those after the batch."""

        def of_sentence(table: Array) -> str:
            return self.op("Unsqueeze", self.op("Gather", table.astype(np.int64), "counts"), _axes(*range(1, axes + 1)))

        shift = network.length_shift.astype(np.int64) - gain
        multiplier, half, divisor = map(of_sentence, (network.length_multiplier, _power(shift - 1), _power(shift)))
        return self.clamp(self.floor(self.op("Add", self.op("Mul", total, multiplier), half), divisor), *S8)

    def rows(self, table: Table, index: str) -> str:
        return self.op("Mul", self.cast(self.op("Gather", table.weight, index), np.int64), 1 << table.shift)

    def logits(self, network: IntegerNetwork) -> None:
        n = self.op("Gather", self.op("Shape", "ids"), 1)
        places = self.op("Range", 0, n, 1)
        valid = self.op("Less", places, self.op("Unsqueeze", "counts", _axes(1)))
        self.valid = self.cast(valid, np.int64)
        embedded = self.op("Add", self.rows(network.tokens, "ids"), self.rows(network.positions, places))
        x = self.clamp(embedded, *S16)
        for layer in network.layers:
            x = self.layer(network, layer, x)
        final = self.op("Mul", self.norm(x, network.width), self.op("Unsqueeze", self.valid, _axes(2)))
        pooled = self.mean(self.op("ReduceSum", final, _axes(1), keepdims=0), network, network.pool_gain, 1)
        self.op("Identity", self.product(network.classifier, pooled, ABOVE), output="logits")

    def layer(self, network: IntegerNetwork, layer: Layer, x: str) -> str:
        d, attention, own = network.width, layer.attention, roles(layer.attention)

        def linear(name: str, inputs: str) -> str:
            return self.linear(getattr(layer, name), own[name], inputs)

        u = self.norm(x, d)
        heads = np.array([0, 0, layer.heads, -1])
        q, k, v = (
            self.op("Transpose", self.op("Reshape", linear(name, u), heads), perm=[0, 2, 1, 3])
            for name in ("query", "key", "value")
        )
        if isinstance(attention, Inhibitor):
            c = self.mean(self.inhibitor(attention, q, k, v), network, attention.gain, 3)
        else:
            c = self.softmax(attention, q, k, v)
        c = self.op("Reshape", self.op("Transpose", c, perm=[0, 2, 1, 3]), np.array([0, 0, -1]))
        x = self.clamp(self.op("Add", self.past(layer.attention_bypass, x, u), linear("output", c)), *S16)
        u = self.norm(x, d)
        return self.clamp(self.op("Add", self.past(layer.hidden_bypass, x, u), linear("down", linear("up", u))), *S16)

    def past(self, bypass: Bypass | None, x: str, u: str) -> str:
        if bypass is None:
            return x
        gain, offset = bypass.gain.astype(np.int64), bypass.offset.astype(np.int64)
        return self.clamp(self.op("Add", self.op("Mul", u, gain), offset), *S16)

    def inhibitor(self, a: Inhibitor, q: str, k: str, v: str) -> str:
        """q, k, v (batch, heads, n, e) to sums over keys, the same shape."""
        between = self.op("Sub", self.op("Unsqueeze", q, _axes(3)), self.op("Unsqueeze", k, _axes(2)))
        distance = self.op("ReduceSum", self.op("Abs", between), _axes(-1), keepdims=0)
        multiplier, offset = _of_heads(a.multiplier), _of_heads(a.offset)
        score = self.op("Sub", self.op("Mul", distance, multiplier), offset)
        z = self.clamp(self.floor(score, _power(_of_heads(a.shift)), 2 * HALF), *U8)
        z = self.op("Unsqueeze", z, _axes(4))
        v = self.op("Mul", v, self.op("Unsqueeze", self.valid, _axes(1, 3)))
        v = self.op("Unsqueeze", v, _axes(2))
        if a.signed:
            kept = self.op("Sub", v, self.op("Max", self.op("Min", v, z), self.op("Neg", z)))
        else:
            kept = self.op("Max", self.op("Sub", v, z), 0)
        return self.op("ReduceSum", kept, _axes(3), keepdims=0)

    def softmax(self, a: Softmax, q: str, k: str, v: str) -> str:
        """q, k, v (batch, heads, n, e) to contexts, the same shape."""
        valid, zero = self.op("Unsqueeze", self.valid, _axes(1, 2)), np.array(ABOVE, np.uint8)
        keys = self.op("Transpose", self.bytes(k, ABOVE), perm=[0, 1, 3, 2])
        scores = self.cast(self.op("MatMulInteger", self.bytes(q, ABOVE), keys, zero, zero), np.int64)
        scores = self.op("Where", self.cast(valid, np.bool_), scores, -(2**30))
        below = self.op("Sub", self.op("ReduceMax", scores, axes=[-1]), scores)
        pre, multiplier, shift = map(_of_heads, (a.pre_shift, a.multiplier, a.shift))
        index = self.requantize(below, pre, multiplier, shift, 0, *U8)
        weights = self.op("Mul", self.op("Gather", a.table.astype(np.int64), index), valid)
        total = self.op("Max", self.op("ReduceSum", weights, _axes(-1)), 1)
        shares = self.bytes(weights, 0), self.bytes(v, ABOVE)
        weighted = self.cast(self.op("MatMulInteger", *shares, np.array(0, np.uint8), zero), np.int64)
        raised = self.op("Add", self.op("Mul", weighted, 2 << a.gain), total)
        return self.clamp(self.floor(raised, self.op("Mul", total, 2)), *S8)


def _axes(*axes: int) -> Array:
    return np.array(axes, np.int64)


def _power(exponent: Array) -> Array:
    """2^exponent, int64."""
    return np.left_shift(np.int64(1), exponent.astype(np.int64))


def _of_heads(numbers: Array) -> Array:
    """(heads,) to what broadcasts over (batch, heads, n, n), int64."""
    return numbers.astype(np.int64)[:, None, None]
