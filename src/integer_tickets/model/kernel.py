"""The fused Inhibitor attention of inhibitor.c as a differentiable function of PyTorch."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from integer_tickets.model.attention import IntegerRule, check
from integer_tickets.model.library import available, library

__all__ = ["available", "fused_inhibitor", "library"]


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("head", ctypes.c_int64),
        ("token", ctypes.c_int64),
    )


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "heads", "n", "d", "is_signed")),
        *((name, _Tensor) for name in ("q", "k", "v", "h", "grad_h", "grad_q", "grad_k", "grad_v")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                *("valid", "gamma", "delta", "multiplier", "offset", "shift", "z"),
                *("pair_gamma", "pair_delta", "grad_gamma", "grad_delta"),
            )
        ),
    )


def fused_inhibitor(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gamma: Tensor,
    delta: Tensor,
    valid: Tensor | None = None,
    signed: bool = True,
    rule: IntegerRule | None = None,
    isa: str = "avx2",
) -> Tensor:
    """`inhibitor` (model/attention.py: the same contract and gradients) for float32 tensors on the CPU, fused.

    The bits of result and gradients do not depend on padding, number of threads (torch.get_num_threads()) or
    `isa`; those of H, dq, dk and dv not on the rest of the batch either. Memory grows as batch * heads * n * n.
    The result lies in memory as (batch, n, heads, d), so that merging the heads copies nothing.

    Raises ValueError where shapes or types do not fit, OSError where the kernel cannot be had.
    """
    check(q, k, v, gamma, delta, valid, rule)
    if q.dtype != torch.float32:
        raise ValueError(f"fused_inhibitor: q is {q.dtype}, expected torch.float32")
    extra = () if rule is None else (rule.multiplier, rule.offset, rule.shift)
    for tensor in (q, k, v, gamma, delta, valid, *extra):
        if tensor is not None and tensor.device.type != "cpu":
            raise ValueError(f"fused_inhibitor: a tensor is on {tensor.device}, expected the CPU")
    if torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v, gamma, delta)):
        return _FusedInhibitor.apply(q, k, v, gamma, delta, valid, signed, rule, isa)
    return _forward(_Call(q, k, v, gamma, delta, valid, signed, rule), library(isa), None)


class _Call:
    """The C description of one call; keeps alive the tensors that it points to."""

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        gamma: Tensor,
        delta: Tensor,
        valid: Tensor | None,
        signed: bool,
        rule: IntegerRule | None,
    ) -> None:
        self.shape = q.shape
        batch, heads, n, d = q.shape
        self.problem = _Problem(batch=batch, heads=heads, n=n, d=d, is_signed=signed)
        self.alive: list[Tensor] = []
        self.add(q=q, k=k, v=v)
        self.add_flat(gamma=gamma, delta=delta)
        if valid is not None:
            self.add_flat(valid=valid)
        if rule is not None:
            self.add_flat(multiplier=rule.multiplier, offset=rule.offset, shift=rule.shift)

    def add(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            if tensor.stride(-1) != 1:
                tensor = tensor.contiguous()
            self.alive.append(tensor)
            setattr(self.problem, name, _Tensor(tensor.data_ptr(), *tensor.stride()[:3]))

    def add_flat(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            tensor = tensor.contiguous()
            self.alive.append(tensor)
            setattr(self.problem, name, tensor.data_ptr())

    def empty(self) -> Tensor:
        batch, heads, n, d = self.shape
        return torch.empty(batch, n, heads, d).transpose(1, 2)

    def run(self, function: Any) -> None:
        if function(ctypes.byref(self.problem), torch.get_num_threads()):
            raise MemoryError("fused_inhibitor: no memory left for its working space")


def _forward(call: _Call, kernel: ctypes.CDLL, z: Tensor | None) -> Tensor:
    h = call.empty()
    call.add(h=h)
    if z is not None:
        call.add_flat(z=z)
    call.run(kernel.inhibitor_forward)
    return h


class _FusedInhibitor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, gamma: Tensor, delta: Tensor, *options: Any) -> Tensor:
        valid, signed, rule, isa = options
        batch, heads, n, _ = q.shape
        kernel = library(isa)
        z = torch.empty(batch, heads, n, kernel.inhibitor_width(n))
        ctx.save_for_backward(q, k, v, gamma, delta, valid, z)
        ctx.signed, ctx.kernel = signed, kernel
        return _forward(_Call(q, k, v, gamma, delta, valid, signed, rule), kernel, z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, gamma, delta, valid, z = ctx.saved_tensors
        call = _Call(q, k, v, gamma, delta, valid, ctx.signed, None)
        grad_q, grad_k, grad_v = call.empty(), call.empty(), call.empty()
        grad_gamma, grad_delta = torch.empty_like(gamma), torch.empty_like(delta)
        pairs = torch.empty(2, *q.shape[:2], dtype=torch.float64)
        call.add(grad_h=grad_h, grad_q=grad_q, grad_k=grad_k, grad_v=grad_v)
        call.add_flat(z=z, pair_gamma=pairs[0], pair_delta=pairs[1], grad_gamma=grad_gamma, grad_delta=grad_delta)
        call.run(ctx.kernel.inhibitor_backward)
        return grad_q, grad_k, grad_v, grad_gamma, grad_delta, None, None, None, None
