"""Timings in pairs: a contestant beside thalweg, round by round, and what such pairs tell.

A machine has faster and slower moments. Two runs right after one another share them. So thalweg
runs before and after each contestant of a round. A *ratio* is the median, over the rounds, of a
contestant's seconds over those of its two neighbours, and has the 95 % interval of a median by
order statistics. The *control* is the same for thalweg over the thalweg before it: what the clock
finds between equals.

A ratio tells a difference if its interval leaves out 1, if the ratio is farther from 1 than the
control's interval reaches, and if the ends of its interval lie within a factor of 1.5, or of the
ratio's root where that is more. It tells that there is no difference if both intervals are within
10 % of 1. Else it tells nothing. Then three times as many rounds are added, and if that does not
help, the results are not written. They are not written either where other processes had more than
5 % of the machine: threads that wait for each other then wait for ticks of the system's clock, in
every pair alike.
"""

import itertools
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table
from scipy.stats import quantile_test

RESULTS = Path(__file__).parent / "results"
EQUAL = 1.1  # intervals within this factor of 1 say that there is no difference
PRECISE = 1.5  # ends of an interval within this factor are near, however small the difference
OTHERS = 0.05  # of the machine: so much may other processes have
ROUNDS = 6  # fewer have no 95 % interval of their median
LONGER = 3  # times as many rounds are run where the first tell nothing

Run = Callable[[], object]
Clock = Callable[[], float]
Row = dict[str, Any]


class Ratio(NamedTuple):
    """The median of ratios of neighbours, and its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """The factor by which the interval reaches away from 1."""
        return max(self.high, 1 / self.low)


def ratio(values: Sequence[float]) -> Ratio:
    """Return the median of at least six ratios, with its interval.

    Example:
        >>> ratio([1.9, 2.0, 2.1, 1.8, 2.2, 2.0, 400.0])
        Ratio(median=2.0, low=1.8, high=400.0)
    """
    if len(values) < ROUNDS:
        raise SystemExit(f"rounds must be >= {ROUNDS}, got {len(values)}: fewer have no interval")
    found = quantile_test(values, q=1, p=0.5).confidence_interval(0.95)
    return Ratio(float(np.median(values)), float(found.low), float(found.high))


def told(found: Ratio, control: Ratio) -> str:
    """Return what a ratio tells: "different", "equal" or "nothing".

    Example:
        >>> told(Ratio(1.3, 1.2, 1.4), control=Ratio(1.0, 0.98, 1.02))
        'different'
        >>> told(Ratio(1.03, 0.99, 1.05), control=Ratio(1.0, 0.98, 1.02))
        'equal'
        >>> told(Ratio(1683.0, 1.05, 128768.0), control=Ratio(1.0, 0.98, 1.02))
        'nothing'
    """
    away = max(found.median, 1 / found.median)
    precise = found.high <= max(PRECISE, math.sqrt(away)) * found.low
    if precise and not found.low <= 1 <= found.high and away > control.reach:
        return "different"
    return "equal" if max(found.reach, control.reach) <= EQUAL else "nothing"


def in_words(found: Ratio, control: Ratio) -> str:
    """Write a ratio with its interval, and say so where it is no difference.

    Example:
        >>> in_words(Ratio(1.3, 1.2, 1.4), Ratio(1.0, 0.98, 1.02))
        '1.30 [1.20, 1.40]'
        >>> in_words(Ratio(1.02, 0.99, 1.05), Ratio(1.0, 0.98, 1.02))
        '1.02 [0.99, 1.05] no difference'
    """
    words = {"different": "", "equal": " no difference", "nothing": " tells nothing"}
    text = f"{found.median:.2f} [{found.low:.2f}, {found.high:.2f}]"
    return text + words[told(found, control)]


@dataclass(frozen=True)
class Comparison:
    """Contestants in turn.

    Attributes:
        seconds: of each contestant, round by round, for one unit of its work.
        relative: the same over the mean (the geometric one) of thalweg's two neighbours.
        control: thalweg over the thalweg before it.
    """

    seconds: Mapping[str, Sequence[float]]
    relative: Mapping[str, Sequence[float]]
    control: Ratio

    def ratio(self, name: str, over: str | None = None) -> Ratio:
        """Return how many times the seconds of thalweg, or of another, a contestant takes."""
        values = np.array(self.relative[name])
        return ratio((values / self.relative[over] if over else values).tolist())

    def fastest(self, among: Iterable[str]) -> str | None:
        """Return the one of these contestants that takes the least time, if there are any."""
        return min(among, key=lambda name: self.ratio(name).median, default=None)

    def median(self, name: str) -> float:
        """Return a contestant's seconds."""
        return float(np.median(self.seconds[name]))

    def noise(self, name: str) -> float:
        """Return half the distance between the quartiles of its seconds, over their median."""
        low, middle, high = np.quantile(self.seconds[name], [0.25, 0.5, 0.75])
        return float((high - low) / 2 / middle)

    def row(self, name: str | None) -> Row:
        """Return the fields of a result: how a contestant, if any, compares with thalweg."""
        control = {"control": list(self.control)}
        if name is None:
            return control
        found = self.ratio(name)
        return {"ratio": found.median, "interval": [found.low, found.high]} | control


def timer(run: Run, least: float = 0.002, clock: Clock = time.perf_counter) -> Clock:
    """Return a timer of one run, averaged over enough repetitions to last ``least`` seconds.

    A quick run goes on for 50 ms before its time counts: a system may put threads that wake on one
    core, and see it late. Until then each call that waits for the other thread, torch's too, takes
    a tick of its clock.
    """
    run()  # compiles, allocates
    start = time.perf_counter()
    run()
    repetitions = max(1, round(least / max(time.perf_counter() - start, 1e-9)))

    def repeated() -> float:
        start = clock()
        for _ in range(repetitions):
            run()
        return (clock() - start) / repetitions

    def once() -> float:
        time.sleep(0.02)  # until the threads of the one before have stopped spinning
        start = time.perf_counter()
        found = repeated()
        while time.perf_counter() - start < 0.05:
            found = repeated()
        return found

    return once


