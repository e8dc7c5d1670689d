"""What training costs: attention kernels beside SDPA, quantization-aware steps beside float ones, parts of a step."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from integer_tickets.benchmark.timing import interleaved
from integer_tickets.data.batches import Split, distinct, epoch_batches, pad
from integer_tickets.model.attention import inhibitor
from integer_tickets.model.kernel import fused_inhibitor
from integer_tickets.model.transformer import Transformer, initialise
from integer_tickets.seeds import generator
from integer_tickets.tickets.masks import dense_masks, density, scale_of
from integer_tickets.tickets.structure import cut, masks_of, prune_units, sizes_of, structured_names, units_of
from integer_tickets.training.adamw import AdamW
from integer_tickets.training.state import fresh_state

Rows = list[dict[str, Any]]
STEPS = 8  # of a call that is timed
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
    """Training steps by name, in interleaved rounds: median and 10th percentile in milliseconds of one step."""
    return [{"name": name, **_milliseconds(seconds / STEPS)} for name, seconds in interleaved(steps, rounds).items()]


def shrinking_times(shape: Mapping[str, Any], densities: Sequence[float], batch: int, tokens: int, rounds: int) -> Rows:
    """Training steps of models cut to at most a density (1: dense) of their structure, in interleaved rounds.

    shape: the arguments of Transformer; each step is one on `batch` random sentences of `tokens` tokens. Which heads,
    pairs and neurons go is decided by the random initial weights. Rows: the density that is left (never less than one
    of each a layer), heads, pairs and neurons of all layers, and what `step_times` gives.
    """
    dense = Transformer(**shape)
    random = generator("shrinking", 0)
    initialise(dense, random)
    state = fresh_state(dense)
    whole = dense_masks(state.weights, structured_names(dense))
    scales, units = scale_of(state.weights, list(whole)), units_of(whole, dense.heads)
    ids = random.integers(shape["vocabulary"], size=batch * tokens)
    sentences = Split(ids, np.arange(0, len(ids) + 1, tokens), random.integers(shape["classes"], size=batch))
    rows: Rows = []
    steps: dict[str, Callable[[], None]] = {}
    for target in densities:
        kept = prune_units(state.weights, units, scales, target, "global") if target < 1 else units
        sizes = sizes_of(kept)
        heads, pairs, neurons = (sum(column) for column in zip(*sizes, strict=True))
        left = round(density(masks_of(kept, whole)), 6)
        rows.append({"density": left, "heads": heads, "pairs": pairs, "neurons": neurons})
        model = Transformer(**shape, sizes=sizes)
        model.load_state_dict(cut(state, kept).weights)
        steps[f"level {len(steps)}"] = training_steps(model, sentences, batch, batch * tokens)
    return [{**row, **times} for row, times in zip(rows, step_times(steps, rounds), strict=True)]


def training_steps(
    model: Transformer, split: Split, batch: int, tokens: int, autocast: bool = False
) -> Callable[[], None]:
    """A function that makes STEPS steps as the training loop does, on the same batches of `split` at every call.

    The batches are the first ones of an epoch, which differ in length: only whole calls can be compared.
    """
    optimizer = AdamW(model.train(), fresh_state(model), 0.01, {})
    batches = epoch_batches(split.lengths, batch, tokens, generator("training step", 0))

    def step(rows: NDArray[np.integer]) -> None:
        ids, counts = pad(split, rows)
        used, places = distinct(ids, model.tokens.num_embeddings)
        arrays = (places, counts, split.labels[rows], used)
        inputs, lengths, labels, occurring = (torch.from_numpy(array) for array in arrays)
        table = optimizer.begin(occurring)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(inputs, lengths, table).float()
        F.cross_entropy(logits, labels).backward()
        optimizer.step(1e-5)

    def steps() -> None:
        for number in range(STEPS):
            step(batches[number % len(batches)])

    return steps


PARTS = {  # what the profiler calls the operations of a part, by beginnings of their names
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "attention": ("_FusedInhibitor", "aten::_scaled_dot_product", "aten::_flash_attention", "aten::scaled_dot"),
    "normalization": ("_Norm",),
    "rounding to integers": ("_Quantize", "_AddSaturating", "_MeanOver"),
    "optimiser": ("aten::_fused_adamw_",),
    "token table": ("aten::embedding", "aten::index", "aten::_index_put"),
}


def step_parts(steps: Callable[[], None], calls: int) -> Rows:
    """Where the time of a training step goes, by PyTorch's profiler: milliseconds a step and share of each part.

    Of an operation only its own time counts; what no operation takes is that of Python and NumPy between them. The
    profiler makes everything slower, small operations most; the last row is a step without it.
    """
    steps()
    begin = time.perf_counter()
    for _ in range(calls):
        steps()
    alone = (time.perf_counter() - begin) / calls / STEPS
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        begin = time.perf_counter()
        for _ in range(calls):
            steps()
        total = 1000 * (time.perf_counter() - begin) / calls / STEPS
    events = [(event.key, event.self_cpu_time_total / 1000 / calls / STEPS) for event in seen.key_averages()]
    own = {part: sum(ms for key, ms in events if key.startswith(names)) for part, names in PARTS.items()}
    own["other operations"] = sum(ms for _, ms in events) - sum(own.values())
    own["between operations"] = total - sum(own.values())
    own["a step without the profiler"] = 1000 * alone
    return [{"part": part, "ms": round(ms, 3), "share": round(ms / total, 4)} for part, ms in own.items()]


def _milliseconds(seconds: np.ndarray) -> dict[str, float]:
    low, median = np.percentile(1000 * seconds, [10, 50])
    return {"median_ms": round(float(median), 3), "p10_ms": round(float(low), 3)}
