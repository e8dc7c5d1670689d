"""The time of a training step falls as heads and neurons go."""

from itertools import pairwise

import pytest

from integer_tickets.benchmark import timing
from integer_tickets.benchmark.shrinking import step_times
from tests.model.conftest import shape_of


@pytest.mark.parametrize("kind", ["inhibitor", "softmax"])
def test_smaller_models_train_faster(monkeypatch, kind):
    monkeypatch.setattr(timing, "SECONDS", 0.0)  # as few steps as can be
    shape, densities = shape_of(kind, width=64, heads=4, hidden=512), [1.0, 0.5, 0.05]
    rows = step_times(shape, densities, batch=64, tokens=12, rounds=3)
    assert [row["steps"] for row in rows] == [9, 9, 9]
    assert rows[0]["density"] == 1 and (rows[0]["heads"], rows[0]["neurons"]) == (8, 1024)
    assert all(0.8 * most <= row["density"] <= most for row, most in zip(rows[:2], densities, strict=False))
    assert (rows[2]["heads"], rows[2]["neurons"]) == (2, 2)  # not quite 0.05: less there cannot be
    assert all(a["heads"] >= b["heads"] and a["neurons"] >= b["neurons"] for a, b in pairwise(rows))
    assert all(row["p10_ms"] <= row["median_ms"] for row in rows)
    assert rows[2]["p10_ms"] < rows[0]["p10_ms"]  # several times less, whatever else the machine does
