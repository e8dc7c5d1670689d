"""The training loop: from any state to the last step, the same bits whether interrupted or not."""

import math
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from integer_tickets.data.batches import Split, distinct, epoch_batches, evaluation_batches, pad
from integer_tickets.data.corpus import Soft
from integer_tickets.errors import UserError
from integer_tickets.model.transformer import Transformer
from integer_tickets.seeds import generator
from integer_tickets.training import processes
from integer_tickets.training.adamw import AdamW
from integer_tickets.training.state import State, Weights, load_state, save_state, weights_of


@dataclass(frozen=True)
class Schedule:
    """What is trained for how long; the learning rate rises to `lr` over `warmup` of all steps, then falls to 0.

    With `constant` it is `lr` throughout.
    """

    epochs: int
    batch: int  # sentences in a step, at most
    tokens: int  # in a step, padding included, at most
    lr: float
    warmup: float
    weight_decay: float
    seed: int
    autocast: bool = False
    purpose: str = "ladder"  # runs of one purpose and seed see the same order and dropout
    constant: bool = False

    def rate(self, step: int, steps: int) -> float:
        if self.constant:
            return self.lr
        rising = max(1, round(self.warmup * steps))
        return self.lr * min((step + 1) / rising, (steps - step) / max(1, steps - rising), 1.0)


Guide = Callable[[Mapping[str, Tensor], Tensor, Tensor], Tensor]


@dataclass
class Result:
    """The trained model: the epoch best on the selection split, and one history row per epoch."""

    weights: Weights
    epoch: int
    history: list[dict[str, float]] = field(default_factory=list)

    def add(
        self, epoch: int, step: int, loss: float, lr: float, selection: tuple[float, float],
        weights: Callable[[], Weights],
    ) -> dict[str, float]:  # fmt: skip
        """The row of history of an epoch; its weights are kept where it is the best so far, the first of equals.

        selection: accuracy and cross-entropy on that split.
        """
        accuracy, cross_entropy = (round(value, 6) for value in selection)
        row = {
            "epoch": epoch, "step": step, "loss": round(loss, 6), "lr": lr, "selection_accuracy": accuracy,
            "selection_loss": cross_entropy,
        }  # fmt: skip
        best = max((past["selection_accuracy"] for past in self.history), default=-1.0)
        self.history.append(row)
        if accuracy > best:
            self.weights, self.epoch = weights(), epoch
        return row


