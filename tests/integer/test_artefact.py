"""The file of a network: it comes back whole, its bytes repeat, and whatever is wrong with one is said in a line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from integer_tickets.errors import UserError
from integer_tickets.integer import artefact
from integer_tickets.integer.bounds import prove
from integer_tickets.integer.huffman import TYPES, original, shortened, stored_bytes
from integer_tickets.integer.layout import architecture_of, network_tensors
from integer_tickets.integer.tokenizer import Tokenizer

PROVENANCE = {"parameters": "abc", "level": 3, "density": 0.25, "name": "é \udcff"}
FEWER_HEADS = {"bits": 4, "sizes": [(1, 8, 5), (4, 8, 48), (3, 8, 1)]}
FEWER_PAIRS = {"bits": 4, "sizes": [(1, 3, 5), (4, 8, 48), (4, 1, 1)]}
HASH = Tokenizer("hash", (), (), 60, 20)


def parts(path, coded=False):
    """Description and tensors of a file, by default as they are before they are coded."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    tensors = safetensors.numpy.load(content)
    return json.loads(header["__metadata__"][artefact.KEY]), tensors if coded else original(tensors)


def write(path, description, tensors, rehash=True, coded=False):
    """Write a file with these parts, by default coded where that is shorter, with the hash that belongs to them."""
    if not coded:
        rows = {name: tensor for name, tensor in tensors.items() if tensor.ndim == 1 and tensor.dtype in TYPES}
        tensors = {name: tensor for name, tensor in tensors.items() if name not in rows} | shortened(rows)
    if rehash:
        description["sha256"] = artefact._content_hash(description, tensors)
    path.write_bytes(safetensors.numpy.save(tensors, {artefact.KEY: json.dumps(description)}))


@pytest.fixture
def saved(tmp_path, random_network, random_tokenizer):
    path = tmp_path / "ticket.safetensors"
    artefact.save(path, random_network(0, density=0.3), random_tokenizer(), PROVENANCE)
    return path


@pytest.mark.parametrize("kind", ["inhibitor", "unsigned", "softmax"])
@pytest.mark.parametrize(
    "shape",
    [
        {"bits": 8},
        {"bits": 4, "density": 0.5},
        {"bits": 3, "density": 0.02},
        {"bits": 2},
        FEWER_HEADS,
        FEWER_PAIRS,
        {"bits": 4, "post_norm": True},
    ],
)
def test_round_trip(tmp_path, random_network, random_tokenizer, kind, shape):
    for extreme, tokenizer in (
        (False, random_tokenizer()),
        (True, HASH),
        (True, replace(HASH, truncation_side="left")),
    ):
        network = random_network(1, kind, extreme=extreme, **shape)
        path = tmp_path / "ticket.safetensors"
        artefact.save(path, network, tokenizer, PROVENANCE)
        loaded = artefact.load(path)
        assert loaded.tokenizer == tokenizer and loaded.provenance == PROVENANCE
        assert loaded.bounds == prove(network) == prove(loaded.network)
        assert loaded.network.labels == network.labels
        assert architecture_of(loaded.network) == architecture_of(network)
        assert parts(path)[0]["format"] == 6
        before, after = network_tensors(network), network_tensors(loaded.network)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)
        for (_, own), (_, other) in zip(network.matrices(), loaded.network.matrices(), strict=True):
            assert np.array_equal(own.weight, other.weight) and (own.mask is None) == (other.mask is None)
            assert own.mask is None or np.array_equal(own.mask, other.mask)


def test_an_empty_mask_and_a_full_one(tmp_path, random_network):
    network = random_network(0, layers=1)
    layer = network.layers[0]
    nothing = replace(layer.up, weight=np.zeros_like(layer.up.weight), mask=np.zeros(layer.up.weight.shape, dtype=bool))
    everything = replace(layer.down, mask=np.ones(layer.down.weight.shape, dtype=bool))
    artefact.save(tmp_path / "t", replace(network, layers=(replace(layer, up=nothing, down=everything),)), HASH, {})
    loaded = artefact.load(tmp_path / "t").network.layers[0]
    assert not loaded.up.weight.any() and not loaded.up.mask.any() and loaded.down.mask.all()


