"""The public surface: load, classify, logits, engines; and the conformance kit."""

import doctest
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import integer_tickets
from integer_tickets.errors import UserError
from integer_tickets.integer import artefact, conformance, engines, reference
from integer_tickets.integer.ticket import decide

TEXTS = ["a good film", ("one", "two"), "", b"bytes \xff", "x" * 100_000]


@pytest.fixture
def path(tmp_path, random_network, random_tokenizer):
    path = tmp_path / "ticket.safetensors"
    artefact.save(path, random_network(0), random_tokenizer(), {"seed": 0})
    return path


def test_names():
    assert set(integer_tickets.engines()) >= {"reference", "torch"}
    assert {"Ticket", "engines", "load", "released"} == set(integer_tickets.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        integer_tickets.nothing  # noqa: B018


@pytest.mark.parametrize("engine", [None, *integer_tickets.engines()])
def test_classify(path, engine):
    ticket = integer_tickets.load(str(path))
    logits = ticket.logits(TEXTS, engine)
    assert logits.dtype == np.int32 and logits.shape == (len(TEXTS), 3)
    assert np.array_equal(
        logits, reference.logits(ticket.artefact.network, ticket.artefact.tokenizer.encode_batch(TEXTS))
    )
    result = ticket.classify(TEXTS, engine)
    for (label, margin), row in zip(result, logits.tolist(), strict=True):
        assert label == ticket.labels[row.index(max(row))]
        assert margin == sorted(row)[-1] - sorted(row)[-2] and type(margin) is int
    assert ticket.classify([], engine) == []


def test_the_page_on_the_public_surface():
    page = Path(__file__).parents[2] / "docs" / "api.md"
    names = {"path": conformance.KIT / conformance.TICKET}
    assert doctest.testfile(str(page), module_relative=False, globs=names) == (0, 12)
    code = "import sys, integer_tickets as t; t.load(sys.argv[1]).classify(['a']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(names["path"])], check=True)


def test_margins_and_ties():
    rows = np.array([[1, 5, 5], [2**31 - 1, -(2**31) + 1, -(2**31) + 1], [7, 7, 7]], dtype=np.int32)
    assert decide(rows, ["a", "b", "c"]) == [("b", 0), ("a", 2**32 - 2), ("a", 0)]


def test_wrong_use(path, tmp_path, monkeypatch):
    ticket = integer_tickets.load(path)
    with pytest.raises(TypeError, match="a list of texts"):
        ticket.classify("a text")
    with pytest.raises(UserError, match=r"no engine 'abacus'; here run .*reference, .*torch"):
        ticket.classify(["a"], "abacus")
    with pytest.raises(UserError, match="no such file"):
        integer_tickets.load(tmp_path / "nothing")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert integer_tickets.engines()[-1] == "reference"
    for engine in ("torch", "torch:cuda"):
        with pytest.raises(UserError, match=f"engine '{engine}' needs torch, which is not installed; here run "):
            ticket.classify(["a"], engine)


@pytest.mark.parametrize("engine", integer_tickets.engines())
def test_engines_conform_to_the_kit(engine):
    report = conformance.check(engine)
    assert report.engine == engine and report.sentences > 20
    assert report.tensors > (80 if engine in ("native", "onnx") else 500)  # which show no tensor but the logits
    assert report.mismatches == ()


def test_the_kit_is_small():
    assert (conformance.KIT / conformance.TICKET).stat().st_size < 100_000


def test_a_kit_is_reproducible_and_finds_differences(path, tmp_path, monkeypatch):
    kit = tmp_path / "kit"
    conformance.make_kit(kit, path, ["a text", ("two", "texts")])
    first = {file.name: file.read_bytes() for file in kit.iterdir()}
    assert set(first) == {"ticket.safetensors", "golden.json"}
    conformance.make_kit(kit, path, ["a text", ("two", "texts")])
    assert first == {file.name: file.read_bytes() for file in kit.iterdir()}
    assert conformance.check("torch", kit).mismatches == ()

    golden = json.loads(first["golden.json"])
    golden["sentences"][0]["logits"][1] += 1
    golden["sentences"][1]["tensors"]["layers.1.query"] ^= 1
    golden["sentences"][2]["ids"] = [5]
    (kit / "golden.json").write_text(json.dumps(golden))
    mismatches = conformance.check("reference", kit).mismatches
    assert mismatches[:2] == ("sentence 0: logits in a batch differ", "sentence 0: logits alone differ")
    assert "sentence 1: the values of layers.1.query differ" in mismatches
    assert "sentence 2: token ids differ" in mismatches

    golden["ticket"] = "another"
    (kit / "golden.json").write_text(json.dumps(golden))
    with pytest.raises(UserError, match=r"golden.json: was made for another ticket"):
        conformance.check("reference", kit)


def test_an_engine_without_trace_is_checked_by_its_logits(monkeypatch):
    monkeypatch.setattr(conformance, "engine_of", lambda name: lambda network, batch: reference.logits(network, batch))
    report = conformance.check("plain")
    assert report.mismatches == () and 50 < report.tensors < 100
