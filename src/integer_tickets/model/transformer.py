"""The float Transformer classifier: softmax or Inhibitor attention, all else equal; every part has an integer form."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from integer_tickets.model import triton_kernel
from integer_tickets.model.attention import IntegerRule, inhibitor
from integer_tickets.model.kernel import available, fused_inhibitor
from integer_tickets.model.rows import is_fused, norm


@cache
def fused_works(isa: str) -> bool:
    """Whether the fused kernels run here; if not, one line says why and the plain forms take their place."""
    reason = available(isa)
    if reason is not None:
        print(f"everything in plain PyTorch, Inhibitor attention many times slower: {reason}", file=sys.stderr)
    return reason is None


@cache
def triton_works() -> bool:
    """The same of the kernels for GPUs, which are asked for only where a tensor lies on one."""
    reason = triton_kernel.available()
    if reason is not None:
        print(f"Inhibitor attention in plain PyTorch, many times slower: {reason}", file=sys.stderr)
    return reason is None


def token_mask(ids: Tensor, counts: Tensor) -> Tensor:
    """True where a right-padded batch holds a token; ids (batch, n), counts (batch,) -> (batch, n) bool."""
    return torch.arange(ids.shape[1], device=ids.device) < counts[:, None]


class Dropout(nn.Module):
    """Dropout whose masks come from a NumPy stream, `random`: the same on every device and for every number of threads.

    On a CPU 16 bits of it for every number take a tenth of the time of PyTorch's generator; the share that is dropped
    is therefore p to the nearest 1/65536, and the rest is scaled up by exactly that share.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = min(round(p * 65536), 65535)
        self.random = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.dropped):
            return x
        words = self.random.integers(0, 2**64, -(-x.numel() // 4), np.uint64)
        numbers = torch.from_numpy(words.view(np.int16)[: x.numel()].reshape(x.shape))
        kept = (numbers >= self.dropped - 32768).to(x.device, torch.float32)
        return x * kept.mul_(65536 / (65536 - self.dropped))


class LayerSize(NamedTuple):
    """How large a layer is: `pairs` are the coordinates in which q and k of a head are compared."""

    heads: int
    pairs: int
    hidden: int


class Attention(nn.Module):
    """Multi-head attention; the two kinds share every linear layer.

    softmax: sum_j softmax_j(q_i k_j / sqrt(e)) v_j. inhibitor (Brännvall, arXiv 2310.02041, with 1/n and per-head
    scalars): 1/n sum_j of v_j softly thresholded by max(0, gamma |q_i - k_j|_1 - delta). A head is e wide; its q and k
    may have fewer coordinates, `pairs`.
    """

    def __init__(
        self, width: int, heads: int, pairs: int, head_width: int, kind: str, signed: bool, isa: str | None
    ) -> None:
        super().__init__()
        self.kind, self.heads, self.signed, self.isa = kind, heads, signed, isa
        inner = heads * head_width
        self.query = nn.Linear(width, heads * pairs)
        self.key = nn.Linear(width, heads * pairs)
        self.value = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)
        if kind == "inhibitor":
            # With q, k and v of unit variance the mean of gamma |q - k|_1 is about 1.1, more than three quarters of all
            # |v|; less delta it is about 0.4, and two thirds pass. Where few do, some seeds end 2 to 4 points lower.
            self.log_gamma = nn.Parameter(torch.full((heads,), -math.log(head_width)))
            self.delta = nn.Parameter(torch.full((heads,), 0.7))

    def project(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, n, width) -> q, k (batch, n, heads pairs) and v (batch, n, heads e).

        By one product: three are slower, backwards most of all.
        """
        parts = (self.query, self.key, self.value)
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        q, k, v = F.linear(u, weight, bias).split([part.out_features for part in parts], -1)
        return q, k, v

    def split(self, x: Tensor) -> Tensor:
        """(batch, n, heads e) -> (batch, heads, n, e), e being what a head has of it."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def inhibit(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        gamma: Tensor,
        delta: Tensor,
        valid: Tensor,
        rule: IntegerRule | None = None,
    ) -> Tensor:
        missing = v.shape[-1] - q.shape[-1]
        if missing:  # coordinates in which all agree add nothing to a distance
            q, k = F.pad(q, (0, missing)), F.pad(k, (0, missing))
        if self.isa is not None and is_fused(self.isa, q):
            return fused_inhibitor(q, k, v, gamma, delta, valid, self.signed, rule, self.isa)
        if self.isa is not None and q.is_cuda and q.dtype == torch.float32 and triton_works():
            return triton_kernel.triton_inhibitor(q, k, v, gamma, delta, valid, self.signed, rule)
        return inhibitor(q, k, v, gamma, delta, valid, self.signed, rule)

    def context(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor, counts: Tensor) -> Tensor:
        """q, k (batch, heads, n, pairs), v (batch, heads, n, e) -> what each token gathers, shaped as v."""
        q, k, v = q.float(), k.float(), v.float()
        if self.kind == "softmax":
            with torch.autocast(
                q.device.type, enabled=False
            ):  # both kinds attend in float32; on a CPU bfloat16 is slower
                mask, scale = valid[:, None, None, :], v.shape[-1] ** -0.5
                return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        total = self.inhibit(q, k, v, self.log_gamma.exp(), self.delta, valid)
        return total / counts.clamp_min(1)[:, None, None, None]


