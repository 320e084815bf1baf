"""How often a race calls equals equal, and how often it finds the better one.

    python benchmarks/verdicts.py [--races 100]

A synthetic task draws each training's loss from a model: a valley in every hyperparameter, luck of
the seed that all rules share, and luck of each training's own. Adam is raced against itself under
two names, of which either could be best, and against a copy whose losses are 3 % lower, which
should be found. A quarter as many races are of twenty copies: equal ones, none of which should be
called worse, and such of which one is 3 % better. The valleys of two copies lie up to half a decade
apart, so that the same trials do not suit both: the search has its luck too.
"""

import argparse
import functools
import hashlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from measure import save, show
from thalweg import rules as registry
from thalweg.racing import run, verdict
from thalweg.racing.protocol import Protocol, Terms
from thalweg.racing.store import Store
from thalweg.racing.workers import hired
from thalweg.rule import Rule
from thalweg.tasks.task import Lane, Lanes, Target

SHARED = 0.08  # standard deviation of the logarithm of a loss over seeds
OWN = (0.003, 0.01, 0.02, 0.05)  # that of what a rule does not share with another
ADVANTAGE = 0.03
MANY = 20  # as many as race by default
APART = 0.5  # at most so far, in decades, the bottom of a copy's valley is from that of another

# The bottom of the valley, and how steep it is: a rate half a decade off costs 5 %.
VALLEY = {"lr": (-2.5, 0.2), "beta1": (1.0, 0.05), "beta2": (3.0, 0.02)}


