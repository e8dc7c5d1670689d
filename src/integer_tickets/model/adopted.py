"""A student that begins with what a BERT encoder knows: its weights in the shape of ours, with softmax attention.

A layer normalization g (x - mean) / std + b becomes the norm of ours, x / mean |x|: the mean is taken off in all that
writes into x, the ratio of the two divisors (nearly the same for every token) goes into g, and g and b into the bypass
and into the weights of all that reads. What is left to learn is ReLU in place of GELU, sentences without the tokens at
their ends, and where the student has fewer layers what those between did (arXiv 1910.01108).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from integer_tickets.errors import UserError
from integer_tickets.model.transformer import Transformer

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Encoder:
    """A BERT of Hugging Face, and what its word table has for each of our tokens, (vocabulary,) int64."""

    bert: Any
    words: Tensor
    begin: int
    end: int

    @torch.no_grad()
    def hidden(self, ids: Tensor, counts: Tensor, attended: list[Tensor] | None = None) -> tuple[Tensor, ...]:
        """After the embedding and after each layer, of our tokens alone, (tokens, width) each; ids (batch, n).

        attended: a list that is to hold the same of what each layer has after its attention, normalized.
        """
        batch, n = ids.shape
        places = torch.arange(n + 2, device=ids.device)
        own = torch.zeros(batch, n + 2, dtype=torch.int64, device=ids.device)
        own[:, 1:-1] = self.words.to(ids.device)[ids]
        own[:, 0] = self.begin
        own[places == counts[:, None] + 1] = self.end
        mask = self.read(ids, counts)
        inside = (places >= 1) & (places <= counts[:, None])
        hooks = []
        if attended is not None:
            keep = attended.append
            for layer in self.bert.encoder.layer:
                hook = layer.attention.output.register_forward_hook(lambda _, __, out: keep(out[inside].float()))
                hooks.append(hook)
        found = self.bert(input_ids=own, attention_mask=mask.long(), output_hidden_states=True).hidden_states
        for hook in hooks:
            hook.remove()
        return tuple(states[inside].float() for states in found)

    @staticmethod
    def read(ids: Tensor, counts: Tensor) -> Tensor:
        """Which of its places (batch, n + 2) it reads: all but those of padding."""
        return torch.arange(ids.shape[1] + 2, device=ids.device) <= counts[:, None] + 1


def taken(layers: int, encoder: Encoder) -> list[int]:
    """Which layers of the encoder a student of `layers` has, evenly spaced; the last is the last."""
    whole = len(encoder.bert.encoder.layer)
    return [(i + 1) * whole // layers - 1 for i in range(layers)]


def check(model: Transformer, bert: Any) -> None:
    """UserError where the student is not made as its encoder is."""
    config = bert.config
    for name, own, theirs in (
        ("width", model.width, config.hidden_size),
        ("heads", model.heads, config.num_attention_heads),
        ("hidden", len(next(model.blocks()).up.weight), config.intermediate_size),
    ):
        if own != theirs:
            raise UserError(f"model.{name} = {own}, but that of teacher.pretrained is {theirs}")
    if len(model.layers) > config.num_hidden_layers:
        raise UserError(
            f"model.layers = {len(model.layers)}, but teacher.pretrained has only {config.num_hidden_layers}"
        )
    places = config.max_position_embeddings - 2
    if len(model.positions.weight) > places:
        raise UserError(
            f"tokenizer.positions = {len(model.positions.weight)}, but teacher.pretrained has {places} beside those of "
            "a sentence's ends"
        )


@torch.no_grad()
def adopt(
    model: Transformer, encoder: Encoder, batches: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Weights, tuple[Tensor, Tensor]]:
    """The first weights of a student, and the gain and bias (width,) that make the encoder's last hidden state of its
    last normalized stream. How large what is normalized is in the encoder is seen on `batches` (ids, counts)."""
    check(model, encoder.bert)
    theirs = {name: tensor.detach().float() for name, tensor in encoder.bert.state_dict().items()}
    seen = _observed(encoder, batches)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    words = theirs["embeddings.word_embeddings.weight"][encoder.words]
    places = theirs["embeddings.position_embeddings.weight"][1 : len(own["positions.weight"]) + 1]
    own["tokens.weight"] = _centred(words, 1)
    own["positions.weight"] = _centred(places + theirs["embeddings.token_type_embeddings.weight"][0], 1)
    norm = "embeddings.LayerNorm"
    for i, chosen in enumerate(taken(len(model.layers), encoder)):
        at, to = f"encoder.layer.{chosen}.", f"layers.{i}."
        gain, bias = _read(theirs, norm, seen[norm])
        own[f"{to}attention_bypass.gain"], own[f"{to}attention_bypass.bias"] = gain, bias
        for name in ("query", "key", "value"):
            weight = theirs[f"{at}attention.self.{name}.weight"]
            own[f"{to}attention.{name}.weight"] = weight * gain
            own[f"{to}attention.{name}.bias"] = theirs[f"{at}attention.self.{name}.bias"] + weight @ bias
        own[f"{to}attention.output.weight"] = _centred(theirs[f"{at}attention.output.dense.weight"], 0)
        own[f"{to}attention.output.bias"] = _centred(theirs[f"{at}attention.output.dense.bias"], 0)
        norm = f"{at}attention.output.LayerNorm"
        gain, bias = _read(theirs, norm, seen[norm])
        own[f"{to}hidden_bypass.gain"], own[f"{to}hidden_bypass.bias"] = gain, bias
        weight = theirs[f"{at}intermediate.dense.weight"]
        own[f"{to}up.weight"] = weight * gain
        own[f"{to}up.bias"] = theirs[f"{at}intermediate.dense.bias"] + weight @ bias
        own[f"{to}down.weight"] = _centred(theirs[f"{at}output.dense.weight"], 0)
        own[f"{to}down.bias"] = _centred(theirs[f"{at}output.dense.bias"], 0)
        norm = f"{at}output.LayerNorm"
    return {name: tensor.contiguous() for name, tensor in own.items()}, _read(theirs, norm, seen[norm])


def _centred(x: Tensor, dim: int) -> Tensor:
    return x - x.mean(dim, keepdim=True)


def _read(theirs: Mapping[str, Tensor], norm: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """A layer normalization as gain and bias of x / mean |x|; inputs: what it was given."""
    centred = _centred(inputs, 1)
    ratio = (centred.abs().mean(1) / centred.square().mean(1).sqrt()).mean()
    return theirs[f"{norm}.weight"] * ratio, theirs[f"{norm}.bias"].clone()


def _observed(encoder: Encoder, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """What every layer normalization of an encoder is given, (tokens, width), of all tokens of some sentences."""
    found: dict[str, list[Tensor]] = {}
    hooks = []

    def keep(name: str, module: Any) -> None:
        """Every input (batch, n, width) of a module, in the order of the batches."""
        into = found.setdefault(name, [])
        hooks.append(module.register_forward_pre_hook(lambda _, inputs: into.append(inputs[0].float())))

    for name, module in encoder.bert.named_modules():
        if name.endswith("LayerNorm"):
            keep(name, module)
    for ids, counts in batches:
        encoder.hidden(ids, counts)
    for hook in hooks:
        hook.remove()
    real = [encoder.read(ids, counts) for ids, counts in batches]
    return {
        name: torch.cat([states[mask] for states, mask in zip(parts, real, strict=True)])
        for name, parts in found.items()
    }
