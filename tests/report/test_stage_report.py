"""The stages report and show over whole made-up studies."""

import csv
import json
import re
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
from matplotlib.figure import Figure

from integer_tickets.errors import UserError
from integer_tickets.params import load_params
from integer_tickets.report import figures, markdown, ticket_figures
from integer_tickets.report.findings import bag_of_words
from integer_tickets.report.generalization import FEWEST, networks
from integer_tickets.report.study import read_study
from stages import report, show
from tests.evaluation.fake_study import fake_checkout
from tests.report.conftest import run_stages
from tests.stages.conftest import ROOT

INFORMATION = (
    *("layers", "coding", "depth", "heads", "pointwise"),
    *("code_parts", "bounds", "description", "mask_bits", "generalization", "fidelity"),
)
ABSENT = ("connectivity", "controls", "generalization", "fidelity")
"""Figures that a study with no controls, few networks and no unlabelled text does not have."""
FILES = {
    *("report.md", "metrics.json", "results.csv", "summary.csv", "comparisons.csv"),
    *("information.csv", "certificates.csv", "mask_bits.csv"),
    *(
        f"figures/{name}.{kind}"
        for name in ("accuracy_density", "accuracy_bits", "training", "controls", "connectivity", *INFORMATION)
        for kind in ("svg", "png")
    ),
    *(f"plots/{name}.csv" for name in ("accuracy_density", "connectivity", "training", "confusion", *INFORMATION)),
}

TIMINGS = {
    "machine": {"processor": "a processor", "cores": 2},
    "absent": {"openvino.xml": "openvino is not installed"},
    "rows": [
        {"model": "inhibitor int8 ticket", "engine": "integer, torch", "batch": 1, "tokens": 9, "threads": 1}
        | {"median_us": 123.4, "p10_us": 100.0, "sentences_per_second": 8103.7}
    ],
}


@pytest.fixture
def reported(default, tmp_path, monkeypatch):
    """A copy of the study and its reports; its top folder is the current one."""
    return _copy(default, tmp_path, monkeypatch)


