"""The torch engine: batches of right-padded sentences, on a CPU or a GPU, bit for bit what the reference computes.

Tensors are float32 that hold integers, because matrix products are fastest so; where a sum could pass 2^24, above
which float32 skips integers, that product is taken in float64.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from integer_tickets.integer import torch_ops as ops
from integer_tickets.integer.bounds import prove
from integer_tickets.integer.network import (
    Bypass,
    Inhibitor,
    IntegerNetwork,
    Layer,
    Linear,
    Softmax,
    Table,
    padded,
    roles,
)
from integer_tickets.integer.reference import Trace
from integer_tickets.integer.rounding import S16, Array

EXACT_IN_FLOAT32 = 1 << 24
MAX_SCORES = 1 << 22
"""Scores held at once: longer sentences make smaller batches."""

_See = Callable[..., Tensor]


def logits(
    network: IntegerNetwork,
    batch: Sequence[Sequence[int]],
    trace: Trace | None = None,
    batch_size: int = 256,
    device: str = "cpu",
) -> Array:
    """int32 logits (batch, classes) of sentences given as token ids, 0 to `positions` of them each."""
    result = np.zeros((len(batch), len(network.labels)), dtype=np.int32)
    with torch.inference_mode(), torch.autocast(torch.device(device).type, enabled=False):
        engine = _Engine(network, device)
        for chunk in _chunks([len(ids) for ids in batch], network.heads, batch_size):
            result[chunk] = engine.run([batch[i] for i in chunk], _Watcher(trace, chunk)).cpu().numpy()
    return result


def _chunks(lengths: list[int], heads: int, batch_size: int) -> Iterator[list[int]]:
    """Indices of sentences of similar length, the longest first."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        size = max(1, min(batch_size, MAX_SCORES // (heads * longest**2)))
        yield order[start : start + size]
        start += size


@dataclass(frozen=True)
class _Batch:
    ids: Tensor  # int64 (batch, n)
    valid: Tensor  # bool (batch, n)
    counts: Tensor  # int64 (batch,)


class _Watcher:
    """Shows the tensors of a batch to `trace`, sentence by sentence, without padding."""

    def __init__(self, trace: Trace | None, sentences: list[int]) -> None:
        self.trace, self.sentences = trace, sentences
        self.lengths: list[int] = []

    def see(self, name: str, values: Tensor, *padded: int) -> Tensor:
        """`padded`: the axes, counted without that of the batch, that are padded."""
        if self.trace is not None:
            for sentence, length, own in zip(self.sentences, self.lengths, values.cpu(), strict=True):
                for axis in padded:
                    own = own.narrow(axis, 0, length)
                if length or name == "logits":
                    self.trace(sentence, name, own.to(torch.int32).numpy())
        return values