def test_bytes_repeat(tmp_path, saved, random_network, random_tokenizer):
    again = tmp_path / "again"
    reordered = dict(reversed(PROVENANCE.items()))
    artefact.save(again, random_network(0, density=0.3), random_tokenizer(), reordered)
    assert again.read_bytes() == saved.read_bytes()
    loaded = artefact.load(again)
    artefact.save(again, loaded.network, loaded.tokenizer, loaded.provenance)
    assert again.read_bytes() == saved.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "ticket.safetensors"]


@pytest.mark.parametrize("version", [1, 4])
def test_files_from_before_tensors_were_coded(tmp_path, random_network, random_tokenizer, version):
    """Version 5 first codes them; a mask had the encoding that was shorter without."""
    path, again = tmp_path / "ticket.safetensors", tmp_path / "again"
    network = random_network(0, density=0.2, vocabulary=3000)
    artefact.save(path, network, replace(HASH, size=3000), PROVENANCE)
    coded = path.stat().st_size
    description = parts(path)[0] | {"format": version}
    tensors = network_tensors(network)
    write(path, description, tensors, coded=True)
    assert "tokens.mask.bitmap" in tensors and "tokens.mask.gaps.huffman" not in tensors
    loaded = artefact.load(path)
    artefact.save(again, loaded.network, loaded.tokenizer, loaded.provenance)
    assert again.stat().st_size == coded < path.stat().st_size
    write(path, description, tensors)
    with pytest.raises(UserError, match=r"^\S+ticket.safetensors: not a valid integer network"):
        artefact.load(path)


def test_files_of_the_version_before(saved):
    """They differ in nothing but their number."""
    description, tensors = parts(saved)
    write(saved, description | {"format": 5}, tensors)
    assert parts(saved)[0]["format"] == 5 and artefact.load(saved).provenance == PROVENANCE


def test_every_bit_is_counted(saved):
    bits = artefact.bits_breakdown(saved)
    assert bits == artefact.bits_breakdown(artefact.load(saved))
    assert list(bits) == [*artefact.PARTS, "total"] and all(bits.values())
    assert bits["total"] == artefact.artefact_bits(saved) == 8 * saved.stat().st_size
    assert sum(bits[part] for part in artefact.PARTS) == bits["total"]
    network = artefact.load(saved).network
    tensors = parts(saved)[1]
    for part, names in {
        "embedding": [name for name in tensors if name == "tokens.weight"],
        "positions": ["positions.weight"],
        "biases": [name for name in tensors if name.endswith(".bias")],
        "masks": [name for name in tensors if ".mask." in name],
    }.items():
        assert bits[part] == 8 * sum(stored_bytes(tensors[name]) for name in names)
    assert tensors["tokens.weight"].size == int(network.tokens.mask.sum())
    assert tensors["positions.weight"].size == 20 * 32
    assert sum(tensors[name].size for name in tensors if name.endswith(".bias")) == 2 * (5 * 32 + 48) + 3


def test_no_float_in_the_file(saved):
    assert {str(tensor.dtype) for tensor in parts(saved)[1].values()} <= {"uint8", "int16", "int32"}


def test_what_does_not_fit_is_not_written(tmp_path, random_network):
    path = tmp_path / "t"
    with pytest.raises(UserError, match="tokenizer: 60 ids and 19 positions, but the network has 60 and 20"):
        artefact.save(path, random_network(0), replace(HASH, positions=19), {})
    with pytest.raises(TypeError):
        artefact.save(path, random_network(0), HASH, {"seed": object()})
    with pytest.raises(ValueError, match="JSON"):
        artefact.save(path, random_network(0), HASH, {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_missing(tmp_path):
    with pytest.raises(UserError, match=r"nothing: no such file$"):
        artefact.load(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)$"):
        artefact.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"\x80\x04\x95 a pickle or anything else", b'{"json": 1}', bytes(99)])
