"""Run: the trainings of a race, many at once, and their times, measured one at a time."""

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thalweg.progress import Progress
from thalweg.racing import space
from thalweg.racing.meter import ALONE, Meter
from thalweg.racing.protocol import RERUNS, Budget, Protocol, Speed
from thalweg.racing.raced import Raced
from thalweg.racing.search import Found, finalists, full_trainings, resizings, search
from thalweg.racing.space import Point
from thalweg.racing.store import Store
from thalweg.racing.ticks import Ticks
from thalweg.racing.trial import FINAL, RERUN, TIMING, Result, Trial
from thalweg.racing.workers import Piece, Workers, timed, train
from thalweg.rule import Rule
from thalweg.tasks.task import Target, Task, seed_of
from thalweg.tasks.timing import TIMED

__all__ = ["Course", "recommended", "run", "trials_per_rule"]

_TYPICAL = 64  # lanes of a stack whose time is measured; only races of many trials have wider ones
_SEEN = 0.2  # seconds between what those see who watch: pieces of linear models end more often
_STEP = 8  # what a step of a stack costs beside its lanes, in lanes: nearly that, of small modules

Key = tuple[str, int]
"""A rule and a repeat."""

Contest = Generator[list[Trial], list[Result], Found]


@dataclass(frozen=True, eq=False)
class Course:
    """A race that has run.

    Attributes:
        task: what was trained.
        protocol: the terms.
        store: with every training finished.
        rules: that raced, by name.
        found: by each rule's searches, one per repeat.
        targets: of each repeat.
    """

    task: Task
    protocol: Protocol
    store: Store
    rules: Mapping[str, Rule]
    found: Mapping[str, Sequence[Found]]
    targets: Sequence[Target]


def run(
    task: Task,
    protocol: Protocol,
    store: Store,
    workers: Workers,
    *,
    tell: Callable[[Progress], None] | None = None,
    write: Callable[[Sequence[Result]], None] | None = None,
) -> Course:
    """Run all trainings that the store of a race does not have yet.

    Raises:
        KeyboardInterrupt: it was interrupted; the store has every finished piece.
    """
    counts, rules = store.counts(), workers.rules
    final = 1.0 if _finals_share_a_stack(task, protocol, rules) else ALONE
    alone = len(counts) * ALONE * TIMED
    total = _foreseen(protocol, counts, rules, final) + alone
    with Ticks() as ticks:
        meter = Meter(_telling(store, tell), ticks, protocol, final, total)
        kept = list(store.results())
        meter.foresee(result.trial for result in kept)
        meter.count(kept, new=False)
        aims = _targets(task, protocol, store, workers, meter)
        contests = {
            (name, repeat): _contest(rules[name], repeat, counts[name], protocol, task)
            for repeat in range(protocol.repeats)
            for name in protocol.rules
        }
        every = _Pool(task, store, meter, workers, write).run(contests)
        found = {
            name: [every[name, repeat] for repeat in range(protocol.repeats)]
            for name in protocol.rules
        }
        # Halving may need less than was foreseen; only the timings are left now.
        meter.total = meter.done + alone
        _time(protocol, store, found, meter, workers)
    return Course(task, protocol, store, rules, found, aims)


def _foreseen(
    protocol: Protocol, counts: Mapping[str, int], rules: Mapping[str, Rule], final: float
) -> float:
    """Return how much all trainings count, if no space is widened."""
    rungs = protocol.rungs
    lanes = sum(
        full_trainings(count, rungs)
        + resizings(space.of(rules[name], protocol.batch_sizes))
        + RERUNS * finalists(count, rungs)
        for name, count in counts.items()
    )
    return protocol.repeats * (lanes + len(counts) * final * protocol.seeds)


def _telling(store: Store, tell: Callable[[Progress], None] | None) -> Callable[[Progress], None]:
    """Return what tells the store of progress, now and then, and who watches, each time."""
    written = -math.inf

    def told(progress: Progress) -> None:
        nonlocal written
        now = time.monotonic()
        if store.directory is not None and (
            now - written > _SEEN or progress.done == progress.total
        ):
            store.tell(progress)
            written = now
        if tell:
            tell(progress)

    return told


