"""Course: runs a race's trainings, many at once, and measures their time, one at a time."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.pool import ThreadPool

import numpy as np

from thalweg import rule as registry
from thalweg.racing import space
from thalweg.racing.protocol import RERUNS, TIMED, Budget, Protocol, Speed
from thalweg.racing.search import WIDENED, Found, finalists, search, second_round
from thalweg.racing.space import Point
from thalweg.racing.store import FINAL, RERUN, Result, Store, Trial
from thalweg.racing.task import Task

__all__ = ["Progress", "run", "trials_per_rule"]

_MEASURED = 5  # epochs that are enough to measure the time of one
_ALONE = 8.0  # what a training alone costs, in trainings among others; for the progress bar only

Contest = Generator[list[Trial], list[Result], Found]


@dataclass(frozen=True)
class Progress:
    """How far a race is.

    Attributes:
        done: finished work.
        total: all work that is known of, in the same unit; grows when a space is widened.
        doing: what finished last, such as ``"adam: trials 17-32"``.
        best: the best so far, such as ``"lion 0.0931"``.
    """

    done: float
    total: float
    doing: str
    best: str


@dataclass
class _Meter:
    """Adds up what is done; widened trials were not foreseen, so they add to the total."""

    tell: Callable[[Progress], None] | None
    total: float
    done: float = 0.0
    best: tuple[float, str] = (float("inf"), "")

    def count(self, results: Sequence[Result]) -> None:
        for result in results:
            self.done += _ALONE if result.trial.round == FINAL else 1.0
            self.best = min(self.best, (result.loss, result.trial.rule))

    def show(self, doing: str) -> None:
        loss, rule = self.best
        if self.tell:
            best = f"{rule} {loss:.4g}" if rule else ""
            self.tell(Progress(self.done, self.total, doing, best))


def run(
    task: Task,
    protocol: Protocol,
    store: Store,
    tell: Callable[[Progress], None] | None,
    threads: int,
) -> dict[str, Found]:
    """Run what a begun store does not have yet, and return what each rule's search found.

    Raises:
        KeyboardInterrupt: it was interrupted; the store has every finished piece.
    """
    counts = store.counts()
    lanes = sum(
        count + second_round(count) + RERUNS * finalists(count) for count in counts.values()
    )
    alone = _ALONE * len(counts) * (protocol.seeds + TIMED)
    meter = _Meter(tell, lanes + alone)
    contests = {
        name: _contest(name, counts[name], protocol, task.schedules) for name in protocol.rules
    }
    found = _Pool(task, store, meter).run(contests, threads)
    _time(task, protocol, store, found, meter)
    return found


def trials_per_rule(task: Task, protocol: Protocol, threads: int) -> dict[str, int]:
    """Return the number of first-round trials of each rule; measure what a budget in time buys.

    Raises:
        ValueError: the budget is too small.
    """
    if protocol.budget is None:
        return dict.fromkeys(protocol.rules, protocol.trials)
    budget = Budget.parse(protocol.budget)
    if budget.unit == "s":
        speeds = [_speed(task, protocol, name, threads) for name in protocol.rules]
    else:
        speeds = [Speed()] * len(protocol.rules)
    return dict(zip(protocol.rules, budget.trials(protocol, speeds, threads), strict=True))


def _speed(task: Task, protocol: Protocol, name: str, threads: int) -> Speed:
    """Measure the mean over the batch sizes, with the rule's defaults and all threads at work."""
    defaults, seed = registry.get(name).defaults, protocol.selection_seed
    epochs = min(protocol.epochs, _MEASURED)
    trials = [Trial(name, "", 0, seed, size, defaults, epochs) for size in protocol.batch_sizes]

    def measured(lanes: int) -> float:
        with ThreadPool(threads) as pool:
            seconds = [
                pool.map(lambda unit: _seconds(task, unit, TIMED), [[trial] * lanes] * threads)
                for trial in trials
            ]
        # The fastest thread: what disturbs a short run, such as a first call, would count for all.
        return float(np.mean(np.min(seconds, axis=1)))

    return Speed(among=measured(task.lanes) / task.lanes, alone=measured(1))


def _seconds(task: Task, unit: Sequence[Trial], runs: int) -> float:
    """Return the seconds per epoch of a piece of work, the median of some runs once it is warm."""
    task.run([replace(trial, epochs=1) for trial in unit], should_stop=lambda: False)
    measured = []
    for _ in range(runs):
        start = time.perf_counter()
        task.run(unit, should_stop=lambda: False)
        measured.append((time.perf_counter() - start) / unit[0].epochs)
    return float(np.median(measured))


