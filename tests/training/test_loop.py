"""The training loop: the same bits from any step, after any interruption; exact zeros; the schedule; the best epoch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from integer_tickets.data.batches import Split, epoch_batches, evaluation_batches, pad
from integer_tickets.data.corpus import Soft
from integer_tickets.errors import UserError
from integer_tickets.model.quantized import LINEARS, QuantizedTransformer, part_of
from integer_tickets.model.quantizers import quantize_weight
from integer_tickets.model.transformer import Transformer, initialise, linear_names
from integer_tickets.seeds import generator
from integer_tickets.tickets.masks import dense_masks
from integer_tickets.training import loop
from integer_tickets.training.adamw import AdamW
from integer_tickets.training.loop import Result, Schedule, predict, score, train
from integer_tickets.training.state import fresh_state, load_state, masked, weights_of
from tests.model.conftest import CALIBRATION, random_masks, sentences, shape_of, split_of

TRAIN, SELECTION = split_of(44, 1), split_of(30, 2)
PER_EPOCH, EPOCHS = 6, 3  # steps of 8 rows, the last one of 4
SCHEDULE = Schedule(EPOCHS, batch=8, tokens=4096, lr=0.02, warmup=0.2, weight_decay=0.1, seed=3)


def fresh(kind="inhibitor", seed=0, bits=None, **changes):
    """A new model and its start, as a stage makes them."""
    shape = shape_of(kind, width=8, layers=1, hidden=8, **{"dropout": 0.1, **changes})
    model = QuantizedTransformer(bits=bits, embedding_bits=8, **shape) if bits else Transformer(**shape)
    initialise(model, np.random.default_rng(seed))
    if isinstance(model, QuantizedTransformer):
        with torch.no_grad():
            model.classifier.weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(seed))
        model.calibrate([sentences(CALIBRATION)])
    return model, fresh_state(model)


def run(work, model, start, masks=None, schedule=SCHEDULE, **options):
    return train(model, start, TRAIN, SELECTION, schedule, masks or {}, work, **options)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same(one, other):
    assert one.epoch == other.epoch and one.history == other.history
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items())


class Killed(Exception):
    pass


def killed_at(monkeypatch, function, call):
    """Make the loop's function (or a method of what it uses) raise at its call number `call`, counted from 0."""
    *owner, name = function.split(".")
    place = getattr(loop, owner[0]) if owner else loop
    original, calls = getattr(place, name), iter(range(1000))

    def dying(*arguments):
        if next(calls) == call:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(place, name, dying)


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        ("_loss", [0]),  # in the first step
        ("_loss", [4]),  # inside the first epoch, after the rewind point
        ("_loss", [PER_EPOCH]),  # in the first step of the second epoch
        ("_loss", [9, 0, 2, 8]),  # again and again
        ("score", [1]),  # when an epoch is trained, but nothing of it is on disk
        ("AdamW.snapshot", [0, 1, 2]),  # at the rewind point and at the checkpoints
        ("AdamW.snapshot", [3]),  # at the last checkpoint
    ],
)
@pytest.mark.parametrize("bits", [None, 4])
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path, monkeypatch, bits, function, calls):
    model, start = fresh(bits=bits)
    masks = random_masks(model, 0.6)
    start = masked(start, masks)
    expected = run(tmp_path / "whole", model, start, masks, keep_at=3)
    for call in calls:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_at(patch, function, call)
            run(tmp_path / "killed", fresh(bits=bits)[0], start, masks, keep_at=3)
    again, _ = fresh(seed=9, bits=bits)
    result = run(tmp_path / "killed", again, start, masks, keep_at=3)
    assert_same(result, expected)
    assert all(torch.equal(tensor, result.weights[name]) for name, tensor in weights_of(again).items())
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert_same(run(tmp_path / "killed", fresh(bits=bits)[0], start, masks, keep_at=3), expected)  # nothing left to do


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("step", [1, 4, PER_EPOCH, 8, 2 * PER_EPOCH])
def test_a_rewind_point_is_the_prefix_of_the_run_and_a_place_to_begin(tmp_path, bits, step):
    whole = run(tmp_path / "whole", *fresh(bits=bits), keep_at=step)
    model, start = fresh(bits=bits)
    run(tmp_path / "prefix", model, start, keep_at=step, until=step)
    assert files(tmp_path / "prefix")["rewind.safetensors"] == files(tmp_path / "whole")["rewind.safetensors"]
    rewind, best, progress = load_state(tmp_path / "prefix" / "rewind.safetensors")
    assert rewind.step == step and best == {} and progress is None

    model, _ = fresh(seed=5, bits=bits)
    masks = dense_masks(rewind.weights, linear_names(model, embedding=True))
    again = run(tmp_path / "again", model, rewind, masks)
    done = step // PER_EPOCH
    assert len(again.history) == EPOCHS - done
    first, *others = again.history
    assert others == whole.history[done + 1 :]
    assert {**first, "loss": 0} == {**whole.history[done], "loss": 0}  # the loss is that of the steps made
    if step % PER_EPOCH == 0:
        assert first == whole.history[done]
    if whole.epoch > done:
        assert again.epoch == whole.epoch
        assert all(torch.equal(tensor, whole.weights[name]) for name, tensor in again.weights.items())
    last, expected = (load_state(tmp_path / name / "checkpoint.safetensors")[0] for name in ("again", "whole"))
    assert last.step == expected.step == EPOCHS * PER_EPOCH
    for part in ("weights", "first", "second"):
        mine, theirs = getattr(last, part), getattr(expected, part)
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items()), part


