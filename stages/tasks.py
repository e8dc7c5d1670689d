"""The standard tasks on one page: `python -m stages.tasks`, into reports/tasks.md, from what the studies left.

No stage of dvc.yaml, as it reads the results of many runs.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from integer_tickets.errors import UserError
from integer_tickets.report.tasks import page
from stages.frontier import STUDIES, kept
from stages.presets import ROOT


def main() -> None:
    path = ROOT / "reports" / "tasks.md"
    try:
        page(summaries(STUDIES), path)
    except UserError as error:
        raise SystemExit(f"tasks: {error}") from None
    print(path)


def summaries(studies: Path) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Name, corpus and summary.csv of every study."""
    for folder, params in kept(studies):
        yield folder.name, str(params["data"]["name"]), pd.read_csv(folder / "summary.csv")


if __name__ == "__main__":
    main()
