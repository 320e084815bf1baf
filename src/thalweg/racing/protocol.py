"""Protocol: the terms of a race, the same for every rule."""

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from thalweg import catalog
from thalweg import rules as registry
from thalweg.checks import NOT_NEGATIVE, Range, count, number
from thalweg.racing import space
from thalweg.racing.search import FULL, HALVING, finalists, full_trainings, resizings
from thalweg.rule import Rule
from thalweg.tasks.timing import LONG, TIMED
from thalweg.words import argument

__all__ = [
    "MARGIN",
    "MAX_TRIALS",
    "MIN_TRIALS",
    "RERUNS",
    "Budget",
    "Protocol",
    "Speed",
    "Terms",
    "rules_of",
]

MIN_TRIALS = 4  # the defaults and three others: with fewer there is no search
MAX_TRIALS = 1024  # per rule and repeat: more find nothing better, and need much memory
_TRIALS = {"table": 160, "module": 64}  # unless the user or a budget says otherwise

# A race has as many repeats as leave eight trials to each, from 5 to 10. More of them tell rules
# apart better than longer searches do (benchmarks/repeat.py).
_LEAST, _MOST, _PER_REPEAT = 5, 10, 8

RERUNS = 2  # other seeds on which the best few trials are run again, so that a lucky run shows


MARGIN = 0.05  # a rule is as good as the best up to this price
_SHARE = Range(0.0, 1.0, "[)")

