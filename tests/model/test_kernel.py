"""The fused kernel: equal to the plain form, and the same bits whatever the padding, batch, threads or instructions."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from integer_tickets.model import library as building
from integer_tickets.model.attention import IntegerRule, inhibitor
from integer_tickets.model.kernel import available, fused_inhibitor, library

pytestmark = pytest.mark.skipif(available("baseline") is not None, reason=str(available("baseline")))
ISAS = [isa for isa in building.ISA_FLAGS if available(isa) is None]
NAMES = ("h", "q", "k", "v", "gamma", "delta")


def problem(seed, batch, heads, n, d, kind="grid"):
    """q, k, v, gamma, delta, gradient of H, valid and rule, as NumPy arrays.

    grid: small multiples of 1/4, so that float32 is exact and ties are many; real: normal; integer: with a rule.
    """
    rng = np.random.default_rng(seed)
    shape = (4, batch, heads, n, d)
    rule = None
    if kind == "grid":
        x = rng.integers(-8, 9, shape) / 4
        gamma, delta = rng.choice([0.0, 0.125, 0.1875], heads), rng.integers(-4, 9, heads) / 8
    elif kind == "real":
        x = rng.normal(size=shape)
        gamma, delta = rng.uniform(0.1, 1, heads) / d, rng.normal(size=heads) / 4
    else:
        x = rng.integers(-127, 128, shape).astype(float)
        x[:2] += 127 + (rng.random((2, *shape[1:])) < 0.5)
        shift = rng.integers(8, 16, heads)
        rule = (rng.integers(1, 2**30 // (255 * d), heads), rng.integers(-(2**16), 2**20, heads), shift)
        rule = (np.minimum(rule[0], 2 ** (shift + 1) // d + 1), *rule[1:])
        gamma, delta = rule[0] / 2.0**shift, rule[1] / 2.0**shift
        x[3] = rng.integers(-8, 9, shape[1:]) / 4
    valid = rng.random((batch, n)) < rng.choice([0.0, 0.5, 0.9, 1.0], (batch, 1))
    return [*x[:3], gamma, delta, x[3], valid, rule]


def run(function, arrays, signed, dtype=torch.float32, **options):
    """H and the gradients of q, k, v, gamma and delta."""
    *floats, valid, rule = arrays
    q, k, v, gamma, delta, grad = (torch.as_tensor(np.asarray(x)).to(dtype) for x in floats)
    leaves = [t.clone().requires_grad_() for t in (q, k, v, gamma, delta)]
    if rule is not None:
        rule = IntegerRule(*(torch.from_numpy(np.asarray(x, dtype=np.int32)) for x in rule))
    h = function(*leaves, torch.from_numpy(valid), signed, rule, **options)
    h.backward(grad)
    return dict(zip(NAMES, [h.detach(), *(t.grad for t in leaves)], strict=True))


def same_bits(a, b, names=NAMES):
    """Equal as bits, but for the sign of zero."""
    for name in names:
        x, y = (np.asarray(t[name]) + np.float32(0) for t in (a, b))
        assert x.dtype == y.dtype and x.tobytes() == y.tobytes(), name


def near(a, b, tolerance, share=1.0):
    """At least `share` of the entries within `tolerance` of the largest; all finite."""
    for name in NAMES:
        x, y = (t[name].double() for t in (a, b))
        assert x.isfinite().all() and y.isfinite().all(), name
        close = (x - y).abs() <= tolerance * y.abs().max()
        assert close.double().mean() >= share, (name, (x - y).abs().max() / y.abs().max())


LENGTHS = [1, 2, 3, 7, 8, 9, 16, 31, 33, 64, 130]
WIDTHS = [1, 3, 4, 8, 16, 32, 33, 64, 128]
LONG = {(130, 128), (256, 64), (512, 4), (512, 32)}
SHAPES = sorted({(n, d) for n in LENGTHS for d in (4, 33)} | {(n, d) for n in (9, 33) for d in WIDTHS} | LONG)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_equals_the_plain_form(n, d, signed):
    batch, heads = (1, 1) if n * d > 10_000 else (2, 2)
    arrays = problem(n * 1000 + d, batch, heads, n, d, "grid")
    fused, plain = run(fused_inhibitor, arrays, signed), run(inhibitor, arrays, signed, torch.float64)
    for name in ("h", "q", "k", "v", "delta"):
        assert (fused[name].double() == plain[name]).all(), name  # float32 is exact on this grid
    near(fused, plain, 2e-6)

    arrays = problem(n * 1000 + d, batch, heads, n, d, "integer")
    fused, plain = run(fused_inhibitor, arrays, signed), run(inhibitor, arrays, signed, torch.float64)
    assert (fused["h"].double() == plain["h"]).all()
    near(fused, plain, 5e-5 if n * d > 10_000 else 1e-5)

    # Here |v| - Z may round to the other side of 0, so that single gates may differ.
    arrays = problem(n * 1000 + d, batch, heads, n, d, "real")
    near(run(fused_inhibitor, arrays, signed), run(inhibitor, arrays, signed, torch.float64), 2e-5, 0.995)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 40),
    d=st.integers(1, 40),
    signed=st.booleans(),
    kind=st.sampled_from(["grid", "real", "integer"]),
    scale=st.sampled_from([1.0, 1e-20, 1e-40, 1e15]),
)
def test_same_bits_on_every_instruction_set_and_thread_count(seed, n, d, signed, kind, scale):
    arrays = problem(seed, 2, 3, n, d, kind)
    if kind == "real":
        arrays[:3] = [x * scale for x in arrays[:3]]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first, *others = (run(fused_inhibitor, arrays, signed, isa=isa) for isa in ISAS)
        torch.set_num_threads(2)
        others.append(run(fused_inhibitor, arrays, signed, isa=ISAS[-1]))
    finally:
        torch.set_num_threads(threads)
    for other in others:
        same_bits(first, other)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 20),
    more=st.integers(1, 30),
    d=st.integers(1, 20),
    signed=st.booleans(),
    kind=st.sampled_from(["real", "integer"]),
)
def test_padding_changes_no_bit(seed, n, more, d, signed, kind):
    short = problem(seed, 1, 2, n, d, kind)
    short[6][:] = True
    long = problem(seed + 1, 1, 2, n + more, d, kind)
    where = np.sort(np.random.default_rng(seed).permutation(n + more)[:n])
    for i in range(3):
        long[i][:, :, where] = short[i]
    long[3:5], long[7] = short[3:5], short[7]
    long[5][:] = 0
    long[5][:, :, where] = short[5]
    long[6][:] = False
    long[6][:, where] = True
    a, b = run(fused_inhibitor, short, signed), run(fused_inhibitor, long, signed)
    padding = ~long[6][0]
    for name in ("h", "q", "k", "v"):
        assert b[name].isfinite().all() and (name == "h" or (b[name][:, :, padding] == 0).all())
        b[name] = b[name][:, :, where]
    same_bits(a, b)


def test_neighbours_in_the_batch_change_no_bit():
    arrays = problem(3, 5, 2, 19, 12, "real")
    whole = run(fused_inhibitor, arrays, True)
    for b in range(5):
        alone = [x if i in (3, 4, 7) else x[b : b + 1] for i, x in enumerate(arrays)]
        part = run(fused_inhibitor, alone, True)
        same_bits({name: whole[name][b : b + 1] for name in NAMES[:4]}, part, NAMES[:4])


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("isa", ISAS)
def test_no_valid_key_gives_zero(isa, signed):
    arrays = problem(5, 2, 2, 9, 8, "real")
    arrays[6][:] = [[False], [True]]
    result = run(fused_inhibitor, arrays, signed, isa=isa)
    assert all((result[name][0] == 0).all() and (result[name][1] != 0).any() for name in NAMES[:4])


def test_queries_that_are_padding_send_a_gradient_only_where_they_get_one():
    arrays = problem(6, 1, 1, 6, 4, "grid")
    arrays[3:5] = [np.array([0.125]), np.array([0.25])]
    arrays[6][:] = [[True, True, True, False, False, False]]
    arrays[5][:, :, 3:] = 0
    result = run(fused_inhibitor, arrays, True)
    assert (result["q"][:, :, 3:] == 0).all() and result["h"].isfinite().all()
    arrays[5][:, :, 4] = 1
    more = run(fused_inhibitor, arrays, True)
    same_bits(more, run(inhibitor, arrays, True))
    assert (more["v"] != result["v"]).any()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("power", [-130, -126, -100, 100, 110])
def test_extreme_magnitudes(isa, power):
    arrays = problem(8, 2, 2, 9, 16, "grid")
    arrays[0] = arrays[0] * 2.0**power * 4
    arrays[1] = arrays[1] * 2.0**power * 4
    arrays[3] = np.full(2, 2.0 ** min(-7 - power, 112))
    fused = run(fused_inhibitor, arrays, True, isa=isa)
    plain = run(inhibitor, arrays, True, torch.float64)
    assert all((fused[name].double() == plain[name]).all() for name in NAMES)
    assert (fused["q"] != 0).any() and fused["q"].isfinite().all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_not_a_number_is_not_hidden(isa, name):
    arrays = problem(9, 1, 1, 5, 3, "real")
    arrays[6][:] = True
    arrays["qkv".index(name)][0, 0, 2, 1] = np.nan
    assert run(fused_inhibitor, arrays, True, isa=isa)["h"][0, 0, 2].isnan().any()
    assert run(fused_inhibitor, arrays, False, isa=isa)["h"][0, 0, 2].isnan().any()


def test_any_layout_of_memory():
    arrays = problem(10, 3, 2, 7, 8, "real")
    expected = run(fused_inhibitor, arrays, True)
    q, k, v = (torch.from_numpy(x).float() for x in arrays[:3])
    merged = torch.cat([q, k, v], -1).transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    gamma, delta = (torch.from_numpy(x).float() for x in arrays[3:5])
    valid = torch.from_numpy(np.asfortranarray(arrays[6]))
    h = fused_inhibitor(*merged.split(8, -1), gamma, delta, valid)
    assert h.transpose(1, 2).is_contiguous() and torch.equal(h, expected["h"])
    h.sum().backward()  # a gradient without strides
    arrays[5] = np.ones_like(arrays[5])
    ones = run(fused_inhibitor, arrays, True)
    assert merged.grad is not None
    assert torch.equal(merged.grad, torch.cat([ones[name] for name in "qkv"], -1))
    with torch.no_grad():
        assert torch.equal(fused_inhibitor(*merged.split(8, -1), gamma, delta, valid), h)


def test_an_empty_batch():
    q = torch.ones(0, 2, 3, 4, requires_grad=True)
    gamma = torch.ones(2, requires_grad=True)
    fused_inhibitor(q, q, q, gamma, torch.zeros(2)).sum().backward()
    assert gamma.grad is not None and gamma.grad.tolist() == [0, 0]


def test_what_does_not_fit_is_named():
    x, one = torch.ones(1, 2, 3, 4), torch.ones(2)
    with pytest.raises(ValueError, match=r"k is torch\.float32 of shape \(1, 2, 3, 5\)"):
        fused_inhibitor(x, torch.ones(1, 2, 3, 5), x, one, one)
    with pytest.raises(ValueError, match=r"q is torch\.float64, expected torch\.float32"):
        fused_inhibitor(*(x.double(),) * 3, *(one.double(),) * 2)
    with pytest.raises(ValueError, match="a tensor is on meta, expected the CPU"):
        fused_inhibitor(x, x, x.to("meta"), one, one)
    with pytest.raises(ValueError, match="instruction set 'avx3': expected one of baseline, avx2, native"):
        fused_inhibitor(x, x, x, one, one, isa="avx3")


def test_subnormal_numbers_survive_the_library():
    program = """
