"""Timing of Inhibitor attention on a GPU, fused and otherwise: `python -m integer_tickets.benchmark.gpu`.

Everything in float32 and without padding. The limit is that of the vector units: an addition, comparison or minimum is
one operation of one lane, whatever a unit really takes for it.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from integer_tickets.model.attention import inhibitor
from integer_tickets.model.triton_kernel import available, triton_inhibitor

SHAPES = ((64, 8, 64, 32), (64, 8, 128, 32), (16, 8, 512, 32), (16, 8, 256, 128))  # batch, heads, n, d
WARM_UP, CALLS = 5, 30
# Per feature of each pair of tokens. Forwards: subtract and add for the distance; minimum, maximum, subtract and add
# for H. Backwards: compare, select and multiply-add for dZ; compare, select and add for dv; for dq and dk each two
# compares, two selects and an addition.
FORWARD, BACKWARD = 2 + 4, 3 + 3 + 5 + 5

Attention = Callable[..., Tensor]  # of q, k, v, gamma and delta, as `inhibitor`


def by_cdist(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor, delta: Tensor) -> Tensor:
    """The signed Inhibitor by Manhattan distances only, as 2 relu(x - z) = x - z + |x - z|; shapes: `inhibitor`."""
    z = (gamma[:, None, None] * torch.cdist(q, k, p=1) - delta[:, None, None]).relu()
    columns = v.transpose(-1, -2)
    signed = torch.cdist(z, columns.relu(), 1) - torch.cdist(z, (-columns).relu(), 1)
    return (v.sum(-2, keepdim=True) + signed) / 2


def softmax(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor, delta: Tensor) -> Tensor:
    """Softmax attention; gamma and delta are the Inhibitor's."""
    return F.scaled_dot_product_attention(q, k, v)


def measure(shapes: Sequence[tuple[int, int, int, int]] = SHAPES) -> Iterator[dict[str, Any]]:
    """A row for each shape and kind of attention: median milliseconds forwards, and forwards and backwards.

    Rows of the Inhibitor also tell what fraction of the vector units' limit that is. Raises OSError where the kernels
    for GPUs do not run.
    """
    reason = available()
    if reason is not None:
        raise OSError(reason)
    kinds: dict[str, Attention] = {
        "Inhibitor, Triton": triton_inhibitor,
        "Inhibitor, cdist": by_cdist,
        "Inhibitor, torch.compile": torch.compile(inhibitor, dynamic=False),
        "softmax, SDPA": softmax,
    }
    properties = torch.cuda.get_device_properties()
    lanes = 128 if (properties.major, properties.minor) >= (8, 6) else 64  # for float32, of a multiprocessor
    rate = properties.multi_processor_count * lanes * properties.clock_rate  # kHz: operations in a millisecond
    for batch, heads, n, d in shapes:
        q, k, v, grad = torch.randn(4, batch, heads, n, d, device="cuda")
        leaves = [t.requires_grad_() for t in (q, k, v, torch.full((heads,), 1 / d, device="cuda"))]
        leaves.append(torch.zeros(heads, device="cuda", requires_grad=True))
        for name, attention in kinds.items():
            with torch.no_grad():
                forward = median_ms(attention, *leaves)
            both = median_ms(gradients, attention, leaves, grad)
            row: dict[str, Any] = {"batch": batch, "heads": heads, "n": n, "d": d, "attention": name}
            row |= {"forward_ms": forward, "both_ms": both}
            if attention is not softmax:
                elements = batch * heads * n * n * d
                row["forward_of_limit"] = FORWARD * elements / rate / forward
                row["both_of_limit"] = (FORWARD + BACKWARD) * elements / rate / both
            yield row


def gradients(attention: Attention, leaves: Sequence[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(attention(*leaves), leaves, grad, allow_unused=True)


def median_ms(function: Callable[..., object], *arguments: Any) -> float:
    """Median milliseconds of a call, by the clock of the GPU."""
    for _ in range(WARM_UP):
        function(*arguments)
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(CALLS)]
    for start, end in events:
        start.record()
        function(*arguments)
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in events)


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("benchmark of the GPU kernel: no GPU here, nothing measured")
    print(torch.cuda.get_device_name())
    for row in measure():
        print("  ".join(f"{name} {x:.3g}" if isinstance(x, float) else f"{name} {x}" for name, x in row.items()))


if __name__ == "__main__":
    main()
