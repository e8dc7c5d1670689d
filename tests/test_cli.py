"""The command line: what it prints, how it fails."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

import integer_tickets
from integer_tickets.cli import main
from integer_tickets.information.ticket_code import PARTS
from integer_tickets.integer import artefact, conformance
from integer_tickets.integer.tokenizer import Tokenizer
from tests.integer.conftest import build_network

KIT = conformance.KIT / conformance.TICKET


@pytest.fixture
def run(capsysbinary, monkeypatch):
    """Status, output and errors of a command, given its standard input."""

    def command(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = main([str(argument) for argument in arguments])
        return status, *capsysbinary.readouterr()

    return command


def test_predict_arguments(run):
    expected = integer_tickets.load(KIT).classify(["a good film", ("two", "texts")])
    status, out, err = run("predict", "a good film", "two\ttexts")
    lines = [line.split("\t", 2) for line in out.decode().splitlines()]
    assert (status, err) == (0, b"")
    assert [(label, int(margin)) for label, margin, _ in lines] == expected
    assert [text for _, _, text in lines] == ["a good film", "two\ttexts"]
    assert run("predict", "two\nlines")[1].endswith(b"\ttwo lines\n")


@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_predict_standard_input_as_json(run, engine):
    texts = ["first", "", "two\ttexts", "x" * 100_000, "word " * 20_000, "caf\u00e9", "\udcff\udc80", "a\u2028b\x0cc"]
    content = b"\n".join(text.encode("utf-8", "surrogateescape") for text in texts)
    status, out, _ = run("predict", "--format", "json", "--engine", engine, "--model", KIT, stdin=content)
    assert status == 0
    found = [json.loads(line) for line in out.decode("ascii").splitlines()]
    assert [own["text"] for own in found] == texts
    ticket = integer_tickets.load(KIT)
    inputs = [tuple(text.split("\t")) if "\t" in text else text for text in texts]
    assert [own["logits"] for own in found] == ticket.logits(inputs).tolist()
    assert [(own["label"], own["margin"]) for own in found] == ticket.classify(inputs)


def test_predict_is_the_same_on_any_number_of_threads(run):
    content = b"\n".join(b"a film %d\tis not dull" % i for i in range(3000))
    outputs = {run("predict", "--threads", threads, stdin=content)[:2] for threads in (1, 2, 7)}
    assert len(outputs) == 1 and outputs.pop()[1].count(b"\n") == 3000
    assert run("predict", "--threads", 0, "x") == (2, b"", b"integer-tickets: 0 threads: expected 1 or more\n")


def test_predict_shows_how_far_it_is(capsysbinary, monkeypatch, tmp_path):
    (tmp_path / "lines.txt").write_bytes(b"a good film\n" * 1500)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with (tmp_path / "lines.txt").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert main(["predict"]) == 0
    out, err = capsysbinary.readouterr()
    steps = err.split(b"\r")
    assert out.count(b"\n") == 1500 and len(steps) == 4  # one for each chunk, and the end
    assert steps[1].startswith(b"[#############       ] 68 %  1,024 texts, ")
    assert steps[3].startswith(b"[####################] 100 %  1,500 texts, ") and steps[3].endswith(
        b" a second\x1b[K\n"
    )


def test_predict_gives_bytes_back_line_by_line(run):
    content = b"caf\xc3\xa9\r\n\xff\xfe\x00\n\nlast"
    status, out, _ = run("predict", stdin=content * 200)
    lines = out.split(b"\n")
    assert status == 0 and lines.pop() == b""
    texts = [line.split(b"\t", 2)[2] for line in lines]
    assert texts[:4] == [b"caf\xc3\xa9", b"\xff\xfe\x00", b"", b"lastcaf\xc3\xa9"] and len(texts) == 601
    assert run("predict", stdin=b"") == (0, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "--model", "nothing.safetensors", "x"], b"integer-tickets: nothing.safetensors: no such file\n"),
        (["predict", "--model", __file__, "x"], b"not a safetensors file\n"),
        (["predict", "--engine", "abacus", "x"], b"integer-tickets: no engine 'abacus'; here run "),
        (["conformance", "--engine", "abacus"], b"no engine 'abacus'"),
        (["conformance", "--model", "x"], b"conformance: --model needs --fuzz or --texts"),
        (["inspect", "nothing"], b"integer-tickets: nothing: no such file, nor a ticket that comes with the package"),
        (["inspect", "./nothing"], b"integer-tickets: nothing: no such file\n"),
        (["certify", KIT, "--data", __file__, "--prior", "nothing"], b"nothing: no such file, nor a ticket"),
    ],
)
def test_errors_are_one_line(run, arguments, message):
    status, out, err = run(*arguments)
    assert (status, out) == (2, b"") and message in err and err.count(b"\n") == 1


def test_a_ticket_that_comes_with_the_package_goes_by_its_name(run, monkeypatch, tmp_path):
    monkeypatch.setattr("integer_tickets.integer.ticket.RELEASED", tmp_path)
    assert integer_tickets.released() == ()
    for name in ("second", "first"):
        (tmp_path / f"{name}.safetensors").write_bytes(KIT.read_bytes())
        (tmp_path / f"{name}.md").touch()
    assert integer_tickets.released() == ("first", "second")
    assert integer_tickets.load("first").artefact.sha256 == integer_tickets.load(KIT).artefact.sha256
    assert run("predict", "--model", "second", "a good film") == run("predict", "a good film")
    assert b"second.safetensors, " in run("inspect", "second")[1]
    assert b"(they are: first, second)" in run("inspect", "third")[2]


def test_inspect(run):
    status, out, _ = run("inspect", KIT)
    text = out.decode()
    assert status == 0
    for part in ("sha256", "layers.1.down", "density", "masks", "inhibitor (signed)", "provenance", "labels"):
        assert part in text
    assert " 100.0 %" in text


def test_inspect_counts_the_heads_of_a_layer_that_has_fewer(run, tmp_path):
    path = tmp_path / "ticket.safetensors"
    network = build_network(0, sizes=[(4, 8, 48), (3, 2, 5)])
    artefact.save(path, network, Tokenizer("hash", (), (), 60, 20, "left"), {})
    status, out, _ = run("inspect", path)
    assert status == 0 and b"up to 20 tokens; of longer texts the end\n" in out
    assert b"attention 0  inhibitor (signed), hidden width 48\n" in out
    assert b"attention 1  inhibitor (signed), 3 heads, hidden width 5\n" in out


def test_text_of_a_file_stays_on_its_line(run, tmp_path):
    own = integer_tickets.load(KIT).artefact
    labels = ("bad\n\x1b[2J", "go\ud800od\t")
    path = tmp_path / "ticket.safetensors"
    provenance = {"a\nkey": "two\nlines", "name": "\udcff", "place": "Malm\u00f6"}
    artefact.save(path, replace(own.network, labels=labels), own.tokenizer, provenance)
    status, out, _ = run("predict", "--model", path, "a text", "another")
    assert status == 0 and out.count(b"\n") == 2 and b"\x1b" not in out
    assert {line.split(b"\t")[0].decode() for line in out.splitlines()} <= set(map(json.dumps, labels))
    status, out, _ = run("inspect", path)
    assert status == 0 and b"\x1b" not in out
    text = out.decode()
    assert 'labels       "bad\\n\\u001b[2J", "go\\ud800od\\t"\n' in text
    assert '  "a\\nkey": "two\\nlines"\n  name: "\\udcff"\n  place: Malm\u00f6\n' in text


def test_inspect_json(run):
    _, out, _ = run("inspect", KIT, "--json")
    facts = json.loads(out)
    assert set(facts) == {
        *("architecture", "bits", "bounds", "file", "labels", "matrices", "provenance", "sha256", "tokenizer"),
    }
    assert facts["bits"]["total"] == 8 * KIT.stat().st_size
    assert facts["sha256"] == integer_tickets.load(KIT).artefact.sha256
    for matrix in facts["matrices"]:
        assert 0 < matrix["density"] <= 1 and 0 <= matrix["zeros"] < 1 and matrix["bits"] in (8, 4, 3, 2)
        assert (matrix["name"] in facts["bounds"]) == (matrix["name"] not in ("tokens", "positions"))


def test_conformance(run, monkeypatch):
    status, out, _ = run("conformance")
    assert status == 0 and [line.split(b": ")[0].decode() for line in out.splitlines()] == integer_tickets.engines()
    report = conformance.Report("torch", 3, 9, tuple(f"sentence {i}: logits alone differ" for i in range(7)))
    monkeypatch.setattr(conformance, "check", lambda name: report)
    status, out, _ = run("conformance", "--engine", "torch")
    assert status == 1 and b"torch: 3 sentences, 9 comparisons, 7 DIFFER" in out and out.count(b"\n") == 6


def test_help_version_and_wrong_usage(run, capsysbinary):
    status, out, _ = run()
    assert status == 2 and b"predict" in out and b"inspect" in out and b"conformance" in out
    status, out, _ = run("--version")
    assert status == 0 and out.startswith(b"integer-tickets ")
    for arguments, status in (
        (["--help"], 0),
        (["predict", "--help"], 0),
        (["predict", "--format", "xml"], 2),
        (["x"], 2),
    ):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        assert stopped.value.code == status
        capsysbinary.readouterr()


def test_a_reader_that_stops_is_no_error():
    code = "import sys; from integer_tickets.cli import main; sys.exit(main(['predict']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(b"a text\n" * 600)
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_the_command_starts_without_numpy_or_torch():
    code = "import sys, integer_tickets.cli; print({'numpy', 'torch', 'safetensors'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_export_c(run, tmp_path):
    status, out, err = run("export", "c", "--out", tmp_path, "--name", "mood")
    assert (status, err) == (0, b"") and out.startswith(f"{tmp_path}/mood.c and {tmp_path}/mood.h: ".encode())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mood.c", "mood.h"]
    assert "int32_t mood_classify(" in (tmp_path / "mood.h").read_text()
    status, out, err = run("export", "c", "--out", tmp_path, "--name", "no-name")
    assert (status, out) == (2, b"") and b"no name for a C library" in err


def test_certify(run, tmp_path):
    data = tmp_path / "train.tsv"
    data.write_text("sentence\tlabel\n" + "the film is superb\tpositive\nthe film is awful\tnegative\n" * 3000)
    status, out, err = run("certify", KIT, "--data", data)
    assert (status, err) == (0, b"") and b"0.00 % of 6,000 examples, one for each row" in out
    assert b"But 5,998 rows repeat others, or parts of them" in out
    parts = dict(re.findall(r"(\w+) ([\d,]+)", out.decode().partition("Bits of the code: ")[2].partition(".")[0]))
    assert set(parts) == set(PARTS)
    status, told, _ = run("certify", KIT, "--data", data, "--json")
    facts = json.loads(told)
    assert status == 0 and facts["certificate"]["n"] == 6000 and facts["repeats"] == 5998
    assert sum(facts["bits"].values()) == pytest.approx(facts["certificate"]["bits"])
    status, out, _ = run("certify", KIT, "--data", data, "--unit", "text", "--delta", 0.1)
    assert status == 0 and b"With probability 0.9" in out and b"of 2 examples, one for each text" in out
    assert b"its mean error over the rows cut from a new text is at most" in out
    assert b"rows repeat" not in out
    grouped = tmp_path / "grouped.tsv"
    grouped.write_text("sentence\tlabel\tfilm\n" + "superb\tpositive\ta\nawful\tnegative\tb\nfine\tpositive\tb\n")
    status, out, _ = run("certify", KIT, "--data", grouped, "--unit", "group", "--group", "film")
    assert status == 0 and b"of 2 examples, one for each group, the mean over its rows" in out
    assert b"rows repeat" not in run("certify", KIT, "--data", grouped)[1]
    status, beside, _ = run("certify", KIT, "--data", data, "--prior", KIT)
    assert status == 0 and b"the prior ticket was found and chosen without these examples" in beside
    assert b"for orders" in out and b"for orders" not in beside

    def bits(text):
        return int(re.search(rb"Its code takes ([\d,]+) bits", text)[1].replace(b",", b""))

    assert bits(beside) < bits(out) / 20


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("sentence\tlabel\na\tgood\n", [], "row 1: label 'good', but the ticket knows negative, positive"),
        ("sentence\tlabel\n", [], "no rows"),
        ("text\tlabel\na\t1\n", [], "no column 'sentence'; there are text, label"),
        ("sentence\tlabel\na\t1\n", ["--unit", "group"], "no column 'group'; there are sentence, label"),
        ("sentence\tlabel\na\t1\n", ["--delta", "2"], "--delta 2.0: expected a number between 0 and 1"),
        ("sentence\tlabel\na\t1\n", ["--text", "a", "b", "c"], "--text: expected one column, or two for pairs"),
    ],
)
def test_certify_says_what_is_wrong(run, tmp_path, content, options, message):
    data = tmp_path / "train.tsv"
    data.write_text(content)
    status, out, err = run("certify", KIT, "--data", data, *options)
    assert (status, out) == (2, b"") and message.encode() in err
