"""Timing: who is called when, what is counted, and the arithmetic of the summary; the clock is made up."""

import numpy as np
import pytest

from integer_tickets.benchmark import timing
from integer_tickets.benchmark.timing import FEWEST, interleaved, summary


class Clock:
    """A clock that runs only while somebody works."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def perf_counter(self):
        return self.now

    def worker(self, name, seconds):
        def work():
            self.calls.append(name)
            self.now += seconds

        return work


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


def test_contestants_are_warmed_up_and_take_turns(clock):
    slow = {name: clock.worker(name, 1.0) for name in "abc"}
    taken = interleaved(slow, 2)
    warm = [name for name in "abc" for _ in range(2)]
    turns = [name for _ in range(2) for name in "abc" for _ in range(FEWEST)]
    assert clock.calls == warm + turns
    assert list(taken) == ["a", "b", "c"]
    assert all(seconds.tolist() == [1.0] * 2 * FEWEST for seconds in taken.values())


def test_a_turn_of_a_fast_contestant_has_more_calls(clock, monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.25)  # and sixteenths of it: numbers that binary fractions hold
    taken = interleaved({"fast": clock.worker("fast", 0.25 / 16), "slow": clock.worker("slow", 2.0)}, 3)
    assert len(taken["fast"]) == 3 * 16 and len(taken["slow"]) == 3 * FEWEST
    assert set(taken["fast"]) == {0.25 / 16} and set(taken["slow"]) == {2.0}


def test_warming_up_is_not_timed(clock):
    seconds = iter([100.0, 100.0, *[1.0] * FEWEST])

    def work():
        clock.now += next(seconds)

    assert interleaved({"a": work}, 1)["a"].tolist() == [1.0] * FEWEST


def test_summary():
    seconds = np.array([11.0, 1.0, 3.0, 5.0, 7.0, 2.0, 4.0, 6.0, 8.0, 9.0, 10.0]) * 1e-3
    assert summary(seconds, 12) == {
        "p10_us": 2000.0,
        "median_us": 6000.0,
        "sentences_per_second": 2000.0,
        "calls": 11,
    }
    assert summary(np.array([0.5, 1.5]), 3)["sentences_per_second"] == 3.0
    assert {type(value) for value in summary(seconds, 1).values()} == {float, int}
