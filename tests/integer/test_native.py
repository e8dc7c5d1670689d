"""The native engine: every form of its steps gives the integers of the reference, and holds no float."""

import ctypes
import platform
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import integer_tickets
from integer_tickets.cli import main
from integer_tickets.errors import UserError
from integer_tickets.integer import building, conformance, native_engine, reference
from integer_tickets.integer.fuzz import fuzz
from tests.integer.conftest import KINDS, build_network, build_tokenizer

SHAPES = [  # d, heads, hidden: whole groups of 4, and such as leave some over
    (32, 4, 48),
    (12, 6, 7),
    (24, 1, 1),
    (7, 7, 70),
    (65, 5, 33),
    (130, 2, 20),
]

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

ISAS = [isa for isa in native_engine.ISAS if native_engine.available(isa) is None]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_calibrated_networks(random_network, sentences, kind, shape, isa):
    d, heads, hidden = shape
    for seed, (bits, density) in enumerate([(8, None), (4, 0.3), (3, 0.05), (2, 0.9)]):
        network = random_network(seed, kind, d=d, heads=heads, hidden=hidden, bits=bits, density=density)
        batch = sentences(network, seed)
        expected = reference.logits(network, batch)
        assert np.array_equal(native_engine.logits(network, batch, isa=isa), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_extreme_networks(random_network, sentences, kind, seed, isa):
    network = random_network(seed, kind, extreme=True, bits=[8, 4, 3, 2][seed % 4], positions=9)
    batch = sentences(network, seed, 10)
    assert np.array_equal(native_engine.logits(network, batch, isa=isa), reference.logits(network, batch))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
def test_long_sentences_no_layers_and_layers_of_their_own_sizes(random_network, sentences, kind, isa):
    network = random_network(5, kind, positions=255, layers=1, d=16)
    random = np.random.default_rng(0)
    batch = [random.integers(0, 60, n).tolist() for n in (255, 254, 129, 128, 1, 0)]
    assert np.array_equal(native_engine.logits(network, batch, isa=isa), reference.logits(network, batch))
    for shape in ({"layers": 0}, {"sizes": [(1, 3, 5), (4, 8, 48), (3, 1, 1)]}):
        network = random_network(6, kind, **shape)
        batch = sentences(network, 1)
        assert np.array_equal(native_engine.logits(network, batch, isa=isa), reference.logits(network, batch))


@pytest.mark.parametrize("isa", ISAS)
def test_wide_heads(random_network, isa):
    """Distances of more than 256 features do not fit into 16 bits."""
    network = random_network(7, "inhibitor", d=520, heads=1, layers=1, hidden=3)
    batch = [[1, 2, 3, 4, 5], [59] * 20]
    assert np.array_equal(native_engine.logits(network, batch, isa=isa), reference.logits(network, batch))


@pytest.mark.parametrize("isa", ISAS)
def test_logits_depend_on_the_sentence_alone(random_network, sentences, isa):
    network = random_network(11, density=0.5)
    batch = [*sentences(network), [], [3]]
    expected = native_engine.logits(network, batch, isa=isa)
    order = np.random.default_rng(1).permutation(len(batch))
    assert np.array_equal(native_engine.logits(network, [batch[i] for i in order], isa=isa), expected[order])
    for threads in (2, 5, 100):
        assert np.array_equal(native_engine.logits(network, batch, threads, isa), expected)
    for row, alone in zip(batch, expected, strict=True):
        assert np.array_equal(native_engine.logits(network, [row], isa=isa)[0], alone)
    assert native_engine.logits(network, [], isa=isa).shape == (0, 3)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 3])
def test_padded_batches(random_network, isa, threads):
    network = random_network(2, positions=30)
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 31, 90)
    ids = rng.integers(0, 60, (90, 40))
    expected = reference.logits(network, [row[:count].tolist() for row, count in zip(ids, counts, strict=True)])
    assert np.array_equal(native_engine.padded_logits(network, ids, counts, threads, isa), expected)
    beyond = ids + 1000 * (np.arange(40) >= counts[:, None])  # what padding holds is never looked at
    assert np.array_equal(native_engine.padded_logits(network, beyond.astype(np.int32), counts, threads, isa), expected)
    assert native_engine.padded_logits(network, ids[:0], counts[:0], threads, isa).shape == (0, 3)
    for bad_ids, bad_counts in ((ids - 60, counts), (ids + 60, counts), (ids, counts + 31), (ids, counts - 31)):
        with pytest.raises(ValueError, match=r"token ids must lie in 0..59, counts in 0..30"):
            native_engine.padded_logits(network, bad_ids, bad_counts, threads, isa)
    with pytest.raises(ValueError, match="3 counts for 90 sentences"):
        native_engine.padded_logits(network, ids, counts[:3])


