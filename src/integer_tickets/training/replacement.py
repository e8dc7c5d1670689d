"""Softmax attention replaced by the Inhibitor: each head fitted to what it gathered before, layer by layer.

Every layer is given what it reads in the model that has softmax attention, so that no error of those below reaches it
(InhibiDistilbert, arXiv 2503.15983, begins its students so, one layer after another, for two epochs each).
"""

from collections.abc import Iterable, Iterator
from itertools import product

import torch
from torch import Tensor, nn

from integer_tickets.model.rows import norm
from integer_tickets.model.transformer import Attention, Transformer, token_mask

GAMMAS = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)
DELTAS = (0.0, 0.3, 0.7, 1.2, 2.0, 3.0, 5.0, 8.0, 12.0)
"""What is tried for each head first: Z = max(0, gamma |q - k| - delta)."""
SMALLEST = 1e-9

Batch = tuple[Tensor, Tensor]


class Fitted(nn.Module):
    """The attention of a layer, and of each head a scale, as its logarithm (heads,), and a shift (heads, e) by which
    what it gathers comes nearest to what softmax does; both go into the output's weights in the end."""

    def __init__(self, attention: Attention, valid: Tensor, counts: Tensor, wanted: Tensor, reads: Tensor) -> None:
        """gamma, delta and scale by least squares, over all that is tried; as under `loss`."""
        super().__init__()
        self.attention, heads = attention, attention.heads
        device = wanted.device
        self.shift = nn.Parameter(torch.zeros(wanted.shape[1:], device=device))
        best = torch.full((heads,), torch.inf, device=device)
        found = torch.zeros(3, heads, device=device)
        with torch.no_grad():
            for gamma, delta in product(GAMMAS, DELTAS):
                attention.log_gamma.fill_(gamma).log_()
                attention.delta.fill_(delta)
                given = self.gathers(reads, valid, counts)
                scale = (given * wanted).sum((0, 2)) / given.square().sum((0, 2)).clamp_min(SMALLEST)
                error = (given * scale[:, None] - wanted).square().sum((0, 2))
                better = (error < best) & (scale > 0)
                best = torch.where(better, error, best)
                tried = torch.stack([attention.log_gamma, attention.delta, scale.clamp_min(SMALLEST).log()])
                found = torch.where(better, tried, found)
            attention.log_gamma.copy_(found[0])
            attention.delta.copy_(found[1])
        self.log_scale = nn.Parameter(found[2])

    def gathers(self, reads: Tensor, valid: Tensor, counts: Tensor) -> Tensor:
        """(batch, n, width), (batch, n), (batch,) -> (tokens, heads, e), of real tokens."""
        q, k, v = (self.attention.split(x) for x in self.attention.project(reads))
        gathered: Tensor = self.attention.context(q, k, v, valid, counts).transpose(1, 2)[valid]
        return gathered

    def loss(self, reads: Tensor, valid: Tensor, counts: Tensor, wanted: Tensor) -> Tensor:
        """The share of the variance of each head's `wanted` (tokens, heads, e) that is missed, their mean, a scalar.

        reads: (batch, n, width), what the layer reads; valid: (batch, n), where it has tokens; counts: (batch,).
        """
        given = self.gathers(reads, valid, counts) * self.log_scale.exp()[:, None] + self.shift
        missed = (given - wanted).square().sum((0, 2))
        return (missed / (wanted - wanted.mean(0)).square().sum((0, 2)).clamp_min(SMALLEST)).mean()

    @torch.no_grad()
    def settle(self) -> None:
        """Put scale and shift into the weights that read what is gathered."""
        output = self.attention.output
        output.bias.add_(output.weight @ self.shift.flatten())
        output.weight.mul_(self.log_scale.exp().repeat_interleave(self.shift.shape[1]))


def replace_attention(
    model: Transformer, source: Transformer, batches: Iterable[Batch], steps: int, lr: float, autocast: bool
) -> list[float]:
    """Give `model`, of Inhibitor attention, the weights of `source`, of softmax attention, and fit its attention to it.

    batches: ids (batch, n) and counts (batch,); by the first gamma and delta are chosen, by each of `steps` more the
    projections, gamma, delta, scale and shift take a step of Adam, lr falling to 0. Returns the loss of each step.
    """
    model.load_state_dict(model.state_dict() | source.state_dict())
    source.eval()
    rest = iter(batches)
    taught = _layers(source, next(rest), autocast)
    fitted = [Fitted(layer.attention, *own) for layer, own in zip(model.blocks(), taught, strict=True)]
    learning = [p for own in fitted for name, p in own.named_parameters() if not name.startswith("attention.output.")]
    optimizer = torch.optim.Adam(learning, betas=(0.9, 0.98))
    losses = []
    for step, batch in zip(range(steps), rest, strict=False):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        loss = torch.zeros((), device=batch[0].device)
        for own, (valid, counts, wanted, reads) in zip(fitted, _layers(source, batch, autocast), strict=True):
            with torch.autocast(loss.device.type, torch.bfloat16, enabled=autocast):
                loss = loss + own.loss(reads, valid, counts, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / len(fitted))
    for own in fitted:
        own.settle()
    for parameter in model.parameters():
        parameter.grad = None
    return losses


@torch.no_grad()
def _layers(source: Transformer, batch: Batch, autocast: bool) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Of each layer: where tokens are, how many, what its heads gather (tokens, heads, e), what it reads (batch, n,
    width)."""
    ids, counts = batch
    valid = token_mask(ids, counts)
    seen: dict[str, Tensor] = {}
    source.observe = seen.__setitem__
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=autocast):
        source(ids, counts)
    source.observe = None
    stream = source.embed(ids, None) + source.positions.weight[: ids.shape[1]]
    for index, layer in enumerate(source.blocks()):
        wanted = seen[f"context.{index}"].float().unflatten(-1, (layer.attention.heads, -1))
        yield valid, counts, wanted, norm(stream.float(), source.isa)
        stream = torch.zeros_like(stream)
        stream[valid] = seen[f"residual.{index}"].to(stream.dtype)