def test_the_start_itself_can_be_the_rewind_point(tmp_path):
    model, start = fresh()
    run(tmp_path, model, start, keep_at=0)
    kept = load_state(tmp_path / "rewind.safetensors")[0]
    assert kept.step == 0 and all(torch.equal(tensor, kept.weights[name]) for name, tensor in start.weights.items())


def test_a_run_that_ends_inside_an_epoch_leaves_the_model_there(tmp_path):
    model, start = fresh()
    result = run(tmp_path, model, start, keep_at=4, until=4)
    assert result == Result({}, 0) and not (tmp_path / "checkpoint.safetensors").exists()
    rewind = load_state(tmp_path / "rewind.safetensors")[0]
    assert all(torch.equal(tensor, rewind.weights[name]) for name, tensor in weights_of(model).items())
    assert any(not torch.equal(tensor, start.weights[name]) for name, tensor in rewind.weights.items())
    for moments in (rewind.first, rewind.second):
        assert all(moments[name].any() for name in linear_names(model))


@pytest.mark.parametrize("bits", [None, 8, 2])
@pytest.mark.parametrize("kind", ["inhibitor", "softmax"])
def test_pruned_places_are_exactly_zero_after_every_step(tmp_path, monkeypatch, kind, bits):
    model, start = fresh(kind, bits=bits)
    masks = random_masks(model, 0.3, embedding=True)
    start = masked(start, masks)
    steps, original = [], AdamW.step
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def watched(optimizer, lr):
        original(optimizer, lr)
        steps.append(1)
        state = optimizer.snapshot()
        for name, mask in masks.items():
            for tensors in (state.weights, state.first, state.second):
                assert not tensors[name][~mask].any(), name
        if bits:
            for layer, steps_of_layer in zip(model.blocks(), model.weight_steps, strict=True):
                for linear, step in zip(LINEARS, steps_of_layer, strict=True):
                    weight = part_of(layer, linear).weight
                    assert not quantize_weight(weight, step, bits)[~masks[names[id(weight)]]].any()

    monkeypatch.setattr(AdamW, "step", watched)
    run(tmp_path, model, start, masks)
    assert len(steps) == EPOCHS * PER_EPOCH
    last = load_state(tmp_path / "checkpoint.safetensors")[0]
    for name, mask in masks.items():
        for tensors in (last.weights, last.first, last.second):
            assert not tensors[name][~mask].any() and tensors[name][mask].any(), name
        assert not torch.equal(last.weights[name], start.weights[name])


