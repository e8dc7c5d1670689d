"""What training costs: attention kernels beside SDPA, quantization-aware steps beside float ones, parts of a step."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from integer_tickets.benchmark.timing import interleaved
from integer_tickets.data.batches import Split, distinct, epoch_batches, pad
from integer_tickets.model.attention import inhibitor
from integer_tickets.model.kernel import fused_inhibitor
from integer_tickets.model.transformer import Transformer
from integer_tickets.seeds import generator
from integer_tickets.training.adamw import AdamW
from integer_tickets.training.state import fresh_state

Rows = list[dict[str, Any]]
LARGEST_PLAIN = 1 << 24  # numbers in n x n x d tensors: above, the forms that make them or walk them are left out


def attention_times(
    shape: tuple[int, int, int, int], isas: Sequence[str], threads: int, rounds: int
) -> list[dict[str, Any]]:
    """Forward and backward pass of Inhibitor kernels and of their peers, in interleaved rounds.

    shape: (batch, heads, n, d); float32, sentences of 3/4 n to n tokens, the same padding mask for all. Rows: name,
    median and 10th percentile in milliseconds, and the median over that of SDPA.
    """
    batch, heads, n, d = shape
    random = generator("attention times", *shape)

    def draw() -> Tensor:
        x = torch.from_numpy(random.standard_normal((batch, n, heads, d), np.float32))
        return x.transpose(1, 2)

    q, k, v = (draw().requires_grad_() for _ in range(3))
    gradient = draw()
    gamma = torch.full((heads,), 1 / d).requires_grad_()
    delta = torch.zeros(heads).requires_grad_()
    counts = torch.from_numpy(random.integers(3 * n // 4, n + 1, batch)).clamp_min(1)
    valid = torch.arange(n) < counts[:, None]

    def timed(attend: Callable[[], Tensor]) -> Callable[[], None]:
        def call() -> None:
            for leaf in (q, k, v, gamma, delta):
                leaf.grad = None
            attend().backward(gradient)

        return call

    calls = {"SDPA, softmax": timed(lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, None]))}
    for isa, signed in product(isas, (True, False)):
        attend = partial(fused_inhibitor, q, k, v, gamma, delta, valid, signed, isa=isa)
        calls[f"fused, {'signed' if signed else 'unsigned'}, {isa}"] = timed(attend)
    if batch * heads * n * n * d <= LARGEST_PLAIN:
        calls["cdist form, unsigned"] = timed(lambda: _cdist_form(q, k, v, gamma, delta, valid))
        calls["plain PyTorch, signed"] = timed(lambda: inhibitor(q, k, v, gamma, delta, valid))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    taken = interleaved(calls, rounds)
    torch.set_num_threads(before)
    base = float(np.median(taken["SDPA, softmax"]))
    return [
        {"name": name, **_milliseconds(seconds), "ratio": round(float(np.median(seconds)) / base, 3)}
        for name, seconds in taken.items()
    ]


def _cdist_form(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor, delta: Tensor, valid: Tensor) -> Tensor:
    """The closed form of the Inhibitor's authors over the valid keys: H = (sum v - sum Z + sum |v - Z|) / 2."""
    z = (gamma[:, None, None] * torch.cdist(q, k, p=1.0) - delta[:, None, None]).relu()
    z = z.masked_fill(~valid[:, None, None], 0)
    v = v * valid[:, None, :, None]  # a padded key then adds (0 - 0 + |0 - 0|) / 2
    return (v.sum(-2, keepdim=True) - z.sum(-1, keepdim=True) + torch.cdist(z, v.mT, p=1.0)) / 2


def step_times(steps: Mapping[str, Callable[[], None]], rounds: int) -> Rows:
    """Training steps by name, in interleaved rounds: median and 10th percentile in milliseconds."""
    return [{"name": name, **_milliseconds(seconds)} for name, seconds in interleaved(steps, rounds).items()]


def training_step(
    model: Transformer, split: Split, batch: int, tokens: int, autocast: bool = False
) -> Callable[[], None]:
    """A function that makes one step on the next batch of `split`, as the training loop does, over and over."""
    optimizer = AdamW(model.train(), fresh_state(model), 0.01, {})
    batches = epoch_batches(split.lengths, batch, tokens, generator("training step", 0))
    position = 0

    def step() -> None:
        nonlocal position
        rows = batches[position % len(batches)]
        position += 1
        ids, counts = pad(split, rows)
        used, places = distinct(ids, model.tokens.num_embeddings)
        arrays = (places, counts, split.labels[rows], used)
        inputs, lengths, labels, occurring = (torch.from_numpy(array) for array in arrays)
        table = optimizer.begin(occurring)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(inputs, lengths, table).float()
        F.cross_entropy(logits, labels).backward()
        optimizer.step(1e-5)

    return step


PARTS = {  # what the profiler calls the operations of a part, by beginnings of their names
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "attention": ("_FusedInhibitor", "aten::_scaled_dot_product", "aten::_flash_attention", "aten::scaled_dot"),
    "normalization": ("_Norm",),
    "rounding to integers": ("_Quantize", "_AddSaturating", "_MeanOver"),
    "optimiser": ("aten::_fused_adamw_",),
    "token table": ("aten::embedding", "aten::index", "aten::_index_put"),
}


def step_parts(step: Callable[[], None], steps: int) -> Rows:
    """Where the time of a training step goes, by PyTorch's profiler: milliseconds a step and share of each part.

    Of an operation only its own time counts; what is left is that of small operations, and of Python between them.
    The profiler makes everything slower, small operations most.
    """
    for _ in range(5):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(steps):
            step()
    events = seen.key_averages()
    total = sum(event.self_cpu_time_total for event in events) / 1000 / steps
    own = {
        part: sum(event.self_cpu_time_total for event in events if event.key.startswith(names)) / 1000 / steps
        for part, names in PARTS.items()
    }
    own["other operations"] = total - sum(own.values())
    return [{"part": part, "ms": round(ms, 3), "share": round(ms / total, 4)} for part, ms in own.items()]


def _milliseconds(seconds: np.ndarray) -> dict[str, float]:
    low, median = np.percentile(1000 * seconds, [10, 50])
    return {"median_ms": round(float(median), 3), "p10_ms": round(float(low), 3)}
