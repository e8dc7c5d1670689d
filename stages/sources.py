"""Stage sources: for every other stage, the hashes of the files that it executes, in one file on which it depends.

So a change of code reruns the stages that execute it, and dvc.lock holds one line for the code of an item, not forty.
"""

import shutil

from integer_tickets.errors import UserError
from integer_tickets.files import write_text
from stages.dependencies import ROOT, SOURCES, STAGES, hashes, sources_of_stage


def main() -> None:
    shutil.rmtree(ROOT / SOURCES, ignore_errors=True)
    for stage in STAGES:
        write_text(ROOT / SOURCES / f"{stage}.txt", hashes(sources_of_stage(stage)))


def check(stage: str) -> None:
    """UserError where a stage is about to run other code than dvc.lock would say."""
    file = ROOT / SOURCES / f"{stage}.txt"
    locked = file.read_text(encoding="utf-8") if file.exists() else ""
    # Which files they are cannot have changed without the content of one of them; to follow imports takes a second.
    if locked != hashes(line.partition("  ")[2] for line in locked.splitlines()):
        raise UserError(f"{SOURCES}/{stage}.txt is behind the code; bring it up to date: dvc repro sources")
