"""Timing of several contestants in interleaved rounds, so that a disturbance of the machine meets all of them."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SECONDS = 0.15  # of calls per contestant and round
FEWEST = 3


def interleaved(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every call of each contestant: all are warmed up, then take turns for `rounds` rounds."""
    for call in contestants.values():
        call()
        call()
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            begin = time.perf_counter()
            calls = 0
            while calls < FEWEST or time.perf_counter() - begin < SECONDS:
                start = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - start)
                calls += 1
    return {name: np.array(seconds) for name, seconds in taken.items()}


def summary(seconds: np.ndarray, batch: int) -> dict[str, Any]:
    """10th percentile and median of a call in microseconds, and sentences per second at the median."""
    median = float(np.median(seconds))
    return {
        "p10_us": round(float(np.percentile(seconds, 10)) * 1e6, 1),
        "median_us": round(median * 1e6, 1),
        "sentences_per_second": round(batch / median, 1),
        "calls": len(seconds),
    }
