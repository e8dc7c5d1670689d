"""The fused Inhibitor attention for GPUs, in Triton, as a differentiable function of PyTorch.

As in inhibitor.c no sum runs across the lanes of a vector. A program computes the inhibitions Z of a block of queries,
each lane those of other pairs of tokens, adding features in order; then H, each lane other features of a query, adding
keys in order. From the one form to the other Z goes through memory, where the backward pass finds it again: reading it
costs less than its 2 d operations. The largest intermediate is n x n.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from integer_tickets.model.attention import IntegerRule, check

if TYPE_CHECKING:
    import triton.language as tl
else:
    tl = None  # what is imported at the first use; kernels look for it among the names of their module


@cache
def available() -> str | None:
    """None where the kernels run here, on a GPU or (TRITON_INTERPRET=1) in Triton's interpreter, else the reason."""
    try:
        triton = import_module("triton")
        if not _interpreted():
            if not torch.cuda.is_available():
                return "no GPU"
            triton.runtime.driver.active.get_current_target()  # builds what launches kernels: needs a C compiler
    except Exception as error:  # of many types, and none may end a program that has the plain form to fall back on
        return str(error).partition("\n")[0] or type(error).__name__
    return None


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def triton_inhibitor(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gamma: Tensor,
    delta: Tensor,
    valid: Tensor | None = None,
    signed: bool = True,
    rule: IntegerRule | None = None,
) -> Tensor:
    """`inhibitor` (model/attention.py: the same contract and gradients) for float32 tensors on a GPU, fused.

    Equal calls give equal bits. Memory grows as batch * heads * n * n.

    Raises ValueError where shapes or types do not fit, OSError where `available()` gives a reason.
    """
    check(q, k, v, gamma, delta, valid, rule)
    if q.dtype != torch.float32:
        raise ValueError(f"triton_inhibitor: q is {q.dtype}, expected torch.float32")
    reason = available()
    if reason is not None:
        raise OSError(reason)
    extra = () if rule is None else (rule.multiplier, rule.offset, rule.shift)
    for tensor in (q, k, v, gamma, delta, valid, *extra):
        if tensor is not None and (tensor.device != q.device or tensor.is_cuda == _interpreted()):
            expected = "the CPU" if _interpreted() else f"one GPU, {q.device} like q"
            raise ValueError(f"triton_inhibitor: a tensor is on {tensor.device}, expected {expected}")
    if valid is not None:  # as in the plain form; the kernels then need not know what is padding
        padding = ~valid[:, None, :, None]
        k, v = k.masked_fill(padding, 0), v.masked_fill(padding, 0)
    h: Tensor = _TritonInhibitor.apply(q, k, v, gamma, delta, signed, rule)
    return h


class _TritonInhibitor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, gamma: Tensor, delta: Tensor, *options: Any) -> Tensor:
        signed, rule = options
        call = _Call(q.shape, signed)
        z, h = q.new_empty(*q.shape[:2], call.tokens, call.tokens), call.empty(q)
        numbers = (None, None, None) if rule is None else (rule.multiplier, rule.offset, rule.shift)
        scalars = (None if t is None else t.contiguous() for t in (gamma, delta, *numbers))
        call.run(0, call.columns(q), call.columns(k), call.rows(v), *scalars, z, h, q.shape[1], q.shape[3])
        ctx.save_for_backward(q, k, v, gamma, z)
        ctx.signed = signed
        return call.cut(h)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, gamma, z = ctx.saved_tensors
        call = _Call(q.shape, ctx.signed)
        rows = [call.rows(t) for t in (q, k, v, grad_h)]
        columns = call.columns(v), call.columns(grad_h)
        grad_q, grad_k, grad_v = (call.empty(q) for _ in "qkv")
        slopes, sums = torch.empty_like(z), z.new_empty(z.shape[:3])
        call.run(1, *rows[:2], *columns, z, slopes, sums, grad_q, q.shape[3])
        call.run(2, *rows, z, slopes, grad_k, grad_v)
        grad_q, grad_k, grad_v = map(call.cut, (grad_q, grad_k, grad_v))
        # D_ij = sum_c sign(q_ic - k_jc) (q_ic - k_jc), so that dgamma = sum_ij dZ_ij D_ij = (sum_ic q dq + sum_jc k dk)
        # / gamma: no distance is needed again.
        of_q, of_k = ((x * grad).sum((0, 2, 3), dtype=torch.float64) for x, grad in ((q, grad_q), (k, grad_k)))
        grad_gamma, grad_delta = of_q + of_k, -sums.sum((0, 2), dtype=torch.float64)
        scale = gamma[:, None, None]
        return grad_q * scale, grad_k * scale, grad_v, grad_gamma.float(), grad_delta.float(), None, None


