"""The float Transformer: against a second implementation in float64, and what its logits may depend on."""

import numpy as np
import pytest
import torch

from integer_tickets.model import transformer
from integer_tickets.model.kernel import available
from integer_tickets.model.rows import norm
from integer_tickets.model.transformer import Dropout, Transformer, initialise, linear_names
from tests.model.conftest import KINDS, VOCABULARY, float_model, sentences, shape_of

LENGTHS = [3, 0, 12, 1, 5, 12, 2, 0]


def reference_logits(model, tokens):
    """One sentence through the definition, in NumPy and float64."""
    weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def normalized(x):
        return x / np.abs(x).mean(axis=1, keepdims=True)

    n = len(tokens)
    x = weights["tokens.weight"][tokens] + weights["positions.weight"][:n]
    for layer in range(len(model.layers)):
        prefix = f"layers.{layer}.attention."
        kind = model.layers[layer].attention
        u = normalized(x)
        q, k, v = (linear(prefix + part, u) for part in ("query", "key", "value"))
        context = np.zeros_like(q)
        size = q.shape[1] // model.heads
        for head in range(model.heads):
            own = slice(head * size, (head + 1) * size)
            if kind.kind == "softmax":
                scores = np.exp(q[:, own] @ k[:, own].T / np.sqrt(size))
                context[:, own] = scores / scores.sum(axis=1, keepdims=True) @ v[:, own]
                continue
            gamma, delta = np.exp(weights[prefix + "log_gamma"][head]), weights[prefix + "delta"][head]
            for i in range(n):
                for j in range(n):
                    z = max(0.0, gamma * np.abs(q[i, own] - k[j, own]).sum() - delta)
                    passed = np.maximum(0, v[j, own] - z)
                    if kind.signed:
                        passed -= np.maximum(0, -v[j, own] - z)
                    context[i, own] += passed / n
        x = x + linear(prefix + "output", context)
        x = x + linear(f"layers.{layer}.down", np.maximum(0, linear(f"layers.{layer}.up", normalized(x))))
    return linear("classifier", normalized(x).sum(axis=0) / n)


