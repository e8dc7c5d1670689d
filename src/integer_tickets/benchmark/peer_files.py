"""What the contestants of the engine study load: an encoder with random weights in every form, tickets of its shape.

The encoder is the standard one (layer normalization before each part, softmax attention, ReLU), for whose operations
the engines have fast forms; the tickets have Inhibitor attention and the project's normalization.
"""

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from integer_tickets.benchmark.peers import TICKETS
from integer_tickets.integer import artefact
from integer_tickets.integer.network import IntegerNetwork
from integer_tickets.integer.tokenizer import Tokenizer
from integer_tickets.model.lowering import lower
from integer_tickets.model.quantized import QuantizedTransformer
from integer_tickets.model.transformer import initialise, linear_names, token_mask
from integer_tickets.seeds import generator
from integer_tickets.tickets.masks import dense_masks, prune, scale_of
from integer_tickets.training.state import weights_of

SAMPLES = 32  # batches that static quantizers see


@dataclass(frozen=True)
class EncoderShape:
    """What contestants have in common, beside two classes."""

    width: int
    layers: int
    heads: int
    hidden: int
    vocabulary: int = 11_000
    positions: int = 64


class Encoder(nn.Module):
    """ids (batch, n) int64, counts (batch,) -> logits (batch, 2)."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        d = shape.width
        self.heads = shape.heads
        self.tokens, self.positions = nn.Embedding(shape.vocabulary, d), nn.Embedding(shape.positions, d)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(d), "qkv": nn.Linear(d, 3 * d), "output": nn.Linear(d, d),
                    "norm2": nn.LayerNorm(d), "up": nn.Linear(d, shape.hidden), "down": nn.Linear(shape.hidden, d),
                }
            )
            for _ in range(shape.layers)
        )  # fmt: skip
        self.norm, self.classifier = nn.LayerNorm(d), nn.Linear(d, 2)

    def forward(self, ids: Tensor, counts: Tensor) -> Tensor:
        valid = token_mask(ids, counts)
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            parts = layer["qkv"](layer["norm1"](x)).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
            c = F.scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, None, :])
            x = x + layer["output"](c.transpose(1, 2).flatten(2))
            x = x + layer["down"](torch.relu(layer["up"](layer["norm2"](x))))
        pooled = (self.norm(x) * valid[..., None]).sum(1) / counts[:, None]
        return self.classifier(pooled)


def encoder(shape: EncoderShape) -> Encoder:
    torch.manual_seed(0)
    return Encoder(shape).eval()


def write_files(shape: EncoderShape, folder: Path) -> dict[str, str]:
    """The encoder in every form that can be made here, into `folder`; for each that cannot, its file and why not."""
    (folder / "shape.json").write_text(json.dumps(asdict(shape)))
    model = encoder(shape)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "torch.safetensors")
    absent = {}
    graph = ("onnx", "onnxruntime")
    makers: dict[str, tuple[tuple[str, ...], Callable[[], None]]] = {
        "float.onnx": (graph, lambda: _onnx(model, shape, folder / "float.onnx")),
        "dynamic.onnx": (graph, lambda: _dynamic(folder)),
        "static.onnx": (graph, lambda: _static(shape, folder)),
        "openvino.xml": ((*graph, "openvino"), lambda: _openvino(folder)),
        "nncf.xml": ((*graph, "openvino", "nncf"), lambda: _nncf(shape, folder)),
        "ctranslate2": (("ctranslate2",), lambda: _ctranslate2(model, shape, folder / "ctranslate2")),
    }
    for name, (packages, make) in makers.items():
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            absent[name] = f"{missing[0]} is not installed"
            continue
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of exporters about themselves
            make()
    return absent


def write_tickets(shape: EncoderShape, folder: Path) -> None:
    tokenizer = Tokenizer("hash", (), (), shape.vocabulary, shape.positions)
    for name, (density, block) in TICKETS.items():
        artefact.save(folder / f"{name}.safetensors", random_network(shape, density, block), tokenizer, {})


def random_network(shape: EncoderShape, density: float, block: int) -> IntegerNetwork:
    """A calibrated int8 network of random weights, of which each layer but the classifier keeps the largest blocks."""
    values: dict[str, Any] = asdict(shape) | {"classes": 2, "dropout": 0.0, "attention": "inhibitor"}
    model = QuantizedTransformer(bits=8, embedding_bits=8, **values)
    initialise(model, generator("engines", 0))
    with torch.no_grad():
        model.classifier.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    weights, names = weights_of(model), [name for name in linear_names(model) if name != "classifier.weight"]
    masks = dense_masks(weights, names)
    if density < 1:
        masks = prune(weights, masks, scale_of(weights, names), density, "layerwise", block)
    model.load_state_dict({name: value * masks.get(name, 1) for name, value in weights.items()})
    model.calibrate(samples(shape))
    return lower(model, masks, ["no", "yes"])


def samples(shape: EncoderShape, count: int = SAMPLES) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of 4 random sentences of 32 tokens, or as many as there are positions."""
    random, n = generator("engines samples", 0), min(32, shape.positions)
    for _ in range(count):
        yield torch.from_numpy(random.integers(3, shape.vocabulary, (4, n))), torch.full((4,), n)