def test_not_safetensors(saved, content):
    saved.write_bytes(content)
    with pytest.raises(UserError, match=r"ticket.safetensors: not a safetensors file$"):
        artefact.load(saved)


def test_truncated_anywhere(saved):
    content = saved.read_bytes()
    for size in [*range(0, 40), *range(40, len(content), 511), len(content) - 1]:
        saved.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"^\S+ticket.safetensors: (truncated|not a safetensors file)"):
            artefact.load(saved)


def test_one_changed_byte_anywhere(saved):
    content = saved.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), 150):
        altered = bytearray(content)
        altered[place] ^= 0x15
        saved.write_bytes(altered)
        with pytest.raises(UserError, match=r"^\S+ticket.safetensors: [^\n]+$"):
            artefact.load(saved)


def test_an_altered_tensor_or_description(saved):
    description, tensors = parts(saved)
    tensors["layers.0.up.bias"] = tensors["layers.0.up.bias"] + 1
    write(saved, description, tensors, rehash=False)
    with pytest.raises(UserError, match=r"ticket.safetensors: the content does not match its sha256"):
        artefact.load(saved)
    write(saved, description, tensors)
    with pytest.raises(UserError, match=r"ticket.safetensors: the stated bounds and its numbers disagree"):
        artefact.load(saved)
    tensors["layers.0.up.bias"] = tensors["layers.0.up.bias"] - 1
    description["provenance"]["level"] = 4
    write(saved, description, tensors, rehash=False)
    with pytest.raises(UserError, match=r"sha256"):
        artefact.load(saved)
    description["provenance"]["level"] = 3
    write(saved, description, tensors)
    assert artefact.load(saved).provenance == PROVENANCE


def test_a_later_version(saved):
    description, tensors = parts(saved)
    description["format"] = 7
    write(saved, description, tensors)
    known = "this program reads versions 1, 2, 3, 4, 5 and 6; update it"
    with pytest.raises(UserError, match=rf"ticket.safetensors: format version 7, {known}"):
        artefact.load(saved)


@pytest.mark.parametrize("what", ["heads", "pairs"])
def test_a_network_with_fewer_of_them_says_so_where_they_are_fewer(tmp_path, random_network, what):
    path = tmp_path / "ticket.safetensors"
    artefact.save(path, random_network(0, **(FEWER_HEADS if what == "heads" else FEWER_PAIRS)), HASH, {})
    description, tensors = parts(path)
    layers = description["architecture"]["layers"]
    if what == "heads":
        assert [layer.get("heads") for layer in layers] == [1, None, 3]
        assert tensors["layers.0.query.bias"].size == 8 and tensors["layers.2.attention.shift"].size == 3
    else:
        assert [layer.get("pairs") for layer in layers] == [3, None, 1]
        assert tensors["layers.0.query.bias"].size == 3 and tensors["layers.0.value.bias"].size == 8
    for place, number, message in (
        (1, 4 if what == "heads" else 8, "the stated architecture"),  # no more than is said already
        (0, 2, "fill"),
        (0, 5, "fill"),
        (0, 0, "number of rows"),
        (0, 1 << 20, "weights in a file"),
        (0, 1.0, "integer is expected"),
        (1, None, "integer is expected"),
    ):
        changed = json.loads(json.dumps(description))
        changed["architecture"]["layers"][place][what] = number
        write(path, changed, tensors)
        with pytest.raises(UserError, match=rf"^\S+ticket.safetensors: [^\n]*{message}[^\n]*$"):
            artefact.load(path)