def _targets(
    task: Task, protocol: Protocol, store: Store, workers: Workers, meter: Meter
) -> list[Target]:
    """Return the target of each repeat."""
    epochs, found = task.target_epochs, store.targets()
    work, missing = epochs / protocol.epochs, [r for r in range(protocol.repeats) if r not in found]
    if epochs and missing:
        meter.total += len(missing) * work
        meter.show("targets")
    for repeat in missing:
        # Pieces of work have numbers from 1.
        ticker = meter.begin(-repeat, epochs, work)
        workers.submit(repeat, _target, repeat, epochs_ended=ticker)
    for _ in missing:
        repeat, target = workers.next(meter.look)
        found[repeat] = target
        store.aim(repeat, target)
        meter.end(-repeat, work)
        if epochs:
            meter.show(f"target of repeat {repeat + 1}")
    return [found[repeat] for repeat in range(protocol.repeats)]


def _target(
    raced: Raced,
    repeat: int,
    *,
    epochs_ended: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> Target:
    del should_stop  # it takes seconds
    return raced.task.repeated(repeat).target(epochs_ended)


def recommended(found: Sequence[Found]) -> Point:
    """Return the setting on which a rule's searches agree most: the nearest to all that they found.

    A search with bad luck, which ended far from the others, does not decide.
    """
    widest = max((one.space for one in found), key=lambda space: len(space.dimensions))
    return widest.central([one.point for one in found])


def trials_per_rule(task: Task, protocol: Protocol, workers: Workers) -> dict[str, int]:
    """Return the number of first-round trials of each rule in a repeat.

    If the budget is in time, what it buys is measured.

    Raises:
        ValueError: the budget is too small.
    """
    if protocol.budget is None:
        assert protocol.trials_each
        return dict.fromkeys(protocol.rules, protocol.trials_each)
    budget = Budget.parse(protocol.budget)
    spent, speeds = 0.0, [Speed()] * len(protocol.rules)
    if budget.unit == "s":
        start = time.monotonic()
        kept = _keeping(protocol, workers.rules) * workers.count  # for this time all may wait
        speeds = [
            replace(speed, among=speed.among + kept, final=speed.final + kept)
            for speed in (_speed(task, protocol, name, workers) for name in protocol.rules)
        ]
        spent = time.monotonic() - start
    counts = budget.trials(protocol, speeds, workers.count, spent, workers.rules)
    return dict(zip(protocol.rules, counts, strict=True))


def _speed(task: Task, protocol: Protocol, name: str, workers: Workers) -> Speed:
    """Measure the seconds per epoch, the mean over the batch sizes, while all workers train."""
    seed, epochs = protocol.selection_seed(0), protocol.epochs
    defaults = space.of(workers.rules[name], protocol.batch_sizes).defaults

    def fastest(unit: list[Trial]) -> float:
        # A disturbance of one worker, such as its first call, must not count for all.
        for _ in range(workers.count):
            workers.submit(None, timed, unit)
        return min(float(workers.next()[1]) for _ in range(workers.count))

    def measured(label: str, lanes: int) -> float:
        trials = [
            Trial(name, label, 0, seed, size, defaults, epochs) for size in protocol.batch_sizes
        ]
        return float(np.mean([fastest([trial] * lanes) for trial in trials])) / lanes

    among, alone = measured("", min(task.lanes, _TYPICAL)), measured(TIMING, 1)
    return Speed(
        among, among if _finals_share_a_stack(task, protocol, workers.rules) else alone, alone
    )


def _keeping(protocol: Protocol, rules: Mapping[str, Rule]) -> float:
    """Return the seconds that this process needs to store a result, per epoch of the training."""
    defaults = space.of(rules[protocol.rules[0]], protocol.batch_sizes).defaults
    trial = Trial("", "", 0, 0, 0, defaults, protocol.epochs)
    losses = np.zeros(protocol.epochs + 1)
    results = [Result(replace(trial, number=i), 0, losses, losses) for i in range(_TYPICAL)]
    with Store(None) as store:
        start = time.perf_counter()
        store.add(results)
        return (time.perf_counter() - start) / len(results) / protocol.epochs


def _finals_share_a_stack(task: Task, protocol: Protocol, rules: Mapping[str, Rule]) -> bool:
    name = protocol.rules[0]
    point = space.of(rules[name], protocol.batch_sizes).start
    trials = [
        _trial(name, FINAL, point, number=0, seed=seed, epochs=protocol.epochs)
        for seed in protocol.final_seeds(0)
    ]
    return len({task.together(trial.lane(rules)) for trial in trials}) == 1


def _contest(rule: Rule, repeat: int, count: int, protocol: Protocol, task: Task) -> Contest:
    """Yield the trainings that a rule needs next in a repeat and take their results."""
    name, sizes = rule.name, protocol.batch_sizes
    longest = protocol.epochs * max(task.steps(size, rule) for size in sizes)
    searched = space.of(rule, sizes, task.schedules, longest)
    steps = search(searched, count, seed_of(protocol.seed, repeat), protocol.rungs)
    wanted = next(steps)
    number = 0
    while True:
        again = wanted.label == RERUN
        seeds = protocol.rerun_seeds(repeat) if again else (protocol.selection_seed(repeat),)
        runs = [(seed, point) for seed in seeds for point in wanted.points]
        epochs = max(1, round(wanted.share * protocol.epochs))
        results = yield [
            _trial(name, wanted.label, point, repeat, number=i, seed=seed, epochs=epochs)
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
        _trial(name, FINAL, found.point, repeat, number=i, seed=fresh, epochs=protocol.epochs)
        for i, fresh in enumerate(protocol.final_seeds(repeat))
    ]
    return found


def _trial(
    name: str, label: str, point: Point, repeat: int = 0, *, number: int, seed: int, epochs: int
) -> Trial:
    hyper = dict(point.hyper)
    return Trial(name, label, number, seed, point.batch_size, hyper, epochs, point.schedule, repeat)


class _Pool:
    """Trainings of different rules at once, of one repeat after the other.

    Only this process uses the store. The terms of the race, and its ``lanes`` and ``workers``,
    which the store keeps, fix which trials share a piece of work. So a race that is continued makes
    the same pieces as an unbroken one, and takes from the store what it has of them. Where the last
    digits of a lane depend on its stack (``Task.exact`` is False), the pieces must not depend on
    which of them ended first. Then the rules continue in the order in which pieces should end, by
    their size.
    """

    def __init__(
        self,
        task: Task,
        store: Store,
        meter: Meter,
        workers: Workers,
        write: Callable[[Sequence[Result]], None] | None,
    ) -> None:
        self.task = task
        self.store = store
        self.meter = meter
        self.workers = workers
        self.write = write
        self.width = workers.count if task.exact else store.workers()
        self.found: dict[Key, Found] = {}
        self.waiting: dict[Key, tuple[list[Trial], int]] = {}  # and how many of these are missing
        self.groups: dict[tuple[int, str, Hashable], list[Trial]] = {}  # of those, in no piece yet
        self.pieces: dict[int, tuple[float, list[Trial]]] = {}  # by number: when each should end
        self.ended: set[int] = set()  # of these, the ended ones that no rule has taken yet
        self.clock = 0.0  # the time that should have passed, in steps of one lane
        self.made = 0
        self.begun = False

    def run(self, contests: Mapping[Key, Contest]) -> dict[Key, Found]:
        for key, contest in contests.items():
            self.proceed(key, contest, None)
        while self.waiting:
            self.ask()
            done = Counter((trial.rule, trial.repeat) for trial in self.next())
            for key, count in done.items():
                wanted, missing = self.waiting.pop(key)
                if missing > count:
                    self.waiting[key] = wanted, missing - count
                else:
                    self.proceed(key, contests[key], self.results(wanted))
        return self.found

    def proceed(self, key: Key, contest: Contest, results: list[Result] | None) -> None:
        """Let a contest say which trainings it needs next, or what it found."""
        try:
            wanted = contest.send(results)  # type: ignore[arg-type] # None starts it
        except StopIteration as stop:
            self.found[key] = stop.value
            return
        self.meter.foresee(trial for trial in wanted if not self.store.get(trial))
        self.waiting[key] = wanted, len(wanted)
        for trial in wanted:
            kind = self.task.together(trial.lane(self.workers.rules))
            self.groups.setdefault((trial.repeat, trial.phase, kind), []).append(trial)

    def ask(self) -> None:
        """Make pieces of work for all workers, of as many rules as can be trained together.

        No more pieces than workers are made, so that trials that come later can join those that
        wait. The earliest repeat comes first, so that few parts of the data are in memory.
        """
        while self.groups and (idle := self.width - len(self.pieces)) > 0:
            key = max(self.groups, key=lambda key: (-key[0], len(self.groups[key])))
            group = self.groups.pop(key)
            # A worker without work is worse than a short stack.
            pieces = -(-idle // (1 + len(self.groups)))
            lanes = min(self.task.lanes, -(-len(group) // pieces))
            unit, rest = group[:lanes], group[lanes:]
            if rest:
                self.groups[key] = rest
            self.begin(unit)

    def begin(self, unit: list[Trial]) -> None:
        """Let a worker train a piece, without the trials that the store has."""
        self.made += 1
        steps = unit[0].epochs * self.task.steps(unit[0].batch_size)
        self.pieces[self.made] = self.clock + steps * (_STEP + len(unit)), unit
        if missing := [trial for trial in unit if not self.store.get(trial)]:
            if not self.begun:
                self.meter.show("first trainings")
            self.begun = True
            ticker = self.meter.begin(
                self.made,
                len(missing) * missing[0].epochs,
                sum(map(self.meter.work, missing)),
            )
            keep = self.store.directory is not None
            self.workers.submit(self.made, train, missing, keep=keep, epochs_ended=ticker)
        else:
            self.ended.add(self.made)

    def next(self) -> list[Trial]:
        """Return the trials of the next piece: any that ended, or the one that should end first."""
        first = min(self.pieces, key=lambda number: self.pieces[number][0])
        while not (self.ended if self.task.exact else first in self.ended):
            number, piece = self.workers.next(self.meter.look)
            self.meter.end(number)
            self.keep(piece)
            self.ended.add(number)
        number = min(self.ended) if self.task.exact else first
        self.ended.remove(number)
        self.clock, unit = self.pieces.pop(number)
        return unit

    def results(self, trials: Sequence[Trial]) -> list[Result]:
        return [result for trial in trials if (result := self.store.get(trial))]

    def keep(self, piece: Piece) -> None:
        """Store a finished piece of work."""
        self.store.add(piece.results, piece.checkpoints)
        if self.write:
            self.write(piece.results)
        self.meter.count(piece.results, new=True)
        self.meter.show(_describe([result.trial for result in piece.results]))


def _describe(trials: Sequence[Trial]) -> str:
    what = {FINAL: "seed", RERUN: "re-run"}.get(trials[0].round, "trial")
    rules = {trial.rule for trial in trials}
    if len(rules) > 1:
        return f"{len(rules)} rules: {len(trials)} {what}s"
    first, last = trials[0].number + 1, trials[-1].number + 1
    numbers = f"{what} {first}" if first == last else f"{what}s {first}-{last}"
    return f"{trials[0].rule}: {numbers}"


def _time(
    protocol: Protocol,
    store: Store,
    found: Mapping[str, Sequence[Found]],
    meter: Meter,
    workers: Workers,
) -> None:
    """Time each rule at its recommended setting, while nothing else runs.

    The rules take turns, so that a machine that is busy for a while slows no rule alone.
    """
    kept = store.timings()
    for turn in range(TIMED):
        for name in protocol.rules:
            if len(kept.get(name, ())) <= turn:
                seed, best = protocol.final_seeds(0)[0], recommended(found[name])
                trial = _trial(name, TIMING, best, number=0, seed=seed, epochs=protocol.epochs)
                workers.submit(name, timed, [trial], runs=1)
                _, taken = workers.next()
                store.time(name, turn, taken)
            meter.done += ALONE
            meter.new += ALONE
            meter.show(f"{name}: time per epoch")
