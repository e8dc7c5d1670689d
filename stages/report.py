"""Stage report: tables, figures and text that git keeps, in reports/; the same bytes at every run."""

from pathlib import Path

import pandas as pd

from integer_tickets.files import write_json, write_text
from integer_tickets.params import load_params
from integer_tickets.report.figures import save, save_figures
from integer_tickets.report.headline import metrics
from integer_tickets.report.information_figures import of_information
from integer_tickets.report.markdown import report
from integer_tickets.report.study import MEASURED, Study, read_study

ARTIFACTS = Path("artifacts")
REPORTS = Path("reports")


def main() -> None:
    study = read_study(load_params(), ARTIFACTS)
    for name in MEASURED:
        write_text(REPORTS / f"{name}.csv", study.tables[name].to_csv(index=False, lineterminator="\n"))
    for name in ("results", "summary", "comparisons"):
        content = (ARTIFACTS / "evaluation" / f"{name}.csv").read_text(encoding="utf-8")
        write_text(REPORTS / f"{name}.csv", content)
    write_json(REPORTS / "metrics.json", metrics(study))
    save_figures(study, REPORTS / "figures")
    for name, draw in of_information(study).items():
        save(draw, study, REPORTS / "figures" / name)
    for name, frame in plots(study).items():
        write_text(REPORTS / "plots" / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    write_text(REPORTS / "report.md", report(study))
    print(f"the report lies in {REPORTS / 'report.md'}")


def plots(study: Study) -> dict[str, pd.DataFrame]:
    """Small tables for `dvc plots`: mean accuracy over seeds, training curves, lines between trainings, confusion."""
    rows = study.accuracies()
    models = rows[~rows["stage"].isin(["teacher", "baseline"])].rename(columns={"mean": "accuracy"})
    columns = ["attention", "variant", "role", "weights", "level", "density", "accuracy"]
    return {
        "accuracy_density": models[columns].astype({"level": int}),
        "connectivity": study.tables["lines"][["name", "seed", "share", "error", "loss"]],
        "training": study.tables["training"][["run", "epoch", "loss", "selection_accuracy"]],
        "confusion": study.tables["confusion"][["actual", "predicted"]],
    }