class _Call:
    """How one problem is laid out: tokens and features are padded with zeros to whole blocks.

    Then no kernel has a border to mind, and every row begins where the widest loads may begin. A key of zeros adds
    nothing, as v = 0, and what comes out at the padding is cut off.
    """

    def __init__(self, shape: torch.Size, signed: bool) -> None:
        self.shape, self.signed = shape, signed
        _, _, n, d = shape
        self.block = min(64, _power_of_2(n))
        self.tokens = -(-n // self.block) * self.block
        self.width = _power_of_2(d)

    def rows(self, x: Tensor) -> Tensor:
        """(batch, heads, n, d) -> (batch, heads, tokens, width)."""
        _, _, n, d = self.shape
        return F.pad(x, (0, self.width - d, 0, self.tokens - n)).contiguous()

    def columns(self, x: Tensor) -> Tensor:
        """(batch, heads, n, d) -> (batch, heads, d, tokens): neighbouring lanes read one feature of neighbours."""
        return F.pad(x.transpose(-1, -2), (0, self.tokens - self.shape[2])).contiguous()

    def empty(self, like: Tensor) -> Tensor:
        return like.new_empty(*self.shape[:2], self.tokens, self.width)

    def cut(self, x: Tensor) -> Tensor:
        return x[..., : self.shape[2], : self.shape[3]]

    def run(self, kernel: int, *arguments: Tensor | int | None) -> None:
        batch, heads, n, _ = self.shape
        grid = (batch * heads, self.tokens // self.block)
        constants = {"SIGNED": self.signed, "BLOCK": self.block, "WIDTH": self.width}
        # With more threads than features each thread reads the features that it needs; fewer would pass
        # them on through shared memory, in every step of a loop.
        warps = max(4, self.width // 16)
        with torch.cuda.device_of(arguments[0]):
            _kernels()[kernel][grid](*arguments, n, self.tokens, **constants, num_warps=warps)


def _power_of_2(size: int) -> int:
    return max(16, 1 << (size - 1).bit_length())


# ---- Kernels. Triton compiles their source; every name in it is local, Python's, or `tl` ----
#
# Program (pair, block) with pair = sentence * heads + head. i counts queries, j keys, c features; a and b are features
# of q and k. Tensors are contiguous: rows (pairs, tokens, WIDTH), columns (pairs, d, tokens), z and slopes
# (pairs, keys, queries), sums (pairs, queries).
#
# A load whose mask is never true (n < 1) gives zeros in the layout of a load, four neighbours in each thread. Those of
# tl.full lie apart, and the loops would read twice as much for as many operations.


@cache
def _kernels() -> tuple[Any, ...]:
    global tl
    tl = import_module("triton.language")
    jit = import_module("triton").jit
    return jit(_forward), jit(_backward_queries), jit(_backward_keys)


def _forward(
    q_columns,
    k_columns,
    v,
    gamma,
    delta,
    multiplier,
    offset,
    shift,
    z,
    h,
    heads,
    d,
    n,
    tokens,
    SIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    pair = tl.program_id(0).to(tl.int64)
    head = pair % heads
    q_columns += pair * d * tokens
    k_columns += pair * d * tokens
    v += pair * tokens * WIDTH
    z += pair * tokens * tokens
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    for start in range(0, n, BLOCK):
        j = start + tl.arange(0, BLOCK)
        place = z + j[:, None] * tokens + i[None, :]
        distance = tl.load(place, n < 1, other=0.0)
        for c in range(d):
            a = tl.load(q_columns + c * tokens + i)
            b = tl.load(k_columns + c * tokens + j)
            distance += tl.abs(a[None, :] - b[:, None])
        if multiplier is None:
            limit = tl.load(gamma + head) * distance - tl.load(delta + head)
            limit = tl.maximum(limit, 0.0, propagate_nan=tl.PropagateNan.ALL)
        else:
            exact = distance.to(tl.int32) * tl.load(multiplier + head) - tl.load(offset + head)
            exact = exact >> tl.load(shift + head)
            limit = tl.minimum(tl.maximum(exact, 0), 255).to(tl.float32)
        tl.store(place, limit)

    tl.debug_barrier()  # what a thread reads from here on, others of its program wrote
    c = tl.arange(0, WIDTH)
    place = h + pair * tokens * WIDTH + i[:, None] * WIDTH + c[None, :]
    total = tl.load(place, n < 1, other=0.0)
    for j in range(n):
        limit = tl.load(z + j * tokens + i)[:, None]
        value = tl.load(v + j * WIDTH + c)[None, :]
        if SIGNED:
            low = tl.minimum(value, limit, propagate_nan=tl.PropagateNan.ALL)
            total += value - tl.maximum(low, -limit, propagate_nan=tl.PropagateNan.ALL)
        else:
            total += tl.maximum(value - limit, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(place, total)


def _backward_queries(
    q,
    k,
    v_columns,
    grad_columns,
    z,
    slopes,
    sums,
    grad_q,
    d,
    n,
    tokens,
    SIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """slopes: dZ where Z > 0, else 0; sums: of the slopes of each query; dq / gamma."""
    pair = tl.program_id(0).to(tl.int64)
    k += pair * tokens * WIDTH
    v_columns += pair * d * tokens
    grad_columns += pair * d * tokens
    slopes += pair * tokens * tokens
    z += pair * tokens * tokens
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    for start in range(0, n, BLOCK):
        j = start + tl.arange(0, BLOCK)
        place = j[:, None] * tokens + i[None, :]
        limit = tl.load(z + place)
        slope = tl.full([BLOCK, BLOCK], 0.0, tl.float32)
        for c in range(d):
            grad = tl.load(grad_columns + c * tokens + i)[None, :]
            value = tl.load(v_columns + c * tokens + j)[:, None]
            if SIGNED:
                slope -= tl.where(tl.abs(value) > limit, grad, 0.0) * tl.where(value < 0, -1.0, 1.0)
            else:
                slope -= tl.where(value > limit, grad, 0.0)
        tl.store(slopes + place, tl.where(limit > 0, slope, 0.0))

    tl.debug_barrier()
    c = tl.arange(0, WIDTH)
    place = pair * tokens * WIDTH + i[:, None] * WIDTH + c[None, :]
    a = tl.load(q + place)
    total = tl.full([BLOCK, WIDTH], 0.0, tl.float32)
    every = tl.full([BLOCK], 0.0, tl.float32)
    for j in range(n):
        slope = tl.load(slopes + j * tokens + i)
        every += slope
        slope = slope[:, None]
        b = tl.load(k + j * WIDTH + c)[None, :]
        total += tl.where(a > b, slope, tl.where(a < b, -slope, 0.0))
    tl.store(grad_q + place, total)
    tl.store(sums + pair * tokens + i, every)


def _backward_keys(
    q,
    k,
    v,
    grad,
    z,
    slopes,
    grad_k,
    grad_v,
    n,
    tokens,
    SIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """dk / gamma and dv."""
    pair = tl.program_id(0).to(tl.int64)
    q += pair * tokens * WIDTH
    grad += pair * tokens * WIDTH
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    z += pair * tokens * tokens + j * tokens
    slopes += pair * tokens * tokens + j * tokens
    c = tl.arange(0, WIDTH)
    place = pair * tokens * WIDTH + j[:, None] * WIDTH + c[None, :]
    b = tl.load(k + place)
    size = tl.load(v + place)
    if SIGNED:
        size = tl.abs(size)
    total_k = tl.full([BLOCK, WIDTH], 0.0, tl.float32)
    total_v = tl.full([BLOCK, WIDTH], 0.0, tl.float32)
    for i in range(n):
        limit = tl.load(z + i)[:, None]
        slope = tl.load(slopes + i)[:, None]
        a = tl.load(q + i * WIDTH + c)[None, :]
        passed = tl.load(grad + i * WIDTH + c)[None, :]
        total_k += tl.where(b > a, slope, tl.where(b < a, -slope, 0.0))
        total_v += tl.where(size > limit, passed, 0.0)
    tl.store(grad_k + place, total_k)
    tl.store(grad_v + place, total_v)
