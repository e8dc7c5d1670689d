"""The reference engine: docs/arithmetic.md in NumPy, one sentence at a time. It is the specification as a program."""

from collections.abc import Callable, Sequence

import numpy as np

from integer_tickets.integer.network import Bypass, Inhibitor, IntegerNetwork, Layer, Linear, Softmax, Table, roles
from integer_tickets.integer.rounding import S8, S16, U8, Array, Rule, clamp, mean, norm, requantize

Trace = Callable[[int, str, Array], None]
"""Called with the index of the sentence in the batch, the name of a tensor and its integers, without padding."""

_See = Callable[[str, Array], Array]


def logits(network: IntegerNetwork, batch: Sequence[Sequence[int]], trace: Trace | None = None) -> Array:
    """int32 logits (batch, classes) of sentences given as token ids, 0 to `positions` of them each."""
    result = np.zeros((len(batch), len(network.labels)), dtype=np.int32)
    for i, ids in enumerate(batch):
        result[i] = _sentence(network, np.asarray(ids, dtype=np.int64), i, trace)
    return result


def _watcher(trace: Trace | None, sentence: int, prefix: str = "") -> _See:
    """What shows a tensor to `trace` and hands it on."""

    def see(name: str, values: Array) -> Array:
        if trace is not None:
            trace(sentence, prefix + name, values)
        return values

    return see


def _sentence(network: IntegerNetwork, ids: Array, sentence: int, trace: Trace | None) -> Array:
    see, n = _watcher(trace, sentence), len(ids)
    if n == 0:
        return see("logits", network.classifier.bias)
    divisor = int(network.length_multiplier[n]), int(network.length_shift[n])
    x = see("embedding", clamp(_rows(network.tokens, ids) + _rows(network.positions, np.arange(n)), *S16))
    for i, layer in enumerate(network.layers):
        x = _layer(layer, x, divisor, _watcher(trace, sentence, f"layers.{i}."))
    pooled = see("pooled", mean(see("final", norm(x)).sum(axis=0), *divisor, network.pool_gain))
    return see("logits", _product(network.classifier, pooled[None])[0])


def _rows(table: Table, index: Array) -> Array:
    return table.weight[index].astype(np.int64) << table.shift


def _layer(layer: Layer, x: Array, divisor: tuple[int, int], see: _See) -> Array:
    def linear(name: str, inputs: Array) -> Array:
        own, role = getattr(layer, name), roles(layer.attention)[name]
        return see(name, requantize(_product(own, inputs), own.rule, role.low, role.high))

    def past(name: str, x: Array, u: Array) -> Array:
        """What a part of the layer adds to: the residual stream, or what the bypass makes of it normalized."""
        own: Bypass | None = getattr(layer, name)
        return x if own is None else see(name, clamp(u * own.gain + own.offset, *S16))

    u = see("attention_input", norm(x))
    q, k, v = (_split(linear(name, u), layer.heads) for name in ("query", "key", "value"))
    if isinstance(layer.attention, Inhibitor):
        c = _inhibitor(layer.attention, q, k, v, divisor, see)
    else:
        c = _softmax(layer.attention, q, k, v, see)
    c = see("context", c.swapaxes(0, 1).reshape(len(x), -1))
    x = see("attention_sum", clamp(past("attention_bypass", x, u) + linear("output", c), *S16))
    u = see("hidden_input", norm(x))
    return see("hidden_sum", clamp(past("hidden_bypass", x, u) + linear("down", linear("up", u)), *S16))


def _product(linear: Linear, x: Array) -> Array:
    return np.einsum("ni,oi->no", x, linear.weight.astype(np.int64)) + linear.bias


def _split(x: Array, heads: int) -> Array:
    """(n, heads e) to (heads, n, e)."""
    return x.reshape(len(x), heads, -1).swapaxes(0, 1)


def _inhibitor(
    a: Inhibitor,
    q: Array,
    k: Array,
    v: Array,
    divisor: tuple[int, int],
    see: _See,
) -> Array:
    sad = see("distances", np.abs(q[:, :, None, :] - k[:, None, :, :]).sum(axis=-1))
    multiplier, offset, shift = (p.astype(np.int64)[:, None, None] for p in (a.multiplier, a.offset, a.shift))
    z = see("inhibition", clamp((sad * multiplier - offset) >> shift, *U8))[..., None]
    values = v[:, None, :, :]
    kept = values - clamp(values, -z, z) if a.signed else np.maximum(0, values - z)
    return mean(see("inhibited", kept.sum(axis=2)), *divisor, a.gain)


def _softmax(a: Softmax, q: Array, k: Array, v: Array, see: _See) -> Array:
    scores = see("scores", q @ k.swapaxes(1, 2))
    below = scores.max(axis=-1, keepdims=True) - scores
    index = np.empty_like(scores)
    for head in range(len(scores)):
        rule = Rule(int(a.pre_shift[head]), a.multiplier[head : head + 1], int(a.shift[head]))
        index[head] = requantize(below[head], rule, *U8)
    weights = see("weights", a.table.astype(np.int64)[index])
    total = weights.sum(axis=-1, keepdims=True)
    weighted = see("weighted", weights @ v)
    return clamp(((weighted << (a.gain + 1)) + total) // (2 * total), *S8)
