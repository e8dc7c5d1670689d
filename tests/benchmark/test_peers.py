"""Contestants of the engine studies: the same encoder in each engine, tickets as the reference computes them."""

import sys

import numpy as np
import pytest
import torch

from integer_tickets.benchmark import peer_files, peers, sparsity, text, timing
from integer_tickets.benchmark.peer_files import (
    EncoderShape,
    encoder,
    random_network,
    write_files,
    write_tickets,
)
from integer_tickets.benchmark.peers import TICKETS
from integer_tickets.errors import UserError
from integer_tickets.integer import artefact, native_engine, reference
from integer_tickets.params import load_params

SHAPE = EncoderShape(width=16, layers=2, heads=4, hidden=32, vocabulary=50, positions=40)
LENGTHS = (7, 1, 12, 12, 30)
needs_compiler = pytest.mark.skipif(native_engine.available() is not None, reason="no C compiler")


def batch(seed=0):
    counts = np.array(LENGTHS)
    ids = np.random.default_rng(seed).integers(3, SHAPE.vocabulary, (len(counts), max(LENGTHS)))
    return ids * (np.arange(max(LENGTHS)) < counts[:, None]), counts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("engines")
    absent = write_files(SHAPE, made)
    write_tickets(SHAPE, made)
    assert all(why.endswith(" is not installed") for why in absent.values())
    return made


def test_the_encoder_is_the_standard_one():
    """As torch's own layers compute it, sentence by sentence without padding."""
    model, (ids, counts) = encoder(SHAPE), batch()
    found = model(torch.from_numpy(ids), torch.from_numpy(counts))
    layers = []
    for own in model.layers:
        layer = torch.nn.TransformerEncoderLayer(16, 4, 32, dropout=0, norm_first=True, batch_first=True).eval()
        names = {
            "self_attn.in_proj_": "qkv.", "self_attn.out_proj.": "output.", "linear1.": "up.", "linear2.": "down.",
            "norm1.": "norm1.", "norm2.": "norm2.",
        }  # fmt: skip
        state = own.state_dict()
        layer.load_state_dict({a + kind: state[b + kind] for a, b in names.items() for kind in ("weight", "bias")})
        layers.append(layer)
    for row, count, logits in zip(ids, counts, found, strict=True):
        x = model.tokens(torch.from_numpy(row[None, :count])) + model.positions.weight[:count]
        for layer in layers:
            x = layer(x)
        torch.testing.assert_close(model.classifier(model.norm(x).mean(1))[0], logits, rtol=1e-4, atol=1e-5)


def test_every_engine_computes_the_encoder(folder):
    ids, counts = batch()
    expected = encoder(SHAPE)(torch.from_numpy(ids), torch.from_numpy(counts)).detach().numpy()
    found = {
        one.name: np.asarray(one.load(folder / one.file, 1)(ids, counts))
        for one in peers.present(folder)
        if one.package and not one.compiles
    }
    assert "PyTorch" in found
    for name, logits in found.items():
        rough = "int8" in name or "bfloat16" in name
        assert logits.shape == expected.shape, name
        away = np.abs(logits - expected)
        assert (np.median(away) if rough else away.max()) < (0.1 if rough else 1e-4) * np.abs(expected).max(), name


@needs_compiler
@pytest.mark.parametrize("name", TICKETS)
def test_tickets_give_the_logits_of_the_reference(folder, monkeypatch, name):
    one = next(one for one in peers.contestants() if one.name == f"native, {name}")
    ids, counts = batch(1)
    rows = [row[:count].tolist() for row, count in zip(ids, counts, strict=True)]
    network = artefact.load(folder / one.file).network
    expected = reference.logits(network, rows)
    for isa in ("native", "avx2", "baseline"):
        if native_engine.available(isa) is None:
            monkeypatch.setenv("TICKET_ISA", isa)
            assert np.array_equal(one.load(folder / one.file, 1)(ids, counts), expected)
            assert np.array_equal(one.load(folder / one.file, 3)(ids, counts), expected)
    share, block = TICKETS[name]
    for layer in (network.layers[0].query, network.layers[1].down):
        blocks = (layer.weight if layer.mask is None else layer.mask).reshape(-1, block)
        assert blocks.any(1).mean() == pytest.approx(share, abs=0.02)


@needs_compiler
def test_a_fresh_process_says_what_it_needs(folder, tmp_path):
    ids, counts = batch()
    np.savez(tmp_path / "batches.npz", ids_0=ids, counts_0=counts, ids_1=ids[:1], counts_1=counts[:1])
    one = next(one for one in peers.contestants() if one.name == "native, dense")
    here = one.load(folder / one.file, 1)(ids, counts)
    told = peers.fresh(folder, one.name, tmp_path / "batches.npz", peers.AVX2)
    assert told["logits"] == [here.tolist(), here[:1].tolist()]
    assert 0 < told["memory_mb"] < 200 and told["seconds"] > 0  # no PyTorch in it
    assert peers.size_on_disk(folder / one.file) == (folder / one.file).stat().st_size
    with pytest.raises(UserError, match=r"^native, dense: .*o such file"):
        peers.fresh(tmp_path, one.name)


def test_what_is_not_installed_is_absent(tmp_path, monkeypatch):
    packages = ("onnxruntime", "openvino", "nncf", "ctranslate2")
    for name in (*packages, *(name for name in sys.modules if name.partition(".")[0] in packages)):
        monkeypatch.setitem(sys.modules, name, None)
    absent = write_files(SHAPE, tmp_path)
    assert set(absent) == {"float.onnx", "dynamic.onnx", "static.onnx", "openvino.xml", "nncf.xml", "ctranslate2"}
    assert absent["float.onnx"] == "onnxruntime is not installed"
    found = peers.present(tmp_path)
    assert {one.name for one in found if one.package} == {"PyTorch", "torch.compile"}


@needs_compiler
def test_break_even_compares_the_same_network(monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr(sparsity, "DENSITIES", (0.5, 0.1))
    rows = sparsity.break_even(SHAPE, 9, 1, "native")
    assert [(row["block"], row["density"]) for row in rows] == [(1, 0.5), (1, 0.1), (4, 0.5), (4, 0.1)]
    assert rows[3]["occupied"] == pytest.approx(0.1, abs=0.02) and rows[1]["occupied"] > 0.2
    assert sparsity.occupied(random_network(SHAPE, 1.0, 1)) > 0.9


@needs_compiler
def test_costs_of_the_tokenizer(monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr(text, "SENTENCES", 20)
    rows = text.costs(load_params().language, 32, 300, 1)
    assert [row["ticket"] for row in rows] == ["built in", "2 x 32"] and 200 < rows[1]["pieces"] <= 300
    assert all(row["tokenizer_us"] > 0 and row["network_us"] > 0 for row in rows)
    texts = text.random_texts(50)
    assert texts == text.random_texts(50) and {len(text.split()) for text in texts} <= set(range(4, 17))


@needs_compiler
def test_the_command_on_many_lines(tmp_path):
    row = text.stream(load_params().language, 50, 1, tmp_path)
    assert (row["lines"], row["threads"]) == (50, 1) and row["per_second"] > 0 and 10 < row["memory_mb"] < 300
    assert (tmp_path / "out.txt").read_bytes().count(b"\n") == 50


def test_calibration_batches_are_always_the_same():
    one, other = (list(peer_files.samples(SHAPE, 2)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))