def test_a_start_that_does_not_obey_its_masks_is_refused(tmp_path):
    model, start = fresh()
    with pytest.raises(AssertionError, match="not exactly zero"):
        run(tmp_path, model, start, random_masks(model, 0.5), until=2)


def test_moments_that_do_not_obey_the_masks_are_refused(tmp_path):
    model, start = fresh()
    masks = random_masks(model, 0.5)
    start = masked(start, masks)
    for moment in start.second.values():
        moment.fill_(1e-12)
    with pytest.raises(AssertionError, match="not exactly zero"):
        run(tmp_path, model, start, masks, until=2)


@given(st.integers(2, 500), st.floats(0, 1), st.floats(1e-6, 10))
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(steps, warmup, lr):
    schedule = Schedule(1, 8, 512, lr, warmup, 0.0, 0)
    rates = np.array([schedule.rate(step, steps) for step in range(steps + 1)])
    rising = max(1, round(warmup * steps))
    assert rates[0] == pytest.approx(lr / rising)
    assert rates.max() == rates[rising - 1] == lr
    assert rates[-1] == 0 and rates[-2] == pytest.approx(lr / max(1, steps - rising))
    np.testing.assert_allclose(np.diff(rates[:rising]), lr / rising, rtol=0, atol=1e-12 * lr)
    falling = np.diff(rates[rising:])
    assert (falling < 0).all() and np.ptp(falling) <= 1e-12 * lr if falling.size else rising == steps


def test_the_optimiser_follows_the_schedule(tmp_path, monkeypatch):
    rates, original = [], AdamW.step

    def watched(optimizer, lr):
        rates.append(lr)
        original(optimizer, lr)

    monkeypatch.setattr(AdamW, "step", watched)
    result = run(tmp_path, *fresh(bits=8))
    total = EPOCHS * PER_EPOCH
    assert rates == [SCHEDULE.rate(step, total) for step in range(total)]
    assert [row["lr"] for row in result.history] == [SCHEDULE.rate(step, total) for step in (5, 11, 17)]
    assert [(row["epoch"], row["step"]) for row in result.history] == [(1, 6), (2, 12), (3, 18)]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_labels(tmp_path, temperature):
    """The loss of the first step, by hand: hard labels, and the divergence from the teacher at a temperature."""
    model, start = fresh(dropout=0.0)
    start.weights["classifier.weight"].normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
    teacher = np.random.default_rng(1).standard_normal((len(TRAIN), 3)).astype(np.float32)
    whole = Schedule(1, len(TRAIN), 4096, 0.01, 0.0, 0.0, 0)
    result = run(tmp_path / "soft", model, start, schedule=whole, soft=Soft(teacher, temperature, 0.3))
    hard = run(tmp_path / "hard", model, start, schedule=whole)

    model.load_state_dict(start.weights)
    logits = predict(model, TRAIN).astype(np.float64)

    def log_softmax(x):
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    cross_entropy = -log_softmax(logits)[np.arange(len(TRAIN)), TRAIN.labels].mean()
    p, q = (log_softmax(x / temperature) for x in (teacher.astype(np.float64), logits))
    divergence = (np.exp(p) * (p - q)).sum(axis=1).mean()
    expected = 0.3 * cross_entropy + 0.7 * temperature**2 * divergence
    assert result.history[0]["loss"] == pytest.approx(expected, abs=2e-6)
    assert hard.history[0]["loss"] == pytest.approx(cross_entropy, abs=2e-6)


def test_every_row_meets_its_own_teacher_and_label(tmp_path, monkeypatch):
    met, original = {}, loop._loss

    def watched(logits, labels, teacher, soft):
        met.update(zip(teacher[:, 0].int().tolist(), labels.tolist(), strict=True))
        return original(logits, labels, teacher, soft)

    monkeypatch.setattr(loop, "_loss", watched)
    teacher = np.repeat(np.arange(len(TRAIN), dtype=np.float32)[:, None], 3, 1)
    run(tmp_path, *fresh(), soft=Soft(teacher, 2.0, 0.5), until=PER_EPOCH)
    assert [met[row] for row in range(len(TRAIN))] == TRAIN.labels.tolist()


