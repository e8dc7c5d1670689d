"""The kernels for GPUs: equal to the plain form, on a GPU where there is one, else in Triton's interpreter."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from integer_tickets.model import transformer, triton_kernel
from integer_tickets.model.attention import IntegerRule, inhibitor
from integer_tickets.model.triton_kernel import available, triton_inhibitor
from tests.model.conftest import float_model, sentences
from tests.model.test_kernel import NAMES, near, problem, run, same_bits

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
needs_gpu = pytest.mark.skipif(DEVICE == "cpu" or available() is not None, reason="no GPU with Triton here")


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """Triton's interpreter where there is no GPU; nothing is remembered of what is available."""
    if DEVICE == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    for function in (available, transformer.triton_works):
        function.cache_clear()
    yield
    for function in (available, transformer.triton_works):
        function.cache_clear()


def on_device(q, k, v, gamma, delta, valid, signed=True, rule=None):
    """`triton_inhibitor` of tensors on the CPU; the result, too, is there."""
    if rule is not None:
        rule = IntegerRule(*(t.to(DEVICE) for t in (rule.multiplier, rule.offset, rule.shift)))
    tensors = (t.to(DEVICE) for t in (q, k, v, gamma, delta, valid))
    return triton_inhibitor(*tensors, signed, rule).cpu()


@needs_triton
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 5), (7, 16), (16, 3), (17, 33), (33, 20), (65, 7), (9, 128)])
def test_equals_the_plain_form(n, d, signed):
    arrays = problem(n * 1000 + d, 3, 2, n, d, "grid")
    arrays[6][0] = True
    ours, plain = run(on_device, arrays, signed), run(inhibitor, arrays, signed, torch.float64)
    for name in NAMES:
        assert (ours[name].double() == plain[name]).all(), name  # float32 is exact on this grid

    arrays = problem(n * 1000 + d, 2, 2, n, d, "integer")
    arrays[6][0] = True
    ours, plain = run(on_device, arrays, signed), run(inhibitor, arrays, signed, torch.float64)
    assert (ours["h"].double() == plain["h"]).all()
    near(ours, plain, 1e-5)

    # Here |v| - Z may round to the other side of 0, so that single gates may differ.
    arrays = problem(n * 1000 + d, 2, 2, n, d, "real")
    arrays[6][0] = True
    near(run(on_device, arrays, signed), run(inhibitor, arrays, signed, torch.float64), 2e-5, 0.995)


@needs_triton
@pytest.mark.parametrize("signed", [True, False])
def test_integer_rule_is_exact_to_its_bounds(signed):
    d, heads = 5, 8
    q, k, v = (torch.from_numpy(x).float() for x in problem(4, 2, heads, 9, d, "integer")[:3])
    q[0, :, 0], k[0, :, 0] = 0, 255
    largest = (2**30 - 1) // (255 * d)
    multiplier = [largest] * 4 + [0, 1, 7, 300]
    offset = [-(2**30), 2**31 - 1, 2**30, 0, -5, 17, -(2**9), 2**18]
    rule = IntegerRule(
        *(torch.tensor(x, dtype=torch.int32) for x in (multiplier, offset, [22, 31, 0, 23, 0, 3, 4, 11]))
    )
    arguments = q, k, v, torch.ones(heads), torch.ones(heads), torch.ones(2, 9, dtype=torch.bool), signed, rule
    h = on_device(*arguments)
    assert torch.equal(h, inhibitor(*arguments)) and (h != h[:, :, :1]).any()


@needs_triton
@pytest.mark.parametrize("kind", ["real", "integer"])
def test_equal_calls_give_equal_bits(kind):
    arrays = problem(2, 3, 2, 19, 12, kind)
    same_bits(run(on_device, arrays, True), run(on_device, arrays, True))


