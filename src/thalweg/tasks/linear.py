"""Linear models as a task of a race."""

import functools
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thalweg import data, losses
from thalweg import rules as registry
from thalweg.data import Dataset, Part
from thalweg.data.kept import fingerprint, kind_word
from thalweg.noise import GradientNoise
from thalweg.rule import Rule
from thalweg.tasks import snippets
from thalweg.tasks.task import NEW_START, Lane, Lanes, Target, seed_of
from thalweg.tasks.timing import seconds
from thalweg.words import option

if TYPE_CHECKING:
    from thalweg.linear import Examples, Training

__all__ = ["LinearTask", "words"]

_SHARE = 0.05  # of the way from the reference back to the constant: where the target lies
_MEASURED, _BATCH = 5, 32  # epochs whose time is measured; batch of Adam for the noise scale
_REPEATS = 4  # so many are held in memory: trainings of one are mostly done before the next begins
_DTYPE = np.dtype("float32")
_PREPARING = threading.Lock()  # threads that begin at the same time wait for the one that prepares
_LANES = 16  # enough for SIMD, and few enough to keep what a kill loses small

_LOSSES = {"regression": "squared", "binary": "logistic", "multiclass": "softmax"}
_MODELS = {"squared": "linear", "logistic": "logistic", "softmax": "multinomial logistic"}