class _Engine:
    """The numbers of a network on a device."""

    def __init__(self, network: IntegerNetwork, device: str) -> None:
        self.network, self.device = network, torch.device(device)
        bounds = prove(network)
        self.linears = {name: self._linear(linear, bounds[name]) for name, linear in network.linears()}
        self.tokens, self.positions = self._table(network.tokens), self._table(network.positions)
        self.length_multiplier = self._tensor(network.length_multiplier)
        self.length_shift = self._tensor(network.length_shift)

    def _tensor(self, values: Array, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=self.device)

    def _table(self, table: Table) -> Tensor:
        return self._tensor(table.weight.astype(np.int32) << table.shift, torch.float32)

    def _linear(self, linear: Linear, bound: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Weight, bias and multiplier; the type of the first two is that of the product."""
        exact = bound < EXACT_IN_FLOAT32 and torch.get_float32_matmul_precision() == "highest"
        dtype = torch.float32 if exact else torch.float64
        multiplier = None if linear.rule is None else self._tensor(linear.rule.multiplier)
        return self._tensor(linear.weight, dtype), self._tensor(linear.bias, dtype), multiplier

    def run(self, sentences: list[Sequence[int]], watcher: _Watcher) -> Tensor:
        watcher.lengths = [len(ids) for ids in sentences]
        batch = self._pad(sentences)
        see, network = watcher.see, self.network
        x = self.tokens[batch.ids].add_(self.positions[: batch.ids.shape[1]]).clamp_(*S16)
        see("embedding", x, 0)
        for i, layer in enumerate(network.layers):
            x = self._layer(f"layers.{i}", layer, x, batch, see)
        final = see("final", ops.norm(x), 0).mul_(batch.valid[..., None])
        pooled = self._mean(final.sum(dim=1), batch, network.pool_gain)
        return see("logits", self._product("classifier", see("pooled", pooled)).to(torch.int32))

    def _pad(self, sentences: list[Sequence[int]]) -> _Batch:
        ids, counts = padded(sentences)
        valid = np.arange(ids.shape[1]) < counts[:, None]
        tensors = (torch.from_numpy(values).to(self.device) for values in (ids, valid, counts))
        return _Batch(*tensors)

    def _layer(self, name: str, layer: Layer, x: Tensor, batch: _Batch, see: _See) -> Tensor:
        def linear(part: str, inputs: Tensor) -> Tensor:
            own: Linear = getattr(layer, part)
            role, multiplier = roles(layer.attention)[part], self.linears[f"{name}.{part}"][2]
            assert own.rule is not None and multiplier is not None  # an IntegerNetwork has checked it
            acc = self._product(f"{name}.{part}", inputs)
            rule = own.rule
            y = ops.requantize(acc, rule.pre_shift, multiplier, rule.shift, rule.zero, role.low, role.high)
            return see(f"{name}.{part}", y.float(), 0)

        def past(part: str, x: Tensor, u: Tensor) -> Tensor:
            own: Bypass | None = getattr(layer, part)
            if own is None:
                return x
            return see(f"{name}.{part}", ops.bypass(u, self._tensor(own.gain), self._tensor(own.offset)), 0)

        u = see(f"{name}.attention_input", ops.norm(x), 0)
        q, k, v = linear("query", u), linear("key", u), linear("value", u)
        v = v * batch.valid[..., None]
        q, k, v = (y.unflatten(2, (layer.heads, -1)).transpose(1, 2) for y in (q, k, v))
        if isinstance(layer.attention, Inhibitor):
            c = self._inhibitor(f"{name}.", layer.attention, q, k, v, batch, see)
        else:
            c = self._softmax(f"{name}.", layer.attention, q, k, v, batch, see)
        c = see(f"{name}.context", c.transpose(1, 2).flatten(2), 0)
        x = see(f"{name}.attention_sum", ops.add_saturating(past("attention_bypass", x, u), linear("output", c)), 0)
        u = see(f"{name}.hidden_input", ops.norm(x), 0)
        x = past("hidden_bypass", x, u)
        return see(f"{name}.hidden_sum", ops.add_saturating(x, linear("down", linear("up", u))), 0)

    def _product(self, name: str, x: Tensor) -> Tensor:
        weight, bias, _ = self.linears[name]
        return torch.nn.functional.linear(x.to(weight.dtype), weight, bias)

    def _mean(self, x: Tensor, batch: _Batch, gain: int) -> Tensor:
        return ops.mean_over(x, batch.counts, gain, self.length_multiplier, self.length_shift)

    def _inhibitor(self, name: str, a: Inhibitor, q: Tensor, k: Tensor, v: Tensor, batch: _Batch, see: _See) -> Tensor:
        # Sums of integers below 255 * 1023, so float32 is exact in any order.
        sad = see(f"{name}distances", torch.cdist(q, k, p=1.0), 1, 2)
        parameters = (self._tensor(values) for values in (a.multiplier, a.offset, a.shift))
        z = see(f"{name}inhibition", ops.z_of(sad, *parameters), 1, 2)
        kept = see(f"{name}inhibited", ops.inhibit(v, z, a.signed), 1)
        return self._mean(kept, batch, a.gain)

    def _softmax(self, name: str, a: Softmax, q: Tensor, k: Tensor, v: Tensor, batch: _Batch, see: _See) -> Tensor:
        # Both products stay at or below 128 * 128 * 1023 and 255 * 128 * 255, hence exact in float32.
        scores = see(f"{name}scores", self._exact_matmul(q, k.transpose(2, 3)), 1, 2)
        parameters = (self._tensor(values) for values in (a.pre_shift, a.multiplier, a.shift, a.table))
        weights = see(f"{name}weights", ops.softmax_weights(scores, batch.valid, *parameters), 1, 2)
        weighted = see(f"{name}weighted", self._exact_matmul(weights, v), 1)
        return ops.softmax_divide(weighted, weights.sum(dim=-1, keepdim=True), a.gain)

    @staticmethod
    def _exact_matmul(a: Tensor, b: Tensor) -> Tensor:
        if torch.get_float32_matmul_precision() == "highest":
            return a @ b
        return (a.double() @ b.double()).float()
