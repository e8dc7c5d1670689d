"""The stage evaluate over a whole made-up study."""

from pathlib import Path

import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from integer_tickets.errors import UserError
from integer_tickets.evaluation.collect import RESULT_COLUMNS, expected
from integer_tickets.files import read_json
from integer_tickets.params import load_params
from stages import evaluate

COMPARISON_COLUMNS = (
    "family question a b attention variant level weights split difference low high p p_holm matching "
    "within_one_std n seeds"
)


def table(folder, name):
    return pd.read_csv(folder / "artifacts" / "evaluation" / f"{name}.csv")


@pytest.fixture
def evaluated(copied, content):
    evaluate.main()
    return copied


def test_everything_is_written_and_a_rerun_gives_the_same_bytes(evaluated, content):
    first = content(evaluated / "artifacts")
    names = {name.removeprefix("evaluation/") for name in first if name.startswith("evaluation/")}
    tables = "results summary comparisons training overlaps densities lines operations bits zeros confusion"
    assert names == {
        *(f"{name}.csv" for name in tables.split()),
        "agreement.json",
        "answers.json",
        "answers.npz",
        "finished",
        "masks.npz",
    }
    evaluate.main()
    assert content(evaluated / "artifacts") == first
    text = b"".join(value for name, value in first.items() if name.startswith("evaluation/") and "npz" not in name)
    assert str(evaluated).encode() not in text and b"\r" not in text


def test_results_are_one_row_per_model_split_and_metric(evaluated):
    results = table(evaluated, "results")
    assert list(results.columns) == RESULT_COLUMNS
    models = 1 + 2 * 3 * (4 + 2 + 2 + 4 + 2)  # teacher; attentions x seeds x (ladder, controls, orders, integers, ...)
    baselines = 3
    assert len(results) == (models + baselines) * 3 * 3
    assert results["model"].nunique() == models
    assert not results.duplicated(["role", "model", "split", "metric"]).any()
    assert set(results["role"]) == {
        *("teacher", "dense", "ticket", "reinit", "shuffled", "order", "majority", "tfidf", "bayes")
    }
    accuracy = results[results["metric"] == "accuracy"]
    assert accuracy["value"].between(0, 1).all()
    assert (results[results["split"] == "test"]["n"] == 200).all()


def test_means_of_the_summary_are_those_of_the_tidy_table(evaluated):
    names = {e.folder.as_posix(): e.configuration.name for e in expected(load_params(), Path("artifacts"))}
    results = table(evaluated, "results")
    results["name"] = results["model"].map(names).fillna(results["role"])
    found = results.groupby(["name", "split", "metric"])["value"].agg(["mean", "std", "count"])
    summary = table(evaluated, "summary").set_index(["name", "split", "metric"])
    assert set(found.index) == set(summary.index)
    pd.testing.assert_frame_equal(found[["mean", "std"]], summary.loc[found.index, ["mean", "std"]], atol=1e-6)
    assert (found["count"] == summary.loc[found.index, "seeds"]).all()


def test_the_other_tables_have_their_columns(evaluated):
    assert list(table(evaluated, "comparisons").columns) == COMPARISON_COLUMNS.split()
    assert {"run", "epoch", "loss", "selection_accuracy"} <= set(table(evaluated, "training").columns)
    confusion = table(evaluated, "confusion")
    assert len(confusion) == 200 and confusion["model"].nunique() == 1
    operations = table(evaluated, "operations")
    assert set(operations["stage"]) == {"peer", "quantize", "distill"}
    assert (operations["picojoules"] >= 0).all()
    bits = table(evaluated, "bits")
    parts = bits[bits["part"] != "total"].groupby(["name", "seed"])["bits"].sum()
    assert (parts == bits[bits["part"] == "total"].groupby(["name", "seed"])["bits"].sum()).all()
    agreement = read_json(evaluated / "artifacts" / "evaluation" / "agreement.json")
    assert agreement["sentences"] == 64 and len(agreement["models"]) == 36


def test_left_overs_of_an_earlier_grid_are_removed_and_named(copied, capsys):
    left_over = copied / "artifacts" / "controls" / "softmax-float-9"
    left_over.mkdir()
    (left_over / "info.json").write_text("{}")
    evaluate.main()
    assert not left_over.exists()
    assert "artifacts/controls/softmax-float-9" in capsys.readouterr().out.splitlines()[0]


def test_a_network_that_does_not_give_its_stored_logits_is_refused(copied):
    folder = copied / "artifacts" / "distilled" / "softmax-float-1" / "level_2" / "int4"
    logits = load_file(folder / "predictions.safetensors")
    logits["test"] += 1
    save_file(logits, folder / "predictions.safetensors")
    with pytest.raises(UserError, match=r"softmax-float-1/level_2/int4/ticket.safetensors.*differ for 64 of 64"):
        evaluate.main()
    assert not (copied / "artifacts" / "evaluation").exists()


def test_a_missing_model_is_named(copied):
    (copied / "artifacts" / "ladder" / "softmax-float-2" / "lower" / "level_3" / "info.json").unlink()
    with pytest.raises(UserError, match="softmax-float-2/lower/level_3: no model there"):
        evaluate.main()