class Bypass(nn.Module):
    """What goes past a part of a post-norm layer: its normalized input times a gain plus a bias, (width,) each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, u: Tensor) -> Tensor:
        return u * self.gain + self.bias


class Layer(nn.Module):
    """One block of a Transformer: attention, then a ReLU feed-forward layer.

    Each adds to the residual stream, which it reads normalized (pre-norm, Xiong et al., arXiv 2002.04745), or with
    `post_norm` to a gain times what it reads plus a bias: that is the stream as it is normalized after every addition
    (post-norm, Vaswani et al., arXiv 1706.03762), where what reads it has the gain and bias in its own weights.
    """

    def __init__(self, width: int, hidden: int, attention: Attention, post_norm: bool) -> None:
        super().__init__()
        self.attention = attention
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.attention_bypass = Bypass(width) if post_norm else None
        self.hidden_bypass = Bypass(width) if post_norm else None


class Transformer(nn.Module):
    """ids (batch, n) int64 right-padded, counts (batch,) tokens -> logits (batch, classes).

    With `rows`, ids number these instead of the rows of the token table, which then takes no part in the graph.
    A head is width / heads wide. sizes: those of the layers, where they are not the same in all. Without `biases` all
    biases stay 0, without `places` the table of positions does.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        positions: int,
        classes: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        dropout: float,
        attention: str,
        biases: bool = True,
        places: bool = True,
        post_norm: bool = False,
        signed: bool = True,
        kernel: str = "fused",
        isa: str = "avx2",
        sizes: Sequence[LayerSize] | None = None,
    ) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.isa = isa if kernel == "fused" and fused_works(isa) else None  # of the fused kernels; None: plain forms
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        dense = LayerSize(heads, width // heads, hidden)
        self.layers = nn.ModuleList(
            Layer(
                width,
                own.hidden,
                Attention(width, own.heads, own.pairs, width // heads, attention, signed, self.isa),
                post_norm,
            )
            for own in ([dense] * layers if sizes is None else sizes)
        )
        self.classifier = nn.Linear(width, classes)
        self.zeros = {name for name, _ in self.named_parameters() if name.endswith(".bias") and not biases}
        self.zeros |= set() if places else {"positions.weight"}
        for name, parameter in self.named_parameters():
            if name in self.zeros:
                parameter.requires_grad_(False).zero_()
        self.dropout = Dropout(dropout)
        self.observe: Callable[[str, Tensor], None] | None = None

    def blocks(self) -> Iterator[Layer]:
        """The layers, as what they are: a ModuleList gives plain modules."""
        for layer in self.layers:
            assert isinstance(layer, Layer)
            yield layer

    def embed(self, ids: Tensor, rows: Tensor | None) -> Tensor:
        return F.embedding(ids, self.tokens.weight if rows is None else rows)

    def forward(self, ids: Tensor, counts: Tensor, rows: Tensor | None = None) -> Tensor:
        valid = token_mask(ids, counts)
        x = self.dropout(self.embed(ids, rows) + self.positions.weight[: ids.shape[1]])
        for index, layer in enumerate(self.blocks()):
            part = layer.attention
            u = norm(x, self.isa)
            q, k, v = part.project(u)
            c = part.context(part.split(q), part.split(k), part.split(v), valid, counts)
            c = c.transpose(1, 2).flatten(2)
            x = a = past(layer.attention_bypass, x, u) + self.dropout(part.output(c))
            u = norm(x, self.isa)
            f = torch.relu(layer.up(u))
            x = past(layer.hidden_bypass, x, u) + self.dropout(layer.down(f))
            if self.observe is not None:
                seen = {
                    "qk": torch.cat([q, k], -1),
                    "value": v,
                    "context": c,
                    "attended": a,
                    "hidden": f,
                    "residual": x,
                }
                for name, tensor in seen.items():
                    self.observe(f"{name}.{index}", tensor[valid])
        pooled = (norm(x, self.isa) * valid[..., None]).sum(1) / counts.clamp_min(1)[:, None]
        if self.observe is not None:
            self.observe("pooled", pooled[counts > 0])
        return self.classifier(pooled)


def past(bypass: Bypass | None, x: Tensor, u: Tensor) -> Tensor:
    """What a part of a layer adds to, where x is the stream and u what the part reads of it."""
    return x if bypass is None else bypass(u)


def initialise(model: Transformer, random: np.random.Generator) -> None:
    """Draw initial weights in float64 by NumPy, so that every machine gets the same bits."""
    residual = 1 / math.sqrt(2 * len(model.layers))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias") or name in model.zeros:
                parameter.zero_()
            elif name.endswith(".weight"):
                if name in ("tokens.weight", "positions.weight"):
                    scale = 0.05
                elif name == "classifier.weight":
                    scale = 0.0  # the first logits say nothing
                else:
                    narrow = residual if name.endswith(("output.weight", "down.weight")) else 1.0
                    scale = narrow / math.sqrt(parameter.shape[1])
                values = random.standard_normal(tuple(parameter.shape)) * scale
                parameter.copy_(torch.from_numpy(values))


def linear_names(model: Transformer, embedding: bool | Literal["only"] = False) -> list[str]:
    """Names of the weights that pruning may touch: every linear layer, the tables if asked, or these alone."""
    tables = ("positions.weight", "tokens.weight")
    names = [name for name, _ in model.named_parameters() if name.endswith(".weight") and name not in model.zeros]
    return [name for name in names if embedding is True or (name in tables) == (embedding == "only")]
