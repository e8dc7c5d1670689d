"""What dvc.yaml says that a stage depends on, against what it can import and against what it really opens."""

import json
from pathlib import Path

import pytest
import yaml

from stages import dependencies

ROOT = Path(__file__).resolve().parents[2]
FREE = (".work/", "params.yaml")  # unfinished work of the same stage; dvc.yaml names parameters apart


def test_dvc_yaml_lists_the_sources_of_every_stage():
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert dependencies.rewrite(text) == text, "dvc.yaml is behind the imports; python -m stages.dependencies"
    stages = yaml.safe_load(text)["stages"]
    for name in dependencies.STAGES:
        assert set(dependencies.sources_of_stage(name)) <= set(stages["sources"]["deps"]), name
        assert f"artifacts/sources/{name}.txt" in stages[name]["deps"]
    assert set(stages) == {*dependencies.STAGES, "sources", *dependencies.TIMED}


def test_rewriting_changes_the_sources_alone():
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    without = "".join(line for line in lines if not line.strip().startswith(("- src/", "- stages/")))
    assert without.count("\n") < len(lines) - 50
    assert dependencies.rewrite(without) == text


def test_a_change_of_code_reruns_what_executes_it(fewer, tmp_path):
    """And no stage runs other code than the lock says."""
    copied = fewer[0].copy(tmp_path / "copy")
    markdown = copied.root / "src/integer_tickets/report/markdown.py"
    markdown.write_text(markdown.read_text() + "# nothing\n")
    done = copied.python("stages", "report", check=False)
    assert done.returncode == 2 and "artifacts/sources/report.txt is behind the code" in done.stderr
    assert copied.repro() == {"sources", "report"}


def test_imports_are_followed_wherever_they_stand():
    sources = dependencies.sources_of_stage("prepare")
    assert "src/integer_tickets/data/language.py" in sources  # imported inside a function
    assert "src/integer_tickets/model/transformer.py" not in sources
    assert "src/integer_tickets/model/inhibitor.c" in dependencies.sources_of_stage("train_dense")
    assert all((ROOT / source).stat().st_size for source in sources)


def test_every_file_that_a_stage_opens_is_among_its_dependencies(finished):
    for name, item in finished.locked().items():
        if name in dependencies.TIMED:
            continue
        allowed = [entry["path"] for entry in item["deps"] + item["outs"]]
        for fingerprint in [path for path in allowed if path.startswith(f"{dependencies.SOURCES}/")]:
            lines = (finished.root / fingerprint).read_text().splitlines()
            allowed += [line.partition("  ")[2] for line in lines]
        seen = json.loads((finished.root.parent / "probes" / f"{name}.json").read_text())
        files = {Path(path) for path in seen["modules"] + seen["opened"]}
        own = {path.relative_to(finished.root) for path in files if path.is_relative_to(finished.root)}
        read = {path.as_posix() for path in own if (finished.root / path).is_file() and "__pycache__" not in path.parts}
        read = {path for path in read if (finished.root / path).stat().st_size and not path.startswith(FREE)}
        assert {f"stages/{name.partition('@')[0]}.py", "stages/__main__.py"} <= read
        undeclared = [path for path in read if not any(path == a or path.startswith(f"{a}/") for a in allowed)]
        assert not undeclared, f"{name} read {undeclared}: to be listed in dvc.yaml"


def test_no_stage_opens_a_connection(finished):
    """The run was made with HF_HUB_OFFLINE=1; the built-in language needs nothing from elsewhere."""
    for name in finished.locked():
        assert json.loads((finished.root.parent / "probes" / f"{name}.json").read_text())["connected"] == [], name


@pytest.mark.parametrize("stage", ["train_dense", "quantize", "distill"])
def test_integer_networks_and_ladders_do_not_depend_on_the_report(stage):
    sources = dependencies.sources_of_stage(stage)
    assert not [path for path in sources if "/report/" in path or "/evaluation/" in path or "/benchmark/" in path]
