"""A study as a whole: a checkout of its own, results beside the default run, a part first and then the rest."""

from typing import Any

import pytest
import yaml

from integer_tickets.errors import UserError
from integer_tickets.params import parse_params
from stages.presets import with_preset
from stages.study import place_data
from tests.stages.conftest import Checkout

ONE: dict[str, Any] = {
    "grid": {
        "attentions": ["inhibitor"],
        "seeds": [0],
        "segments": [{"id": "upper", "previous": "dense", "first": 1, "last": 1}],
    },
    "controls": {"levels": []},
    "connectivity": {"levels": []},
    "quantize": {"levels": [{"level": 1, "segment": "upper"}]},
    "distill": {"levels": [{"level": 1, "segment": "upper"}]},
}
"""A ladder of one level, made into an integer network."""


def corpus(words: str, rows: int) -> str:
    kinds = [("good", "fine"), ("bad", "poor")]
    lines = [f"{kinds[i % 2][i // 2 % 2]} {words} {i} times\t{i % 2}" for i in range(rows)]
    return "\n".join(["sentence\tlabel", *lines, ""])


@pytest.fixture
def project(finished: Checkout, tmp_path) -> tuple[Checkout, Any]:
    """A copy with a preset that reads files, and a folder of them."""
    made = finished.copy(tmp_path / "copy")
    preset: dict[str, Any] = {**ONE, "data": {"source": "files", "name": "words"}}
    parts = {"parts": {"inhibitor": {"grid": {"attentions": ["inhibitor"]}}}}
    parts["ablations"] = {"fewer": {"train": {"lr": 0.004}, "language": {"train": 300}}}
    (made.root / "presets" / "parts.yaml").write_text(yaml.safe_dump({**ONE, "language": {"seed": 3}, **parts}))
    (made.root / "presets" / "words.yaml").write_text(yaml.safe_dump(preset))
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.tsv").write_text(corpus("film", 200))
    (data / "validation.tsv").write_text(corpus("play", 40))
    return made, data


def test_a_corpus_takes_the_place_of_another_one(tmp_path):
    checkout, data = tmp_path / "checkout", tmp_path / "data"
    settings = parse_params(with_preset("sst2", [])).data
    folder = checkout / settings.folder
    for place, names in ((folder, ("README.md", "test.tsv")), (data, ("train.tsv", "validation.tsv"))):
        place.mkdir(parents=True)
        for name in names:
            (place / name).write_text(f"of {place.name}, {name}")
    with pytest.raises(UserError, match="name their folder"):
        place_data(settings, None, tmp_path / "empty")
    place_data(settings, data, checkout)
    place_data(settings, folder, checkout)  # in its place already
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "train.tsv", "validation.tsv"]
    place_data(settings, None, checkout)
    (folder / "raw").mkdir()
    with pytest.raises(UserError, match="whose content this folder's would replace"):
        place_data(settings, folder / "raw", checkout)
    with pytest.raises(UserError, match="a study wants a folder inside the project"):
        place_data(settings.model_copy(update={"folder": "."}), data, checkout)


def test_a_study_in_parts_and_on_other_data(project):
    made, data = project
    before = made.git("status", "--porcelain"), made.content("reports"), made.lock
    study = ["stages.study", "words", "--data", data]
    made.python(*study, "--set", "evaluate.bootstrap=150")
    out = made.root / "reports" / "studies" / "words"
    first = (out / "results.csv").read_text()
    assert first.startswith("corpus,attention") and "\nwords,inhibitor,float,0,dense" in first
    assert {"params.yaml", "dvc.lock", "report.md", "metrics.json", "timings.json"} <= {p.name for p in out.iterdir()}
    assert yaml.safe_load((out / "params.yaml").read_text())["evaluate"]["bootstrap"] == 150
    assert made.lock == before[2]
    assert {name: made.content("reports")[name] for name in before[1]} == before[1]

    # A source that is gone, a corpus that changed: both reach the checkout.
    (made.root / "src" / "integer_tickets" / "extra.py").write_text('"""Nothing."""\n')
    assert "up to date" in made.python(*study, "--set", "evaluate.bootstrap=150").stdout
    assert (made.root / ".study" / "words" / "src" / "integer_tickets" / "extra.py").exists()
    (made.root / "src" / "integer_tickets" / "extra.py").unlink()
    (data / "validation.tsv").write_text(corpus("book", 30))
    made.python(*study)
    assert not (made.root / ".study" / "words" / "src" / "integer_tickets" / "extra.py").exists()
    assert (out / "results.csv").read_text() != first
    assert yaml.safe_load((out / "params.yaml").read_text())["evaluate"]["bootstrap"] == 100


def test_a_part_of_a_study_is_gone_on_with_in_a_clone_that_pulled_it(project, tmp_path):
    made, _ = project
    made.dvc("remote", "add", "--default", "storage", tmp_path / "storage")
    part = ["stages.study", "parts", "--run", "inhibitor_0"]
    refused = made.python("stages.study", "parts", check=False)
    assert refused.returncode == 1 and "parts.yaml are inhibitor (PART_N" in refused.stderr
    other = made.python("stages.study", "parts", "--run", "mine", "--set", "train.lr=0.1", check=False)
    assert other.returncode == 1 and "--run mine: its train is not that of the study; change it in" in other.stderr
    assert not (made.root / ".study").exists()  # said before anything is trained
    assert "trainings" in made.python(*part).stdout
    runs = made.root / "reports" / "studies" / "parts" / "runs"
    assert (runs.parent / "report.md").exists() and (runs / "inhibitor_0" / "dvc.lock.gz").exists()
    page = (runs.parent / "report.md").read_text()
    assert "## Ablations" not in page
    other = made.python("stages.ablations", "parts", "--run", "inhibitor_0", "less", check=False)
    assert other.returncode == 1 and "less: the ablations of presets/parts.yaml are fewer" in other.stderr
    other = made.python("stages.ablations", "parts", "--run", "inhibitor_1", check=False)
    assert other.returncode == 1 and "inhibitor_1: no such run of the study" in other.stderr
    assert not (made.root / ".study" / "parts-ablations").exists()  # said before anything is trained
    made.python("stages.ablations", "parts", "--run", "inhibitor_0")
    table = (runs.parent / "ablations.csv").read_text()
    assert table.splitlines()[1].startswith("fewer,language.train = 300; train.lr = 0.004,inhibitor,float,0,test,")
    made.python("stages.ablations", "parts", "--run", "inhibitor_0", "fewer")
    assert (runs.parent / "ablations.csv").read_text() == table
    assert "| fewer | language.train = 300; train.lr = 0.004 |" in (runs.parent / "report.md").read_text()
    made.python("dvc", "--cd", ".study/parts", "push")
    made.commit("A part of a study")
    copied = made.clone(tmp_path / "clone")
    done = copied.python(*part, "--pull")
    assert "1 items to run" in done.stdout and "trainings" not in done.stdout  # the report, which no cache holds
    answers = runs.relative_to(made.root) / "inhibitor_0" / "answers.npz"
    assert (copied.root / answers).read_bytes() == (made.root / answers).read_bytes()
