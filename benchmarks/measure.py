"""Interleaved timings: every contestant in every round of one process, medians of many rounds."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def seconds(run: Callable[[], object], least: float = 0.002) -> Callable[[], float]:
    """Return a timer of one run, averaged over enough repetitions to last ``least`` seconds."""
    run()  # compiles, allocates
    start = time.perf_counter()
    run()
    repetitions = max(1, round(least / max(time.perf_counter() - start, 1e-9)))

    def once() -> float:
        start = time.perf_counter()
        for _ in range(repetitions):
            run()
        return (time.perf_counter() - start) / repetitions

    return once


def _awake(run: Callable[[], object], least: float = 0.05) -> None:
    """Run for ``least`` seconds: a system may put threads that wake on one core, and see it late.

    Until then each call that waits for the other thread, torch's too, takes a tick of its clock.
    """
    start = time.perf_counter()
    while time.perf_counter() - start < least:
        run()


def interleaved(
    contestants: Mapping[str, Callable[[], object]], rounds: int = 15
) -> dict[str, dict[str, float]]:
    """Time the contestants in turn, round by round.

    Returns:
        By name: the median in seconds, and the noise: half the distance between the quartiles over
        the median.
    """
    timers = {name: seconds(run) for name, run in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            time.sleep(0.02)  # until the threads of the one before have stopped spinning
            _awake(contestants[name])
            times[name].append(timer())
    result = {}
    for name, values in times.items():
        low, median, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
        result[name] = {"median": median, "noise": (high - low) / 2 / median}
    return result


def save(name: str, rows: list[dict[str, Any]]) -> None:
    """Write the rows and what they ran on as results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    text = json.dumps({**machine, "rows": rows}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)


def noise(rows: list[dict[str, Any]]) -> str:
    """Say how noisy the machine was: the median of all noises."""
    middle = statistics.median(row["noise"] for row in rows)
    return f"machine noise (half the interquartile range over the median): {middle:.0%}"
