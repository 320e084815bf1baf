"""A step of Adam while other processes work: mean, median and 99th percentile of its seconds.

    python benchmarks/busy.py [--rounds 20]

200 tensors of 10,000 float32 are stepped by thalweg.optim.Adam and by torch's, fused and foreach,
each in a process of its own and with as many threads as there are cores. Before each step torch
multiplies two matrices of 512 x 512, as other work of a training would be; the step alone is timed.
Meanwhile 0, 1 and 2 processes do nothing but count. Contestants take turns of half a second, or of
10 steps where that is longer (2 s at most). The means of turns are compared as measure.py says. It
takes three minutes.
"""

import argparse
import contextlib
import functools
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numba
import numpy as np
import torch

from measure import Ratio, Row, in_turn, in_words, noise, save_timed, show
from thalweg import optim

COUNT, SIZE, WORK = 200, 10_000, 512
LEAST_STEPS, LEAST_SECONDS, MOST_SECONDS = 10, 0.5, 2.0  # of a turn
BUSY = (0, 1, 2)
CONTESTANTS: dict[str, tuple[Any, dict[str, bool]]] = {
    "thalweg": (optim.Adam, {}),
    "torch fused": (torch.optim.Adam, {"fused": True}),
    "torch foreach": (torch.optim.Adam, {"foreach": True}),
}


@functools.cache
def ready(name: str) -> tuple[torch.Tensor, Any]:
    """Return the matrix of the other work and a step, in the process that takes it."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    numba.set_num_threads(min(cores, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.randn(SIZE, generator=generator).requires_grad_() for _ in range(COUNT)]
    for parameter in parameters:
        parameter.grad = torch.randn(SIZE, generator=generator)
    make, options = CONTESTANTS[name]
    step = make(parameters, lr=1e-4, **options).step
    step()
    return torch.randn(WORK, WORK, generator=generator), step


def turn(name: str) -> list[float]:
    """Return the seconds of each step of a turn."""
    matrix, step = ready(name)
    seconds: list[float] = []
    begin = time.perf_counter()
    spent = 0.0
    while spent < LEAST_SECONDS or (len(seconds) < LEAST_STEPS and spent < MOST_SECONDS):
        matrix @ matrix
        start = time.perf_counter()
        step()
        now = time.perf_counter()
        seconds.append(now - start)
        spent = now - begin
    return seconds


def count() -> None:
    """Keep a core busy."""
    number = 0
    while True:
        number += 1


@contextlib.contextmanager
def counting(processes: int) -> Iterator[None]:
    """Keep that many processes busy meanwhile."""
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=count, daemon=True) for _ in range(processes)]
    for process in started:
        process.start()
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.join()


def measured(busy: int, workers: dict[str, ProcessPoolExecutor], rounds: int) -> list[Row]:
    """Return a row per contestant beside that many busy processes."""
    steps: dict[str, list[float]] = {name: [] for name in workers}

    def mean(name: str) -> float:
        found = workers[name].submit(turn, name).result()
        steps[name] += found
        return float(np.mean(found))

    with counting(busy):
        for name in workers:
            mean(name)  # the processes have started, too
            steps[name].clear()
        found = in_turn({name: functools.partial(mean, name) for name in workers}, rounds)
    rows = []
    for name, seconds in steps.items():
        row = {"busy": busy, "contestant": name, "steps": len(seconds)}
        row |= {"mean": float(np.mean(seconds)), "median": float(np.median(seconds))}
        row |= {"99 %": float(np.quantile(seconds, 0.99))}
        rows.append(row | found.row(None if name == "thalweg" else name))
    return rows


def cells(row: Row) -> list[str]:
    times = (f"{1e3 * row[name]:.2f}" for name in ("mean", "median", "99 %"))
    against = "-"
    if "interval" in row:
        against = in_words(Ratio(row["ratio"], *row["interval"]), Ratio(*row["control"]))
    return [str(row["busy"]), row["contestant"], str(row["steps"]), *times, against]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        workers = {
            name: stack.enter_context(ProcessPoolExecutor(1, context)) for name in CONTESTANTS
        }
        rows = [row for busy in BUSY for row in measured(busy, workers, rounds)]
    show(
        f"a step of Adam, {COUNT} x {SIZE:,}, between other work, beside busy processes",
        ["busy", "", "steps", "mean ms", "median ms", "99 % ms", "mean over thalweg's [95 %]"],
        [cells(row) for row in rows],
    )
    print(noise(rows))
    save_timed("busy", rows)


if __name__ == "__main__":
    main()
