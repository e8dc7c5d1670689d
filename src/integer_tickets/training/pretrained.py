"""A teacher that comes with knowledge: any encoder or classifier of Hugging Face, fine-tuned on the labels."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch.nn import functional as F
from tqdm import tqdm

from integer_tickets.data.batches import Split, evaluation_batches
from integer_tickets.errors import UserError
from integer_tickets.seeds import seed_for
from integer_tickets.training.huggingface import Pretrained, fit, transformers
from integer_tickets.training.loop import Result, Schedule, gathered, scored


def load(name: str, classes: int, seed: int, device: str) -> Pretrained:
    """The model of a local folder, or of a hub id or ID@REVISION; a head is drawn from the seed unless it has one that
    fits. Weights are read from safetensors alone.

    Raises UserError where transformers is missing, or there is no such model, or none that can be a teacher.
    """
    library = transformers()
    torch.manual_seed(seed_for("teacher", seed))
    place, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    at = {"revision": revision or "main"}
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(place, **at)
        model = library.AutoModelForSequenceClassification.from_pretrained(
            place, num_labels=classes, ignore_mismatched_sizes=True, dtype=torch.float32, use_safetensors=True, **at
        )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"teacher.pretrained = {name!r}: no such model on the hub or in a folder ({said})") from None
    if tokenizer.pad_token_id is None:
        raise UserError(f"teacher.pretrained = {name!r}: its tokenizer has no token for padding")
    return Pretrained(model.to(device), tokenizer)


def sha256(teacher: Pretrained) -> str:
    """Of its encoder's weights, by name: tells which one an id or a folder stood for."""
    digest = hashlib.sha256()
    for name, tensor in sorted(teacher.model.base_model.state_dict().items()):
        if name.startswith("pooler."):
            continue  # drawn with the head where the encoder was saved without one
        digest.update(name.encode() + b"\0" + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def fine_tune(teacher: Pretrained, train_split: Split, selection: Split, schedule: Schedule, work: Path) -> Result:
    """Train all of it on the labels; the epoch best on selection is what the model holds in the end.

    After every epoch a checkpoint goes to `work`, where a later call goes on.
    """

    def loss_of(indices: NDArray[np.integer], step: int) -> torch.Tensor:
        with torch.autocast(teacher.model.device.type, torch.bfloat16, enabled=schedule.autocast):
            logits = teacher.logits(train_split, indices)
        return F.cross_entropy(logits, torch.from_numpy(train_split.labels[indices]).to(logits.device))

    def on_selection() -> tuple[float, float]:
        return scored(predict(teacher, selection, schedule.autocast), selection)

    return fit(teacher.model, train_split, loss_of, on_selection, schedule, work)


@torch.no_grad()
def predict(teacher: Pretrained, split: Split, autocast: bool) -> NDArray[np.float32]:
    """Logits (rows, classes) of every row, in the order of the split."""
    teacher.model.eval()
    batches = tqdm(evaluation_batches(split.lengths, 4096), desc="teacher", disable=None, leave=False)
    with torch.autocast(teacher.model.device.type, torch.bfloat16, enabled=autocast):
        return gathered(len(split), batches, lambda indices: teacher.logits(split, indices))
