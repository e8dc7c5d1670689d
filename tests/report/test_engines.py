"""The page on engines: losing cases too, and the committed page is that of the committed measurements."""

from pathlib import Path

from integer_tickets.files import read_json
from integer_tickets.report.engines import SECTIONS, page

MACHINE = {"processor": "P", "cores": 2, "python": "3.11", "versions": {"torch": "2.13.0"}}


def test_gains_and_losses_are_shown():
    place = {"shape": "2 x 128", "threads": 1, "batch": 1, "n": 16}
    slow = {**place, "batch": 64, "threads": 2}
    rows = [
        {**place, "engine": "native, dense", "median_us": 50.0, "sentences_per_second": 20000.0},
        {**place, "engine": "A", "median_us": 125.0, "sentences_per_second": 8000.0},
        {**place, "engine": "B", "median_us": 150.0, "sentences_per_second": 6666.0},
        {**slow, "engine": "native, dense", "median_us": 64000.0, "sentences_per_second": 1000.0},
        {**slow, "engine": "B", "median_us": 32000.0, "sentences_per_second": 2000.0},
    ]
    changed = {"sentences": 3, "of": 32, "deviations": 0.01, "labels": 1}
    answers = [
        {"engine": "A", "mates": changed, "padding": {**changed, "sentences": 0}, "instructions": "does not run"},
        {"engine": "B", "mates": changed, "padding": {**changed, "labels": 0}},
    ]
    part = {"machine": MACHINE, "absent": {"x.xml": "x is not installed"}}
    text = page({"speed": {**part, "rows": rows}, "answers": {**part, "rows": answers}})
    assert "| native, dense | 50 | 1,000 |" in text and "| A | 125 |  |" in text
    assert "| best peer | A | B |" in text and "| native, dense | 2.50 | 0.50 |" in text
    assert "| A | 3 of 32 (0.01 sd, 1 labels) | 0 of 32 | does not run |" in text
    assert "| B | 3 of 32 (0.01 sd, 1 labels) | 3 of 32 (0.01 sd) | cannot be told |" in text
    assert "Absent: x.xml (x is not installed)." in text and "torch 2.13.0" in text


def test_the_page_is_that_of_the_measurements():
    found = read_json(Path("reports/engines.json"))
    assert page(found) == Path("reports/engines.md").read_text(encoding="utf-8")


def test_the_command_measures_what_the_page_shows():
    from stages.engine_speed import PARTS

    assert set(PARTS) == set(SECTIONS)