def compared(
    contestants: Mapping[str, Run],
    rounds: int = 15,
    work: Mapping[str, float] | None = None,
    clock: Clock = time.perf_counter,
) -> Comparison:
    """Time contestants, one of them "thalweg", in turn; see the head of this file.

    Args:
        contestants: what to run, by name.
        rounds: at first, >= 6; three times as many more where these tell nothing.
        work: how many units one run of a contestant does; 1 by default.
        clock: returns seconds; that of the wall by default.
    """
    timers = {name: timer(run, clock=clock) for name, run in contestants.items()}
    units = dict.fromkeys(timers, 1.0) | dict(work or {})
    per_unit: dict[str, Clock] = {
        n: lambda timer=timer, n=n: timer() / units[n]  # type: ignore[misc]
        for n, timer in timers.items()
    }
    return in_turn(per_unit, rounds, longer=LONGER)


def in_turn(clocks: Mapping[str, Clock], rounds: int, longer: int = 0) -> Comparison:
    """Ask the clocks of contestants, one of them "thalweg", in turn.

    Args:
        clocks: each returns the seconds of one unit of work.
        rounds: at first, >= 6.
        longer: so many times as many are added where these tell nothing.
    """
    peers = [name for name in clocks if name != "thalweg"]
    seconds: dict[str, list[float]] = {name: [] for name in clocks}
    relative: dict[str, list[float]] = {name: [] for name in clocks}
    controls: list[float] = []
    ours = clocks["thalweg"]

    def play() -> None:
        own = [ours()]
        for name in peers:
            seconds[name].append(clocks[name]())
            own.append(ours())
            relative[name].append(seconds[name][-1] / math.sqrt(own[-2] * own[-1]))
        if not peers:
            own.append(ours())
        controls.extend(after / before for before, after in itertools.pairwise(own))
        seconds["thalweg"].append(float(np.median(own)))
        relative["thalweg"].append(1.0)

    def result() -> Comparison:
        return Comparison(seconds, relative, ratio(controls))

    for _ in range(rounds):
        play()
    found = result()
    if longer and any(
        told(found.ratio(n), found.control) == "nothing" for n in peers or ["thalweg"]
    ):
        for _ in range(longer * rounds):
            play()
        found = result()
    return found


# What may be written.


def _spent() -> tuple[float, float, float]:
    """Return the clock, the seconds that all cores worked, and those that they worked for us.

    To us belong this process and all that it started.
    """
    cores = psutil.cpu_times()
    busy = ("user", "nice", "system", "irq", "softirq", "steal")
    own = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            own += sum(process.cpu_times()[:4])  # user, system, and those of ended children
        except psutil.Error:
            continue  # it has just ended
    return time.perf_counter(), sum(getattr(cores, name, 0.0) for name in busy), own


class Others:
    """What other processes take of the machine."""

    def __init__(self) -> None:
        self.last = _spent()

    def share(self) -> float:
        """Return the share of all cores that they had since this was asked last."""
        now = _spent()
        clock, cores, own = (new - old for new, old in zip(now, self.last, strict=True))
        self.last = now
        return max(0.0, (cores - own) / (clock * (os.cpu_count() or 1)))


others = Others()


def empty(row: Row) -> str | None:
    """Return what is wrong with a row of results that tells nothing."""
    if "control" not in row:
        return None
    control = Ratio(*row["control"])
    known = [str(value) for value in row.values() if isinstance(value, str | int)]
    itself = f"thalweg over itself [{control.low:.2f}, {control.high:.2f}]"
    if "interval" not in row:
        return None if control.reach <= EQUAL else f"{', '.join(known)}: {itself}"
    found = Ratio(row["ratio"], *row["interval"])
    if told(found, control) != "nothing":
        return None
    return f"{', '.join(known)}: {found.median:.2f} [{found.low:.2f}, {found.high:.2f}], {itself}"


def refusal(rows: Sequence[Row], taken: float) -> str | None:
    """Return why these results must not be published, None if they may.

    Args:
        rows: the results.
        taken: the share of the machine that other processes had meanwhile.
    """
    wrong = [found for row in rows if (found := empty(row))]
    reasons = []
    if wrong:
        reasons.append(
            f"{len(wrong)} of {len(rows)} results tell nothing, for equals differ as much "
            f"({'; '.join(wrong[:5])}{'; ...' if len(wrong) > 5 else ''})"
        )
    if taken > OTHERS:
        reasons.append(f"other processes had {taken:.0%} of the machine, more than {OTHERS:.0%}")
    return (
        "; and ".join(reasons) + "; stop what else is running, and measure again"
        if reasons
        else None
    )


def save_timed(name: str, rows: list[Row]) -> None:
    """Write timings as ``save`` does, unless they tell nothing.

    Raises:
        SystemExit: the machine was too busy, or its noise larger than what was found.
    """
    if why := refusal(rows, others.share()):
        raise SystemExit(f"{name}.json is not written: {why}.")
    save(name, rows)


def save(name: str, rows: list[Row]) -> None:
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


def noise(rows: Sequence[Row]) -> str:
    """Say how far from 1 thalweg over itself was found."""
    reaches = [Ratio(*row["control"]).reach - 1 for row in rows if "control" in row]
    middle = f"{np.median(reaches):.1%} in the median, at most {max(reaches):.1%}"
    return f"thalweg over itself: its interval reaches {middle} away from 1"
