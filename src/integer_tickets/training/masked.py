"""An encoder from texts alone: masked language modelling with a BERT (arXiv 1810.04805), one sentence at a time.

Without pairs of sentences, and in each pass with other tokens masked, as in RoBERTa (arXiv 1907.11692).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from integer_tickets.blocks import Shape
from integer_tickets.data.batches import Array, Split, evaluation_batches, pad
from integer_tickets.data.learning import learn_tokenizer
from integer_tickets.errors import UserError
from integer_tickets.integer.tokenizer import FIRST_PIECE, LONGEST_WORD
from integer_tickets.seeds import generator, seed_for
from integer_tickets.training.huggingface import Pretrained, fit, transformers
from integer_tickets.training.loop import Result, Schedule

CHOSEN, AS_MASK, AS_RANDOM = 0.15, 0.8, 0.1
"""Share of tokens to be predicted; of these, shown as the mask or as a random token. The rest is shown as it is."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MASK = SPECIAL.index("[MASK]")
EVERY, HELD = 50, 20_000
"""One text of so many is kept from training to measure on, of all no more than these."""


def vocabulary(texts: Sequence[str], size: int) -> list[str]:
    """At most `size` pieces of words as WordPiece has them, "##" before what continues; the special ones come first.

    Words are those of the encoder's own normalizer. The pieces are learned as those of our tokenizer, since those that
    `tokenizers` learns for WordPiece differ from run to run. A word with a character that has no piece is unknown.
    """
    normalizer, splitter = _reading()
    words = (splitter.pre_tokenize_str(normalizer.normalize_str(text)) for text in texts)
    spaced = [" ".join(word for word, _ in own) for own in words]
    try:
        learned = learn_tokenizer(spaced, "pieces", size - len(SPECIAL) + FIRST_PIECE, LONGEST_WORD)
    except UserError:
        raise UserError(
            f"tokenizer.size = {size}: too few for the bytes of the texts and {len(SPECIAL)} special pieces"
        ) from None
    found = list(SPECIAL)
    for piece, continues in zip(learned.pieces, learned.continues, strict=True):
        try:
            found.append("##" * continues + piece.decode())
        except UnicodeDecodeError:  # vocab.txt is text, and this byte is a part of a character
            continue
    return found


def untrained(shape: Shape, pieces: Sequence[str], longest: int, seed: int, device: str) -> Pretrained:
    """A BERT of that shape with initial weights; it reads texts of `longest` tokens, its two at the ends included."""
    library = transformers()
    torch.manual_seed(seed_for("encoder", seed))
    config = library.BertConfig(
        vocab_size=len(pieces), hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, intermediate_size=shape.hidden, max_position_embeddings=longest,
        hidden_dropout_prob=shape.dropout, attention_probs_dropout_prob=shape.dropout,
    )  # fmt: skip
    ids = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = library.BertTokenizerFast(vocab=ids, strip_accents=False, model_max_length=longest)
    return Pretrained(library.BertForMaskedLM(config).to(device), tokenizer)


def _reading() -> tuple[Any, Any]:
    """How BertTokenizerFast lowers and splits text: with strip_accents=False, as our tokenizers keep accents."""
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return BertNormalizer(lowercase=True, strip_accents=False), BertPreTokenizer()


def split_texts(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts to train on, and those to measure on, spread evenly; each text once."""
    distinct = list(dict.fromkeys(texts))
    every = max(EVERY, -(-len(distinct) // HELD))
    return [text for i, text in enumerate(distinct) if i % every], distinct[::every]


def with_words(split: Split) -> Split:
    """The rows that hold a token which is no special one: in others there is nothing to predict."""
    if not len(split):
        return split
    return split.rows(np.flatnonzero(np.maximum.reduceat(split.ids, split.offsets[:-1]) >= len(SPECIAL)))


def mask_tokens(ids: Array, size: int, random: np.random.Generator) -> tuple[Array, NDArray[np.bool_]]:
    """What is shown of ids (batch, n), and which are to be predicted, (batch, n); size: of the vocabulary.

    Special tokens, padding among them, are always shown. Of a batch one token is chosen at least, if it has one.
    """
    chance = np.where(ids >= len(SPECIAL), random.random(ids.shape), 1.0)
    chosen = chance < max(CHOSEN, min(chance.min() * (1 + 1e-9), np.nextafter(1.0, 0.0)))
    how, drawn = random.random(ids.shape), random.integers(len(SPECIAL), size, ids.shape)
    shown = np.where(chosen & (how < AS_MASK), MASK, ids)
    return np.where(chosen & (how >= 1 - AS_RANDOM), drawn, shown), chosen


def predictions(
    own: Pretrained, split: Split, indices: Array, random: np.random.Generator, autocast: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (chosen tokens, vocabulary) float32 for some rows, and the ids that are right, (chosen tokens,)."""
    ids, counts = pad(split, indices)
    shown, chosen = mask_tokens(ids, own.model.config.vocab_size, random)
    attended = (np.arange(ids.shape[1]) < counts[:, None]).astype(np.int64)
    arrays = (torch.from_numpy(array).to(own.model.device) for array in (shown, attended, chosen, ids))
    shown_ids, mask, places, right = arrays
    with torch.autocast(own.model.device.type, torch.bfloat16, enabled=autocast):
        states = own.model.bert(shown_ids, attention_mask=mask).last_hidden_state
        return own.model.cls(states[places]).float(), right[places]


def pretrain(own: Pretrained, train: Split, held: Split, schedule: Schedule, work: Path) -> Result:
    """Train on the texts of `train`; the epoch that predicts most tokens of `held` is what the model holds in the end.

    `history` calls the share predicted and its mean cross-entropy (nats) selection_accuracy and selection_loss. After
    every epoch a checkpoint goes to `work`, where a later call goes on.
    """

    def loss_of(indices: Array, step: int) -> torch.Tensor:
        random = generator("masked", schedule.seed, step)
        return F.cross_entropy(*predictions(own, train, indices, random, schedule.autocast))

    @torch.no_grad()
    def on_held() -> tuple[float, float]:
        own.model.eval()
        random = generator("masked to measure", schedule.seed)
        hits = loss = count = 0.0
        for indices in evaluation_batches(held.lengths, 4096):
            logits, right = predictions(own, held, indices, random, schedule.autocast)
            hits += (logits.argmax(1) == right).sum().item()
            loss += F.cross_entropy(logits, right, reduction="sum").item()
            count += len(right)
        return hits / count, loss / count

    return fit(own.model, train, loss_of, on_held, schedule, work)
