"""Print the results in the terminal, at the end of `make repro`."""

from pathlib import Path

from integer_tickets.params import load_params
from integer_tickets.report import tables
from integer_tickets.report.study import read_study

REPORTS = Path("reports")


def main() -> None:
    study = read_study(load_params(), Path("artifacts"))
    print(f"\n{study.statistics['corpus']}, {study.split} split\n")
    print(tables.headline(study).text())
    print("\nAccuracy is the mean ± standard deviation over seeds; the interval is over sentences and seeds.")
    print(f"\nThe report: {(REPORTS / 'report.md').as_posix()}")