@needs_triton
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("n", "longer"), [(1, 2), (11, 40), (16, 70)])
def test_padding_changes_nothing(n, longer, signed):
    short, long = problem(n, 1, 2, n, 6, "real"), problem(n + 1, 2, 2, longer, 6, "real")
    short[6][:] = True
    where = np.sort(np.random.default_rng(n).permutation(longer)[:n])
    padding = np.delete(np.arange(longer), where)
    for i in (0, 1, 2, 5):
        long[i][0][:, where] = short[i][0]
    long[3:5] = short[3:5]
    for i in (1, 2):
        long[i][0][:, padding] = np.nan
    long[5][0][:, padding] = 0
    long[5][1] = 0
    long[6][0] = np.isin(np.arange(longer), where)
    a, b = run(on_device, short, signed), run(on_device, long, signed)
    for name in NAMES[:4]:
        assert b[name].isfinite().all() and (name == "h" or (b[name][0][:, padding] == 0).all())
        b[name] = b[name][:1, :, where]
    near(b, a, 1e-6)


@needs_triton
@pytest.mark.parametrize("signed", [True, False])
def test_no_valid_key_gives_zero(signed):
    arrays = problem(5, 2, 2, 9, 8, "real")
    arrays[6][:] = [[False], [True]]
    result = run(on_device, arrays, signed)
    assert all((result[name][0] == 0).all() and (result[name][1] != 0).any() for name in NAMES[:4])


@needs_triton
@pytest.mark.parametrize("name", ["q", "k", "v", "gamma"])
def test_not_a_number_is_not_hidden(name):
    arrays = problem(9, 1, 1, 5, 3, "real")
    arrays[6][:] = True
    arrays[NAMES.index(name) - 1].flat[-1] = np.nan
    for signed in (True, False):
        ours, plain = (run(f, arrays, signed)["h"].isnan() for f in (on_device, inhibitor))
        assert ours.any() and torch.equal(ours, plain)


@needs_triton
def test_ties_and_minus_zero_pass_no_gradient():
    q, k = torch.tensor([[[[1.0, 2.0, -0.0]]]]), torch.tensor([[[[1.0, 5.0, 0.0]]]])
    v, one, zero = torch.tensor([[[[3.0, 4.0, -3.0]]]]), torch.ones(1), torch.zeros(1)
    leaves = [t.to(DEVICE).requires_grad_() for t in (q, k, v, one, zero)]
    triton_inhibitor(*leaves).sum().backward()  # Z = 3, and no mask
    assert [t.grad.flatten().tolist() for t in leaves] == [[0, 1, 0], [0, -1, 0], [0, 1, 0], [-3], [1]]


@needs_triton
def test_any_layout_of_memory():
    arrays = problem(10, 3, 2, 7, 8, "real")
    arrays[5] = np.ones_like(arrays[5])
    expected = run(on_device, arrays, True)
    q, k, v, gamma, delta = (torch.from_numpy(x).float().to(DEVICE) for x in arrays[:5])
    merged = torch.cat([q, k, v], -1).transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    h = triton_inhibitor(*merged.split(8, -1), gamma, delta, torch.from_numpy(np.asfortranarray(arrays[6])).to(DEVICE))
    h.sum().backward()  # a gradient without strides
    assert merged.grad is not None and torch.equal(h.cpu(), expected["h"])
    assert torch.equal(merged.grad.cpu(), torch.cat([expected[name] for name in "qkv"], -1))


@needs_triton
def test_an_empty_batch():
    q, gamma = torch.ones(0, 2, 3, 4, device=DEVICE), torch.ones(2, device=DEVICE, requires_grad=True)
    triton_inhibitor(q, q, q, gamma, torch.zeros_like(gamma)).sum().backward()
    assert gamma.grad is not None and gamma.grad.tolist() == [0, 0]