def test_a_foreign_safetensors_file(saved):
    safetensors.numpy.save_file({"weight": np.ones(3, dtype=np.float32)}, saved, {"format": "pt"})
    with pytest.raises(UserError, match=r"ticket.safetensors: a safetensors file, but no integer network"):
        artefact.load(saved)
    safetensors.numpy.save_file({}, saved)
    with pytest.raises(UserError, match=r"a safetensors file, but no integer network"):
        artefact.load(saved)


def set_in(description, path, value):
    *folders, last = path
    for key in folders:
        description = description[key]
    description[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("architecture",), {}, "not a valid integer network"),
        (("architecture", "width"), 0, "number of rows"),
        (("architecture", "vocabulary"), 1 << 60, "36893488147419\\d+ weights in a file of \\d+ bytes, which can hold"),
        (("architecture", "vocabulary"), "many", "number of rows"),
        (("architecture", "positions"), -5, "number of rows"),
        (("architecture", "layers", 1, "hidden"), -(1 << 40), "number of rows"),
        (("architecture", "layers", 1, "hidden"), 1 << 22, "weights in a file"),
        (("architecture", "layers", 1, "attention", "signed"), 1, "the stated architecture"),
        (("architecture", "extra"), 1, "the stated architecture"),
        (("extra",), 1, "its description has a part 'extra' that no integer network has"),
        (("format",), True, "format version True"),
        (("format",), 5.0, "format version 5.0"),
        (("labels",), "abc", "the stated labels"),
        (("provenance",), ["a list"], "provenance: expected names and values"),
        (("provenance", "deep"), json.loads("[" * 60 + "]" * 60), "nested at most 50 deep"),
        (("architecture", "token_table", "bits"), 1 << 62, "expected 1 to 8"),
        (("tokenizer", "size"), 60.0, "the stated tokenizer"),
        (("architecture", "heads"), 5, "5 heads do not divide"),
        (("architecture", "heads"), "4", "integer is expected"),
        (("architecture", "layers"), 7, "not a valid integer network"),
        (("architecture", "layers", 0, "hidden"), 49, "fill"),
        (("architecture", "layers", 0, "attention", "kind"), "linear", "attention 'linear'"),
        (("architecture", "layers", 1, "query", "bits"), 16, "not a valid integer network"),
        (("architecture", "layers", 1, "query", "shift"), 1.5, "integer is expected"),
        (("architecture", "layers", 1, "query", "shift"), 31, "layers.1.query: shift 31"),
        (("architecture", "pool_gain"), True, "integer is expected"),
        (("tokenizer", "size"), 61, "size 61 with 57 pieces"),
        (("tokenizer", "kind"), "bpe", "kind 'bpe'"),
        (("labels",), ["a", "a", "b"], "labels: one occurs twice"),
        (("bounds",), {}, "bounds"),
    ],
)
def test_a_file_that_describes_no_network(saved, path, value, message):
    description, tensors = parts(saved)
    set_in(description, path, value)
    write(saved, description, tensors)
    with pytest.raises(UserError, match=rf"^\S+ticket.safetensors: [^\n]*{message}[^\n]*$"):
        artefact.load(saved)


@pytest.mark.parametrize("name", ["tokens.weight", "layers.1.up.multiplier", "length_shift", "tokenizer.lengths"])
def test_a_missing_tensor(saved, name):
    description, tensors = parts(saved)
    del tensors[name]
    write(saved, description, tensors)
    with pytest.raises(UserError, match=rf"ticket.safetensors: not a valid integer network .*{name}"):
        artefact.load(saved)