def _onnx(model: Encoder, shape: EncoderShape, path: Path) -> None:
    free = {"ids": {0: "batch", 1: "n"}, "counts": {0: "batch"}}
    names: dict[str, Any] = {"input_names": list(free), "output_names": ["logits"], "dynamic_axes": free}
    torch.onnx.export(model, next(samples(shape)), path, opset_version=17, dynamo=False, **names)


def _dynamic(folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(folder / "float.onnx", folder / "dynamic.onnx", weight_type=QuantType.QInt8)


def _static(shape: EncoderShape, folder: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = samples(shape)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return batch and {"ids": batch[0].numpy(), "counts": batch[1].numpy()}

    with tempfile.TemporaryDirectory() as own:
        ready = Path(own) / "ready.onnx"
        quant_pre_process(folder / "float.onnx", ready, skip_symbolic_shape=True)
        quantize_static(
            ready, folder / "static.onnx", Reader(), quant_format=QuantFormat.QDQ, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )  # fmt: skip


def _openvino(folder: Path) -> None:
    import openvino

    openvino.save_model(openvino.convert_model(folder / "float.onnx"), folder / "openvino.xml", compress_to_fp16=False)


def _nncf(shape: EncoderShape, folder: Path) -> None:
    import nncf
    import openvino

    model = openvino.Core().read_model(folder / "openvino.xml")
    batches = nncf.Dataset([(ids.numpy(), counts.numpy()) for ids, counts in samples(shape)])
    made = nncf.quantize(model, batches, model_type=nncf.ModelType.TRANSFORMER, subset_size=SAMPLES)
    openvino.save_model(made, folder / "nncf.xml", compress_to_fp16=False)


def _ctranslate2(model: Encoder, shape: EncoderShape, folder: Path) -> None:
    """The layers and the last normalization; it has no classifier of tokens' means."""
    from ctranslate2.specs import common_spec, transformer_spec

    encoder_spec = transformer_spec.TransformerEncoderSpec(
        shape.layers, shape.heads, pre_norm=True, activation=common_spec.Activation.RELU
    )
    numbers = {name: value.numpy() for name, value in model.state_dict().items()}

    def fill(spec: Any, name: str) -> None:
        for theirs, ours in (("weight", "weight"), ("gamma", "weight"), ("bias", "bias"), ("beta", "bias")):
            if hasattr(spec, theirs) and f"{name}.{ours}" in numbers:
                setattr(spec, theirs, numbers[f"{name}.{ours}"])

    encoder_spec.scale_embeddings = False
    fill(encoder_spec.embeddings[0], "tokens")
    encoder_spec.position_encodings.encodings = numbers["positions.weight"]
    fill(encoder_spec.layer_norm, "norm")
    for index, layer in enumerate(encoder_spec.layer):
        fill(layer.self_attention.layer_norm, f"layers.{index}.norm1")
        fill(layer.self_attention.linear[0], f"layers.{index}.qkv")
        fill(layer.self_attention.linear[1], f"layers.{index}.output")
        fill(layer.ffn.layer_norm, f"layers.{index}.norm2")
        fill(layer.ffn.linear_0, f"layers.{index}.up")
        fill(layer.ffn.linear_1, f"layers.{index}.down")
    spec = transformer_spec.TransformerEncoderModelSpec(encoder_spec)
    spec.register_vocabulary([f"token{index}" for index in range(shape.vocabulary)])
    spec.config.unk_token = "token0"
    spec.config.bos_token = spec.config.eos_token = "token0"
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir()
    spec.save(str(folder))
    np.savez(folder / "classifier.npz", **{name: numbers[f"classifier.{name}"] for name in ("weight", "bias")})
