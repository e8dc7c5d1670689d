"""The simulation is the integer network: every tensor of every layer equals the reference engine's exactly."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from integer_tickets.errors import UserError
from integer_tickets.integer import reference
from integer_tickets.integer.bounds import prove
from integer_tickets.integer.rounding import half
from integer_tickets.model import quantized, quantizers
from integer_tickets.model.kernel import available
from integer_tickets.model.lowering import lower
from integer_tickets.model.quantized import HIDDEN, QK, VALUE, QuantizedTransformer, part_of
from integer_tickets.model.transformer import LayerSize, initialise, linear_names, token_mask
from tests.model.conftest import CALIBRATION, KINDS, float_model, quantized_model, random_masks, sentences, shape_of

LENGTHS = [12, 0, 1, 7, 12, 3, 1, 5, 0, 9]
GRIDS = [(8, 8), (8, 4), (4, 8), (4, 4), (3, 8), (2, 8), (2, 4)]
INSIDE = {"distances", "inhibition", "inhibited", "scores", "weights", "weighted"}  # of an attention


def trace(model, ids, counts):
    """Logits, and all tensors of the simulation in the order of computation, named as the reference engine does."""
    seen, blocks = {}, [f"layers.{layer}." for layer in range(len(model.layers))]
    means = [] if model.layers[0].attention.kind == "softmax" else [f"{b}inhibited mean" for b in blocks]
    names = {
        "add_saturating": [
            "embedding",
            *(block + sum_ for block in blocks for sum_ in ("attention_sum", "hidden_sum")),
        ],
        "integer_norm": [*(block + name for block in blocks for name in ("attention_input", "hidden_input")), "final"],
        "quantized_linears": [block + name for block in blocks for name in ("query", "key", "value")],
        "quantized_linear": [*(block + name for block in blocks for name in ("output", "up", "down")), "classifier"],
        "context": [f"{block}context" for block in blocks],
        "_mean": [*means, "pooled"],
    }
    with pytest.MonkeyPatch.context() as patch:
        for function, own in names.items():
            owner = QuantizedTransformer if hasattr(QuantizedTransformer, function) else quantized
            original, remaining = getattr(owner, function), iter(own)

            def watched(*arguments, original=original, remaining=remaining, **named):
                out = original(*arguments, **named)
                for tensor in out if isinstance(out, tuple) else (out,):
                    seen[next(remaining)] = tensor.detach()
                return out

            patch.setattr(owner, function, watched)
        logits = model(ids, counts).detach()
    del seen["classifier"]  # the logits
    return logits, seen


def unit_of(model):
    return 2.0 ** (model.classifier_step.double().item() - 4 - model.pool_gain.item())


def assert_is_the_integer_network(model, batch, masks=None):
    """Compare with the reference engine; gives the simulation's tensors."""
    network = lower(model, masks or {}, ["a", "b", "c"])
    ids, counts = batch
    logits, seen = trace(model, ids, counts)
    rows = [ids[row, :n].tolist() for row, n in enumerate(counts)]
    expected = {}
    integers = reference.logits(network, rows, lambda row, name, values: expected.update({(row, name): values}))
    compared = set()
    for (row, name), values in expected.items():
        short = name.rpartition(".")[2]
        if name == "logits" or short in INSIDE:
            continue
        simulated = seen[name][row]
        simulated = simulated if name == "pooled" else simulated[: len(rows[row])]
        assert np.array_equal(simulated.numpy(), values), (name, row)
        compared.add(name)
    assert compared == {name for name in seen if not name.endswith("inhibited mean")}
    assert np.array_equal(logits.numpy(), (integers * unit_of(model)).astype(np.float32))
    return seen


