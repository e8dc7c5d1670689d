"""All engines compute the same integers: every tensor of every layer, whatever the batch around a sentence."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import integer_tickets
from integer_tickets.errors import UserError
from integer_tickets.integer import conformance, engines, reference, torch_engine
from integer_tickets.integer.bounds import prove
from integer_tickets.integer.rounding import S8, S16, U8
from tests.integer.conftest import KINDS, SHAPES


def assert_same(traced, network, batch, **options):
    expected, tensors = traced(reference.logits, network, batch)
    logits, seen = traced(torch_engine.logits, network, batch, **options)
    assert logits.dtype == expected.dtype == np.int32
    assert seen.keys() == tensors.keys()
    for key, values in tensors.items():
        assert np.array_equal(seen[key], values), key
    assert np.array_equal(logits, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_engines_agree_on_calibrated_networks(random_network, sentences, traced, kind, shape):
    for seed in range(3):
        network = random_network(seed, kind, **shape)
        assert_same(traced, network, sentences(network, seed), batch_size=7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_engines_agree_on_extreme_networks(random_network, sentences, traced, kind, seed):
    network = random_network(seed, kind, extreme=True, bits=[8, 4, 3, 2][seed % 4], positions=9)
    assert max(prove(network).values()) == 2**31 - 1
    assert_same(traced, network, sentences(network, seed, 10), batch_size=16)


@pytest.mark.parametrize("kind", KINDS)
def test_engines_agree_on_the_longest_sentences(random_network, traced, kind):
    network = random_network(5, kind, positions=255, layers=1, d=16)
    rng = np.random.default_rng(0)
    assert_same(traced, network, [rng.integers(0, 60, n).tolist() for n in (255, 254, 129, 128, 1, 0)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extreme", [False, True])
def test_products_in_float64_give_the_same(random_network, sentences, kind, extreme):
    """Where torch may round float32 products, the engine does not use them."""
    network = random_network(3, kind, extreme=extreme)
    batch = sentences(network)
    expected = reference.logits(network, batch)
    torch.set_float32_matmul_precision("medium")
    try:
        assert np.array_equal(torch_engine.logits(network, batch), expected)
    finally:
        torch.set_float32_matmul_precision("highest")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(torch_engine.logits(network, batch), expected)


@pytest.mark.parametrize("engine", [reference.logits, torch_engine.logits], ids=["reference", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_depend_on_the_sentence_alone(random_network, sentences, engine, kind):
    network = random_network(11, kind, density=0.5)
    batch = sentences(network)
    together = engine(network, batch)
    assert together.shape == (len(batch), 3) and together.dtype == np.int32
    order = np.random.default_rng(1).permutation(len(batch))
    assert np.array_equal(engine(network, [batch[i] for i in order]), together[order])
    alone = np.concatenate([engine(network, [ids]) for ids in batch])
    assert np.array_equal(alone, together)
    assert np.array_equal(engine(network, []), np.zeros((0, 3)))
    assert np.array_equal(engine(network, [[], []]), np.tile(network.classifier.bias, (2, 1)))


@pytest.mark.parametrize("batch_size", [1, 3, 256])
@pytest.mark.parametrize("most_scores", [1, 3000, 1 << 22])
def test_the_torch_engine_is_invariant_to_batching(random_network, sentences, monkeypatch, batch_size, most_scores):
    network = random_network(2, "inhibitor")
    batch = sentences(network)
    monkeypatch.setattr(torch_engine, "MAX_SCORES", most_scores)
    expected = reference.logits(network, batch)
    assert np.array_equal(torch_engine.logits(network, batch, batch_size=batch_size), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extreme", [False, True])
def test_a_gpu_agrees(random_network, sentences, traced, kind, extreme):
    network = random_network(6, kind, extreme=extreme)
    assert_same(traced, network, sentences(network), device="cuda")


RANGES = {
    **dict.fromkeys(["attention_input", "hidden_input", "value", "context", "final", "pooled"], S8),
    **dict.fromkeys(["inhibition", "weights", "up"], U8),
    **dict.fromkeys(["embedding", "output", "attention_sum", "down", "hidden_sum"], S16),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extreme", [False, True])
def test_nothing_floats_and_everything_keeps_its_range(random_network, sentences, traced, kind, extreme):
    network = random_network(4, kind, extreme=extreme)
    _, tensors = traced(reference.logits, network, sentences(network))
    used = {name: set() for _, name in tensors}
    for (_, name), values in tensors.items():
        assert np.issubdtype(values.dtype, np.integer), name
        scored = name.endswith(("query", "key"))
        low, high = (S8 if kind == "softmax" else U8) if scored else RANGES.get(name.split(".")[-1], (-(2**31), 2**31))
        assert low <= values.min() and values.max() <= high, name
        used[name].update([values.min(), values.max()])
    if not extreme:  # the calibrated networks exercise whole ranges
        assert min(used["layers.0.value"]) == -128 and max(used["layers.0.value"]) == 127
        assert max(used["layers.0.up"]) == 255 and min(used["layers.0.up"]) == 0
        assert max(used["layers.1.attention_sum"]) == 32767


def test_masks_prune(random_network):
    """A weight outside the mask is zero, so the mask itself changes nothing."""
    network = random_network(9, density=0.2)
    up = network.layers[0].up
    assert not up.weight[~up.mask].any() and (up.weight[up.mask] == 0).sum() < up.mask.sum() / 4


def test_a_gpu_is_an_engine_of_its_own(random_network, sentences, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert engines.engines()[-2:] == ["torch", "torch:cuda"]
    assert engines.engine("torch:cuda").keywords == {"device": "cuda"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert engines.engines()[-1] == "torch"
    with pytest.raises(UserError, match=r"engine 'torch:cuda' needs a GPU .* is none; here run .*reference, .*torch$"):
        engines.engine("torch:cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_ticket_runs_on_a_gpu():
    ticket = integer_tickets.load(conformance.KIT / conformance.TICKET)
    texts = ["a good film", "", ("two", "texts")]
    assert "torch:cuda" in integer_tickets.engines()
    assert np.array_equal(ticket.logits(texts, "torch:cuda"), ticket.logits(texts))
    assert conformance.check("torch:cuda").mismatches == ()


WITHOUT_TORCH = """
import sys
before = {name.partition(".")[0] for name in sys.modules}
sys.modules["torch"] = sys.modules["onnx"] = None  # an import fails, as where it is not installed
import integer_tickets
from integer_tickets.cli import main
from integer_tickets.integer.conformance import KIT, TICKET
ticket = integer_tickets.load(KIT / TICKET)
assert len(ticket.classify(["a good film", ("two", "texts")])) == 2
assert integer_tickets.engines()[-1] == "reference"
assert main(["conformance"]) == main(["predict", "a good film"]) == main(["inspect", str(KIT / TICKET)]) == 0
assert main(["predict", "--engine", "torch:cuda", "a good film"]) == 2
found = {name.partition(".")[0] for name in sys.modules} - before - sys.stdlib_module_names - {"torch", "onnx"}
print(sorted(found), file=sys.stderr)
"""


def test_a_ticket_needs_numpy_and_safetensors_alone():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line, modules = done.stderr.splitlines()
    assert line.startswith("integer-tickets: engine 'torch:cuda' needs torch, which is not installed; here run ")
    assert modules == "['integer_tickets', 'numpy', 'safetensors']"
    assert "reference: " in done.stdout and "all equal" in done.stdout


def test_the_package_does_not_import_torch():
    code = (
        "import integer_tickets, sys; from integer_tickets.integer import conformance as c; "
        "integer_tickets.load(c.KIT / c.TICKET).classify(['a text']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
