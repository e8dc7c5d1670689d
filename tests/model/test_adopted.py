"""Students made of a BERT: nearly its hidden states, and an Inhibitor is drawn to them in training."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from integer_tickets.errors import UserError
from integer_tickets.model.adopted import Encoder, adopt, taken
from integer_tickets.model.rows import norm
from integer_tickets.model.transformer import Transformer, initialise
from integer_tickets.training.alignment import Alignment
from integer_tickets.training.replacement import replace_attention

transformers = pytest.importorskip("transformers")

VOCABULARY, SHAPE = 50, {"width": 48, "layers": 2, "heads": 4, "hidden": 64}


def encoder_of(**changes) -> Encoder:
    torch.manual_seed(0)
    config = transformers.BertConfig(**{
        "vocab_size": 60, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "max_position_embeddings": 20, "hidden_act": "relu", "initializer_range": 0.15, **changes,
    })  # fmt: skip
    bert = transformers.BertModel(config).eval()
    with torch.no_grad():
        for name, parameter in bert.named_parameters():
            if "LayerNorm" in name or name.endswith("bias"):
                parameter += 0.1 * torch.randn(parameter.shape)
    return Encoder(bert, torch.arange(10, 60), 2, 3)


def student(kind: str, **changes) -> Transformer:
    shape = {"vocabulary": VOCABULARY, "positions": 12, "classes": 2, "dropout": 0.0, "post_norm": True, **SHAPE}
    model = Transformer(attention=kind, kernel="plain", **{**shape, **changes})
    initialise(model, np.random.default_rng(0))
    return model.eval()


def batches(count: int = 6):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randint(0, VOCABULARY, (16, n), generator=generator), torch.full((16,), n)) for n in range(4, 4 + count)
    ]


@torch.no_grad()
def likeness(model: Transformer, encoder: Encoder, last: tuple) -> float:
    """Mean cosine between the student's last states and the encoder's."""
    ids, counts = batches()[2]
    seen: dict = {}
    model.observe = seen.__setitem__
    model(ids, counts)
    model.observe = None
    gain, bias = last
    wanted = encoder.hidden(ids, counts)[-1]
    return cosine_similarity(norm(seen["residual.1"]) * gain + bias, wanted).mean().item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_a_student_begins_with_the_same_weights():
    encoder, model = encoder_of(), student("softmax")
    weights, last = adopt(model, encoder, batches())
    encoder.bert.cuda()
    there = [(ids.cuda(), counts.cuda()) for ids, counts in batches()]
    on_gpu, last_on_gpu = adopt(student("softmax").cuda(), encoder, there)
    for one, other in zip([*weights.values(), *last], [*on_gpu.values(), *last_on_gpu], strict=True):
        torch.testing.assert_close(other.cpu(), one, rtol=1e-3, atol=1e-4)


def test_with_its_own_attention_a_student_is_nearly_its_encoder():
    encoder, model = encoder_of(), student("softmax")
    weights, last = adopt(model, encoder, batches())
    assert likeness(model, encoder, last) < 0.5
    model.load_state_dict(weights)
    assert likeness(model, encoder, last) > 0.9


def test_alignment_draws_an_inhibitor_nearer():
    encoder, model, source = encoder_of(), student("inhibitor"), student("softmax")
    weights, last = adopt(source, encoder, batches())
    source.load_state_dict(weights)
    replace_attention(model, source, batches(), 0, 0.0, False)
    before = likeness(model, encoder, last)
    assert before > 0.6
    guide = Alignment(model, encoder, last, 1.0, False)
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for _ in range(30):
        for ids, counts in batches():
            seen: dict = {}
            model.observe = seen.__setitem__
            model(ids, counts)
            optimizer.zero_grad()
            (guide(seen, ids, counts) / len(ids)).backward()
            optimizer.step()
    assert likeness(model, encoder, last) > max(0.9, before)


def test_padding_changes_nothing_of_a_student():
    encoder, model = encoder_of(), student("softmax")
    (ids, counts), (longer, _) = batches(2)
    together = torch.cat([torch.nn.functional.pad(ids, (0, 1)), longer]), torch.cat([counts, counts + 1])
    padded = torch.nn.functional.pad(together[0], (0, 3), value=7), together[1]
    weights, last = adopt(model, encoder, [together])
    own, its = adopt(model, encoder, [padded])
    torch.testing.assert_close(own, weights)
    torch.testing.assert_close(its, last)


def test_a_student_of_fewer_layers_has_every_other_one():
    encoder, model = encoder_of(num_hidden_layers=4), student("softmax")
    weights, last = adopt(model, encoder, batches())
    assert taken(2, encoder) == [1, 3] and taken(3, encoder) == [0, 1, 3] and taken(4, encoder) == [0, 1, 2, 3]
    of_layer = encoder.bert.encoder.layer[1]
    own, theirs = weights["layers.0.down.weight"], of_layer.output.dense.weight
    torch.testing.assert_close(own, theirs - theirs.mean(0))
    norms = encoder.bert.encoder.layer[1].output.LayerNorm, encoder.bert.encoder.layer[3].output.LayerNorm
    torch.testing.assert_close(weights["layers.1.attention_bypass.bias"], norms[0].bias)
    torch.testing.assert_close(last[1], norms[1].bias)
    model.load_state_dict(weights)
    ids, counts = batches()[2]
    seen: dict = {}
    model.observe = seen.__setitem__
    model(ids, counts)
    weight, bias = weights["layers.1.attention_bypass.gain"], weights["layers.1.attention_bypass.bias"]
    states = encoder.hidden(ids, counts)
    first = (norm(seen["residual.0"]) * weight + bias - states[2]).square().mean()
    second = (norm(seen["residual.1"]) * last[0] + last[1] - states[4]).square().mean()
    guide = Alignment(model, encoder, last, 1.0, False)
    torch.testing.assert_close(guide(seen, ids, counts) / len(ids), first + second)
    attended: list = []
    encoder.hidden(ids, counts, attended)
    between = [
        (norm(seen[f"attended.{i}"]) * bypass.gain + bypass.bias - attended[at]).square().mean()
        for i, at, bypass in ((0, 1, model.layers[0].hidden_bypass), (1, 3, model.layers[1].hidden_bypass))
    ]
    guide = Alignment(model, encoder, last, 1.0, False, 2.0)
    torch.testing.assert_close(guide(seen, ids, counts) / len(ids), first + second + 2 * sum(between))


def test_between_attention_and_hidden_neurons_a_student_is_nearly_its_encoder():
    encoder, model = encoder_of(), student("softmax")
    model.load_state_dict(adopt(model, encoder, batches())[0])
    ids, counts = batches()[2]
    seen: dict = {}
    model.observe = seen.__setitem__
    model(ids, counts)
    attended: list = []
    encoder.hidden(ids, counts, attended)
    assert len(attended) == 2
    for i, wanted in enumerate(attended):
        bypass = model.layers[i].hidden_bypass
        own = norm(seen[f"attended.{i}"]) * bypass.gain + bypass.bias
        assert cosine_similarity(own, wanted).mean() > 0.9


def test_states_are_those_of_the_tokens_alone():
    encoder = encoder_of()
    ids = torch.tensor([[5, 6, 7], [8, 9, 0]])
    hidden = encoder.hidden(ids, torch.tensor([3, 2]))
    assert len(hidden) == 3 and hidden[0].shape == (5, 48)
    alone = encoder.hidden(ids[1:, :2], torch.tensor([2]))
    torch.testing.assert_close(hidden[2][3:], alone[2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 24}, "model.width = 24, but that of teacher.pretrained is 48"),
        ({"layers": 3}, "model.layers = 3, but teacher.pretrained has only 2"),
        (
            {"positions": 19},
            "tokenizer.positions = 19, but teacher.pretrained has 18 beside those of a sentence's ends",
        ),
    ],
)
def test_a_student_of_another_shape_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        adopt(student("softmax", **changes), encoder_of(), batches(1))