class LinearTask:
    """A linear model on the three parts of a data set, started as torch.nn.Linear.

    The objective is the mean loss, 1/2 (prediction - y)² or the cross-entropy in nats, plus
    l2/2 ||w||² (without the intercept). Every loss that is reported is without that term.

    Args:
        dataset: the data.
        l2: strength of the penalty, >= 0.
        seed: of the split.
    """

    lanes = _LANES
    schedules: tuple[str, ...] = ("constant",)
    processes = False
    exact = True
    drawn = True
    target_epochs = 0  # L-BFGS is done in no time

    def __init__(self, dataset: Dataset, *, l2: float, seed: int) -> None:
        self.dataset = dataset
        self.split = data.split(dataset, seed=seed)
        self.loss = _LOSSES[dataset.kind]
        self._loss = losses.get(self.loss)
        self.l2 = l2
        self.seed = seed
        self.outputs = len(dataset.classes or ()) if dataset.kind == "multiclass" else 1
        self.name = dataset.name
        names = ("train", "validation", "test")
        self.parts: Mapping[str, int] = {part: len(getattr(self.split, part).y) for part in names}
        features = len(self.split.encoder.features)
        self.data: Mapping[str, Any] = {
            "name": dataset.name,
            "source": dataset.source,
            "kind": dataset.kind,
            "rows": len(dataset.y),
            "features": features,
            "classes": dataset.classes,
            "dropped": dataset.dropped,
        }
        self.said: Sequence[str] = (dataset.summary(features), *dataset.notes)
        shape = f"{features} features" + (f", {self.outputs} classes" * (self.outputs > 1))
        self.facts: Mapping[str, Any] = {
            "loss": self.loss,
            "metric": "R²" if dataset.kind == "regression" else "accuracy",
            "model": f"{_MODELS[self.loss]} regression, {shape}, intercept",
            "dtype": _DTYPE.name,
            "l2": l2,
            "start": NEW_START,
        }

    @functools.lru_cache(maxsize=_REPEATS)  # noqa: B019 - tasks live as long as their race
    def repeated(self, repeat: int) -> "LinearTask":
        """Return the task on another split; see ``Task.repeated``."""
        if repeat == 0:
            return self
        return LinearTask(self.dataset, l2=self.l2, seed=seed_of(self.seed, repeat))

    def together(self, lane: Lane) -> Hashable:
        """Return what lanes share: rule, length and the stream of minibatches."""
        return lane.rule, lane.epochs, lane.batch_size, lane.seed

    def _train(
        self,
        lanes: Sequence[Lane],
        should_stop: Callable[[], bool],
        epochs_ended: Callable[[int], None] = lambda _: None,
    ) -> "Training":
        from thalweg import linear  # noqa: PLC0415 - loads Numba

        with _PREPARING:
            examples, held_out = self._examples
        first = lanes[0]
        hyper = {n: [lane.hyper[n] for lane in lanes] for n in first.hyper}
        return linear.train_on(
            examples,
            held_out,
            hyper,
            rule=first.rule,
            epochs=first.epochs,
            batch_size=first.batch_size,
            lanes=len(lanes),
            l2=self.l2,
            initial="uniform",
            seed=first.seed,
            threads=1,
            should_stop=should_stop,
            epochs_ended=epochs_ended,
        )

    @functools.cached_property
    def _examples(self) -> "tuple[Examples, Examples]":
        """The training and the validation part, prepared once for all trainings."""
        from thalweg.linear import Examples  # noqa: PLC0415 - loads Numba

        parts = self.split.train, self.split.validation
        layout: dict[str, Any] = {"loss": self.loss, "intercept": True, "dtype": _DTYPE}
        train, validation = (Examples.of(part.X, part.y, **layout) for part in parts)
        validation.check_like(train, "validation ")
        return train, validation

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what each process makes for itself."""
        return {name: value for name, value in vars(self).items() if name != "_examples"}

    def run(
        self,
        lanes: Sequence[Lane],
        *,
        should_stop: Callable[[], bool],
        epochs_ended: Callable[[int], None] = lambda _: None,
        alone: bool = False,  # noqa: ARG002 - a lane by itself is trained in the same way
    ) -> Lanes:
        """Train lanes; see ``Task.run``."""
        training = self._train(lanes, should_stop, epochs_ended)

        def judge() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            test, loss = self.split.test, self._loss
            with np.errstate(all="ignore"):  # of lanes that diverged
                losses = [loss.at(z, test.y)[0] for z in training.decision(test.X)]
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

    def target(self, epochs_ended: Callable[[int], None] = lambda _: None) -> Target:  # noqa: ARG002
        """Fix the target by the best constant and by L-BFGS.

        The constant predicts the training part's mean or class frequencies. The reference is the
        lowest validation loss on the path of SciPy's L-BFGS from zero on the race's own objective
        (or that of the constant, if the path stays above it). The target is reference +
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
            loss, slope = self._loss.at(part.X @ w[:, :-1].T + w[:, -1], part.y)
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

    def steps(self, batch_size: int, rule: Rule | None = None) -> int:  # noqa: ARG002 - no rule of kernels asks
        """Return how many steps an epoch has; the last batch may be smaller."""
        return -(-self.parts["train"] // batch_size)

    def measure(self, batch_size: int) -> dict[str, float]:
        """Measure a step of Adam; see ``Task.measure``. The bytes are computed."""
        epoch = seconds(self, [self._adam(batch_size, _MEASURED)], should_stop=lambda: False)
        arrays = 2 + len(registry.get("adam").state)  # parameters, gradients, state
        parameters = self.outputs * (self.split.train.X.shape[1] + 1)
        return {
            "seconds_per_step": epoch / self.steps(batch_size),
            "bytes": 4 * (arrays * parameters + batch_size * self.outputs),
            "noise_scale": self._noise_scale,
        }

    def _adam(self, batch_size: int, epochs: int) -> Lane:
        adam = registry.get("adam")
        return Lane(adam, adam.defaults, self.seed, batch_size, epochs)

    @functools.cached_property
    def _noise_scale(self) -> float:
        """The ratio tr Σ / |G|² (McCandlish et al. 2018, equation 2.9) over all examples."""
        train = self.split.train
        training = self._train([self._adam(min(_BATCH, len(train.y)), 1)], lambda: False)
        # An example's gradient is the outer product of its slope and (x, 1).
        X = np.column_stack([train.X, np.ones(len(train.X))])
        slope = self._loss.at(training.decision(train.X)[0], train.y)[1] * len(train.y)
        squares = np.sum(slope**2, axis=1) * np.sum(X**2, axis=1)
        mean = slope.T @ X / len(X)
        square = float(np.sum(mean**2))
        variance = GradientNoise.of_moments(float(squares.mean()), square, len(X)).variance
        mean[:, :-1] += self.l2 * training.coef[0]
        return float(variance / np.sum(mean**2))  # for these data, G is known exactly

    def code(
        self, rule: Rule, hyper: Mapping[str, float], *, batch_size: int, epochs: int, schedule: str
    ) -> dict[str, str]:
        """Return the lines to paste; see ``Task.code``."""
        assert schedule in self.schedules
        fit = snippets.LinearFit(
            loss=self.loss,
            features=self.split.train.X.shape[1],
            outputs=self.outputs,
            l2=self.l2,
            batch_size=batch_size,
            epochs=epochs,
            load=_load_code(self.dataset),
            seed=self.seed,
            frame=not isinstance(self.dataset.X, np.ndarray),
        )
        return {
            "torch": snippets.torch(fit, rule, hyper),
            "thalweg": snippets.thalweg(fit, rule, hyper),
            "scikit-learn": snippets.scikit_learn(fit, rule, hyper),
        }

    def fingerprint(self) -> str:
        """Return a hash of the numbers of the data. The terms of the race hold the rest."""
        return fingerprint(self.dataset)


def _load_code(dataset: Dataset) -> str:
    """Return what loads the data as the race did."""
    if dataset.loaded in data.names():
        return f"data.load({dataset.loaded!r})"
    if dataset.loaded:
        keywords = {"target": dataset.target, "kind": kind_word(dataset), **dataset.options.given}
        given = ", ".join(f"{name}={value!r}" for name, value in keywords.items())
        return f"data.load({dataset.loaded!r}, {given})"
    return f"data.Dataset.from_arrays(X, y, kind={kind_word(dataset)!r})"


def words(dataset: Dataset) -> list[str] | None:
    """Return what names the data on the command line; None for arrays, which it cannot name."""
    if not dataset.loaded:
        return None
    if dataset.loaded in data.names():
        return [dataset.loaded]
    named = [dataset.loaded, "--target", dataset.target, "--kind", kind_word(dataset)]
    for name, value in dataset.options.given.items():
        flag = option(name)
        if value is True:
            named.append(flag)
        elif isinstance(value, tuple):
            named += [word for each in value for word in (flag, each)]
        elif isinstance(value, Mapping):
            named += [word for key, kind in value.items() for word in (flag, f"{key}:{kind}")]
        else:
            named += [flag, str(value)]
    return named