@needs_triton
def test_what_does_not_fit_is_named():
    x, one = torch.ones(1, 2, 3, 4, device=DEVICE), torch.ones(2, device=DEVICE)
    with pytest.raises(ValueError, match=r"k is torch\.float32 of shape \(1, 2, 3, 5\)"):
        triton_inhibitor(x, torch.ones(1, 2, 3, 5), x, one, one)
    with pytest.raises(ValueError, match=r"q is torch\.float64, expected torch\.float32"):
        triton_inhibitor(*(x.double(),) * 3, *(one.double(),) * 2)
    with pytest.raises(ValueError, match="triton_inhibitor: a tensor is on meta, expected"):
        triton_inhibitor(x, x, x.to("meta"), one, one)


@needs_triton
def test_compiles_for_a_gpu_without_one(monkeypatch):
    """The interpreter takes more than the compiler does."""
    program = """
from itertools import product
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from integer_tickets.model.triton_kernel import _kernels
for kernel, signed, (width, n), rule in product(_kernels(), (True, False), ((16, None), (128, 1)), (None, "*i32")):
    constants = {"SIGNED": signed, "BLOCK": 64, "WIDTH": width}
    if n == 1:
        constants |= {"n": 1}
    if rule is None:
        constants |= dict.fromkeys(("multiplier", "offset", "shift"))
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    types = dict.fromkeys(("heads", "d", "n", "tokens"), "i32") | dict.fromkeys(("multiplier", "offset", "shift"), rule)
    signature = {x: "constexpr" if x in constants else types.get(x, "*fp32") for x in kernel.arg_names}
    if rule is None or "multiplier" in signature:
        source, options = ASTSource(kernel, signature, constants), {"num_warps": max(4, width // 16)}
        ptx = compile(source, GPUTarget("cuda", 80, 32), options).asm["ptx"]
        assert "max.f32" not in ptx and "min.f32" not in ptx  # these hide what is not a number
"""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ})


def test_no_triton_is_a_reason(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "triton", None)
    x, one = torch.ones(1, 2, 3, 4), torch.ones(2)
    assert "triton" in str(available())
    with pytest.raises(OSError, match="triton"):
        triton_inhibitor(x, x, x, one, one)
    assert not transformer.triton_works() and not transformer.triton_works()
    assert capsys.readouterr().err.count("many times slower: ") == 1


@needs_triton
def test_no_gpu_is_a_reason(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert available() == "no GPU"


@needs_gpu
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("kind", ["grid", "real", "integer"])
@pytest.mark.parametrize(("n", "d"), [(200, 64), (512, 16), (130, 128), (50, 33)])
def test_a_batch_on_a_gpu(n, d, kind, signed):
    arrays = problem(n, 4, 2, n, d, kind)
    counts = np.array([n, 1, n // 2, 0])
    arrays[6] = np.arange(n) < counts[:, None]
    arrays[5] *= arrays[6][:, None, :, None]
    ours = run(on_device, arrays, signed)
    near(ours, run(inhibitor, arrays, signed, torch.float64), 1e-4, 0.995)
    for b, count in enumerate(counts[:3]):
        alone = [x if i > 5 or x.ndim == 1 else x[b : b + 1, :, :count] for i, x in enumerate(arrays)]
        alone[6] = np.ones((1, count), bool)
        part = run(on_device, alone, signed)
        for name in NAMES[:4]:
            torch.testing.assert_close(ours[name][b : b + 1, :, :count], part[name], rtol=1e-5, atol=1e-5)


@needs_gpu
@pytest.mark.parametrize("kind", ["inhibitor", "unsigned"])
def test_a_model_on_a_gpu_takes_it(kind, monkeypatch):
    calls = []
    monkeypatch.setattr(
        triton_kernel, "triton_inhibitor", lambda *arguments: calls.append(1) or triton_inhibitor(*arguments)
    )
    ids, counts = sentences([3, 0, 12, 1])
    expected = float_model(kind, kernel="plain")(ids, counts)
    logits = float_model(kind, kernel="fused").to("cuda")(ids.to("cuda"), counts.to("cuda"))
    assert len(calls) == 2
    torch.testing.assert_close(logits.cpu(), expected, rtol=0, atol=2e-5)