class Synthetic:
    """A task whose trainings are drawn: losses by rule are those of Adam times a factor."""

    name = "synthetic"
    lanes = 64
    schedules: tuple[str, ...] = ("constant",)
    processes = False
    exact = True
    target_epochs = 0
    drawn = True
    said: Sequence[str] = ()
    parts: Mapping[str, int] = {"train": 600, "validation": 200, "test": 200}
    facts: Mapping[str, Any] = {
        "loss": "drawn", "metric": "none", "model": "a valley", "dtype": "float64", "l2": 0.0,
    }  # fmt: skip
    data: Mapping[str, Any] = {"name": "synthetic", "source": "drawn", "kind": "none", "rows": 1000}

    def __init__(self, seed: int, factors: Mapping[str, float], own: float) -> None:
        self.seed = seed
        self.factors = factors
        self.own = own

    def repeated(self, repeat: int) -> "Synthetic":
        """The luck of a repeat is that of its seeds."""
        del repeat
        return self

    def together(self, lane: Lane) -> Hashable:
        """All of a seed."""
        return lane.seed

    def loss(self, lane: Lane, part: str) -> float:
        """Draw the loss of a training on a part."""
        name, h = lane.rule.name, lane.hyper
        places = {"lr": math.log10(h["lr"])}
        places |= {name: -math.log10(1 - h[name]) for name in ("beta1", "beta2")}
        depth = sum(
            steep * (places[k] - at - self.shift(name, k)) ** 2 for k, (at, steep) in VALLEY.items()
        )
        shared = self.luck(SHARED, lane.seed, part)
        own = self.luck(self.own, lane.seed, part, name, dict(h))
        return self.factors[name] * (1 + depth) * math.exp(shared + own)

    def shift(self, rule: str, name: str) -> float:
        """Return how far the bottom of a rule's valley is from that of Adam's."""
        return float(np.clip(self.luck(APART / 2, rule, name), -APART / 2, APART / 2))

    def luck(self, deviation: float, *of: Hashable | dict[str, float]) -> float:
        """Draw a number that these fix."""
        digest = hashlib.sha256(repr((self.seed, of)).encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16]))
        return deviation * float(rng.standard_normal())

    def run(
        self,
        lanes: Sequence[Lane],
        *,
        should_stop: Callable[[], bool],
        epochs_ended: Callable[[int], None] = lambda _: None,
        alone: bool = False,
    ) -> Lanes:
        """Draw the trainings."""
        del should_stop, epochs_ended, alone  # it takes no time
        curves = np.array([[5.0, self.loss(lane, "validation")] for lane in lanes]).T

        def judge() -> tuple[np.ndarray, np.ndarray]:
            losses = np.array([self.loss(lane, "test") for lane in lanes])
            return losses, -losses

        return Lanes(curves, curves, np.zeros(len(lanes), np.int64), judge)

    def target(self, epochs_ended: Callable[[int], None] = lambda _: None) -> Target:
        """Any."""
        del epochs_ended
        return Target(1.2, 5.0, 1.0, "given")

    def steps(self, batch_size: int, rule: Rule | None = None) -> int:  # noqa: ARG002
        """As of 600 examples."""
        return -(-600 // batch_size)

    def measure(self, batch_size: int) -> dict[str, float]:
        """Nothing is computed."""
        return {"seconds_per_step": 1e-3, "bytes": float(batch_size), "noise_scale": math.nan}

    def code(self, rule: Rule, hyper: Mapping[str, float], **settings: Any) -> dict[str, str]:
        """None to paste."""
        return {"torch": f"{rule.name}, {hyper}, {settings}"}

    def fingerprint(self) -> str:
        """What fixes it."""
        return repr((self.seed, self.factors, self.own))


def named(name: str) -> str:
    """Declare Adam once more, under another name; it is drawn, so its equations do not matter."""

    @functools.wraps(registry.get("adam").function)
    def copy(*arrays: Any, **hyper: Any) -> Any:
        return registry.get("adam").function(*arrays, **hyper)

    copy.__name__ = name
    return registry.rule("Adam, copied")(copy).name


def results(factors: Mapping[str, float], own: float, races: int) -> list[Mapping[str, Any]]:
    """Return what that many races between copies of Adam found."""
    found = []
    for seed in range(races):
        task = Synthetic(seed, factors, own)
        protocol = Protocol(rules=tuple(map(named, factors)), epochs=1, seed=seed)
        with Store(None) as store, hired(task, "threads", 1) as workers:
            counts = run.trials_per_rule(task, protocol, workers)
            store.begin(Terms(0, "", "", {}, protocol), counts, None, task.lanes, workers.count)
            ran = run.run(task, protocol, store, workers)
            found.append(verdict.conclude(ran, "").results)
    return found


def share(what: str, hits: int, of: int) -> dict[str, Any]:
    """Return a share with its 95 % interval (Clopper and Pearson)."""
    low, high = binomtest(hits, of).proportion_ci()
    return {"what": what, "hits": hits, "of": of, "low": low, "high": high}


def all_tie(races: Sequence[Mapping[str, Any]]) -> int:
    """Count the races that call no rule worse."""
    return sum(all(row["price"]["low"] == 0 for row in race["rules"]) for race in races)


def alone(races: Sequence[Mapping[str, Any]], rule: str) -> int:
    """Count the races in which every rule is worse, but this one."""
    free = [{row["rule"] for row in race["rules"] if row["price"]["low"] == 0} for race in races]
    return sum(found == {rule} for found in free)


def measured(own: float, races: int) -> list[dict[str, Any]]:
    """Return the shares at one strength of the own luck."""
    equal = results({"left": 1.0, "right": 1.0}, own, races)
    planted = results({"left": 1.0, "right": 1.0 - ADVANTAGE}, own, races)
    copies = {f"copy{i}": 1.0 for i in range(MANY)}
    many = results(copies, own, races // 4)
    among = results({**copies, "copy0": 1.0 - ADVANTAGE}, own, races // 4)
    rows = [
        share("two equal rules: none is worse", all_tie(equal), races),
        share("3 % better is found", alone(planted, "right"), races),
        share(f"{MANY} equal rules: none is worse", all_tie(many), len(many)),
        share(f"3 % better than {MANY - 1} is found", alone(among, "copy0"), len(among)),
    ]
    return [{"own": own, **row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--races", type=int, default=100, help=">= 4; 100 by default")
    races = parser.parse_args().races
    rows = [row for own in OWN for row in measured(own, races)]
    save("verdicts", rows)
    show(
        "Verdicts of synthetic races",
        ["own luck", "what", "share", "95 %"],
        [
            [
                f"{row['own']:.1%}",
                row["what"],
                f"{row['hits']} of {row['of']} ({row['hits'] / row['of']:.0%})",
                f"{row['low']:.0%} to {row['high']:.0%}",
            ]
            for row in rows
        ],
    )


if __name__ == "__main__":
    main()
