"""Models in the form of Hugging Face: what belongs together, and the loop that trains them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from integer_tickets.data.batches import Split, epoch_batches, pad
from integer_tickets.errors import UserError
from integer_tickets.seeds import generator, seed_for
from integer_tickets.training.loop import Result, Schedule
from integer_tickets.training.state import State, Weights, load_state, save_state

Texts = Sequence[str] | Sequence[tuple[str, str]]


def transformers() -> Any:
    """The package of that name, quiet. UserError where it is missing."""
    try:
        found = import_module("transformers")
        logging = import_module("transformers.utils.logging")
    except ImportError:
        raise UserError("this needs transformers: pip install 'integer-tickets[huggingface]'") from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return found


@dataclass(frozen=True)
class Pretrained:
    """A model (ids, mask) -> logits, of classes or of tokens, and its own tokenizer."""

    model: Any
    tokenizer: Any

    def encode(self, texts: Texts, labels: NDArray[np.int64], longest: int, side: str = "right") -> Split:
        """Texts, or pairs of them, as this tokenizer reads them, at most `longest` tokens each, cut on that side."""
        self.tokenizer.truncation_side = side
        columns = [list(texts)] if not len(texts) or isinstance(texts[0], str) else list(zip(*texts, strict=True))
        rows: list[list[int]] = []
        for begin in range(0, len(texts), 10_000):
            part = [list(column[begin : begin + 10_000]) for column in columns]
            rows += self.tokenizer(*part, truncation=True, max_length=longest)["input_ids"]
        ids = np.fromiter((i for row in rows for i in row), np.int32)
        return Split(ids, np.cumsum([0, *map(len, rows)], dtype=np.int64), labels)

    def save(self, folder: Path) -> None:
        """In the form of Hugging Face, without the name under which it was loaded."""
        self.model.config._name_or_path = ""
        self.model.save_pretrained(folder)
        self.tokenizer.name_or_path = ""
        self.tokenizer.save_pretrained(folder)

    def logits(self, split: Split, indices: NDArray[np.integer]) -> torch.Tensor:
        ids, counts = pad(split, indices)
        mask = np.arange(ids.shape[1]) < counts[:, None]
        ids[~mask] = self.tokenizer.pad_token_id
        device = self.model.device
        arrays = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
        found: torch.Tensor = self.model(**{name: array.to(device) for name, array in arrays.items()}).logits
        return found.float()


def fit(
    model: Any,
    split: Split,
    loss_of: Callable[[NDArray[np.integer], int], torch.Tensor],
    on_selection: Callable[[], tuple[float, float]],
    schedule: Schedule,
    work: Path,
) -> Result:
    """Train all of a model; the epoch best on selection is what it holds in the end.

    loss_of: of rows of the split, at a step; on_selection: accuracy and cross-entropy (nats) after an epoch. Then a
    checkpoint goes to `work`, where a later call goes on. Raises UserError where the loss is no longer finite.
    """
    checkpoint, purpose = work / "checkpoint.safetensors", schedule.purpose
    named = dict(model.named_parameters())
    result, first_epoch = Result({}, 0), 0
    groups = [
        {"params": [p for name, p in named.items() if (p.ndim > 1) == decays], "weight_decay": decay}
        for decays, decay in ((True, schedule.weight_decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.9, 0.98))
    orders = [generator(f"{purpose} order", schedule.seed, epoch) for epoch in range(schedule.epochs)]
    batches = [epoch_batches(split.lengths, schedule.batch, schedule.tokens, order) for order in orders]
    steps, step = sum(map(len, batches)), 0
    if checkpoint.exists():
        state, best, progress = load_state(checkpoint)
        _restore(named, optimizer, state)
        result, step, first_epoch = Result(best, progress["epoch"], progress["history"]), state.step, progress["done"]
    bar = tqdm(total=steps, initial=step, desc=purpose, unit="step", disable=None, leave=False)
    for epoch in range(first_epoch, schedule.epochs):
        model.train()
        total = 0.0
        for indices in batches[epoch]:
            torch.manual_seed(seed_for(f"{purpose} dropout", schedule.seed, step))
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, steps)
            loss = loss_of(indices, step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            step += 1
            bar.update()
        found = on_selection()
        if not np.isfinite(total + found[1]):
            raise UserError(f"the loss is no longer finite at step {step}; lower teacher.lr")
        mean, lr = total / len(batches[epoch]), schedule.rate(step - 1, steps)
        result.add(epoch + 1, step, mean, lr, found, lambda: _copies({name: p.detach() for name, p in named.items()}))
        progress = {"epoch": result.epoch, "history": result.history, "done": epoch + 1}
        save_state(checkpoint, _state(named, optimizer, step), result.weights, progress)
    bar.close()
    model.load_state_dict(result.weights, strict=False)
    return replace(result, weights={})


def _state(named: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, step: int) -> State:
    first, second = (  # zeros for what has no part in the loss
        _copies({name: optimizer.state[p].get(part, torch.zeros_like(p)) for name, p in named.items()})
        for part in ("exp_avg", "exp_avg_sq")
    )
    return State(step, _copies({name: p.detach() for name, p in named.items()}), first, second)


def _restore(named: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, state: State) -> None:
    for name, parameter in named.items():
        parameter.data.copy_(state.weights[name])
        moments = {"exp_avg": state.first[name], "exp_avg_sq": state.second[name]}
        optimizer.state[parameter] = {
            "step": torch.tensor(float(state.step)),
            **{part: moment.to(parameter.device, copy=True) for part, moment in moments.items()},
        }


def _copies(tensors: Mapping[str, torch.Tensor]) -> Weights:
    return {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
