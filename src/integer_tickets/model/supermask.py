"""Supermasks: a network whose weights are random integers that never change, and a mask is all that is learnt.

Edge-popup (Ramanujan et al., arXiv 1911.13299): every weight of a linear layer has a score, the weights with the
largest scores of their layer are there, the others are 0; the gradient of a weight that is there or not goes to its
score. Embeddings are random integers too, gamma and delta stay as they are set, biases are 0: such a ticket is a seed
and a mask.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from integer_tickets.blocks import SUPERMASKS
from integer_tickets.model.quantized import LINEARS, QuantizedTransformer
from integer_tickets.model.transformer import linear_names
from integer_tickets.seeds import generator

MOST = {"signs": 1, "integers": 3}
"""The largest magnitude of a weight: signs of one size in each layer, or integers from -3 to 3 without 0."""
SCORE = ".parametrizations.weight.original"


class _Kept(torch.autograd.Function):
    """1 for the `count` largest scores, 0 for the rest (of equals the first ones are kept); the gradient passes."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, count: int) -> Tensor:
        order = scores.flatten().argsort(descending=True, stable=True)[:count]
        return torch.zeros_like(scores).flatten().index_fill_(0, order, 1.0).view_as(scores)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class Popup(nn.Module):
    """Scores -> weights: the integers times their step where the score's size is among the largest."""

    integers: Tensor

    def __init__(self, integers: Tensor, step: float, keep: float) -> None:
        super().__init__()
        self.register_buffer("integers", integers, persistent=False)
        self.step, self.count = step, max(1, round(keep * integers.numel()))

    def mask(self, scores: Tensor) -> Tensor:
        return _Kept.apply(scores.abs(), self.count)

    def forward(self, scores: Tensor) -> Tensor:
        return self.mask(scores) * (self.step * self.integers)


class Supermask(QuantizedTransformer):
    """A quantization-aware Transformer with frozen random integer weights; its scores alone are trained."""

    def __init__(self, *, kind: str, keep: float, seed: int, **shape: object) -> None:
        most = MOST[kind]
        super().__init__(bits=SUPERMASKS[kind], embedding_bits=8, **shape)  # type: ignore[arg-type]
        self.kind, self.keep = kind, keep
        self.masked = linear_names(self)
        random = generator(f"supermask {kind}", seed)
        with torch.no_grad():
            for table in (self.tokens, self.positions):
                drawn = _integers(random, table.weight.shape, most)
                table.weight.copy_(torch.from_numpy(0.05 * drawn / np.sqrt((drawn**2).mean())))
        steps = {}
        for name in self.masked:
            part = self.part(name)
            drawn = _integers(random, part.weight.shape, most)
            # So that a sum has the variance of one input, though not all of them are there.
            step = 1 / math.sqrt(keep * drawn.shape[1] * (drawn**2).mean())
            if name.endswith(("output.weight", "down.weight")):
                step /= math.sqrt(2 * len(self.layers))
            part.bias.data.zero_()
            scores = torch.from_numpy(random.uniform(-1, 1, drawn.shape) / math.sqrt(drawn.shape[1])).float()
            part.weight = nn.Parameter(scores)
            parametrize.register_parametrization(part, "weight", Popup(torch.from_numpy(drawn).float(), step, keep))
            steps[name] = math.log2(step)
        for own, parameter in self.named_parameters():
            parameter.requires_grad_(own.endswith(SCORE))
        self.log_steps = steps

    def part(self, name: str) -> nn.Linear:
        """The layer of a weight by name."""
        found = self.get_submodule(name.removesuffix(".weight"))
        assert isinstance(found, nn.Linear)
        return found

    @torch.no_grad()
    def calibrate(self, batches: Any, headroom: float = 1.0) -> None:
        """As above, but the grids of weights are those on which they lie."""
        super().calibrate(batches, headroom)
        self.classifier_step.fill_(self.log_steps["classifier.weight"])
        for index in range(len(self.layers)):
            for column, name in enumerate(LINEARS):
                prefix = "" if name in ("up", "down") else "attention."
                self.weight_steps[index, column] = self.log_steps[f"layers.{index}.{prefix}{name}.weight"]

    def forward(self, ids: Tensor, counts: Tensor, rows: Tensor | None = None) -> Tensor:
        frozen = None if rows is None else rows.detach() + 0.0 * rows  # what is trained has a gradient, of 0 here
        return super().forward(ids, counts, frozen)

    def masks(self) -> dict[str, Tensor]:
        """Which weights are there, by the name that the weight has in other models."""
        found = {}
        for name in self.masked:
            weight: Any = self.part(name).parametrizations.weight  # type: ignore[union-attr]
            found[name] = weight[0].mask(weight.original).bool()
        return found


def _integers(random: np.random.Generator, shape: torch.Size, most: int) -> np.ndarray:
    """Integers from -most to most without 0, float64."""
    return random.integers(1, most, tuple(shape), endpoint=True) * random.choice([-1.0, 1.0], tuple(shape))
