"""What passes through an integer network: the integers of its layers, and how attention spreads and flattens them."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from integer_tickets.integer.network import Inhibitor, IntegerNetwork

Integers = NDArray[np.integer]
Floats = NDArray[np.float64]
Engine = Callable[..., Any]
"""logits(network, sentences, trace), as the reference and the torch engine have it."""


def taps(network: IntegerNetwork) -> list[str]:
    """The tensors that information is measured at, in the order of computation: each is a function of those before.

    The embedding; of each layer what attention gathers, the stream after it, the hidden neurons, the stream after
    them; the pooled vector and the logits.
    """
    parts = ("context", "attention_sum", "up", "hidden_sum")
    layers = [f"layers.{i}.{part}" for i in range(len(network.layers)) for part in parts]
    return ["embedding", *layers, "pooled", "logits"]


def states(
    engine: Engine, network: IntegerNetwork, sentences: Sequence[Sequence[int]], names: Sequence[str]
) -> dict[str, list[Integers]]:
    """The tensors of these names for every sentence: (tokens, channels), and (1, channels) once tokens are pooled."""
    found: dict[str, list[Integers]] = {name: [np.empty((0, 0), np.int64)] * len(sentences) for name in names}

    def see(sentence: int, name: str, values: Integers) -> None:
        if name in found:
            found[name][sentence] = np.atleast_2d(np.array(values))

    engine(network, sentences, see)
    return found


def one_each(rows: Sequence[NDArray[Any]], random: np.random.Generator) -> NDArray[Any]:
    """One vector (channels,) of each sentence, (sentences, channels), a token at random: tokens of one text depend."""
    return np.stack([own[random.integers(len(own))] for own in rows])


def full(rows: Sequence[Integers]) -> Integers:
    """All tokens of sentences of equal length, (sentences, tokens * channels): only they hold all that is known."""
    return np.stack([own.reshape(-1) for own in rows])


def attention_statistics(
    engine: Engine, network: IntegerNetwork, sentences: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """How each head of each layer spreads its attention, a row each; means over queries of all sentences.

    entropy: bits, of the shares that the keys have in what a query gathers: softmax weights, or for the Inhibitor what
    it lets pass, sum_c |v_jc - clamp(v_jc, -Z_ij, Z_ij)|; where nothing passes, nothing is spread and none counted.
    uniform: log2 of the number of keys. zero_rate: share of pairs with Z = 0 (softmax: with a weight of 0).
    pass_through: share of the pairs and coordinates with v != 0 of which something passes.
    """
    sums: dict[tuple[int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    values: dict[tuple[int, int], Integers] = {}

    def see(sentence: int, name: str, tensor: Integers) -> None:
        parts = name.split(".")
        if parts[0] != "layers":
            return
        layer = int(parts[1])
        if parts[2] == "value":
            heads = network.layers[layer].heads
            split = np.asarray(tensor).reshape(len(tensor), heads, -1).swapaxes(0, 1)
            values[sentence, layer] = split.astype(np.int64)
        elif parts[2] in ("inhibition", "weights"):
            v = values.pop((sentence, layer))
            for head, own in enumerate(np.asarray(tensor).astype(np.int64)):
                _spread(sums[layer, head], network.layers[layer].attention, own, v[head])

    engine(network, sentences, see)
    return [
        {"layer": layer, "head": head}
        | {name: own[name] / own["spread"] if own["spread"] else float("nan") for name in ("entropy", "uniform")}
        | {"zero_rate": own["zeros"] / own["pairs"]}
        | {"pass_through": own["passed"] / own["living"] if own["living"] else float("nan")}
        for (layer, head), own in sorted(sums.items())
    ]


def _spread(sums: dict[str, float], attention: Any, scores: Integers, v: Integers) -> None:
    """Add what one head does in one sentence: scores (n, n) are its Z or its softmax weights, v (n, e) its values."""
    living = np.broadcast_to(v[None] != 0, (len(v), *v.shape))
    if isinstance(attention, Inhibitor):
        z = scores[:, :, None]
        kept = v[None] - np.clip(v[None], -z, z) if attention.signed else np.maximum(0, v[None] - z)
        shares = np.abs(kept).sum(2)
        passed = (kept != 0) & living
    else:
        shares = scores
        passed = (scores != 0)[:, :, None] & living
    total = shares.sum(1, keepdims=True)
    spread = total[:, 0] > 0
    p = shares[spread] / total[spread]
    sums["entropy"] -= float((p * np.log2(np.where(p > 0, p, 1))).sum())
    sums["uniform"] += float(spread.sum() * np.log2(len(v)))
    sums["spread"] += int(spread.sum())
    sums["zeros"] += int((scores == 0).sum())
    sums["pairs"] += scores.size
    sums["passed"] += int(passed.sum())
    sums["living"] += int(living.sum())


def rank_one_residual(rows: Sequence[Integers]) -> float:
    """|X - 1 m^T| / |X|, m the mean token, over all sentences together: 0 where all tokens of a sentence are alike.

    What dot-product attention without skips loses doubly exponentially with depth (Dong et al., arXiv 2103.03404).
    """
    apart = sum(float(((x - x.mean(0)) ** 2).sum()) for x in (np.asarray(own, np.float64) for own in rows))
    whole = sum(float((np.asarray(own, np.float64) ** 2).sum()) for own in rows)
    return float(np.sqrt(apart / whole)) if whole else 0.0


def duplicates(rows: Sequence[Integers]) -> float:
    """The share of tokens that equal an earlier token of their sentence: in integers alone can this be counted."""
    tokens = sum(len(own) for own in rows)
    return 1 - sum(len(np.unique(own, axis=0)) for own in rows) / tokens