@pytest.mark.parametrize("kernel", ["fused", "plain"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_definition(kind, kernel):
    model = float_model(kind, kernel=kernel)
    lengths = [1, 2, 7, 12]
    ids, counts = sentences(lengths)
    logits = model(ids, counts).detach().numpy()
    for row, n in enumerate(lengths):
        np.testing.assert_allclose(logits[row], reference_logits(model, ids[row, :n].numpy()), rtol=0, atol=3e-5)


@pytest.mark.parametrize("kernel", ["fused", "plain"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_depend_neither_on_padding_nor_on_the_batch(kind, kernel):
    model = float_model(kind, kernel=kernel)
    ids, counts = sentences(LENGTHS)
    together = model(ids, counts)
    near = {"rtol": 0, "atol": 2e-5}
    order = torch.randperm(len(LENGTHS), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(ids[order], counts[order]), together[order], **near)
    padding = torch.arange(ids.shape[1]) >= counts[:, None]
    torch.testing.assert_close(model(ids.masked_fill(padding, VOCABULARY - 1), counts), together, **near)
    for row, n in enumerate(LENGTHS):
        torch.testing.assert_close(
            model(ids[row : row + 1, : max(n, 1)], counts[row : row + 1])[0], together[row], **near
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_without_tokens_has_the_classifiers_bias(kind):
    model = float_model(kind).train()
    logits = model(*sentences(LENGTHS))
    assert logits.isfinite().all()
    empty = torch.tensor(LENGTHS) == 0
    assert torch.equal(logits[empty], model.classifier.bias.expand(2, -1))
    logits.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.skipif(available() is not None, reason=str(available()))
@pytest.mark.parametrize("kind", ["inhibitor", "unsigned"])
def test_fused_and_plain_attention_agree(kind):
    batch = sentences(LENGTHS)
    fused, plain = float_model(kind, kernel="fused"), float_model(kind, kernel="plain")
    assert fused.layers[0].attention.isa == fused.isa == "avx2" and plain.layers[0].attention.isa is plain.isa is None
    for model in (fused, plain):
        logits = model(*batch)
        logits.square().sum().backward()
    torch.testing.assert_close(fused(*batch), plain(*batch), rtol=0, atol=2e-5)
    for (name, one), other in zip(fused.named_parameters(), plain.parameters(), strict=True):
        largest = other.grad.abs().max().item()
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-4 * largest + 1e-7, msg=name)


def test_without_the_fused_kernel_the_plain_form_takes_its_place(monkeypatch, capsys):
    monkeypatch.setattr(transformer, "available", lambda isa: "no C compiler found")
    transformer.fused_works.cache_clear()
    model = float_model("inhibitor", kernel="fused")
    transformer.fused_works.cache_clear()
    assert model.isa is None and model.layers[0].attention.isa is None and model.layers[1].attention.isa is None
    assert capsys.readouterr().err.count("many times slower: no C compiler found\n") == 1  # once, not for each layer
    batch = sentences(LENGTHS)
    assert torch.equal(model(*batch), float_model("inhibitor", kernel="plain")(*batch))


def test_attentions_differ_in_two_vectors_only():
    inhibitor, softmax = (Transformer(**shape_of(kind)).state_dict() for kind in ("inhibitor", "softmax"))
    extra = {f"layers.{layer}.attention.{name}" for layer in (0, 1) for name in ("log_gamma", "delta")}
    assert inhibitor.keys() - softmax.keys() == extra
    assert softmax.keys() <= inhibitor.keys()
    assert all(inhibitor[name].shape == softmax[name].shape for name in softmax)
    assert all(inhibitor[name].shape == (2,) for name in extra)


def test_initial_weights_are_numpys_and_the_same_for_both_attentions():
    first, again, softmax, other = (
        Transformer(**shape_of(kind)) for kind in ("inhibitor", "inhibitor", "softmax", "inhibitor")
    )
    for model, seed in ((first, 5), (again, 5), (softmax, 5), (other, 6)):
        initialise(model, np.random.default_rng(seed))
    weights, same, others = first.state_dict(), again.state_dict(), other.state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert all(torch.equal(weights[name], tensor) for name, tensor in softmax.state_dict().items())
    drawn = [name for name in linear_names(first, embedding=True) if name != "classifier.weight"]
    assert not any(torch.equal(weights[name], others[name]) for name in drawn)
    expected = 0.05 * np.random.default_rng(5).standard_normal((VOCABULARY, 16))
    assert np.array_equal(weights["tokens.weight"].numpy(), expected.astype(np.float32))


def test_initial_weights_have_their_sizes():
    model = Transformer(**shape_of("inhibitor", width=64, hidden=128))
    initialise(model, np.random.default_rng(0))
    for name, tensor in model.state_dict().items():
        if name.endswith(".bias") or name == "classifier.weight":
            assert not tensor.any(), name
        elif name.endswith(("query.weight", "key.weight", "value.weight", "up.weight")):
            assert tensor.std().item() == pytest.approx(1 / 8, rel=0.1), name
        elif name.endswith("output.weight"):
            assert tensor.std().item() == pytest.approx(1 / 8 / 2, rel=0.1), name
        elif name.endswith("down.weight"):
            assert tensor.std().item() == pytest.approx(1 / 128**0.5 / 2, rel=0.1), name
    assert model(*sentences([3, 5])).eq(0).all()


def test_names_that_pruning_may_touch():
    model = Transformer(**shape_of("inhibitor", layers=1))
    linear = [f"layers.0.attention.{name}.weight" for name in ("query", "key", "value", "output")]
    linear += ["layers.0.up.weight", "layers.0.down.weight", "classifier.weight"]
    assert linear_names(model) == linear
    tables = ["tokens.weight", "positions.weight"]
    assert linear_names(model, embedding=True) == [*tables, *linear]
    assert linear_names(model, embedding="only") == tables


@pytest.mark.parametrize("kind", KINDS)
def test_post_norm_is_the_textbooks(kind):
    """What every part reads is the stream as normalized after the last addition; gain and bias go past it."""
    model = float_model(kind, post_norm=True)
    ids, counts = sentences([7, 3], 2)
    seen = {}
    model.observe = lambda name, x: seen.setdefault(name, x)
    model(ids, counts)
    valid = torch.arange(ids.shape[1]) < counts[:, None]
    layer = model.layers[0]
    n = norm((model.tokens(ids) + model.positions.weight[: ids.shape[1]])[valid])
    past = layer.attention_bypass
    a = n * past.gain + past.bias + layer.attention.output(seen["context.0"])
    n = norm(a)
    b = n * layer.hidden_bypass.gain + layer.hidden_bypass.bias + layer.down(torch.relu(layer.up(n)))
    torch.testing.assert_close(seen["residual.0"], b)


def test_bypasses_begin_as_the_normalized_stream_and_are_not_prunable():
    model = Transformer(**shape_of("inhibitor", post_norm=True))
    initialise(model, np.random.default_rng(0))
    own = {name for name, _ in model.named_parameters() if "bypass" in name}
    assert len(own) == 8 and not own & set(linear_names(model, True))
    assert all((model.get_parameter(name) == float(name.endswith("gain"))).all() for name in own)


def test_without_biases_and_places_these_stay_zero():
    model = Transformer(**shape_of("inhibitor", layers=1), biases=False, places=False)
    initialise(model, np.random.default_rng(0))
    still = {name for name, own in model.named_parameters() if not own.requires_grad}
    assert still == {"positions.weight", *(name for name, _ in model.named_parameters() if name.endswith(".bias"))}
    assert not any(own.any() for name, own in model.named_parameters() if name in still)
    assert linear_names(model, embedding="only") == ["tokens.weight"]


def test_normalization():
    x = torch.tensor([[0.0, 0, 0, 0], [1, -1, 3, -3]])
    assert norm(x).tolist() == [[0, 0, 0, 0], [0.5, -0.5, 1.5, -1.5]]
    torch.testing.assert_close(norm(1000 * x), norm(x))


def test_an_observer_sees_tokens_and_no_padding():
    model, seen = float_model("inhibitor"), {}
    model.observe = lambda name, x: seen.update({name: tuple(x.shape)})
    model(*sentences([3, 0, 4]))
    parts = {"qk": 32, "value": 16, "context": 16, "attended": 16, "hidden": 24, "residual": 16}
    assert seen == {f"{name}.{layer}": (7, d) for name, d in parts.items() for layer in (0, 1)} | {"pooled": (2, 16)}


def test_dropout_scales_bfloat16_no_less_exactly():
    dropout, x = Dropout(0.1).train(), torch.ones(50, 20, dtype=torch.bfloat16)
    out = dropout(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 1 / 0.9), rtol=1e-4, atol=0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_scales_the_rest(p):
    dropout, x = Dropout(p).train(), torch.rand(999, 333) + 1
    dropout.random = np.random.default_rng(5)
    x.requires_grad_()
    out = dropout(x)
    kept = out != 0
    assert abs(kept.double().mean().item() - (1 - p)) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    torch.testing.assert_close(out[kept], x[kept] / (1 - p), rtol=1e-4, atol=0)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, kept / torch.tensor(1 - p), rtol=1e-4, atol=0)
    dropout.random = np.random.default_rng(5)
    assert torch.equal(dropout(x), out) and not torch.equal(dropout(x), out)
    assert torch.equal(dropout(x[:0]), x[:0])
    assert torch.equal(dropout.eval()(x), x) and torch.equal(Dropout(0.0).train()(x), x)
