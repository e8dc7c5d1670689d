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
    """weight: of the mean squared difference of each layer's states, added up over layers, beside a sentence's loss.

    last: gain and bias (width,) with which the student's last normalized stream is compared; those before are compared
    as the next layer's bypass has them.
    """

    model: Transformer
    encoder: Encoder
    last: tuple[Tensor, Tensor]
    weight: float
    autocast: bool

    def __call__(self, seen: Mapping[str, Tensor], ids: Tensor, counts: Tensor) -> Tensor:
        """The sum over sentences; seen: what the model computed on the sentences ids (batch, n), counts (batch,)."""
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.autocast):
            states = self.encoder.hidden(ids, counts)[1:]
        wanted = [states[layer] for layer in taken(len(self.model.layers), self.encoder)]
        following = [layer.attention_bypass for layer in self.model.blocks()][1:]
        total = torch.zeros((), device=ids.device)
        for i, goal in enumerate(wanted):
            u = norm(seen[f"residual.{i}"].float(), self.model.isa)
            bypass = following[i] if i < len(following) else None
            own = bypass(u) if bypass is not None else u * self.last[0] + self.last[1]
            total = total + (own - goal).square().mean()
        return self.weight * len(ids) * total
