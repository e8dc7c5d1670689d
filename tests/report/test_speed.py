"""The page on the speed of training: every part that is measured has a section, and nothing else."""

from pathlib import Path

from integer_tickets.files import read_json
from integer_tickets.report.speed import SECTIONS, page

MACHINE = {"processor": "P", "cores": 2, "python": "3.11", "versions": {"torch": "2.13.0", "transformers": "absent"}}


def test_parts_that_were_measured_are_shown():
    kernel = {"batch": 2, "heads": 1, "n": 8, "d": 4, "threads": 1, "p10_ms": 1.0}
    attention = [
        {**kernel, "name": "SDPA, softmax", "median_ms": 2.0, "ratio": 1.0},
        {**kernel, "name": "fused, signed, avx2", "median_ms": 3.0, "ratio": 1.5},
        {**kernel, "n": 16, "name": "SDPA, softmax", "median_ms": 4.0, "ratio": 1.0},
    ]
    level = {"pattern": "weight", "level": 3, "density": 0.25, "steps": 900, "own_seconds": 30.4, "seconds": 90.0}
    ladder = [{**level, "selection_accuracy": 0.801}]
    found = {"attention": {"machine": MACHINE, "rows": attention}, "ladder": {"machine": MACHINE, "rows": ladder}}
    text = page({**found, "pipeline": {"machine": MACHINE, "rows": []}})
    assert "| 2, 1, 8, 4 | 1 | 2.00 (1.00) | 3.00 (1.50) |" in text  # a losing case too
    assert "| 2, 1, 16, 4 | 1 | 4.00 (1.00) |  |" in text
    assert "| weights | 3 | 25.0 | 900 | 30 | 1.5 | 80.10 |" in text
    assert text.count("\n## ") == 2 and "torch 2.13.0" in text and "absent" not in text


def test_the_page_is_that_of_the_measurements():
    """Every section of the committed file, as it is."""
    found = read_json(Path("reports/training_speed.json"))
    assert page(found) == Path("reports/training_speed.md").read_text(encoding="utf-8")


def test_the_command_measures_what_the_page_shows():
    from stages.training_speed import NEED_DATA, PARTS

    assert set(PARTS) == set(SECTIONS) and set(PARTS) > NEED_DATA
