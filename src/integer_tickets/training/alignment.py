"""A student's hidden states drawn to those of the encoder it was made from, layer by layer, beside its task."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from integer_tickets.model.adopted import Encoder, taken
from integer_tickets.model.rows import norm
from integer_tickets.model.transformer import Transformer


@dataclass(frozen=True)
class Alignment:
    """weight: of the mean squared difference of each layer's states, added up over layers, beside a sentence's loss;
    context: the same of what its hidden neurons read, the stream after attention.

    last: gain and bias (width,) with which the student's last normalized stream is compared; those before are compared
    as the next layer's bypass has them.
    """

    model: Transformer
    encoder: Encoder
    last: tuple[Tensor, Tensor]
    weight: float
    autocast: bool
    context: float = 0.0

    def __call__(self, seen: Mapping[str, Tensor], ids: Tensor, counts: Tensor) -> Tensor:
        """The sum over sentences; seen: what the model computed on the sentences ids (batch, n), counts (batch,)."""
        attended: list[Tensor] = []
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.autocast):
            _, *states = self.encoder.hidden(ids, counts, attended if self.context else None)
        layers = list(self.model.blocks())
        total = torch.zeros((), device=ids.device)
        for i, layer in enumerate(taken(len(layers), self.encoder)):
            u = norm(seen[f"residual.{i}"].float(), self.model.isa)
            bypass = layers[i + 1].attention_bypass if i + 1 < len(layers) else None
            own = bypass(u) if bypass is not None else u * self.last[0] + self.last[1]
            total = total + self.weight * (own - states[layer]).square().mean()
            between = layers[i].hidden_bypass
            if self.context and between is not None:
                own = between(norm(seen[f"attended.{i}"].float(), self.model.isa))
                total = total + self.context * (own - attended[layer]).square().mean()
        return len(ids) * total
