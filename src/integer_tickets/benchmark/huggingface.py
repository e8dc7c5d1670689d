"""The peer of the training loop: a BERT classifier of the same shape under the Trainer of Hugging Face."""

import tempfile
import time
from typing import Any

import torch
from torch.utils.data import Dataset

from integer_tickets.data.batches import Split


class _Rows(Dataset[dict[str, Any]]):
    def __init__(self, split: Split) -> None:
        bounds = zip(split.offsets[:-1], split.offsets[1:], split.labels, strict=True)
        self.items = [{"input_ids": split.ids[a:b].tolist(), "labels": int(label)} for a, b, label in bounds]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


def _collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Dynamic padding: to the longest of a batch."""
    longest = max(len(item["input_ids"]) for item in items)
    ids = torch.zeros(len(items), longest, dtype=torch.int64)
    mask = torch.zeros(len(items), longest, dtype=torch.int64)
    for row, item in enumerate(items):
        ids[row, : len(item["input_ids"])] = torch.tensor(item["input_ids"])
        mask[row, : len(item["input_ids"])] = 1
    labels = torch.tensor([item["labels"] for item in items])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def bert_trainer_seconds(
    shape: dict[str, Any], split: Split, batch: int, *, bf16: bool = False, as_it_comes: bool = False
) -> float:
    """Seconds of one epoch over a split under Trainer: softmax SDPA, dynamic padding, groups by length.

    shape: vocabulary, positions, classes, width, layers, heads, hidden, dropout. The model is made as near to ours as
    its configuration allows (ReLU, no dropout of attention weights, no clipping of gradients), or trained
    `as_it_comes` (GELU, `dropout` there too, clipping). Nothing is saved or evaluated.
    Raises ImportError where transformers or accelerate is missing.
    """
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    config = BertConfig(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["width"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        intermediate_size=shape["hidden"],
        max_position_embeddings=shape["positions"],
        num_labels=shape["classes"],
        hidden_act="gelu" if as_it_comes else "relu",
        hidden_dropout_prob=shape["dropout"],
        attention_probs_dropout_prob=shape["dropout"] if as_it_comes else 0.0,
        attn_implementation="sdpa",
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=batch, num_train_epochs=1, learning_rate=1e-3, bf16=bf16,
            use_cpu=True, save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
            dataloader_num_workers=0, seed=0, max_grad_norm=1.0 if as_it_comes else 0.0, **_grouped(TrainingArguments),
        )  # fmt: skip
        trainer = Trainer(
            model=BertForSequenceClassification(config), args=arguments, train_dataset=_Rows(split),
            data_collator=_collate,
        )  # fmt: skip
        begin = time.perf_counter()
        trainer.train()
        return time.perf_counter() - begin


def _grouped(arguments: Any) -> dict[str, Any]:
    """Batches of like length, by the name that this version of transformers has for them."""
    known = arguments.__dataclass_fields__
    return {"group_by_length": True} if "group_by_length" in known else {"train_sampling_strategy": "group_by_length"}
