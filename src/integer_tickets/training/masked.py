"""An encoder from texts alone: a BERT that learns to fill in words left out of sentences (arXiv 1810.04805).

Without pairs of sentences, and in each pass with other words left out, as in RoBERTa (arXiv 1907.11692).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from integer_tickets.blocks import Shape
from integer_tickets.data.batches import Split, evaluation_batches, pad
from integer_tickets.data.learning import learn_tokenizer
from integer_tickets.integer.tokenizer import FIRST_PIECE, LONGEST_WORD
from integer_tickets.seeds import generator, seed_for
from integer_tickets.training.loop import Result, Schedule
from integer_tickets.training.pretrained import Pretrained, fit

LEFT_OUT, AS_MASK, AS_OTHER = 0.15, 0.8, 0.1
"""Share of tokens to be guessed; of these, shown as the mask or as any other token. The rest is shown as it is."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MASK = SPECIAL.index("[MASK]")
HELD, EVERY = 20_000, 50
"""Texts that are kept from training to measure on: one of so many, and no more than these."""


def vocabulary(texts: Sequence[str], size: int) -> list[str]:
    """At most `size` pieces of words as WordPiece has them, "##" before what continues; the special ones come first.

    They are the byte pairs of our own tokenizer: those that `tokenizers` learns differ from run to run.
    """
    learned = learn_tokenizer(texts, "pieces", size - len(SPECIAL) + FIRST_PIECE, LONGEST_WORD)
    found = list(SPECIAL)
    for piece, continues in zip(learned.pieces, learned.continues, strict=True):
        try:
            found.append("##" * continues + piece.decode())
        except UnicodeDecodeError:  # a part of a character
            continue
    return found


def blank(shape: Shape, pieces: Sequence[str], longest: int, seed: int, device: str) -> Pretrained:
    """A BERT of that shape with initial weights; it reads texts of `longest` tokens, its two at the ends included."""
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(seed_for("encoder", seed))
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, intermediate_size=shape.hidden, max_position_embeddings=longest,
        hidden_dropout_prob=shape.dropout, attention_probs_dropout_prob=shape.dropout,
    )  # fmt: skip
    tokenizer = BertTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=True)
    return Pretrained(BertForMaskedLM(config).to(device), tokenizer)


def left_out(ids: NDArray[np.integer], size: int, random: np.random.Generator) -> tuple[Any, Any]:
    """What is shown of ids (batch, n), and where something is to be guessed, (batch, n) bool; size: of the vocabulary.

    Special tokens, padding among them, are always shown. Of a batch one token is left out at least, if it has one.
    """
    chance = np.where(ids >= len(SPECIAL), random.random(ids.shape), 1.0)
    guessed = chance < max(LEFT_OUT, min(chance.min() * (1 + 1e-9), np.nextafter(1.0, 0.0)))
    how, other = random.random(ids.shape), random.integers(len(SPECIAL), size, ids.shape)
    shown = np.where(guessed & (how < AS_MASK), MASK, ids)
    return np.where(guessed & (how >= 1 - AS_OTHER), other, shown), guessed


def guesses(
    own: Pretrained, split: Split, indices: NDArray[np.integer], random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (guesses, vocabulary) float32 of the tokens left out of some rows, and what they are, (guesses,)."""
    ids, counts = pad(split, indices)
    shown, guessed = left_out(ids, own.model.config.vocab_size, random)
    device = own.model.device
    mask = torch.from_numpy((np.arange(ids.shape[1]) < counts[:, None]).astype(np.int64)).to(device)
    places = torch.from_numpy(guessed).to(device)
    states = own.model.bert(torch.from_numpy(shown).to(device), attention_mask=mask).last_hidden_state
    return own.model.cls(states[places]).float(), torch.from_numpy(ids).to(device)[places]


def pretrain(own: Pretrained, train: Split, held: Split, schedule: Schedule, work: Path) -> Result:
    """Train on the texts of `train`; the epoch that guesses most tokens of `held` is what the model holds in the end.

    `history` calls the share of tokens guessed and their mean cross-entropy (nats) selection_accuracy and
    selection_loss. A later call with the same `work` goes on there.
    """

    def loss_of(indices: NDArray[np.integer], step: int) -> torch.Tensor:
        random = generator("left out", schedule.seed, step)
        with torch.autocast(own.model.device.type, torch.bfloat16, enabled=schedule.autocast):
            logits, wanted = guesses(own, train, indices, random)
        return F.cross_entropy(logits, wanted)

    @torch.no_grad()
    def on_held() -> tuple[float, float]:
        own.model.eval()
        random = generator("left out to measure", schedule.seed)
        right = loss = count = 0.0
        for indices in evaluation_batches(held.lengths, 4096):
            with torch.autocast(own.model.device.type, torch.bfloat16, enabled=schedule.autocast):
                logits, wanted = guesses(own, held, indices, random)
            right += (logits.argmax(1) == wanted).sum().item()
            loss += F.cross_entropy(logits, wanted, reduction="sum").item()
            count += len(wanted)
        return right / count, loss / count

    return fit(own.model, train, loss_of, on_held, schedule, work)


def divided(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts to train on, and those to measure on, spread evenly; each text once."""
    distinct = list(dict.fromkeys(texts))
    every = max(EVERY, -(-len(distinct) // HELD))
    return [text for i, text in enumerate(distinct) if i % every], distinct[::every]