@pytest.mark.parametrize("isa", ISAS)
def test_layers_without_a_single_weight(random_network, sentences, isa):
    network = random_network(1)
    layer = network.layers[0]
    up = replace(layer.up, weight=np.zeros_like(layer.up.weight), mask=None)
    network = replace(network, layers=(replace(layer, up=up), *network.layers[1:]))
    zero = replace(network.classifier, weight=np.zeros_like(network.classifier.weight), mask=None)
    for own in (network, replace(network, classifier=zero)):
        batch = sentences(own, 3)
        assert np.array_equal(native_engine.logits(own, batch, isa=isa), reference.logits(own, batch))


def test_another_tokenizer_of_the_same_network(random_network):
    one, other = (build_tokenizer(seed=seed, size=60) for seed in (0, 1))
    network = random_network(0)
    texts = ["some words of a text", "and others"]
    for tokenizer in (one, other, one):
        expected = reference.logits(network, tokenizer.encode_batch(texts))
        assert np.array_equal(native_engine.text_logits(network, tokenizer, texts), expected)
    with pytest.raises(UserError, match=rf"tokenizer: {one.size} ids, but the network has 5 tokens"):
        native_engine.encode(random_network(0, vocabulary=5), one, texts)


def test_what_does_not_fit_is_refused(random_network):
    network = random_network(1)
    with pytest.raises(ValueError, match=r"token ids must lie in 0\.\.59"):
        native_engine.logits(network, [[1], [60]])
    with pytest.raises(ValueError, match="token ids"):
        native_engine.logits(network, [[-1]])
    with pytest.raises(ValueError, match="more than 20 tokens"):
        native_engine.logits(network, [[1], [1] * 21])


def test_the_forms_are_those_that_were_meant():
    if platform.machine() in ("x86_64", "AMD64"):  # what is left out is left out for the processor alone
        reasons = [native_engine.available(isa) for isa in native_engine.ISAS if isa not in ISAS]
        assert all("lacks the instruction set" in reason for reason in reasons)
    assert native_engine.library("baseline").ticket_form() == 0
    for form, isa in enumerate(("avx2", "avx512"), 1):
        if isa in ISAS:
            assert native_engine.library(isa).ticket_form() == form
    if native_engine.has_tiles():
        assert "amx_int8" in Path("/proc/cpuinfo").read_text()


@pytest.mark.skipif("avx512" not in ISAS, reason="no AVX-512")
def test_without_leave_for_tiles_there_are_vectors(monkeypatch):
    def built(name, folder, flags):
        tiles = SimpleNamespace(ticket_form=lambda: native_engine.TILES, ticket_runs_here=lambda: 0)
        return tiles if name == "engine-native" else building.shared_library(name, folder, flags)

    native_engine._load.cache_clear()
    monkeypatch.setattr(native_engine, "shared_library", built)
    assert native_engine.library("native") is native_engine.library("avx512")
    native_engine._load.cache_clear()


FLOATING = re.compile(
    r"\s(v?(add|sub|mul|div|sqrt|min|max|rcp|rsqrt|comi|ucomi|cmp\w*|fn?m(add|sub)\d*|round|dp)(ps|pd|ss|sd|ph|sh)"
    r"|v?cvt\w*(ps|pd|ss|sd|ph|sh)\w*|f(ld|add|mul|div|sub|ild)\w*)\s"
)


@pytest.mark.skipif(shutil.which("objdump") is None, reason="no objdump")
@pytest.mark.parametrize("isa", ISAS)
def test_no_instruction_computes_with_floats(tmp_path, isa):
    for source in native_engine.FOLDER.glob("*.c"):
        built = tmp_path / source.with_suffix(".o").name
        command = ["cc", *native_engine.FLAGS, *native_engine.ISAS[isa], "-c", str(source), "-o", str(built)]
        subprocess.run(command, check=True)
        code = subprocess.run(["objdump", "-d", str(built)], check=True, capture_output=True, text=True).stdout
        assert "ret" in code and not FLOATING.search(code)
    assert FLOATING.search("  c5 f8 58 c0   vaddps %xmm0,%xmm0,%xmm0 ")


def use_build(monkeypatch, *flags):
    """Compiled with these flags the engine is what `logits` runs from now on."""
    own = building.shared_library("test", native_engine.FOLDER, ("-std=c99", *flags))
    own.ticket_batch_space.restype = ctypes.c_size_t
    own.ticket_batch_space.argtypes = (ctypes.c_void_p, ctypes.c_int32)
    own.ticket_batch.argtypes = native_engine.library("baseline").ticket_batch.argtypes
    monkeypatch.setattr(native_engine, "library", lambda isa: own)
    return own