def test_tensors_that_do_not_belong(saved):
    description, tensors = parts(saved)
    name = "layers.0.up.mask"
    mask = artefact.load(saved).network.layers[0].up.mask
    byte = np.zeros(1, dtype=np.uint8)
    wide = {other: tensors[other].astype(np.int32) for other in tensors}
    both = {f"{name}.bitmap": np.packbits(mask, bitorder="little"), f"{name}.gaps": byte}
    for added, message in (
        ({"extra": byte}, "tensor 'extra' is not part of the network"),
        ({"layers.2.up.weight": byte}, "tensor 'layers.2.up.weight' is not part of the network"),
        ({"line\nfeed": byte}, r"tensor 'line\\nfeed' is not part of the network"),
        (both, "not a valid integer network|not part of the network"),
        (
            {"layers.1.up.multiplier": wide["layers.1.up.multiplier"]},
            "tensor 'layers.1.up.multiplier' is .* x int32, expected .* x int16",
        ),
        (
            {"length_shift": wide["length_shift"]},
            "tensor 'length_shift' is 21 x int32, expected 21 x uint8",
        ),
        ({"tokenizer.lengths": wide["tokenizer.lengths"]}, "tensor 'tokenizer.lengths' is 57 x int32"),
        ({"length_shift": tensors["length_shift"].reshape(3, 7)}, "tensor 'length_shift' is not a row of numbers"),
        (
            {"length_shift": tensors["length_shift"].astype(np.float32)},
            "tensor 'length_shift' is of type 'F32', expected one of",
        ),
        ({"layers.0.up.bias": tensors["layers.0.up.bias"].astype(np.int16)}, "layers.0.up: bias must be int32"),
    ):
        write(saved, dict(description), tensors | added)
        with pytest.raises(UserError, match=rf"^\S+ticket.safetensors: ({message})[^\n]*$"):
            artefact.load(saved)


def test_bits_that_mean_nothing_are_refused(tmp_path, random_network):
    """A file has one form: no bits in what fills up the last byte, and the shorter encoding of a mask."""
    path = tmp_path / "ticket.safetensors"
    artefact.save(path, random_network(0, bits=3, density=0.31, d=9, heads=3, hidden=5), HASH, {})
    description, tensors = parts(path)
    weight = tensors["tokens.weight"].copy()
    kept = int(artefact.load(path).network.tokens.mask.sum())
    assert 3 * kept % 8  # the last byte is not full
    weight[-1] |= 0x80
    write(path, dict(description), tensors | {"tokens.weight": weight})
    with pytest.raises(UserError, match=r"tensor 'tokens.weight' is not packed as the format says$"):
        artefact.load(path)
    sparse = random_network(0, density=0.01)
    artefact.save(path, sparse, HASH, {})
    description, tensors = parts(path)
    coded = parts(path, coded=True)[1]
    for stored in (tensors, tensors | coded, coded | tensors):
        write(path, dict(description), stored, coded=True)
        with pytest.raises(UserError, match=r"tensor '\S+' is coded, or not, otherwise than the format says$"):
            artefact.load(path)
    del tensors["tokens.mask.gaps"]
    tensors["tokens.mask.bitmap"] = np.packbits(sparse.tokens.mask, bitorder="little")
    write(path, description, tensors)
    with pytest.raises(UserError, match=r"tensor 'tokens.mask.bitmap' is not part of the network$"):
        artefact.load(path)


def test_a_network_that_no_file_may_declare_is_not_written(tmp_path, random_network):
    network = random_network(0, d=1000, heads=1, layers=0)
    weight = np.zeros((60_000, 1000), dtype=np.int8)
    table = replace(network.tokens, weight=weight, mask=weight != 0)
    with pytest.raises(UserError, match=r"^600\d+ weights in a file of \d+ bytes, which can hold \d+$"):
        artefact.save(tmp_path / "t", replace(network, tokens=table), replace(HASH, size=60_000), {})
    with pytest.raises(UserError, match="shorten the provenance"):
        artefact.save(tmp_path / "t", random_network(0), HASH, {"text": "x" * 10_000_000})
    assert not list(tmp_path.iterdir())


def test_pieces_of_the_wrong_length(saved):
    description, tensors = parts(saved)
    tensors["tokenizer.pieces"] = tensors["tokenizer.pieces"][:-1]
    write(saved, description, tensors)
    with pytest.raises(UserError, match="the pieces do not have the lengths stated"):
        artefact.load(saved)