import numpy as np
from integer_tickets.model.kernel import library
for isa in {isas}:
    library(isa)
assert np.float64(1e-310) * np.float64(0.5) != 0
assert np.float32(1e-40) * np.float32(0.5) != 0
import torch
assert (torch.full((64,), 1e-40) * 0.5 != 0).all()
"""
    subprocess.run([sys.executable, "-c", program.format(isas=ISAS)], check=True, env={**os.environ})


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache folder, and no library in memory."""
    monkeypatch.setenv("INTEGER_TICKETS_CACHE", str(tmp_path / "cache"))
    building._load.cache_clear()
    yield tmp_path
    building._load.cache_clear()


def test_is_built_once(fresh, monkeypatch):
    library("baseline")
    files = [path.name for path in (fresh / "cache").iterdir()]
    assert len(files) == 1 and files[0].startswith("kernels-baseline-") and files[0].endswith(".so")
    before = (fresh / "cache" / files[0]).stat()
    building._load.cache_clear()
    library("baseline")
    assert (fresh / "cache" / files[0]).stat().st_mtime_ns == before.st_mtime_ns


def test_several_processes_may_build_it_at_once(tmp_path):
    code = "from integer_tickets.model.kernel import available; print(available('baseline'))"
    environment = {**os.environ, "INTEGER_TICKETS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in running] == ["None"] * 3
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("isa", ISAS)
def test_minus_zero_is_zero(isa):
    q, k = torch.tensor([[[[-0.0]]]], requires_grad=True), torch.tensor([[[[0.0]]]], requires_grad=True)
    v, gamma, delta = torch.ones(1, 1, 1, 1), torch.ones(1), torch.tensor([-0.5])
    fused_inhibitor(q, k, v, gamma, delta, isa=isa).sum().backward()
    assert q.grad is not None and k.grad is not None
    assert q.grad.item() == 0 and k.grad.item() == 0


def test_no_compiler_is_a_reason(fresh, monkeypatch):
    monkeypatch.setenv("PATH", str(fresh))
    assert available("baseline") == "no C compiler found (cc or gcc)"
    with pytest.raises(OSError, match="no C compiler found"):
        library("baseline")


def test_a_failing_compiler_is_a_reason(fresh, monkeypatch):
    compiler = fresh / "cc"
    compiler.write_text(
        "#!/bin/sh\ncase $* in *-dM*) exit 0;; esac\necho 'x.c: a note' >&2\necho 'x.c:1: error: no' >&2\nexit 1\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(fresh))
    assert available("avx2") == f"{compiler} failed for kernels-avx2: x.c:1: error: no"
    assert list((fresh / "cache").iterdir()) == []


def test_a_processor_without_the_instructions_is_a_reason(fresh, monkeypatch):
    (fresh / "other.c").write_text("int runs_here(void) { return 0; }\n")
    monkeypatch.setattr(building, "FOLDER", fresh)
    assert available("baseline") == "this processor lacks the instruction set 'baseline'"