def test_a_build_without_registers_for_floats_gives_the_same(random_network, sentences, monkeypatch):
    use_build(monkeypatch, "-O2", "-mgeneral-regs-only")
    for kind in KINDS:
        network = random_network(3, kind, density=0.4)
        batch = sentences(network, 2)
        assert np.array_equal(native_engine.logits(network, batch), reference.logits(network, batch))


@pytest.mark.skipif("avx512" not in ISAS, reason="no AVX-512")
def test_the_steps_with_tiles_where_tiles_are_plain_c(random_network, sentences, monkeypatch):
    tiles = Path(__file__).parent / "tiles.h"
    emulated = ["-D_DEFAULT_SOURCE", "-D__AMX_INT8__", f"-DTILES={crc32(tiles.read_bytes())}", "-include", str(tiles)]
    assert use_build(monkeypatch, "-O2", *native_engine.AVX512, *emulated).ticket_form() == native_engine.TILES
    for seed, (d, heads, hidden) in enumerate(SHAPES):
        for density in (None, 0.1):
            network = random_network(seed, "inhibitor", d=d, heads=heads, hidden=hidden, density=density)
            batch = sentences(network, seed)
            assert np.array_equal(native_engine.logits(network, batch), reference.logits(network, batch))


def test_without_a_compiler_there_is_a_reason(monkeypatch):
    native_engine._load.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert native_engine.available("avx2") == "no C compiler found (cc or gcc)"
    with pytest.raises(OSError, match="no C compiler"):
        native_engine.library("avx2")
    native_engine._load.cache_clear()


@given(st.lists(st.binary(max_size=300) | st.tuples(st.binary(max_size=60), st.binary(max_size=60)), max_size=8))
@settings(max_examples=400)
def test_any_bytes_give_the_ids_of_the_tokenizer(texts):
    ticket = integer_tickets.load(conformance.KIT / conformance.TICKET).artefact
    ids, ends = native_engine.encode(ticket.network, ticket.tokenizer, texts, "baseline")
    found = [part.tolist() for part in np.split(ids, ends[:-1])] if texts else []
    assert found == ticket.tokenizer.encode_batch(texts)


WORDS = st.sampled_from([b"the", b"ing", b"film", b"SUPERB", b"x" * 200, b"x" * 201, b"'", b" ", b"\t", b"\xc3\xa9"])


@pytest.mark.parametrize("kind", ["pieces", "hash"])
@pytest.mark.parametrize("side", ["right", "left"])
@given(st.data())
@settings(max_examples=150)
def test_words_of_learned_pieces_and_hashes(side, kind, data):
    tokenizer = replace(build_tokenizer(), truncation_side=side)
    if kind == "hash":
        tokenizer = replace(tokenizer, kind="hash", pieces=(), continues=())
    network = build_network(0, vocabulary=tokenizer.size, positions=tokenizer.positions)
    pieces = st.sampled_from([*build_tokenizer().pieces])
    words = st.lists(WORDS | pieces, max_size=40).map(b"".join)
    texts = data.draw(st.lists(words | st.tuples(words, words), max_size=5))
    ids, ends = native_engine.encode(network, tokenizer, texts, "baseline")
    found = [part.tolist() for part in np.split(ids, ends[:-1])] if texts else []
    assert found == tokenizer.encode_batch(texts)


def test_random_sentences_and_texts_through_all_engines():
    """The same by `make fuzz`, for longer: reports/fuzz.txt."""
    ticket = integer_tickets.load(conformance.KIT / conformance.TICKET).artefact
    results = fuzz(ticket, 2000)
    assert {result.name for result in results} >= {"torch", "native, baseline", "tokenizer"}
    assert all(result.compared == 2000 and result.different == 0 for result in results)


def test_a_processor_without_the_instructions_is_a_reason(tmp_path, monkeypatch):
    (tmp_path / "other.c").write_text("int ticket_runs_here(void) { return 0; }\n")
    monkeypatch.setattr(native_engine, "FOLDER", tmp_path)
    native_engine._load.cache_clear()
    assert native_engine.available("baseline") == "this processor lacks the instruction set 'baseline'"
    native_engine._load.cache_clear()


def test_given_texts_through_all_engines(tmp_path, capsys):
    file = tmp_path / "texts.txt"
    file.write_bytes(b"a superb film\n\nthe actors are \xff not dull\r\n" + b"word " * 300)
    assert main(["conformance", "--engine", "reference", "--texts", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"tokenizer, {ISAS[-1]}: 4 inputs, all equal" in lines and "torch: 4 inputs, all equal" in lines
    assert main(["conformance", "--engine", "reference", "--texts", str(tmp_path / "none")]) == 2
    assert "none: No such file" in capsys.readouterr().err
