"""The fused Inhibitor attention: kernel.c, compiled at first use, as a differentiable function of PyTorch."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from integer_tickets.model.attention import IntegerRule, check

SOURCE = Path(__file__).with_name("kernel.c")
# No -ffast-math, here or for speed: it would let the compiler reorder sums, and linking with it makes the whole
# process flush subnormal numbers to zero.
FLAGS = ("-std=gnu99", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-pthread")
ISA_FLAGS: dict[str, tuple[str, ...]] = {"baseline": (), "avx2": ("-mavx2", "-mfma"), "native": ("-march=native",)}


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


def _compiled(isa: str) -> Path:
    """The shared library for `isa`, from the cache folder or compiled into it. Raises OSError with a reason."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("no C compiler found (cc or gcc)")
    command = [compiler, *FLAGS, *ISA_FLAGS[isa]]

    def run(*arguments: str) -> bytes:
        done = subprocess.run([*command, *arguments], capture_output=True, check=False)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").splitlines()
            reason = next((line for line in lines if "error" in line), f"exit code {done.returncode}")
            raise OSError(f"{compiler} failed for instruction set {isa!r}: {reason}")
        return done.stdout

    # The predefined macros name the version of the compiler and, for native, this processor's instructions.
    macros = run("-dM", "-E", "-x", "c", os.devnull)
    parts = (SOURCE.read_bytes(), " ".join(command).encode(), macros)
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]
    folder = os.environ.get("INTEGER_TICKETS_CACHE") or Path.home() / ".cache" / "integer-tickets"
    path = Path(folder) / f"inhibitor-{isa}-{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as own:  # several processes may build at the same time
            built = Path(own) / path.name
            run("-o", str(built), str(SOURCE))
            os.replace(built, path)
    return path


@cache
def _load(isa: str) -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and the reason why there is none."""
    if isa not in ISA_FLAGS:
        raise ValueError(f"instruction set {isa!r}: expected one of {', '.join(ISA_FLAGS)}")
    try:
        loaded = ctypes.CDLL(str(_compiled(isa)))
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        return None, str(error)
    if not loaded.inhibitor_runs_here():
        return None, f"this processor lacks the instruction set {isa!r}"
    loaded.inhibitor_width.restype = ctypes.c_int64
    loaded.inhibitor_width.argtypes = (ctypes.c_int64,)
    for function in (loaded.inhibitor_forward, loaded.inhibitor_backward):
        function.argtypes = (ctypes.POINTER(_Problem), ctypes.c_int64)
    return loaded, ""


def available(isa: str = "avx2") -> str | None:
    """None where the kernel runs here for `isa` (avx2, native, baseline), else the reason in one line."""
    loaded, reason = _load(isa)
    return reason if loaded is None else None


def library(isa: str = "avx2") -> ctypes.CDLL:
    """The compiled kernel; built at first use into $INTEGER_TICKETS_CACHE or ~/.cache/integer-tickets.

    Raises OSError where `available(isa)` gives a reason, ValueError for an unknown `isa`.
    """
    loaded, reason = _load(isa)
    if loaded is None:
        raise OSError(reason)
    return loaded


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
