"""Released tickets: the file as it is, and a card whose numbers are those of the study."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from integer_tickets.errors import UserError
from integer_tickets.files import read_json
from integer_tickets.integer import artefact
from integer_tickets.integer.ticket import RELEASED, released
from integer_tickets.params import load_params
from integer_tickets.report.card import Released, card
from stages import release
from stages.presets import with_preset

MODEL = "artifacts/integer/inhibitor-float-1/level_2/int4"


@pytest.fixture
def run(default, monkeypatch):
    monkeypatch.setattr(release, "ROOT", default)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["release", *map(str, arguments)])
        release.main()

    return command


def numbers(page: str, model: str) -> dict[str, list[str]]:
    """Cells of the rows of a model by split."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    return {row[1]: row[2:] for row in rows if row[0] == model}


def test_a_ticket_and_its_card(run, default, tmp_path):
    run("small", MODEL, "--out", tmp_path)
    file, page = tmp_path / "small.safetensors", (tmp_path / "small.md").read_text()
    assert file.read_bytes() == (default / MODEL / "ticket.safetensors").read_bytes()
    assert artefact.load(file).sha256 in page and f"({file.stat().st_size:,} bytes)" in page
    assert "It is level 2 of the ladder of variant `float`, seed 1." in page
    assert page.startswith("# small\n") and str(default) not in page and "--model small" in page
    results = pd.read_csv(default / "artifacts" / "evaluation" / "results.csv")
    own, teacher = results[results["model"] == MODEL], results[results["role"] == "teacher"]
    for rows, found in ((own, numbers(page, "small")), (teacher, numbers(page, "teacher"))):
        assert list(found) == ["selection", "validation", "test"]
        for split, cells in found.items():
            values = rows[rows["split"] == split].set_index("metric")["value"]
            assert cells[1] == f"{100 * values['accuracy']:.2f}" and cells[3] == f"{values['matthews']:.3f}"
    assert set(numbers(page, "majority class")) == {"selection", "validation", "test"}
    run("small", MODEL, "--out", tmp_path)
    assert (tmp_path / "small.md").read_text() == page


def test_what_is_no_ticket_of_the_study(run, tmp_path):
    with pytest.raises(SystemExit, match=r"^release: artifacts/nothing: results.csv has no such model"):
        run("small", "artifacts/nothing", "--out", tmp_path)
    of_floats = "artifacts/ladder/inhibitor-float-1/upper/level_2"
    with pytest.raises(SystemExit, match=rf"^release: .*{of_floats}/ticket.safetensors: no such file"):
        run("small", of_floats, "--out", tmp_path)
    with pytest.raises(SystemExit, match=r"^release: adopted: .*; name one, as in --run"):
        run("small", MODEL, "--study", "adopted", "--out", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_card_names_the_command_that_made_the_ticket(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "ROOT", tmp_path)
    checkout = tmp_path / ".study" / "fitted"
    (checkout / "artifacts" / "evaluation").mkdir(parents=True)
    model = "artifacts/distilled/inhibitor-int4-0/level_1/int4"
    (checkout / "artifacts" / "evaluation" / "results.csv").write_text(f"model\n{model}\n")
    (checkout / "artifacts" / "data").mkdir()
    (checkout / "artifacts" / "data" / "statistics.json").write_text('{"lessons": 200000}')
    values = with_preset("fitted", [], "int4_0")
    (checkout / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"fitted: its grid is not that of fitted --run int4_1, which ran last\?"):
        release.release("large", model, "fitted", "int4_1", "imdb", tmp_path)
    with pytest.raises(UserError, match=r"of which corpus, is said with --unlabelled"):
        release.release("large", model, "fitted", "int4_0", "", tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pretrained": "somewhere/encoder"}, "Its teacher was somewhere/encoder: the terms"),
        ({"pretrained": "/home/someone/encoder"}, "Its teacher was encoder: the terms"),
        ({}, "an unknown place"),
    ],
)
def test_the_card_says_whose_data_it_is(default, changes, says):
    results = pd.read_csv(default / "artifacts" / "evaluation" / "results.csv")
    statistics = read_json(default / "artifacts" / "data" / "statistics.json")
    statistics["corpus"] = "builtin" if changes else "an unknown place"
    params = load_params(default / "params.yaml")
    params = params.model_copy(update={"teacher": params.teacher.model_copy(update=changes)})
    page = card(
        Released(
            "small", MODEL, "make repro", params,
            statistics, results, artefact.bits_breakdown(default / MODEL / "ticket.safetensors"), "0" * 64,
        )
    )  # fmt: skip
    assert says in page and "/home" not in page
    assert ("is generated by this project" in page) == bool(changes)


def test_the_card_says_what_the_ticket_began_with_and_learned_from(default):
    results = pd.read_csv(default / "artifacts" / "evaluation" / "results.csv")
    statistics = read_json(default / "artifacts" / "data" / "statistics.json") | {"lessons": 1234}
    params = load_params(default / "params.yaml")
    teacher = params.teacher.model_copy(update={"pretrained": "somewhere/encoder"})
    params = params.model_copy(
        update={"teacher": teacher, "train": params.train.model_copy(update={"start": "artifacts/adopted"})}
    )
    own = results[results["distilled"].eq(True)].iloc[0]["model"]
    bits = artefact.bits_breakdown(default / own / "ticket.safetensors")
    page = card(Released("small", own, "make repro", params, statistics, results, bits, "0" * 64, "imdb"))
    assert "trained on for 1 epoch (distill)" in page and "says of train and of 1,234 other texts." in page
    assert "It began with weights of somewhere/encoder, drawn to the hidden states" in page
    assert "The other texts that it learned from are of `imdb`. The Large Movie Review Dataset" in page


def test_tickets_of_the_package_are_artifacts_of_dvc():
    root = Path(__file__).parents[2]
    found = yaml.safe_load((root / "dvc.yaml").read_text())["artifacts"]
    assert {name: root / own["path"] for name, own in found.items()} == {
        name: RELEASED / f"{name}.safetensors" for name in released()
    }


@pytest.mark.parametrize("name", released())
def test_cards_of_the_package_belong_to_their_files(name):
    file, page = RELEASED / f"{name}.safetensors", (RELEASED / f"{name}.md").read_text()
    assert f"`{artefact.load(file).sha256}`" in page and page.startswith(f"# {name}\n")