def _contest(name: str, count: int, protocol: Protocol, schedules: Sequence[str]) -> Contest:
    """Yield the trainings that a rule needs next and take their results."""
    searched = space.of(registry.get(name), protocol.batch_sizes, schedules)
    steps = search(searched, count, protocol.seed)
    wanted = next(steps)
    number = 0
    while True:
        again = wanted.label == RERUN
        seeds = protocol.rerun_seeds if again else (protocol.selection_seed,)
        runs = [(seed, point) for seed in seeds for point in wanted.points]
        epochs = max(1, round(wanted.share * protocol.epochs))
        results = yield [
            _trial(name, wanted.label, point, number=i, seed=seed, epochs=epochs)
            for i, (seed, point) in enumerate(runs, start=0 if again else number)
        ]
        number += len(wanted.points)
        losses = np.reshape([result.loss for result in results], (len(seeds), len(wanted.points)))
        try:
            wanted = steps.send(np.median(losses, axis=0).tolist())
        except StopIteration as stop:
            found: Found = stop.value
            break
    yield [
        _trial(name, FINAL, found.point, number=i, seed=fresh, epochs=protocol.epochs)
        for i, fresh in enumerate(protocol.final_seeds)
    ]
    return found


def _trial(name: str, label: str, point: Point, *, number: int, seed: int, epochs: int) -> Trial:
    hyper = dict(point.hyper)
    return Trial(name, label, number, seed, point.batch_size, hyper, epochs, point.schedule)


class _Pool:
    """Trainings of different rules at once; the store is touched by the calling thread alone."""

    def __init__(self, task: Task, store: Store, meter: _Meter) -> None:
        self.task = task
        self.store = store
        self.meter = meter
        self.stop = threading.Event()
        self.finished: queue.SimpleQueue[list[Result] | BaseException] = queue.SimpleQueue()

    def run(self, contests: Mapping[str, Contest], threads: int) -> dict[str, Found]:
        found: dict[str, Found] = {}
        # Daemon threads: an interrupt must not wait for a compilation that cannot be interrupted.
        with ThreadPool(threads) as pool:

            def proceed(name: str, results: list[Result] | None) -> None:
                """Let a contest go on until it needs a training that is not in the store."""
                while name not in found:
                    try:
                        wanted = contests[name].send(results)  # type: ignore[arg-type] # None starts it
                    except StopIteration as stop:
                        found[name] = stop.value
                        return
                    units = list(_units(self.task, self.missing(wanted)))
                    if units:
                        waiting[name] = wanted, len(units)
                        for unit in units:
                            pool.apply_async(self.train, (unit,), callback=self.finished.put)
                        return
                    results = self.results(wanted)

            waiting: dict[str, tuple[list[Trial], int]] = {}
            try:
                for name in contests:
                    proceed(name, None)
                while waiting:
                    name = self.keep(self.finished.get())
                    wanted, units = waiting.pop(name)
                    if units > 1:
                        waiting[name] = wanted, units - 1
                    else:
                        proceed(name, self.results(wanted))
            finally:
                self.stop.set()
        return found

    def results(self, trials: Sequence[Trial]) -> list[Result]:
        return [result for trial in trials if (result := self.store.get(trial))]

    def missing(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return those trainings that the store does not have; count the others as done."""
        self.meter.total += sum(trial.round == WIDENED for trial in trials)
        self.meter.count(self.results(trials))
        return [trial for trial in trials if not self.store.get(trial)]

    def train(self, unit: list[Trial]) -> list[Result] | BaseException:
        """Run a piece of work; an error is a value here, for the calling thread to raise."""
        try:
            lanes = self.task.run(unit, should_stop=self.stop.is_set)
            judged = (
                zip(*lanes.judge(), strict=True) if unit[0].round == FINAL else [()] * len(unit)
            )
            return [
                Result(
                    trial,
                    int(lanes.diverged_at[i]),
                    lanes.train_loss[:, i].astype(float),
                    lanes.validation_loss[:, i].astype(float),
                    *map(float, test),
                )
                for i, (trial, test) in enumerate(zip(unit, judged, strict=True))
            ]
        except BaseException as error:  # noqa: BLE001 - raised again in keep
            return error

    def keep(self, finished: list[Result] | BaseException) -> str:
        """Store a finished piece of work and return its rule."""
        if isinstance(finished, BaseException):
            raise finished
        self.store.add(finished)
        self.meter.count(finished)
        self.meter.show(_describe([result.trial for result in finished]))
        return finished[0].trial.rule


def _units(task: Task, trials: Sequence[Trial]) -> Iterator[list[Trial]]:
    """Cut trainings into pieces of work."""
    groups: dict[Hashable, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(task.together(trial), []).append(trial)
    for group in groups.values():
        for i in range(0, len(group), task.lanes):
            yield group[i : i + task.lanes]


def _describe(trials: Sequence[Trial]) -> str:
    what = {FINAL: "seed", RERUN: "re-run"}.get(trials[0].round, "trial")
    first, last = trials[0].number + 1, trials[-1].number + 1
    numbers = f"{what} {first}" if first == last else f"{what}s {first}-{last}"
    return f"{trials[0].rule}: {numbers}"


def _time(
    task: Task, protocol: Protocol, store: Store, found: Mapping[str, Found], meter: _Meter
) -> None:
    """Time each rule's best that was not timed yet, while nothing else runs."""
    for name in protocol.rules:
        if name not in store.timings():
            epochs = min(protocol.epochs, _MEASURED)
            seed, best = protocol.final_seeds[0], found[name].point
            trial = _trial(name, FINAL, best, number=0, seed=seed, epochs=epochs)
            store.time(name, _seconds(task, [trial], TIMED))
        meter.done += _ALONE * TIMED
        meter.show(f"{name}: time per epoch")
