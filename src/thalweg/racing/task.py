"""Task: model, data and loss, something that can be trained in lanes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thalweg.data import Part, Split
from thalweg.racing import snippets
from thalweg.rule import Rule

__all__ = ["Lanes", "LinearTask", "Target", "Task"]

_SHARE = 0.05  # of the way from the reference back to the constant: where the target lies


@dataclass(frozen=True, eq=False)
class Lanes:
    """What a training in lanes leaves.

    Attributes:
        train_loss: (epochs + 1, lanes); row 0 is before the first step.
        validation_loss: the same on the validation part.
        diverged_at: (lanes,): the step, from 1, at which a lane became non-finite; 0 for never.
        judge: returns losses and scores of the final parameters on the test part, (lanes,) each.
            A function, so that nothing sees the test part before it is called.
    """

    train_loss: NDArray[np.float64]
    validation_loss: NDArray[np.float64]
    diverged_at: NDArray[np.int64]
    judge: Callable[[], tuple[NDArray[np.float64], NDArray[np.float64]]] = field(repr=False)


@dataclass(frozen=True)
class Target:
    """The validation loss to reach, fixed by the data and the model, not by the contestants.

    Attributes:
        validation_loss: the target.
        constant: loss of the best constant predictor.
        reference: lowest loss that an optimizer outside the race met on its way.
        rule: how the target follows from these, a sentence.
    """

    validation_loss: float
    constant: float
    reference: float
    rule: str


class Task(Protocol):
    """What a race needs of a task.

    Attributes:
        parts: number of examples in "train", "validation" and "test".
        facts: what results say of it: "loss", "metric", "model", "dtype", "l2".
    """

    parts: Mapping[str, int]
    facts: Mapping[str, Any]

    def run(
        self,
        rule: Rule,
        trials: Sequence[Mapping[str, float]],
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        should_stop: Callable[[], bool],
    ) -> Lanes:
        """Train one lane per trial on one thread.

        All lanes share the initial point and the order of the minibatches, which the seed alone
        fixes; what a lane computes does not depend on its neighbours.

        Raises:
            KeyboardInterrupt: ``should_stop()`` returned True.
        """

    def target(self) -> Target:
        """Fix the target."""

    def code(
        self, rule: Rule, hyper: Mapping[str, float], *, batch_size: int, epochs: int
    ) -> dict[str, str]:
        """Return code that trains with these settings: "torch" and "thalweg"."""


_LOSSES = {"regression": "squared", "binary": "logistic", "multiclass": "softmax"}
_MODELS = {"squared": "linear", "logistic": "logistic", "softmax": "multinomial logistic"}


class LinearTask:
    """A linear model on the three parts of a data set, started as torch.nn.Linear.

    The objective is the mean loss, 1/2 (prediction - y)² or the cross-entropy in nats, plus
    l2/2 ||w||² (the intercept is free); every loss that is reported is without that term.

    Args:
        split: the parts.
        kind: ``"regression"``, ``"binary"`` or ``"multiclass"``.
        l2: strength of the penalty, >= 0.
        load: code that loads the data set, for the snippets.
    """

    def __init__(self, split: Split, kind: str, l2: float, load: str = "dataset = ...") -> None:
        self.split = split
        self.loss = _LOSSES[kind]
        self.l2 = l2
        self.load = load
        self.outputs = int(split.train.y.max()) + 1 if kind == "multiclass" else 1
        names = ("train", "validation", "test")
        self.parts: Mapping[str, int] = {part: len(getattr(split, part).y) for part in names}
        features = split.train.X.shape[1]
        shape = f"{features} features" + (f", {self.outputs} classes" * (self.outputs > 1))
        self.facts: Mapping[str, Any] = {
            "loss": self.loss,
            "metric": "R²" if kind == "regression" else "accuracy",
            "model": f"{_MODELS[self.loss]} regression, {shape}, intercept",
            "dtype": "float32",
            "l2": l2,
        }

    def run(
        self,
        rule: Rule,
        trials: Sequence[Mapping[str, float]],
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        should_stop: Callable[[], bool],
    ) -> Lanes:
        """Train one lane per trial; see ``Task.run``."""
        from thalweg import linear  # noqa: PLC0415 - loads Numba

        train, validation = self.split.train, self.split.validation
        hyper: dict[str, Any] = {name: [h[name] for h in trials] for name in rule.hyperparameters}
        training = linear.train(
            train.X,
            train.y,
            loss=self.loss,
            rule=rule,
            epochs=epochs,
            batch_size=batch_size,
            validation=(validation.X, validation.y),
            lanes=len(trials),
            l2=self.l2,
            initial="uniform",
            seed=seed,
            threads=1,
            should_stop=should_stop,
            **hyper,
        )

        def judge() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            test = self.split.test
            with np.errstate(all="ignore"):  # of lanes that diverged
                losses = [_loss(self.loss, z, test.y)[0] for z in training.decision(test.X)]
            scores = [
                self._score(test, predicted) if np.isfinite(loss) else np.nan
                for loss, predicted in zip(losses, training.predict(test.X), strict=True)
            ]
            return np.array(losses), np.array(scores)

        return Lanes(training.train_loss, training.validation_loss, training.diverged_at, judge)

    def _score(self, part: Part, predicted: NDArray[Any]) -> float:
        from sklearn.metrics import accuracy_score, r2_score  # noqa: PLC0415 - takes a second

        metric = r2_score if self.loss == "squared" else accuracy_score
        return float(metric(part.y, predicted))

    def target(self) -> Target:
        """Fix the target by the best constant and by L-BFGS.

        The constant predicts the training part's mean or class frequencies. The reference is the
        lowest validation loss on the path of SciPy's L-BFGS from zero on the race's own objective
        (of the constant, where the path stays above it). The target is reference +
        0.05 (constant - reference).
        """
        constant = self._constant()
        reference = min(constant, *self._reference_path())
        return Target(
            reference + _SHARE * (constant - reference),
            constant,
            reference,
            f"{1 - _SHARE:.0%} of the way from the best constant predictor ({constant:.4g}) to the "
            f"lowest validation loss on the path of L-BFGS ({reference:.4g})",
        )

    def _constant(self) -> float:
        train, validation = self.split.train.y, self.split.validation.y
        if self.loss == "squared":
            return float(np.mean((validation - train.mean()) ** 2) / 2)
        frequencies = np.bincount(train) / len(train)
        return float(-np.mean(np.log(frequencies[validation])))

    def _reference_path(self) -> list[float]:
        from scipy.optimize import minimize  # noqa: PLC0415 - takes a second to load

        train, validation = self.split.train, self.split.validation
        shape = (self.outputs, train.X.shape[1] + 1)  # the intercept is the last column
        path: list[float] = []

        def at(flat: NDArray[np.float64], part: Part) -> tuple[float, NDArray[np.float64]]:
            w = flat.reshape(shape)
            loss, slope = _loss(self.loss, part.X @ w[:, :-1].T + w[:, -1], part.y)
            return loss, np.column_stack([slope.T @ part.X, slope.sum(axis=0)])

        def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            w = flat.reshape(shape)[:, :-1]
            loss, gradient = at(flat, train)
            gradient[:, :-1] += self.l2 * w
            return loss + self.l2 / 2 * float(np.sum(w * w)), gradient.ravel()

        def note(flat: NDArray[np.float64]) -> None:
            path.append(at(flat, validation)[0])

        start = np.zeros(shape).ravel()
        note(start)
        minimize(objective, start, jac=True, method="L-BFGS-B", callback=note)
        return path

    def code(
        self, rule: Rule, hyper: Mapping[str, float], *, batch_size: int, epochs: int
    ) -> dict[str, str]:
        """Return the lines to paste; see ``Task.code``."""
        recipe = snippets.Recipe(
            loss=self.loss,
            features=self.split.train.X.shape[1],
            outputs=self.outputs,
            l2=self.l2,
            batch_size=batch_size,
            epochs=epochs,
            load=self.load,
        )
        return {
            "torch": snippets.torch(recipe, rule, hyper),
            "thalweg": snippets.thalweg(recipe, rule, hyper),
        }


def _loss(loss: str, z: NDArray[np.float64], y: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
    """Return the mean loss of the outputs z (n, k) and its slope in each."""
    from scipy.special import expit, log_softmax  # noqa: PLC0415 - takes a second to load

    n = len(y)
    if loss == "squared":
        residual = z[:, 0] - y
        return float(residual @ residual) / (2 * n), residual[:, None] / n
    if loss == "logistic":
        value = np.mean(np.logaddexp(0, z[:, 0]) - y * z[:, 0])
        return float(value), (expit(z) - y[:, None]) / n
    log_p = log_softmax(z, axis=1)
    slope = np.exp(log_p)
    slope[np.arange(n), y] -= 1
    return float(-log_p[np.arange(n), y].mean()), slope / n
