"""Timing: the seconds that an epoch takes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from thalweg.tasks.task import Lane, Task

__all__ = ["LONG", "TIMED", "seconds"]

TIMED = 3  # runs from which the time per epoch is the median
LONG = 1.0  # seconds that these runs take together


def seconds(
    task: Task,
    lanes: Sequence[Lane],
    *,
    should_stop: Callable[[], bool],
    alone: bool = False,
    runs: int = TIMED,
) -> float:
    """Return the seconds per epoch of lanes: the median of some runs after a first one.

    The first epoch fills caches and is not counted. If the second takes more than a second, its
    time is returned. Otherwise all runs together take about a second.
    """

    def measure(epochs: int) -> float:
        start = time.perf_counter()
        shorter = [replace(lane, epochs=epochs) for lane in lanes]
        task.run(shorter, should_stop=should_stop, alone=alone)
        return (time.perf_counter() - start) / epochs

    measure(1)
    once = measure(1)
    if once > LONG:
        return once
    epochs = min(lanes[0].epochs, 1 + int(LONG / (runs * once)))
    return float(np.median([measure(epochs) for _ in range(runs)]))