_BUDGET = re.compile(r"(\d+(?:\.\d*)?) *(s|min|h|epochs)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


_ENDLESS = {"repeats": 1000, "seeds": 1000}  # a race of more would not end


@dataclass(frozen=True)
class Protocol:
    """The terms of a race.

    Args:
        rules: names of the rules, each once.
        batch_sizes: that the search may choose, each from 1 to the number of training examples.
        epochs: of every training, >= 1.
        trials: settings tried for each rule in the first round, in [4, 1024], shared by the
            repeats, each of which has at least 4; 160 by default, 64 where the task has a penalty
            of its own; None with a budget, which decides.
        repeats: of the whole experiment, >= 2, each with parts, search and seeds of its own; 5 by
            default.
        seeds: fresh seeds on which a rule's best of each repeat is judged, >= 1.
        budget: the time of the race (``"60s"``, ``"5min"``), which the rules share equally, or the
            epochs of each rule (``"2000epochs"``). What is left after 1024 trials of each rule is
            not used.
        halving: whether rounds begin with trainings of a ninth of the epochs, of which the best
            third goes on (see ``search``). There must then be 9 epochs or more.
        l2: strength of the penalty, >= 0; None where the task has its own.
        seed: of all parts, trials and trainings, in [0, 2^32).
        margin: a rule is as good as the best up to this price, in [0, 1). Terms that differ in it
            alone are equal: no training depends on it.

    Raises:
        ValueError: a term is out of its bounds.

    Example:
        >>> Protocol(rules=("sgd",), trials=2)
        Traceback (most recent call last):
        ...
        ValueError: trials must be an integer in [4, 1024], got 2
    """

    rules: tuple[str, ...]
    batch_sizes: tuple[int, ...] = (32,)
    epochs: int = 20
    trials: int | None = None
    repeats: int = _LEAST
    seeds: int = 2
    budget: str | None = None
    halving: bool = False
    l2: float | None = 1e-4
    seed: int = 0
    margin: float = field(default=MARGIN, compare=False)

    def __post_init__(self) -> None:
        # Python's own numbers replace NumPy's, because terms are kept as JSON.
        self._check_trials()
        self._set("halving", bool(self.halving))
        for name, low in (("epochs", 9 if self.halving else 1), ("repeats", 2), ("seeds", 1)):
            told = f"{name} with {argument('halving')}" if low == 9 else name
            self._set(name, count(told, getattr(self, name), low, _ENDLESS.get(name)))
        self._set("seed", count("seed", self.seed, 0, 2**32 - 1))
        if self.l2 is not None:
            self._set("l2", number("l2", self.l2, NOT_NEGATIVE))
        self._set("margin", number("margin", self.margin, _SHARE))
        if not self.rules:
            raise ValueError("rules must name at least one rule, got none")
        _once("rules", self.rules)
        if not self.batch_sizes:
            raise ValueError("batch_size must be a number or a sequence of them, got none")
        self._set("batch_sizes", tuple(count("batch_size", size) for size in self.batch_sizes))
        _once("batch_size", self.batch_sizes)

    def _check_trials(self) -> None:
        if self.budget is None:
            usual = _TRIALS["module" if self.l2 is None else "table"]
            trials = usual if self.trials is None else self.trials
            self._set("trials", count("trials", trials, MIN_TRIALS, MAX_TRIALS))
            return
        Budget.parse(self.budget)
        if self.trials is not None:
            raise ValueError(
                f"give either {argument('trials', self.trials)} or "
                f"{argument('budget', self.budget)}: a budget says how many trials there are"
            )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def check_batch_sizes(self, examples: int) -> None:
        """Raise ValueError for a batch that is empty or larger than the training part."""
        for size in self.batch_sizes:
            count("batch_size", size, 1, examples, "the rows of the training part")

    @property
    def rungs(self) -> tuple[float, ...]:
        """The share of all epochs that each stage of a round trains for."""
        return HALVING if self.halving else FULL

    def repeated(self) -> "Protocol":
        """Return the terms with as many repeats as leave 8 trials to each, from 5 to 10.

        Example:
            >>> [Protocol(("sgd",), trials=trials).repeated().repeats for trials in (4, 64, 160)]
            [5, 8, 10]
        """
        wanted = _LEAST if self.trials is None else self.trials // _PER_REPEAT
        return replace(self, repeats=min(max(wanted, _LEAST), _MOST))

    @property
    def trials_each(self) -> int | None:
        """First-round trials of each rule in each repeat; None if a budget decides."""
        return None if self.trials is None else max(MIN_TRIALS, self.trials // self.repeats)

    def selection_seed(self, repeat: int) -> int:
        """Return the seed of every trial of a repeat."""
        return self._seeds(repeat)[0]

    def rerun_seeds(self, repeat: int) -> tuple[int, ...]:
        """Return the seeds on which the best trials of a repeat are run again."""
        return self._seeds(repeat)[1 : 1 + RERUNS]

    def final_seeds(self, repeat: int) -> tuple[int, ...]:
        """Return the fresh seeds of a repeat: nothing was selected on them."""
        return self._seeds(repeat)[1 + RERUNS :]

    def _seeds(self, repeat: int) -> tuple[int, ...]:
        rng = np.random.default_rng((self.seed, repeat))
        return tuple(rng.choice(2**31, size=1 + RERUNS + self.seeds, replace=False).tolist())


@dataclass(frozen=True)
class Terms:
    """All that fixes a race's numbers.

    Args:
        schema: of the race's file.
        version: of thalweg.
        data: hash of the data and of everything else that the task fixes.
        equations: hash of each rule's source, by name.
        protocol: what was asked for.
    """

    schema: int
    version: str
    data: str
    equations: Mapping[str, str]
    protocol: Protocol


def _once(name: str, values: Sequence[object]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{name} must name each one once, got {value!r} twice")


def rules_of(rules: str | Rule | Sequence[str | Rule] | None) -> tuple[Rule, ...]:
    """Return the rules that are meant. A name is looked up, and a rule is returned as it is.

    Args:
        rules: some; ``"all"``; or None for those that are usual and those of the user's own.

    Raises:
        ValueError: no rule has that name, and the message lists the closest ones; or several names
            are one text.
        TypeError: what is given is neither a name nor a rule.

    Example:
        >>> [rule.name for rule in rules_of(["sgd", registry.get("adam")])]
        ['sgd', 'adam']
    """
    if rules is None or rules == "all":
        every = tuple(map(registry.get, registry.names()))
        return every if rules else tuple(one for one in every if catalog.of(one).usual)
    if isinstance(rules, str) and "," in rules:
        names = [name.strip() for name in rules.split(",")]
        raise ValueError(f"rules must be a sequence of names, such as {names}, got {rules!r}")
    several = isinstance(rules, Iterable) and not isinstance(rules, str)
    chosen: Iterable[object] = rules if several else [rules]  # type: ignore[assignment] # Iterable
    return tuple(map(_rule_of, chosen))


def _rule_of(rule: object) -> Rule:
    if not isinstance(rule, (str, Rule)):
        raise TypeError(f"rules must be names or rules, got {rule!r}")
    return registry.get(rule)


class Rules(dict[str, Rule]):
    """The rules of a race by name. A name that it was not given stands for the registered rule."""

    def __missing__(self, name: str) -> Rule:
        return registry.get(name)


@dataclass(frozen=True)
class Speed:
    """What an epoch of a rule costs: in seconds, or 1 where a budget counts epochs.

    Args:
        among: of one lane among many.
        final: of one lane of the finals.
        alone: of a training by itself.
    """

    among: float = 1.0
    final: float = 1.0
    alone: float = 1.0


@dataclass(frozen=True)
class Budget:
    """What a race may take in time, or each of its rules in epochs.

    Args:
        amount: seconds of the race, or epochs of each rule.
        unit: ``"s"`` or ``"epochs"``.
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read a budget.

        Raises:
            ValueError: the text is not a budget.

        Example:
            >>> Budget.parse("1.5min"), Budget.parse("2000epochs")
            (Budget(amount=90.0, unit='s'), Budget(amount=2000.0, unit='epochs'))
        """
        match = _BUDGET.fullmatch(str(text).strip())
        if not match or float(match[1]) <= 0:
            raise ValueError(f"budget must look like 60s, 5min, 1h or 2000epochs, got {text!r}")
        amount, unit = float(match[1]), match[2]
        if unit == "epochs":
            return cls(amount, unit)
        return cls(amount * _SECONDS[unit], "s")

    def trials(
        self,
        protocol: Protocol,
        speeds: Sequence[Speed],
        workers: int,
        spent: float = 0.0,
        rules: Mapping[str, Rule] | None = None,
    ) -> list[int]:
        """Return how many first-round trials the budget buys for each rule in each repeat.

        Each rule has the whole budget in epochs. A budget in time is for the race: the rules share
        the workers' time equally, so that a slow rule gets fewer trials. The trials at other batch
        sizes, the re-runs, the finals and the timing are paid from it as well. Trials that widen a
        space come on top. What is left when each rule has 1024 trials is not used.

        Args:
            protocol: the terms.
            speeds: of each rule.
            workers: how many work at the same time.
            spent: seconds that have passed already.
            rules: by name; the registered ones by default.

        Raises:
            ValueError: it is too small. The message names the smallest that is enough.

        Example:
            >>> terms = Protocol(rules=("sgd",), epochs=10, seeds=2, repeats=2)
            >>> Budget(1320.0, "epochs").trials(terms, [Speed()], workers=2)
            [32]
            >>> Budget(math.inf, "epochs").trials(terms, [Speed()], workers=2)
            [1024]
        """
        timed = self.unit == "s"
        scale = workers / len(speeds) if timed else 1.0  # from the budget to what a rule may spend
        share = (self.amount - spent) * scale / protocol.repeats
        least = _trainings(MIN_TRIALS, protocol.rungs)
        per_trial = [protocol.epochs * speed.among for speed in speeds]
        given = Rules(rules or {})
        spaces = [space.of(given[name], protocol.batch_sizes) for name in protocol.rules]
        fixed = [
            protocol.epochs * protocol.seeds * speed.final
            + resizings(searched) * p
            + timed * workers * _timing(protocol.epochs, speed.alone) / protocol.repeats
            for searched, speed, p in zip(spaces, speeds, per_trial, strict=True)
        ]
        # The mean: a rule that a busy moment slowed must not make the budget too small for all.
        needed = np.mean([f + least * p for f, p in zip(fixed, per_trial, strict=True)])
        if needed > share:
            smallest = math.ceil(needed * protocol.repeats / scale + spent)
            raise ValueError(
                f"budget must be >= {smallest}{self.unit} for {len(speeds)} rules, "
                f"{protocol.epochs} epochs, {protocol.repeats} repeats and {protocol.seeds} seeds, "
                f"got {self.amount:g}{self.unit}; give more, or fewer {argument('rules')} or "
                f"{argument('epochs')}"
            )
        return [
            _affordable((share - f) / p, protocol.rungs)
            for f, p in zip(fixed, per_trial, strict=True)
        ]


def _timing(epochs: int, alone: float) -> float:
    """Return the seconds for which all workers but one wait."""
    return min((2 + TIMED * epochs) * alone, 2 * alone + LONG)


def _trainings(trials: int, rungs: tuple[float, ...]) -> float:
    """Return how many full trainings a search needs: both rounds, and the best trials run again."""
    return full_trainings(trials, rungs) + RERUNS * finalists(trials, rungs)


def _affordable(trainings: float, rungs: tuple[float, ...]) -> int:
    """Return the most first-round trials whose search needs no more than so many trainings."""
    counts = range(MIN_TRIALS, MAX_TRIALS + 1)
    found = bisect_right(counts, trainings, key=lambda count: _trainings(count, rungs))
    return counts[max(0, found - 1)]
