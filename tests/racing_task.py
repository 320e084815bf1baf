"""A small task for the tests of races: least squares in NumPy by the rule functions themselves."""

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from thalweg.rule import Rule
from thalweg.tasks.task import Lane, Lanes, Target


class LeastSquares:
    """Half the mean squared error of X w on three parts of 40, 20 and 20 rows, five features."""

    name = "least squares"
    lanes = 16
    schedules: tuple[str, ...] = ("constant",)
    processes = False
    exact = True
    drawn = True
    said: tuple[str, ...] = ()
    target_epochs = 0

    def __init__(self, noise: float = 0.3, repeat: int = 0) -> None:
        rng = np.random.default_rng(7)
        X = rng.normal(size=(80, 5))
        y = X @ np.arange(1.0, 6.0) + noise * rng.normal(size=80)
        self.noise = noise
        rows = np.random.default_rng(repeat).permutation(80) if repeat else np.arange(80)
        X, y = X[rows], y[rows]
        self.X, self.y = np.split(X, [40, 60]), np.split(y, [40, 60])
        self.parts = {"train": 40, "validation": 20, "test": 20}
        self.facts = {
            "loss": "squared",
            "metric": "R²",
            "model": "least squares",
            "dtype": "float64",
            "l2": 0.0,
        }
        self.data = {
            "name": self.name,
            "source": "arrays",
            "kind": "regression",
            "rows": 80,
            "features": 5,
            "classes": None,
            "dropped": 0,
        }
        self.judged: list[str] = []  # the rules judged on the test part, in order

    def loss(self, part: int, w: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.mean((self.X[part] @ w.T - self.y[part][:, None]) ** 2, axis=0) / 2

    def repeated(self, repeat: int) -> "LeastSquares":
        if repeat == 0:
            return self
        other = LeastSquares(self.noise, repeat)
        other.judged = self.judged
        return other

    def together(self, lane: Lane) -> Hashable:
        return lane.rule, lane.batch_size, lane.seed, lane.epochs

    def run(
        self,
        lanes: Sequence[Lane],
        *,
        should_stop: Callable[[], bool],
        epochs_ended: Callable[[int], None] = lambda _: None,
        alone: bool = False,  # noqa: ARG002
    ) -> Lanes:
        first = lanes[0]
        rule, batch_size = first.rule, first.batch_size
        rng = np.random.default_rng(first.seed)
        hyper = {k: np.array([[lane.hyper[k]] for lane in lanes]) for k in rule.hyperparameters}
        w = np.tile(rng.uniform(-1, 1, 5), (len(lanes), 1))
        state = rule.first_state(w, hyper)
        curves = [(self.loss(0, w), self.loss(1, w))]
        t, diverged_at = 0, np.zeros(len(lanes), np.int64)
        for _ in range(first.epochs):
            if should_stop():
                raise KeyboardInterrupt
            for rows in np.array_split(rng.permutation(40), max(1, 40 // batch_size)):
                t += 1
                X, y = self.X[0][rows], self.y[0][rows]
                with np.errstate(all="ignore"):
                    g = (w @ X.T - y) @ X / len(rows)
                    w, state = rule.advance(g, w, state, t=t, hyper=hyper)
                diverged_at[(diverged_at == 0) & ~np.isfinite(w).all(axis=1)] = t
            curves.append((self.loss(0, w), self.loss(1, w)))
            epochs_ended(len(lanes))
        train_loss, validation_loss = (np.array(curve) for curve in zip(*curves, strict=True))

        def judge() -> tuple[np.ndarray, np.ndarray]:
            self.judged.append(rule.name)
            loss = self.loss(2, w)
            return loss, 1 - 2 * loss / np.var(self.y[2])

        return Lanes(train_loss, validation_loss, diverged_at, judge)

    def target(self, epochs_ended: Callable[[int], None] = lambda _: None) -> Target:  # noqa: ARG002
        return Target(1.0, 20.0, 0.0, "5 % of the constant's loss")

    def steps(self, batch_size: int, rule: Rule | None = None) -> int:  # noqa: ARG002
        return max(1, 40 // batch_size)

    def measure(self, batch_size: int) -> dict[str, float]:
        return {"seconds_per_step": 1e-3, "bytes": 100 * batch_size, "noise_scale": 10.0}

    def code(
        self, rule: Rule, hyper: Mapping[str, float], *, batch_size: int, epochs: int, schedule: str
    ) -> dict[str, str]:
        settings = f"# {hyper}, {batch_size}, {epochs}, {schedule}"
        return {"torch": f"# {rule.name}", "thalweg": settings}

    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self.X, self.y)).encode()).hexdigest()