def _copy(source, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    monkeypatch.chdir(folder)
    return folder / "reports"


def test_everything_is_written_and_a_rerun_gives_the_same_bytes(reported, content):
    first = content(reported)
    assert set(first) == FILES
    report.main()
    assert content(reported) == first
    for name, value in first.items():
        assert str(reported).encode() not in value and not re.search(rb"20\d\d-\d\d-\d\d", value), name
        assert name.endswith(".png") or b"\r" not in value
        assert b"font-family" not in value  # glyphs are paths


def test_metrics_are_few_flat_and_well_named(reported):
    metrics = json.loads((reported / "metrics.json").read_text())
    own = [
        "float_dense_accuracy", "float_ticket_level_2_accuracy", "float_ticket_level_3_accuracy",
        "float_sparsest_matching_level", "int8_ticket_accuracy", "int4_ticket_accuracy",
        "int8_distilled_accuracy", "int8_distilled_bits", "int4_distilled_accuracy", "int4_distilled_bits",
    ]  # fmt: skip
    names = {f"{attention}_{name}" for attention in ("inhibitor", "softmax") for name in own}
    assert set(metrics) == names | {f"{role}_accuracy" for role in ("teacher", "majority", "tfidf", "bayes")}
    assert all(value == round(value, 4) for value in metrics.values())
    results = pd.read_csv(reported / "results.csv")
    dense = results[(results["role"] == "dense") & (results["weights"] == "float") & (results["split"] == "test")]
    mine = dense[(dense["attention"] == "inhibitor") & (dense["metric"] == "accuracy")]["value"].mean()
    assert metrics["inhibitor_float_dense_accuracy"] == pytest.approx(mine, abs=1e-4)


ZERO, LAST = {"level": 0, "segment": "dense"}, {"level": 3, "segment": "lower"}
INT8 = {"weights": "int8", "pattern": "weight", "scope": "global", "embedding": False, "rewind": 9, "embedding_bits": 8}


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        (
            {"quantize": {"levels": [ZERO]}, "distill": {"levels": [ZERO]}},
            "float_ticket_level_3_accuracy int8_dense_quantized_accuracy int8_dense_distilled_accuracy",
        ),
        (
            {"quantize": {"levels": [LAST, ZERO]}, "distill": {"levels": [ZERO]}},
            "float_ticket_level_3_accuracy int8_ticket_accuracy int8_dense_distilled_accuracy",
        ),
        (
            {"grid": {"variants": ["int8"]}, "variants": {"int8": INT8}},
            "int8_int8_ticket_level_2_accuracy int8_int8_ticket_accuracy int8_int8_distilled_accuracy",
        ),
        (
            {"quantize": {"levels": [ZERO]}, "distill": {"levels": [ZERO]}}
            | {"grid": {"variants": ["float", "int8"]}, "variants": {"int8": INT8}},
            "int8_dense_quantized_accuracy int8_int8_dense_accuracy int8_int8_dense_quantized_accuracy",
        ),
    ],
)
def test_other_grids_are_reported_whole(changes, own, tmp_path, monkeypatch):
    """Only dense models quantized or distilled, other levels, ladders of integers: flat names, no two the same."""
    seed = {"grid": {"seeds": [1], "attentions": ["inhibitor"], **changes.get("grid", {})}}
    fake_checkout(tmp_path / "checkout", changes | seed)
    run_stages(tmp_path / "checkout")
    metrics = json.loads((tmp_path / "checkout" / "reports" / "metrics.json").read_text())
    assert {f"inhibitor_{name}" for name in own.split()} <= set(metrics)
    assert all(isinstance(value, int | float) for value in metrics.values())
    text = (tmp_path / "checkout" / "reports" / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_the_report_says_that_integer_networks_were_trained_longer(reported):
    text = (reported / "report.md").read_text(encoding="utf-8")
    params = load_params()
    train, quantize, distill = params.train.epochs, params.quantize.epochs, params.distill.epochs
    glance = text[text.index("## All models at a glance") : text.index("## Accuracy against density")]
    rows = [line.strip("| ").split(" | ") for line in glance.splitlines() if " ± " in line]
    cells = {row[0]: row[3] for row in rows if len(row) > 3}
    assert cells["inhibitor dense"] == cells["softmax ticket level 2"] == str(train)
    assert cells["inhibitor int8 dense"] == str(train + quantize)
    assert cells["softmax int4 ticket level 2 distilled"] == str(train + quantize + distill)
    assert f"have had {train} epochs" in glance and "**Not the same training**" in glance


def test_the_report_tells_negative_results(reported):
    text = (reported / "report.md").read_text(encoding="utf-8")
    # The integer networks of the made-up study are random: they lie below a bag of words.
    assert re.search(r"A bag of words .* It is above \d+ of 21 models: .*inhibitor int8 ticket level 2 distilled", text)
    assert "The best possible classifier of this corpus reaches" in text
    assert "The built-in language is known exactly" in text
    assert "bit for bit" in text and "a model, not a measurement" in text
    assert "[timings.md](timings.md)" in text
    assert not re.search(r"\b(nan|None|inf)\b", text)


@pytest.mark.parametrize(("most", "says"), [(0.0, ""), (1.0, "reaches 100.00 %: 21 of 21 models are not above it.")])
def test_what_is_no_better_than_guessing_is_counted(reported, most, says):
    study = read_study(load_params(), reported.parent / "artifacts")
    summary = study.tables["summary"]
    study.tables["summary"] = summary.assign(mean=summary["mean"].where(summary["role"] != "majority", most))
    guessing = [part for part in bag_of_words(study) if part.startswith("Guessing the larger class")]
    assert [part.endswith(says) for part in guessing] == ([True] if says else [])


def test_tables_of_the_report_are_whole(reported):
    blocks = (reported / "report.md").read_text(encoding="utf-8").split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    assert len(tables) >= 15
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1 and len(lines) > 2


def test_plots_have_the_columns_that_dvc_draws(reported):
    def columns(name):
        return list(pd.read_csv(reported / "plots" / f"{name}.csv").columns)

    expected = ["attention", "variant", "role", "weights", "level", "density", "accuracy"]
    assert columns("accuracy_density") == expected
    assert columns("training") == ["run", "epoch", "loss", "selection_accuracy"]
    assert columns("confusion") == ["actual", "predicted"]


def test_the_page_of_timings():
    text = markdown.timings_page(TIMINGS)
    assert "cores: 2, processor: a processor" in text and "Absent: openvino.xml (openvino is not installed)." in text
    assert "| inhibitor int8 ticket | integer, torch | 1 | 9 | 1 | 123.4 | 100.0 | 8103.7 |" in text


def test_a_study_with_nothing_to_spare(three_classes, tmp_path, monkeypatch, content):
    """One attention, seed and variant, no test split, three classes."""
    folder = _copy(three_classes, tmp_path, monkeypatch)
    assert set(content(folder)) == {
        name for name in FILES if not any(part in name for part in ABSENT) or name == "plots/connectivity.csv"
    }
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "a&#124;b" in text and "on the validation split" in text
    assert not re.search(r"\b(nan|None|inf)\b", text)
    assert "## Connectivity" not in text and "## Controls" not in text and "best possible" not in text
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "inhibitor_int8_int8_dense_accuracy" in metrics and "bayes_accuracy" not in metrics
    with (folder / "plots" / "confusion.csv").open(encoding="utf-8") as file:
        assert {row["actual"] for row in csv.DictReader(file)} == {"a|b", "NA", "<c>"}


def test_the_step_that_is_rewound_to_is_a_figure(tmp_path, monkeypatch):
    late = load_params(ROOT / "params.yaml").variants["float"].model_dump() | {"rewind": 90}
    fake_checkout(tmp_path, {"grid": {"seeds": [0], "variants": ["float", "late"]}, "variants": {"late": late}})
    run_stages(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert read_study(load_params(), tmp_path / "artifacts").rewind_steps() == {"float": 120, "late": 90}
    assert (tmp_path / "reports" / "figures" / "rewind_steps.svg").exists()
    assert "(figures/rewind_steps.svg)" in (tmp_path / "reports" / "report.md").read_text(encoding="utf-8")


def test_steps_that_one_attention_alone_is_rewound_to():
    frame = pd.DataFrame({"attention": "inhibitor", "variant": ["early", "late"], "level": 0, "error": [0.02, 0.01]})
    study = SimpleNamespace(
        attentions=lambda: ["inhibitor", "softmax"],
        rewind_steps=lambda: {"early": 0, "late": 9},
        barriers=lambda: frame,
    )
    panel, *others = ticket_figures.rewind_steps(study).axes
    assert panel.get_title(loc="left") == "inhibitor" and not others
    assert panel.lines[0].get_xydata().tolist() == [[0, 2], [9, 1]]


@pytest.mark.parametrize(("mean", "height"), [(0.814, (81.0, 90)), (0.85, (82, 90)), (0.7, (82, 90))])
def test_a_bag_of_words_is_within_the_figure_unless_it_is_far(mean, height):
    axes = Figure().subplots()
    axes.set_ylim(82, 90)
    study = SimpleNamespace(
        accuracy=lambda **_: {"mean": mean},
        split="validation",
        params=SimpleNamespace(evaluate=SimpleNamespace(confidence=0.95)),
    )
    figures.finish(axes.figure, {("inhibitor", "int4"): axes}, study, "density")
    assert axes.get_ylim() == pytest.approx(height)
    assert axes.get_title(loc="right") == ("bag of words: 70.0 %, far below" if mean == 0.7 else "")


def test_a_short_ladder_beside_a_long_one_hides_nothing(reported):
    study = read_study(load_params(), reported.parent / "artifacts")
    summary = study.tables["summary"]
    short = (summary["attention"] == "softmax") & (summary["level"] > 1)
    study.tables["summary"] = summary[~short]
    last = study.ladders[-1]
    left, right = ticket_figures.accuracy_density(study, study.ladders).axes[:2]
    assert last[0] == "softmax" and left.get_xlim() == right.get_xlim()
    kept = study.accuracies(attention="inhibitor", stage="prune_rewind")["density"]
    assert left.get_xlim()[1] < kept.min()


def test_numbers_stand_at_the_edge_of_the_panels_that_are_there():
    study = SimpleNamespace(variants=["int8", "int4"], attentions=lambda: ["inhibitor", "softmax"])
    _, panels = figures.panels_of(study, [("inhibitor", "int8"), ("softmax", "int8"), ("softmax", "int4")])
    shown = {own: (axes.xaxis.get_tick_params(), axes.yaxis.get_tick_params()) for own, axes in panels.items()}
    below = {own: x["labelbottom"] for own, (x, _) in shown.items()}
    assert below == {("inhibitor", "int8"): True, ("softmax", "int8"): False, ("softmax", "int4"): True}
    beside = {own: y["labelleft"] for own, (_, y) in shown.items()}
    assert beside == {("inhibitor", "int8"): True, ("softmax", "int8"): False, ("softmax", "int4"): True}


def test_zeros_of_pruning_and_of_rounding_stand_apart(reported):
    text = (reported / "report.md").read_text(encoding="utf-8")
    assert "| integer network | pruned % | rounded to 0 % | left % |" in text


def test_show_prints_the_table_and_where_the_report_lies(reported, capsys):
    capsys.readouterr()
    show.main()
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith(("model", "inhibitor", "softmax", "bag of words"))]
    assert len(table) > 10 and len({len(line.rstrip()) for line in table}) == 1  # aligned
    assert lines[-1] == "The report: reports/report.md"


def test_a_missing_table_is_named(reported):
    (reported.parent / "artifacts" / "evaluation" / "bits.csv").unlink()
    with pytest.raises(UserError, match=r"bits.csv: no such file; run dvc repro"):
        read_study(load_params(), reported.parent / "artifacts")


def test_equal_networks_are_one(reported):
    study = read_study(load_params(), reported.parent / "artifacts")
    whole = networks(study)
    again = study.tables["certificates"].assign(name="rewound elsewhere: " + study.tables["certificates"]["name"])
    study.tables["certificates"] = pd.concat([study.tables["certificates"], again])
    told = study.tables["information"]
    study.tables["information"] = pd.concat([told, told.assign(name="rewound elsewhere: " + told["name"])])
    assert len(networks(study)) == len(whole) >= FEWEST


def test_layers_and_certificates_are_reported(reported):
    text = (reported / "report.md").read_text(encoding="utf-8")
    assert "## What layers keep" in text and "| inhibitor int8 dense | layers.0.hidden_sum |" in text
    assert "## Certificates" in text and "| inhibitor int8 dense |" in text
    assert "## What masks say" in text and "| inhibitor ticket level 2 |" in text
    assert "## What explains generalization" in text and "| code length | " in text
    assert "| given that error | inhibitor alone | softmax alone |" in text
    rows = pd.read_csv(reported / "information.csv")
    assert set(rows["seed"]) == {0, 1, 2} and {"usable", "code", "safe_from_typos"} <= set(rows["quantity"])