def train(
    model: Transformer,
    start: State,
    train_split: Split,
    selection: Split,
    schedule: Schedule,
    masks: Mapping[str, Tensor],
    work: Path,
    *,
    keep_at: int | None = None,
    until: int | None = None,
    soft: Soft | None = None,
    guide: Guide | None = None,
    label: str = "train",
) -> Result:
    """Train from `start` to the end of the schedule and return the epoch that is best on the selection split.

    Batches, dropout and learning rate are functions of the step alone, so a run can begin at any step. After every
    epoch a checkpoint goes to `work`; a later call with the same `work` continues there. With `keep_at` the state
    after that many steps is left in `work / "rewind.safetensors"`; with `until` the run ends after that many steps.
    Batches differ in sentences; the loss of each is divided by their mean number, so that every sentence of an epoch
    weighs the same. Several processes share the sentences of a batch and add up their gradients. soft: what a teacher
    says of the rows of train, mixed with their labels (Hinton et al., arXiv 1503.02531); guide: what is added to the
    sum of the sentences' losses, of what the model shows its `observe`, ids (batch, n) and counts (batch,).
    Raises UserError where a rewind point lies beyond the schedule, and where the loss is no longer finite.
    """
    device = next(model.parameters()).device
    orders = [generator(f"{schedule.purpose} order", schedule.seed, epoch) for epoch in range(schedule.epochs)]
    batches = [epoch_batches(train_split.lengths, schedule.batch, schedule.tokens, order) for order in orders]
    ends = list(accumulate(map(len, batches)))  # the step after which an epoch is over
    steps = ends[-1]
    sentences = len(train_split) * schedule.epochs / steps
    checkpoint = work / "checkpoint.safetensors"
    rewind = max(start.step, keep_at or 0)
    if rewind >= steps:
        raise UserError(f"{label}: cannot rewind to step {rewind} of a training run of {steps} steps; lower rewind")
    end = steps if until is None else until
    state, result = _resume(checkpoint, start)
    optimizer = AdamW(model, state, schedule.weight_decay, masks)
    vocabulary = model.tokens.num_embeddings

    step = state.step
    if keep_at == step and not checkpoint.exists():
        save_state(work / "rewind.safetensors", state)
    bar = tqdm(total=end, initial=step, desc=label, unit="step", disable=None, leave=False)
    while step < end:
        epoch = bisect(ends, step)
        left = batches[epoch][step - ends[epoch] :][: end - step]
        model.train()
        total = torch.zeros((), device=device)
        for indices in left:
            model.dropout.random = generator(f"{schedule.purpose} dropout", schedule.seed, step, processes.rank())
            batch, lengths = pad(train_split, indices)
            occurring, places = distinct(batch, vocabulary)  # in all shares: each process updates the same rows
            own = processes.share(len(indices))
            arrays = (places[own], lengths[own], train_split.labels[indices[own]], occurring)
            ids, counts, labels, used = (torch.from_numpy(array).to(device) for array in arrays)
            rows = optimizer.begin(used)
            seen: dict[str, Tensor] = {}
            model.observe = None if guide is None else seen.__setitem__
            try:
                with torch.autocast(device.type, torch.bfloat16, enabled=schedule.autocast):
                    logits = model(ids, counts, rows).float()
            except UserError as error:  # a grid that has no integers any more
                raise UserError(f"{label}, step {step}: {error}; lower the learning rate") from None
            teacher = None if soft is None else torch.from_numpy(soft.logits[indices[own]]).to(device)
            loss = _loss(logits, labels, teacher, soft)
            if guide is not None:
                loss = loss + guide(seen, torch.from_numpy(batch[own]).to(device), counts)
            loss = loss / sentences
            loss.backward()
            processes.add_up(optimizer.gathered())
            optimizer.step(schedule.rate(step, steps))
            total += loss.detach()
            step += 1
            bar.update()
            if step == keep_at:
                save_state(work / "rewind.safetensors", optimizer.snapshot())
        processes.add_up([total])
        revived = optimizer.revived()
        if not math.isfinite(total.item() + revived.item()):  # a weight that is no number is none of 0 either
            raise UserError(f"{label}: the loss is no longer finite at step {step}; lower the learning rate")
        if revived.item() != 0:
            raise AssertionError("a pruned weight or its moments are not exactly zero")
        if step < ends[epoch]:
            break  # `until` lies inside an epoch
        model.observe = None
        accuracy, cross_entropy = score(model, selection)
        if not math.isfinite(cross_entropy):  # the last step of all is followed by no loss
            raise UserError(f"{label}: the model is no longer finite at step {step}; lower the learning rate")
        mean = total.item() / len(left)  # of the steps made here
        lr = schedule.rate(step - 1, steps)
        row = result.add(epoch + 1, step, mean, lr, (accuracy, cross_entropy), lambda: weights_of(model))
        progress = {"epoch": result.epoch, "history": result.history}
        save_state(checkpoint, optimizer.snapshot(), result.weights, progress)
        bar.set_postfix(loss=row["loss"], selection=row["selection_accuracy"])
    bar.close()
    processes.wait()
    model.load_state_dict(result.weights or weights_of(model))
    return result


@torch.no_grad()
def predict(model: Transformer, split: Split) -> np.ndarray:
    """Logits (rows, classes) float32 of every row, in the order of the split."""
    device = next(model.parameters()).device
    model.eval()

    def logits(indices: np.ndarray) -> Tensor:
        ids, counts = (torch.from_numpy(array).to(device) for array in pad(split, indices))
        found: Tensor = model(ids, counts)
        return found

    return gathered(len(split), evaluation_batches(split.lengths), logits)


def gathered(rows: int, batches: Iterable[np.ndarray], logits_of: Callable[[np.ndarray], Tensor]) -> np.ndarray:
    """Logits (rows, classes) float32 of batches of rows, each in its place."""
    logits: np.ndarray | None = None
    for indices in batches:
        part = logits_of(indices).float().cpu().numpy()
        if logits is None:
            logits = np.empty((rows, part.shape[1]), np.float32)
        logits[indices] = part
    assert logits is not None
    return logits


def score(model: Transformer, split: Split) -> tuple[float, float]:
    """Accuracy and cross-entropy (nats) on a split."""
    return scored(predict(model, split), split)


def scored(found: np.ndarray, split: Split) -> tuple[float, float]:
    """The same of logits."""
    logits, labels = torch.from_numpy(found), torch.from_numpy(split.labels)
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    return accuracy, F.cross_entropy(logits.double(), labels).item()


def _loss(logits: Tensor, labels: Tensor, teacher: Tensor | None, soft: Soft | None) -> Tensor:
    """The sum over sentences."""
    hard = F.cross_entropy(logits, labels, reduction="sum")
    if teacher is None or soft is None:
        return hard
    t = soft.temperature
    divergence = F.kl_div(
        F.log_softmax(logits / t, -1), F.log_softmax(teacher / t, -1), log_target=True, reduction="sum"
    )
    return soft.hard * hard + (1 - soft.hard) * t * t * divergence


def _resume(checkpoint: Path, start: State) -> tuple[State, Result]:
    if not checkpoint.exists():
        return start, Result({}, 0)
    state, best, progress = load_state(checkpoint)
    return state, Result(best, progress["epoch"], progress["history"])
