"""An integer network and its tokenizer as named, packed tensors and a description in JSON types, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from integer_tickets.integer import packing
from integer_tickets.integer.network import (
    BYPASSES,
    Bypass,
    Inhibitor,
    IntegerNetwork,
    Layer,
    Linear,
    Softmax,
    Table,
    roles,
    shapes,
)
from integer_tickets.integer.rounding import Array, Rule
from integer_tickets.integer.tokenizer import Tokenizer

MAX_ROWS = 1 << 20


def network_tensors(network: IntegerNetwork, size: Callable[[Array], int] = len) -> dict[str, Array]:
    """Weights and masks packed, everything else in a narrow type, by name.

    size: what the bytes of a mask take where they are kept; the smaller of its two encodings is used.
    """
    tensors: dict[str, Array] = {
        "length_multiplier": network.length_multiplier.astype(np.int16),
        "length_shift": network.length_shift.astype(np.uint8),
    }
    for name, matrix in network.matrices():
        kept = matrix.weight.reshape(-1)
        if matrix.mask is not None:
            kept = kept[matrix.mask.reshape(-1)]
            encoding, mask = packing.pack_mask(matrix.mask.reshape(-1), size)
            tensors[f"{name}.mask.{encoding}"] = mask
        tensors[f"{name}.weight"] = packing.pack_values(kept, matrix.bits)
    for name, linear in network.linears():
        tensors[f"{name}.bias"] = linear.bias
        if linear.rule is not None:
            tensors[f"{name}.multiplier"] = linear.rule.multiplier.astype(np.int16)
    for i, layer in enumerate(network.layers):
        attention = layer.attention
        name = f"layers.{i}.attention"
        tensors[f"{name}.multiplier"] = attention.multiplier.astype(np.int16)
        tensors[f"{name}.shift"] = attention.shift.astype(np.uint8)
        if isinstance(attention, Inhibitor):
            tensors[f"{name}.offset"] = attention.offset
        else:
            tensors[f"{name}.pre_shift"] = attention.pre_shift.astype(np.uint8)
            tensors[f"{name}.table"] = attention.table
        for part in BYPASSES if layer.attention_bypass is not None else ():
            for vector, values in vars(getattr(layer, part)).items():
                tensors[f"layers.{i}.{part}.{vector}"] = values.astype(np.int16)
    return tensors


def architecture_of(network: IntegerNetwork) -> dict[str, Any]:
    """The shapes and the single numbers of a network; what its layers fix anyway is not repeated."""
    return {
        "vocabulary": network.tokens.weight.shape[0],
        "positions": network.positions.weight.shape[0],
        "width": network.width,
        "heads": network.heads,
        "pool_gain": network.pool_gain,
        "logit_multiplier": network.logit_multiplier,
        "logit_shift": network.logit_shift,
        "token_table": {"bits": network.tokens.bits, "shift": network.tokens.shift},
        "position_table": {"bits": network.positions.bits, "shift": network.positions.shift},
        "layers": [_layer_description(layer, network) for layer in network.layers],
        "classifier": {"bits": network.classifier.bits},
    }


def _layer_description(layer: Layer, network: IntegerNetwork) -> dict[str, Any]:
    attention = layer.attention
    described: dict[str, Any] = {"hidden": layer.up.weight.shape[0]}
    if layer.attention_bypass is not None:
        described["post_norm"] = True
    if layer.heads < network.heads:
        described["heads"] = layer.heads
    if layer.pairs < network.head_width:
        described["pairs"] = layer.pairs
    if isinstance(attention, Inhibitor):
        described["attention"] = {"kind": "inhibitor", "gain": attention.gain, "signed": attention.signed}
    else:
        described["attention"] = {"kind": "softmax", "gain": attention.gain}
    for part in roles(attention):
        linear: Linear = getattr(layer, part)
        assert linear.rule is not None  # an IntegerNetwork has checked it
        described[part] = {
            "bits": linear.bits,
            "pre_shift": linear.rule.pre_shift,
            "shift": linear.rule.shift,
        }
    return described


def network_from(described: Any, labels: tuple[str, ...], tensors: Mapping[str, Array]) -> IntegerNetwork:
    """The network that the two describe. KeyError, TypeError or ValueError where they describe none."""
    d = _count(described["width"])
    rows, length = _count(described["vocabulary"]), _count(described["positions"])
    tokens = _matrix("tokens", described["token_table"], (rows, d), tensors)
    positions = _matrix("positions", described["position_table"], (length, d), tensors)
    classifier = _matrix("classifier", described["classifier"], (len(labels), d), tensors)
    return IntegerNetwork(
        tokens=Table(**tokens, shift=_integer(described["token_table"]["shift"])),
        positions=Table(**positions, shift=_integer(described["position_table"]["shift"])),
        layers=tuple(
            _layer(f"layers.{i}", layer, d, attention_widths(described, layer), tensors)
            for i, layer in enumerate(described["layers"])
        ),
        classifier=Linear(**classifier, bias=tensors["classifier.bias"], rule=None),
        pool_gain=_integer(described["pool_gain"]),
        length_multiplier=tensors["length_multiplier"].astype(np.int32),
        length_shift=tensors["length_shift"].astype(np.int32),
        heads=_integer(described["heads"]),
        labels=labels,
        logit_multiplier=_integer(described["logit_multiplier"]),
        logit_shift=_integer(described["logit_shift"]),
    )


def attention_widths(described: Any, layer: Any) -> tuple[int, int]:
    """How wide q (and k), and v are for all heads of a layer: the width, but where the layer says that it has less."""
    d, heads = _count(described["width"]), _count(described["heads"])
    own = _count(layer["heads"]) if "heads" in layer else heads
    inner = own * (d // heads) if "heads" in layer else d
    return own * _count(layer["pairs"]) if "pairs" in layer else inner, inner


def _layer(name: str, described: Any, d: int, widths: tuple[int, int], tensors: Mapping[str, Array]) -> Layer:
    attention = _attention(f"{name}.attention", described["attention"], tensors)
    expected = shapes(d, *widths, _count(described["hidden"]))
    linears = {}
    for part, role in roles(attention).items():
        own = described[part]
        multiplier = tensors[f"{name}.{part}.multiplier"].astype(np.int32)
        linears[part] = Linear(
            **_matrix(f"{name}.{part}", own, expected[part], tensors),
            bias=tensors[f"{name}.{part}.bias"],
            rule=Rule(_integer(own["pre_shift"]), multiplier, _integer(own["shift"]), role.zero),
        )
    past: list[Bypass | None] = [None, None]
    if described.get("post_norm") is True:
        past = [
            Bypass(*(tensors[f"{name}.{part}.{vector}"].astype(np.int32) for vector in ("gain", "offset")))
            for part in BYPASSES
        ]
    return Layer(**linears, attention=attention, attention_bypass=past[0], hidden_bypass=past[1])


def _attention(name: str, described: Any, tensors: Mapping[str, Array]) -> Inhibitor | Softmax:
    def vector(part: str) -> Array:
        return tensors[f"{name}.{part}"].astype(np.int32)

    kind, gain = described["kind"], _integer(described["gain"])
    if kind == "inhibitor":
        signed = bool(described["signed"])
        return Inhibitor(vector("multiplier"), vector("offset"), vector("shift"), gain, signed)
    if kind == "softmax":
        table = tensors[f"{name}.table"]
        return Softmax(vector("pre_shift"), vector("multiplier"), vector("shift"), gain, table)
    raise ValueError(f"attention {kind!r}")


def _matrix(name: str, described: Any, shape: tuple[int, int], tensors: Mapping[str, Array]) -> dict[str, Any]:
    """Weight, mask and bits of one matrix."""
    bits, count = _integer(described["bits"]), shape[0] * shape[1]
    mask = None
    for encoding in ("bitmap", "gaps"):
        packed = tensors.get(f"{name}.mask.{encoding}")
        if packed is not None:
            mask = packing.unpack_mask(encoding, packed, count)
    kept = count if mask is None else int(np.count_nonzero(mask))
    weight = packing.unpack_values(tensors[f"{name}.weight"], bits, kept)
    if mask is not None:
        full = np.zeros(count, dtype=np.int8)
        full[mask] = weight
        weight, mask = full, mask.reshape(shape)
    return {"weight": weight.reshape(shape), "mask": mask, "bits": bits}


def tokenizer_tensors(tokenizer: Tokenizer) -> dict[str, Array]:
    if tokenizer.kind == "hash":
        return {}
    return {
        "tokenizer.pieces": np.frombuffer(b"".join(tokenizer.pieces), dtype=np.uint8),
        "tokenizer.lengths": np.array([len(piece) for piece in tokenizer.pieces], dtype=np.uint8),
        "tokenizer.continues": np.packbits(np.array(tokenizer.continues, dtype=np.bool_), bitorder="little"),
    }


def describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """What no tensor says of it."""
    side = {} if tokenizer.truncation_side == "right" else {"truncation_side": tokenizer.truncation_side}
    return {"kind": tokenizer.kind, "size": int(tokenizer.size), **side}


def unpack_tokenizer(described: Any, positions: int, tensors: Mapping[str, Array]) -> Tokenizer:
    """The tokenizer that `tokenizer_tensors` packed; described: as `describe_tokenizer` says.

    AttributeError, KeyError, TypeError or ValueError where they describe none, UserError where a broken one.
    """
    side = described.get("truncation_side", "right")
    if described["kind"] == "hash":
        return Tokenizer("hash", (), (), described["size"], positions, side)
    lengths = tensors["tokenizer.lengths"]
    if lengths.size > MAX_ROWS:
        raise ValueError(f"a vocabulary of {lengths.size} pieces")
    ends = np.cumsum(lengths.astype(np.int64))
    data = tensors["tokenizer.pieces"].tobytes()
    if len(data) != (ends[-1] if ends.size else 0):
        raise ValueError("the pieces do not have the lengths stated")
    bounds = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    pieces = tuple(data[start:end] for start, end in bounds)
    flags = np.unpackbits(tensors["tokenizer.continues"], count=len(pieces), bitorder="little")
    continues = tuple(flags.astype(bool).tolist())
    return Tokenizer(described["kind"], pieces, continues, described["size"], positions, side)


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} where an integer is expected")
    return value


def _count(value: Any) -> int:
    if not 1 <= _integer(value) <= MAX_ROWS:
        raise ValueError(f"{value} where a number of rows or columns is expected")
    return int(value)
