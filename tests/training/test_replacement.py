"""Softmax attention replaced by the Inhibitor: nearer with every step, layers apart, and nothing else touched."""

import numpy as np
import pytest
import torch

from integer_tickets.model.transformer import Transformer, initialise, token_mask
from integer_tickets.training.replacement import Fitted, _layers, replace_attention

VOCABULARY = 40


def of_kind(attention: str, kernel: str = "plain", **changes) -> Transformer:
    shape = {"width": 16, "layers": 2, "heads": 2, "hidden": 24, **changes}
    model = Transformer(
        vocabulary=VOCABULARY, positions=10, classes=3, dropout=0.0, attention=attention, kernel=kernel, post_norm=True,
        **shape,
    )  # fmt: skip
    initialise(model, np.random.default_rng(0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("query.weight", "key.weight")):
                parameter.mul_(2.0)  # attention that is not the same everywhere
    return model


def batches(count: int, rows: int = 12, longest: int = 10):
    random = torch.Generator().manual_seed(1)
    for _ in range(count):
        counts = torch.randint(1, longest + 1, (rows,), generator=random)
        yield torch.randint(0, VOCABULARY, (rows, longest), generator=random), counts


@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_every_step_on_other_texts_brings_it_nearer(kernel):
    model, source = of_kind("inhibitor", kernel), of_kind("softmax", kernel)
    losses = replace_attention(model, source, batches(200), 150, 0.01, False)
    assert len(losses) == 150
    assert np.mean(losses[-20:]) < 0.85 * np.mean(losses[:5]) < 0.85  # and the grid alone misses less than all


def test_what_the_fit_found_is_in_the_weights():
    source, part = of_kind("softmax"), of_kind("inhibitor").layers[1].attention
    valid, counts, wanted, reads = list(_layers(source, next(batches(1)), False))[1]
    fitted = Fitted(part, valid, counts, wanted, reads)
    with torch.no_grad():
        fitted.shift.copy_(torch.randn(fitted.shift.shape, generator=torch.Generator().manual_seed(0)))
        gathered = fitted.gathers(reads, valid, counts)
        expected = part.output((gathered * fitted.log_scale.exp()[:, None] + fitted.shift).flatten(1))
        fitted.settle()
        torch.testing.assert_close(part.output(gathered.flatten(1)), expected)


def test_only_attention_changes_and_the_source_not_at_all():
    model, source = of_kind("inhibitor"), of_kind("softmax")
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    replace_attention(model, source, batches(20), 10, 0.01, False)
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, before[name])
        if ".attention." not in name:
            assert torch.equal(model.state_dict()[name], tensor), name
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not torch.equal(model.layers[1].attention.query.weight, source.layers[1].attention.query.weight)


def test_layers_are_given_what_they_read_with_softmax():
    source = of_kind("softmax")
    ids, counts = next(batches(1))
    taught = list(_layers(source, (ids, counts), False))
    assert len(taught) == 2
    for layer, (valid, given, wanted, reads) in zip(source.blocks(), taught, strict=True):
        assert torch.equal(valid, token_mask(ids, counts)) and torch.equal(given, counts)
        part = layer.attention
        with torch.no_grad():
            q, k, v = (part.split(x) for x in part.project(reads))
            own = part.context(q, k, v, valid, counts).transpose(1, 2)[valid]
        torch.testing.assert_close(own, wanted)


def test_what_lies_in_padding_changes_nothing_and_a_head_that_gathers_nothing_no_number():
    source = of_kind("softmax")
    with torch.no_grad():
        source.layers[0].attention.value.weight[:8] = 0
    ids, counts = next(batches(1))
    models = [of_kind("inhibitor"), of_kind("inhibitor")]
    other = ids.clone()
    other[~token_mask(ids, counts)] = 7
    for model, first in zip(models, ((ids, counts), (other, counts)), strict=True):
        replace_attention(model, source, [first, first], 1, 0.001, False)
    for (name, one), two in zip(models[0].state_dict().items(), models[1].state_dict().values(), strict=True):
        assert one.isfinite().all(), name
        torch.testing.assert_close(one, two)


def test_a_head_that_is_an_inhibitor_is_found_on_the_grid():
    source, model = of_kind("softmax"), of_kind("inhibitor")
    ids, counts = next(batches(1))
    valid, counts, _, reads = next(_layers(source, (ids, counts), False))
    part = model.layers[0].attention
    with torch.no_grad():
        part.log_gamma.copy_(torch.tensor([0.05, 0.2]).log())
        part.delta.copy_(torch.tensor([0.3, 1.2]))
        q, k, v = (part.split(x) for x in part.project(reads))
        wanted = 3 * part.context(q, k, v, valid, counts).transpose(1, 2)[valid]
        fitted = Fitted(part, valid, counts, wanted, reads)
    torch.testing.assert_close(part.log_gamma.exp(), torch.tensor([0.05, 0.2]))
    torch.testing.assert_close(part.delta, torch.tensor([0.3, 1.2]))
    torch.testing.assert_close(fitted.log_scale.exp(), torch.tensor([3.0, 3.0]), rtol=1e-3, atol=0)
    assert fitted.loss(reads, valid, counts, wanted) < 1e-5
