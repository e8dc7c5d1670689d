"""Small random models and made-up sentences, for the tests of models, training and tickets."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from integer_tickets.data.batches import Split
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.model.transformer import Transformer, initialise, linear_names

torch.set_num_threads(1)  # as the pipeline does; on a busy machine, threads that wait for each other cost minutes

KINDS = ["inhibitor", "unsigned", "softmax"]
VOCABULARY, POSITIONS = 40, 12
CALIBRATION = [*range(1, POSITIONS + 1)] * 8


def shape_of(kind: str, **changes) -> dict:
    """Arguments of a small model; kind is `inhibitor` (signed), `unsigned` or `softmax`."""
    attention = {"attention": "softmax" if kind == "softmax" else "inhibitor", "signed": kind != "unsigned"}
    size = {"width": 16, "layers": 2, "heads": 2, "hidden": 24, "dropout": 0.0}
    return {"vocabulary": VOCABULARY, "positions": POSITIONS, "classes": 3, **size, **attention, **changes}


def float_model(kind: str, seed: int = 0, **changes) -> Transformer:
    """Initialised, then with a random classifier, biases and thresholds, as if trained; in evaluation mode."""
    model = Transformer(**shape_of(kind, **changes))
    initialise(model, np.random.default_rng([seed, 1]))
    _as_if_trained(model, seed)
    return model.eval()


def quantized_model(
    kind: str,
    seed: int = 0,
    bits: int = 8,
    embedding_bits: int = 8,
    headroom: float = 1.0,
    scale: float = 1.0,
    power_of_two: bool = False,
    per_channel: bool = False,
    **changes,
) -> QuantizedTransformer:
    """The same weights, linear ones times `scale`, calibrated on 96 sentences; in evaluation mode."""
    own = {"bits": bits, "embedding_bits": embedding_bits, "power_of_two": power_of_two, "per_channel": per_channel}
    model = QuantizedTransformer(**own, **shape_of(kind, **changes))
    initialise(model, np.random.default_rng([seed, 1]))
    _as_if_trained(model, seed)
    with torch.no_grad():
        for name in linear_names(model):
            model.get_parameter(name).mul_(scale)
    model.calibrate([sentences(CALIBRATION, seed)], headroom)
    return model.eval()


def _as_if_trained(model: Transformer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.classifier.weight.normal_(0, 0.3, generator=generator)
        for name, parameter in model.named_parameters():
            if name.endswith((".bias", ".gain", ".log_gamma", ".delta")):
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


def sentences(lengths, seed: int = 0, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Random ids (batch, n), also at the padding, and counts; n is the longest, or `width`."""
    counts = torch.tensor(list(lengths))
    shape = (len(counts), width or max(1, int(counts.max())))
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed)), counts


def random_masks(model: Transformer, density: float, seed: int = 0, embedding: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: model.get_parameter(name).shape for name in linear_names(model, embedding)}
    return {name: torch.rand(shape, generator=generator) < density for name, shape in shapes.items()}


def split_of(rows: int, seed: int = 0, classes: int = 3) -> Split:
    """Random sentences of 1 to POSITIONS tokens; the label is what most of them leave when divided by `classes`."""
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *rng.integers(1, POSITIONS + 1, rows)])
    ids = rng.integers(0, VOCABULARY, offsets[-1]).astype(np.int32)
    labels = [np.bincount(ids[a:b] % classes).argmax() for a, b in pairwise(offsets)]
    return Split(ids, offsets, np.array(labels, dtype=np.int64))