@pytest.mark.parametrize(
    ("accuracies", "best"), [([0.5, 0.9, 0.7], 2), ([1 / 3, 1 / 3, 1 / 3], 1), ([0.0, 2 / 3, 2 / 3], 2), ([0, 0, 0], 1)]
)
def test_the_epoch_is_chosen_by_the_selection_split_the_first_of_equals(tmp_path, monkeypatch, accuracies, best):
    models, remaining = [], iter(accuracies)

    def scripted(model, split):
        assert split is SELECTION
        models.append(weights_of(model))
        return next(remaining), 1.0

    monkeypatch.setattr(loop, "score", scripted)
    model, start = fresh()
    result = run(tmp_path, model, start)
    assert result.epoch == best and [row["selection_accuracy"] for row in result.history] == [
        round(accuracy, 6) for accuracy in accuracies
    ]
    for name, tensor in weights_of(model).items():
        assert torch.equal(tensor, result.weights[name]) and torch.equal(tensor, models[best - 1][name])


def test_training_learns(tmp_path):
    model, start = fresh(dropout=0.0)
    train_split, selection = split_of(400, 1), split_of(100, 2)
    schedule = Schedule(8, 16, 4096, 0.02, 0.1, 0.01, 0)
    result = train(model, start, train_split, selection, schedule, {}, tmp_path)
    assert result.history[-1]["loss"] < 0.6 * result.history[0]["loss"] and score(model, selection)[0] > 0.7


def test_equal_runs_give_equal_bytes_and_other_seeds_others(tmp_path):
    for name in ("one", "two"):
        run(tmp_path / name, *fresh(), keep_at=3)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    other = Schedule(**{**vars(SCHEDULE), "seed": 4})
    run(tmp_path / "order", *fresh(), schedule=other, keep_at=3)
    run(tmp_path / "weights", *fresh(seed=1), keep_at=3)
    assert len({files(tmp_path / name)["rewind.safetensors"] for name in ("one", "order", "weights")}) == 3


def test_dropout_is_a_function_of_seed_and_step(tmp_path):
    """Whatever the generators have done before."""
    model, start = fresh(dropout=0.5)
    first = run(tmp_path / "one", model, start)
    last = generator("ladder dropout", 3, EPOCHS * PER_EPOCH - 1, 0)
    states = [random.bit_generator.state["state"]["inc"] for random in (model.dropout.random, last)]
    assert states[0] == states[1]  # the same stream, further on
    torch.manual_seed(77)
    torch.rand(5)
    again, start = fresh(dropout=0.5)
    again.dropout.random.random(5)
    assert_same(run(tmp_path / "two", again, start), first)
    assert run(tmp_path / "three", *fresh(dropout=0.0)).history != first.history


@pytest.mark.parametrize("kind", ["inhibitor", "softmax"])
def test_autocast_trains_in_other_bits(tmp_path, kind):
    results = [
        run(tmp_path / str(autocast), *fresh(kind), schedule=Schedule(**{**vars(SCHEDULE), "autocast": autocast}))
        for autocast in (True, False)
    ]
    for result in results:
        assert all(tensor.isfinite().all() and tensor.dtype == torch.float32 for tensor in result.weights.values())
    assert results[0].history != results[1].history
    for mine, other in zip(*(result.history for result in results), strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=0.1)


