"""Inhibitor attention (arXiv 2310.02041) in plain PyTorch: the reference of the fused kernel, and its fallback."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class IntegerRule:
    """How an integer network turns distances into inhibitions: clamp((D * multiplier - offset) >> shift, 0, 255).

    Three int32 tensors of shape (heads,), with D * multiplier < 2**30, offset >= -2**30 and 0 <= shift < 32, so that
    int32 holds every step.
    """

    multiplier: Tensor
    offset: Tensor
    shift: Tensor


def inhibitor(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gamma: Tensor,
    delta: Tensor,
    valid: Tensor | None = None,
    signed: bool = True,
    rule: IntegerRule | None = None,
) -> Tensor:
    """The plain sum H over the valid keys, of shape (batch, heads, n, d).

        Z_ij = max(0, gamma * sum_c |q_ic - k_jc| - delta)
        H_ic = sum_j v_jc - clamp(v_jc, -Z_ij, Z_ij)  (signed)    sum_j max(0, v_jc - Z_ij)  (unsigned)

    q, k, v: (batch, heads, n, d); gamma, delta: (heads,); all float32 or all float64. valid: (batch, n), true where a
    token is real; every query is computed, and without a valid key H is 0. With a `rule`, q and k hold integers
    0..255, v integers -127..127, Z is the integer of the rule, and H is exact.

    Gradients: d|x| = sign(x) with sign(0) = 0, and nothing passes where Z = 0 or |v| = Z. A rule is differentiated as
    if Z were gamma * D - delta wherever it is above 0 (straight through).

    Memory grows as batch * heads * n * n * d. Raises ValueError where shapes or types do not fit.
    """
    check(q, k, v, gamma, delta, valid, rule)
    if valid is not None:  # with v = 0 a key adds nothing, whatever its distance
        padding = ~valid[:, None, :, None]
        k, v = k.masked_fill(padding, 0), v.masked_fill(padding, 0)
    distance = (q[:, :, :, None, :] - k[:, :, None, :, :]).abs().sum(-1)
    z = gamma[:, None, None] * distance - delta[:, None, None]
    if rule is None:
        z = z.relu()
    else:
        exact = integer_inhibition(distance.detach(), rule)
        open_ = torch.where(exact > 0, z, 0)
        z = exact + (open_ - open_.detach())
    keys, limits = v[:, :, None, :, :], z[..., None]
    passed = (keys - limits).relu()
    if signed:
        passed = passed - (-keys - limits).relu()
    return passed.sum(-2)


def integer_inhibition(distance: Tensor, rule: IntegerRule) -> Tensor:
    """Z of the integer rule, in the floating type of `distance` (batch, heads, n, n), which holds integers."""
    multiplier, offset, shift = (t[:, None, None] for t in (rule.multiplier, rule.offset, rule.shift))
    z = (distance.to(torch.int32) * multiplier - offset) >> shift
    return z.clamp(0, 255).to(distance.dtype)


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gamma: Tensor,
    delta: Tensor,
    valid: Tensor | None,
    rule: IntegerRule | None,
) -> None:
    """Raise ValueError, naming the tensor, where shapes or types are not those of `inhibitor`."""
    if q.ndim != 4 or 0 in q.shape[1:]:
        raise ValueError(f"inhibitor: q has shape {tuple(q.shape)}, expected (batch, heads, n, d)")
    if q.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"inhibitor: q is {q.dtype}, expected torch.float32 or torch.float64")
    batch, heads, n, _ = q.shape
    expected: list[tuple[str, Tensor, torch.Size | tuple[int, ...], torch.dtype]] = [
        ("k", k, q.shape, q.dtype),
        ("v", v, q.shape, q.dtype),
        ("gamma", gamma, (heads,), q.dtype),
        ("delta", delta, (heads,), q.dtype),
    ]
    if valid is not None:
        expected.append(("valid", valid, (batch, n), torch.bool))
    if rule is not None:
        expected += [
            (f"rule.{name}", getattr(rule, name), (heads,), torch.int32) for name in ("multiplier", "offset", "shift")
        ]
    for name, tensor, shape, dtype in expected:
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ValueError(
                f"inhibitor: {name} is {tensor.dtype} of shape {tuple(tensor.shape)}, "
                f"expected {dtype} of shape {tuple(shape)}"
            )
