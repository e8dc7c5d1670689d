"""Stage report: tables, figures and text that git keeps, in reports/; the same bytes at every run."""

from functools import partial
from pathlib import Path

import pandas as pd

from integer_tickets.files import write_json, write_text
from integer_tickets.params import load_params
from integer_tickets.report import certificate_figures, layer_figures
from integer_tickets.report.figures import of_study, save
from integer_tickets.report.headline import metrics
from integer_tickets.report.markdown import report
from integer_tickets.report.study import MEASURED, Study, read_study
from integer_tickets.report.ticket_figures import of_tickets

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
    for name, draw in (of_study(study) | of_tickets(study)).items():
        save(draw, REPORTS / "figures" / name)
    of_layers, of_codes = layer_figures.pictures(study), certificate_figures.pictures(study)
    pictures = [*of_layers, *of_codes]
    for picture in pictures:
        save(partial(picture.draw, picture.frame), REPORTS / "figures" / picture.name)
    for name, frame in (plots(study) | {picture.name: picture.frame for picture in pictures}).items():
        write_text(REPORTS / "plots" / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    write_text(REPORTS / "report.md", report(study, of_layers, of_codes))
    print(f"the report lies in {REPORTS / 'report.md'}")


def plots(study: Study) -> dict[str, pd.DataFrame]:
    """Small tables for `dvc plots`: mean accuracy over seeds, training curves, lines between trainings, confusion."""
    rows = study.accuracies()
    models = rows[~rows["stage"].isin(["teacher", "adopt", "baseline"])].rename(columns={"mean": "accuracy"})
    columns = ["attention", "variant", "role", "weights", "level", "density", "accuracy"]
    return {
        "accuracy_density": models[columns].astype({"level": int}),
        "connectivity": study.tables["lines"][["name", "seed", "share", "error", "loss"]],
        "training": study.tables["training"][["run", "epoch", "loss", "selection_accuracy"]],
        "confusion": study.tables["confusion"][["actual", "predicted"]],
    }