@pytest.mark.parametrize("bits", GRIDS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_random_models(kind, bits, seed):
    model = quantized_model(kind, seed, *bits)
    assert_is_the_integer_network(model, sentences(LENGTHS, seed))


@pytest.mark.parametrize("kernel", ["fused", "plain"])
@pytest.mark.parametrize("kind", KINDS)
def test_other_shapes(kind, kernel):
    shape = {"width": 24, "heads": 1, "layers": 1, "hidden": 40, "kernel": kernel}
    assert_is_the_integer_network(quantized_model(kind, 3, **shape), sentences(LENGTHS, 1))
    shape = {"width": 12, "heads": 6, "layers": 3, "hidden": 7, "kernel": kernel}
    assert_is_the_integer_network(quantized_model(kind, 4, 4, **shape), sentences(LENGTHS, 2))
    shape |= {"sizes": [LayerSize(*size) for size in ((1, 2, 7), (6, 1, 1), (5, 1, 3))]}  # a ticket of fewer of all
    assert_is_the_integer_network(quantized_model(kind, 4, 4, **shape), sentences(LENGTHS, 2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("density", [0.3, 0.02])
def test_pruned_models(kind, density):
    model = quantized_model(kind, 5)
    masks = random_masks(model, density, embedding=True)
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    model.calibrate([sentences(LENGTHS)])
    assert_is_the_integer_network(model, sentences(LENGTHS, 1), masks)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dead", ["query", "value", "output", "up", "down", "classifier", "tokens", "weight"])
def test_models_with_a_dead_layer(kind, dead):
    """A layer that lost all its weights, with a bias or without one, still has an integer form."""
    model = quantized_model(kind, 6)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if f"{dead}.weight" in name or (dead == "weight" and name.endswith("weight")):
                parameter.zero_()
            if name.startswith("layers.1") and name.endswith(f"{dead}.bias"):
                parameter.zero_()
    model.calibrate([sentences(LENGTHS)])
    assert_is_the_integer_network(model, sentences(LENGTHS, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_models_far_from_their_calibration(kind, seed):
    """Huge weights, and grids so far off that nearly everything saturates, or nearly nothing is left."""
    model = quantized_model(kind, seed, bits=[8, 4, 3, 2][seed])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in linear_names(model, embedding=True):
            model.get_parameter(name).mul_(50.0)
        model.activation_steps += 5 * torch.randn(model.activation_steps.shape, generator=generator)
        model.weight_steps += torch.randn(model.weight_steps.shape, generator=generator)
    seen = assert_is_the_integer_network(model, sentences([*LENGTHS, *range(13)], seed))
    assert any(values.abs().max() >= 127 for values in seen.values())


def test_a_residual_stream_at_its_ends():
    model = quantized_model("inhibitor", 7)
    with torch.no_grad():
        model.tokens.weight.copy_(100 * model.tokens.weight.sign())
        model.positions.weight.copy_(100 * torch.ones_like(model.positions.weight))
        model.token_shift.fill_(8)
        model.position_shift.fill_(8)
    seen = assert_is_the_integer_network(model, sentences(LENGTHS))
    assert seen["embedding"].max() == 32767
    with torch.no_grad():
        model.positions.weight.mul_(-1)
    assert assert_is_the_integer_network(model, sentences(LENGTHS))["embedding"].min() == -32768


@pytest.mark.parametrize("kind", KINDS)
def test_sums_beyond_float32(kind, monkeypatch):
    """Where a sum could pass 2^24 the simulation counts in float64."""
    model = quantized_model(kind, 8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter[0], parameter[1] = 4096.3, -8191.7
    dtypes, integers = set(), quantizers.integer_weights
    watched = lambda *arguments: dtypes.update([(out := integers(*arguments))[0].dtype]) or out  # noqa: E731
    monkeypatch.setattr(quantizers, "integer_weights", watched)
    assert_is_the_integer_network(model, sentences(LENGTHS))
    assert torch.float64 in dtypes


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_sentences(kind):
    model = QuantizedTransformer(bits=8, embedding_bits=8, **shape_of(kind, positions=255, layers=1))
    initialise(model, np.random.default_rng(9))
    model.calibrate([sentences([255, 100])])
    assert_is_the_integer_network(model.eval(), sentences([255, 254, 129, 128, 1, 0], 1))


@pytest.mark.parametrize("kernel", ["fused", "plain"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_depend_neither_on_padding_nor_on_the_batch(kind, kernel):
    model = quantized_model(kind, 2, kernel=kernel)
    ids, counts = sentences(LENGTHS)
    together = model(ids, counts)
    order = torch.randperm(len(LENGTHS), generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(ids[order], counts[order]), together[order])
    assert torch.equal(model(ids.masked_fill(~token_mask(ids, counts), 0), counts), together)
    for row, n in enumerate(LENGTHS):
        assert torch.equal(model(ids[row : row + 1, : max(n, 1)], counts[row : row + 1])[0], together[row])


@pytest.mark.skipif(available() is not None, reason=str(available()))
@pytest.mark.parametrize("kind", ["inhibitor", "unsigned"])
def test_fused_and_plain_attention_give_the_same_integers(kind):
    batch = sentences(LENGTHS)
    assert torch.equal(quantized_model(kind, kernel="fused")(*batch), quantized_model(kind, kernel="plain")(*batch))


@pytest.mark.skipif(available() is not None, reason=str(available()))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 2])
def test_fused_and_plain_models_learn_the_same(kind, bits):
    models = [quantized_model(kind, 1, bits, kernel=kernel).train() for kernel in ("fused", "plain")]
    logits = [model(*sentences(LENGTHS)) for model in models]
    assert torch.equal(*logits)
    for one in logits:
        F.cross_entropy(one, torch.arange(len(LENGTHS)) % 3).backward()
    for (name, one), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        tolerance = 1e-2 if "step" in name else 1e-4  # those of a step are small differences of large sums
        largest = other.grad.abs().max().item()
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=tolerance * largest + 1e-7, msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_gamma_may_be_a_power_of_two(seed):
    """Within a factor of sqrt 2 of what it was; the engines compute the same."""
    free, model = (quantized_model("inhibitor", seed, 8, power_of_two=power) for power in (False, True))
    assert_is_the_integer_network(model, sentences(LENGTHS, seed))
    networks = [lower(one, {}, ["a", "b", "c"]) for one in (model, free)]
    for own, other in zip(*(network.layers for network in networks), strict=True):
        numbers, before = own.attention, other.attention
        assert all(number.bit_count() == 1 for number in numbers.multiplier.tolist())
        gammas = [part.multiplier / 2.0**part.shift for part in (numbers, before)]
        assert np.abs(np.log2(gammas[0] / gammas[1])).max() < 0.51
    F.cross_entropy(model.train()(*sentences(range(1, 13))), torch.arange(12) % 3).backward()
    assert all(layer.attention.log_gamma.grad.any() for layer in model.layers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_step_for_each_output(kind, bits):
    """The simulation is the integer network, pruned too, and steps learn."""
    model = quantized_model(kind, 2, bits, per_channel=True)
    masks = random_masks(model, 0.3)
    network = lower(model, {}, ["a", "b", "c"])
    assert len(network.layers[0].up.rule.multiplier) == len(network.layers[0].up.weight) > 1
    assert_is_the_integer_network(model, sentences(LENGTHS, 1))
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    assert_is_the_integer_network(model, sentences(LENGTHS, 2), masks)
    model.calibrate([sentences(CALIBRATION, 3)])  # rows of nothing but zeros among them
    assert_is_the_integer_network(model.eval(), sentences(LENGTHS, 3), masks)
    F.cross_entropy(model.train()(*sentences(range(1, 13))), torch.arange(12) % 3).backward()
    assert model.weight_steps.grad.isfinite().all() and (model.weight_steps.grad != 0).float().mean() > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_equal_steps_for_all_outputs_are_one_step(kind):
    one, each = (quantized_model(kind, 1, 8, per_channel=own) for own in (False, True))
    with torch.no_grad():
        each.load_state_dict(one.state_dict() | {"weight_steps": each.weight_steps})
        for steps, step in zip(each.grids(), one.grids(), strict=True):
            for name in steps:
                steps[name].fill_(step[name].item())
    logits = [model.train()(*sentences(LENGTHS)) for model in (one, each)]
    assert torch.equal(*logits)
    for own in logits:
        F.cross_entropy(own, torch.arange(len(LENGTHS)) % 3).backward()
    for name, parameter in one.named_parameters():
        grad, other = parameter.grad, each.get_parameter(name).grad
        if name == "weight_steps":
            other = torch.stack([part.sum() for part in other.split(each.rows)]).view_as(grad)
        tolerance = 1e-2 if "step" in name else 1e-4
        torch.testing.assert_close(other, grad, rtol=0, atol=tolerance * grad.abs().max().item() + 1e-7, msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", ["fused", "plain"])
def test_autocast_changes_no_integer(kind, kernel):
    """Only gradients, and these little."""
    batch, models = sentences(LENGTHS), [quantized_model(kind, 1, 8, kernel=kernel).train() for _ in range(2)]
    logits = []
    for model, on in zip(models, (False, True), strict=True):
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            logits.append(model(*batch))
        F.cross_entropy(logits[-1], torch.arange(len(LENGTHS)) % 3).backward()
    assert torch.equal(*logits)
    wide, narrow = (
        torch.cat([model.get_parameter(name).grad.flatten() for name in linear_names(model, True)]) for model in models
    )
    assert not torch.equal(wide, narrow) and F.cosine_similarity(wide, narrow, dim=0) > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_training_without_dropout_computes_the_same(kind):
    model, batch = quantized_model(kind, 1, 4), sentences(LENGTHS)
    expected = model(*batch)
    assert torch.equal(model.train()(*batch), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_leaves_integers_within_their_ranges(kind):
    model = quantized_model(kind, 1, dropout=0.3).train()
    with torch.no_grad():
        model.token_shift.fill_(8)  # to fill the residual stream
    torch.manual_seed(0)
    ids, counts = sentences(LENGTHS)
    logits, seen = trace(model, ids, counts)
    assert not torch.equal(logits, model.eval()(ids, counts))
    for name, values in seen.items():
        assert torch.equal(values, values.round()) and values.min() >= -32768 and values.max() <= 32767, name
    dropped = (seen["embedding"][token_mask(ids, counts)] == 0).float().mean()
    assert 0.2 < dropped < 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind):
    for bits in (8, 4, 3, 2):
        model = quantized_model(kind, 1, bits).train()
        F.cross_entropy(model(*sentences(range(1, 13))), torch.arange(12) % 3).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_8_bits_are_close_to_float(kind, seed):
    """Logits, and the direction in which all weights together are moved."""
    batch, labels = sentences([*range(1, 13)] * 4, seed + 50), torch.arange(48) % 3
    models = float_model(kind, seed), quantized_model(kind, seed)
    real, simulated = (model(*batch) for model in models)
    assert (real - simulated).square().mean().sqrt() < 0.12 * real.std()
    directions = []
    for model, logits in zip(models, (real, simulated), strict=True):
        F.cross_entropy(logits, labels).backward()
        names = ["tokens.weight", *linear_names(model)]
        directions.append(torch.cat([model.get_parameter(name).grad.flatten() for name in names]))
    assert F.cosine_similarity(*directions, dim=0) > 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_calibration_leaves_room(kind, scale):
    """What the float model computes there fits the grids but for one value in 1000, and uses at least half of them."""
    model = quantized_model(kind, 3, scale=scale)
    seen = {}
    model.observe = lambda name, x: seen.update({name: x.detach()})
    super(QuantizedTransformer, model).forward(*sentences(CALIBRATION, 3))
    unit = 2.0 ** (model.token_step.item() - model.token_shift.item())
    for layer in (0, 1):
        for name, column, high in (("qk", QK, 127), ("value", VALUE, 127), ("hidden", HIDDEN, 255)):
            top = seen[f"{name}.{layer}"].abs() / 2 ** model.activation_steps[layer, column].item()
            assert (top > high + 0.5).double().mean() <= 1e-3
            assert high / 2 < top.max() < high * 1.2, name
        top = seen[f"context.{layer}"].abs().max() / 2 ** model.activation_steps[layer, VALUE].item()
        assert top * 2 ** model.gains[layer].item() < 127 * 1.2
        assert seen[f"residual.{layer}"].abs().max() / unit < 16384.5
    assert seen["pooled"].abs().max() * 16 * 2 ** model.pool_gain.item() < 130
    assert model.positions.weight.abs().max() / unit <= 127 * 2 ** model.position_shift.item()


def test_headroom_widens_the_grids_of_activations():
    tight, wide = quantized_model("inhibitor", 3), quantized_model("inhibitor", 3, headroom=2.0)
    assert torch.allclose(wide.activation_steps, tight.activation_steps + 1)
    assert torch.equal(wide.weight_steps, tight.weight_steps)
    assert wide.pool_gain <= tight.pool_gain and wide.token_shift <= tight.token_shift


def test_calibration_leaves_weights_and_mode_alone():
    model = quantized_model("inhibitor").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.calibrate([sentences(CALIBRATION)])
    assert model.training and model.observe is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("name", "column", "largest"), [("query", 0, 128), ("down", 5, 255)])
def test_what_the_simulation_refuses_is_what_could_overflow(name, column, largest):
    """A bias that takes the largest sum of a layer just below 2^31, and just beyond."""
    model = quantized_model("inhibitor", 1)
    linear = getattr(lower(model, {}, ["a", "b", "c"]).layers[0], name)
    reach = np.abs(linear.weight[0].astype(int)).sum() * largest + half(linear.rule)
    log_in = -4.0 if name == "query" else model.activation_steps[0, HIDDEN].item()
    unit = 2.0 ** (model.weight_steps[0, column].item() + log_in)
    bias = part_of(model.layers[0], name).bias.detach()
    bias[0] = (2**31 - 1000 - reach) * unit
    bounds = prove(lower(model, {}, ["a", "b", "c"]))
    assert abs(bounds[f"layers.0.{name}"] - (2**31 - 1000)) < 300
    model(*sentences([3]))
    bias[0] = (2**31 + 1000 - reach) * unit
    with pytest.raises(UserError, match="could reach"):
        prove(lower(model, {}, ["a", "b", "c"]))
    with pytest.raises(UserError, match="could overflow 32 bits"):
        model(*sentences([3]))


def test_a_layer_that_could_overflow_is_refused():
    model = quantized_model("softmax")
    with torch.no_grad():
        model.layers[0].up.bias[3] = 1e9
    with pytest.raises(UserError, match=r"could overflow 32 bits: its largest sum is \d"):
        model(*sentences([3]))
    with torch.no_grad():
        model.layers[0].up.bias[3] = math.nan
    with pytest.raises(UserError, match="could overflow 32 bits"):
        model(*sentences([3]))