@pytest.mark.parametrize("bits", [None, 8])
def test_predictions_keep_the_order_of_the_rows(monkeypatch, bits):
    monkeypatch.setattr(loop, "evaluation_batches", lambda lengths: evaluation_batches(lengths, 40))
    model, _ = fresh(bits=bits)
    with torch.no_grad():
        model.classifier.weight.normal_(generator=torch.Generator().manual_seed(0))
    model.train()
    logits = predict(model, SELECTION)
    assert logits.shape == (30, 3) and logits.dtype == np.float32 and not model.training
    with torch.no_grad():
        alone = [model(*map(torch.from_numpy, pad(SELECTION, np.array([row]))))[0].numpy() for row in range(30)]
    np.testing.assert_allclose(logits, np.stack(alone), rtol=0, atol=0 if bits else 1e-5)
    accuracy, cross_entropy = score(model, SELECTION)
    assert accuracy == (logits.argmax(axis=1) == SELECTION.labels).mean()
    p = np.exp(logits.astype(np.float64))
    chosen = p[np.arange(30), SELECTION.labels] / p.sum(axis=1)
    assert cross_entropy == pytest.approx(-np.log(chosen).mean(), abs=1e-6)


@pytest.mark.parametrize("options", [{"keep_at": 18, "until": 18}, {"keep_at": 400}])
def test_a_rewind_point_beyond_the_schedule_is_refused(tmp_path, options):
    with pytest.raises(UserError, match=f"cannot rewind to step {options['keep_at']} of a training run of 18 steps"):
        run(tmp_path, *fresh(), **options, label="softmax-float-0")
    model, start = fresh()
    run(tmp_path, model, start, keep_at=17)
    late = load_state(tmp_path / "rewind.safetensors")[0]
    assert run(tmp_path / "late", model, late).history[0]["step"] == 18
    shorter = Schedule(**{**vars(SCHEDULE), "epochs": 2})
    with pytest.raises(UserError, match="cannot rewind to step 17 of a training run of 12 steps"):
        run(tmp_path / "shorter", model, late, schedule=shorter)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    model, start = fresh()
    start.weights["layers.0.up.weight"][0, 0] = math.nan
    with pytest.raises(UserError, match="float-0: the loss is no longer finite at step 6"):
        run(tmp_path, model, start, dense_masks(start.weights, linear_names(model)), label="float-0")
    assert not list(tmp_path.iterdir())


def test_batches_are_those_of_the_seed_and_the_epoch(tmp_path, monkeypatch):
    seen = []

    def watched(split, rows):
        if split is TRAIN:
            seen.append(rows)
        return pad(split, rows)

    monkeypatch.setattr(loop, "pad", watched)
    run(tmp_path, *fresh())
    streams = [generator("ladder order", 3, epoch) for epoch in range(EPOCHS)]
    expected = [rows for stream in streams for rows in epoch_batches(TRAIN.lengths, 8, 4096, stream)]
    assert all(np.array_equal(one, other) for one, other in zip(seen, expected, strict=True))


def test_every_sentence_of_an_epoch_weighs_the_same(tmp_path):
    """However few of them a step holds: with a learning rate of 0 the loss of an epoch is the mean over all."""
    model, start = fresh(dropout=0.0)
    start.weights["classifier.weight"].normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
    found = []
    for number, (batch, tokens) in enumerate([(44, 4096), (8, 4096), (8, 20), (3, 1)]):
        schedule = Schedule(2, batch, tokens, 1e-30, 0.0, 0.0, 0)
        result = run(tmp_path / str(number), model, start, schedule=schedule)
        found.append((result.history[-1]["step"], [row["loss"] for row in result.history]))
    assert [step for step, _ in found[:2]] == [2, 12] and found[1][0] < found[2][0] < found[3][0] == 88
    for _, losses in found:
        assert losses == pytest.approx(found[0][1], abs=5e-6)


def test_one_batch_an_epoch_and_one_row(tmp_path):
    """The smallest schedules there are."""
    one = Split(TRAIN.ids[: TRAIN.offsets[1]], TRAIN.offsets[:2], TRAIN.labels[:1])
    model, start = fresh()
    result = train(model, start, one, one, Schedule(1, 64, 4096, 0.1, 1.0, 0.0, 0), {}, tmp_path)
    assert result.epoch == 1 and result.history[0]["step"] == 1 and result.history[0]["lr"] == 0.1
