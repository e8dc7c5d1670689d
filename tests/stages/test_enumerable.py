"""The laboratory of information through the stages: a trained network whose layers' information is known exactly."""

import contextlib
from pathlib import Path

import pandas as pd
import pytest

from integer_tickets.data.enumerable import enumeration
from integer_tickets.information.exact import held
from stages import analyze, certify, evaluate, report
from tests.stages.conftest import SMALL, run_ladder, run_lessons, run_stage, write_params

ITEM = ["--attention", "inhibitor", "--variant", "float", "--seed", "0"]
CHANGES = {
    "grid": {"attentions": ["inhibitor"], "segments": [SMALL["grid"]["segments"][0]]},
    "data": {"source": "enumerable"},
    "language": {"train": 3000, "test": 400},
    "tokenizer": {"size": 64, "positions": 4},
    "train": {"epochs": 4},
    "controls": {"levels": [], "kinds": []},
    "connectivity": {"levels": []},
    "quantize": {"bits": [8]},
    "distill": {"bits": [8]},
}
"""Over SMALL: one ladder of two levels."""


@pytest.fixture(scope="module")
def planes(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """A folder in which the stages have run, and the exact quantities by level and layer."""
    folder = tmp_path_factory.mktemp("enumerable")
    write_params(folder, "tiny", SMALL, CHANGES)
    with contextlib.chdir(folder):
        run_lessons()
        run_ladder(*ITEM)
        run_stage(evaluate)
        run_stage(analyze, *ITEM)
        run_stage(certify)
        run_stage(report)
    rows = pd.read_csv(folder / "artifacts" / "information" / "inhibitor-float-0.csv")
    exact = rows[rows["quantity"].str.startswith("exact_")]
    return folder, exact.pivot_table(index=["level", "layer"], columns="quantity", values="value", sort=False)


def test_information_only_falls_and_a_trained_network_keeps_it(planes):
    table = planes[1]
    assert set(table.index.get_level_values("level")) == {0, 2}
    language = enumeration()
    whole = held(language.tokens, language.chance, language.posterior)
    for _, own in table.groupby("level"):
        layers = own.droplevel("level")
        path = layers.loc[["embedding", "layers.0.hidden_sum", "pooled", "logits"]]
        for quantity in ("exact_entropy", "exact_label"):
            assert (path[quantity].diff().dropna() <= 1e-6).all()
        assert layers.loc["embedding", "exact_entropy"] == pytest.approx(whole.entropy, abs=1e-4)
        assert layers.loc["embedding", "exact_gap"] == pytest.approx(0, abs=1e-6)
        superfluous = layers["exact_entropy"] - layers["exact_label"]
        assert (layers["exact_superfluous"] - superfluous).abs().max() < 1e-5
        assert layers.loc["logits", "exact_label"] > 0.2  # of 0.66 bits: it has learnt something


def test_what_is_measured_is_bounded_by_what_is_exact(planes):
    folder, table = planes
    rows = pd.read_csv(folder / "artifacts" / "information" / "inhibitor-float-0.csv")
    exact = table["exact_label"]
    pooled = rows[(rows["layer"] == "pooled") & (rows["stage"] == "quantize")]
    for measured, true in (("superfluous", "exact_superfluous"), ("code", "exact_entropy")):
        bounds = pooled[pooled["quantity"] == measured]
        assert set(bounds["level"]) == {0, 2}
        for _, row in bounds.iterrows():
            assert row["value"] >= table.loc[(row["level"], "pooled"), true]
    usable = rows[(rows["quantity"] == "usable") & (rows["layer"] == "pooled") & (rows["stage"] == "quantize")]
    assert len(usable)
    for _, row in usable.iterrows():
        assert row["low"] <= exact[row["level"], "pooled"]


def test_the_plane_is_drawn_and_explained(planes):
    reports = planes[0] / "reports"
    assert (reports / "figures" / "information_plane.svg").exists()
    plane = pd.read_csv(reports / "plots" / "information_plane.csv")
    assert {"attention", "level", "layer", "entropy", "label"} <= set(plane.columns) and len(plane) >= 8
    page = (reports / "report.md").read_text()
    assert "figures/information_plane.svg" in page and "3.780 bits the smallest" in page
