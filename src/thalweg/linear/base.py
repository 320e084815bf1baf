"""What the estimators share: passes at eight rates, the choice among them, and the finish."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from thalweg.checks import count
from thalweg.kernels.cpu.vector import LANES
from thalweg.linear.columns import Columns
from thalweg.linear.optimum import Objective, optimum
from thalweg.linear.progressive import Progressive
from thalweg.linear.unit import Unit
from thalweg.losses import Loss
from thalweg.rule import Rule
from thalweg.rules import get

__all__ = ["Linear", "Rows"]

_RATES = np.geomspace(0.25, 8, LANES)  # of Adagrad on scaled columns
_AROUND = 4.0 ** np.arange(-3, LANES - 3)  # times the default rate of another rule
_FEW = 5000  # dense rows up to which a step takes one
_BATCH = 32  # rows of a step above
_STREAMED = 1e-4  # alpha="auto" where it is not known how many rows will come
_SMALL = 10_000_000  # numbers of X, times outputs, up to which finish="auto" goes to the optimum

_FITTED = ("coef_", "intercept_", "classes_", "n_features_in_", "feature_names_in_")

Choice = tuple[int, int]  # 0 or 1 for the average, and the lane


@dataclass(frozen=True)
class Rows:
    """Rows, the targets of each training on them, and the rows' weights."""

    X: Any
    targets: list[NDArray[Any]]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class _Problem:
    """One training: a loss, its unit, and the eight rates that learn it."""

    loss: Loss
    unit: Unit
    parameter: float
    training: Progressive
    rates: NDArray[np.float64]
    penalties: tuple[float, float]


class Linear(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """What the classifier and the regressor share."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "rule": [str, Rule],
        "lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "hyper": [dict, None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "finish": [StrOptions({"auto"}), "boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [None, Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
    }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _rows(self, X: Any, *, reset: bool, **options: Any) -> Any:
        """Return X checked: an array, or CSR without duplicates; not copied if it is so."""
        checked = validate_data(
            self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset, **options
        )
        data = checked[0] if isinstance(checked, tuple) else checked
        if issparse(data) and not data.has_canonical_format:
            data = data.copy()
            data.sum_duplicates()
        return (data, *checked[1:]) if isinstance(checked, tuple) else data

    def _begin(self, rows: Rows, loss: Loss, k: int, unknown: float) -> None:
        """Measure the columns and make a training for each array of targets."""
        X = rows.X
        self._columns = Columns.of(X, rows.weights, intercept=self.fit_intercept)
        chosen = get("adagrad") if self.rule == "auto" else get(self.rule)
        if chosen.judged is not None:
            raise ValueError(
                f"rule {chosen.name!r} trains at one point and is used at another. An estimator "
                "keeps an average of its own: take 'auto', 'adagrad' or 'sgd'"
            )
        hyper = self.hyper or {}
        if "lr" in hyper:
            raise ValueError("hyper must not hold 'lr': give lr itself")
        size = self._step_size(X)
        self._problems = []
        alpha = unknown if self.alpha == "auto" else float(self.alpha)
        for y in rows.targets:
            given = getattr(self, loss.parameter) if loss.parameter else 0.0
            unit = Unit.of(loss, y, rows.weights, given)
            if self.lr != "auto":
                rates = np.full(LANES, float(self.lr))
            else:
                rates = _RATES if self.rule == "auto" else chosen.defaults["lr"] * _AROUND
            factor = self._columns.square**-0.5 if self.rule == "auto" else 1.0
            lanes = [chosen.resolve({**hyper, "lr": float(rate * factor)}) for rate in rates]
            own = unit.penalties(alpha, self.l1_ratio)
            # One pass needs no help against overfitting: a w² that nobody asked for is left to
            # the finish.
            once = self.alpha == "auto" and self.max_iter == 1
            in_passes = (0.0 if once else own[0], own[1])
            parameter = unit.parameter(loss, given)
            training = Progressive(
                chosen,
                loss,
                parameter,
                self._columns,
                outputs=k,
                lanes=lanes,
                sparse=issparse(X),
                penalties=self._columns.penalties(*in_passes, size),
            )
            self._problems.append(_Problem(loss, unit, parameter, training, rates, own))

    def _step_size(self, X: Any) -> int:
        if self.batch_size != "auto":
            return int(self.batch_size)
        return 1 if issparse(X) or X.shape[0] <= _FEW else _BATCH

    def _warm(self) -> None:
        """Start from the coefficients of the last fit."""
        k = len(self.coef_) // len(self._problems) if self.coef_.ndim == 2 else 1
        coef, intercept = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        for i, problem in enumerate(self._problems):
            own, unit = slice(i * k, i * k + k), problem.unit
            problem.training.start(
                self._columns.scaled(
                    coef[own] / unit.of_outputs, (intercept[own] - unit.start) / unit.of_outputs
                )
            )

    def _learn(self, rows: Rows, order: NDArray[np.intp], measured_from: int) -> None:
        """Let every training learn the rows in this order, and measure those from some place on."""
        weights, batch = rows.weights.astype(np.float32), self._step_size(rows.X)
        for problem, y in zip(self._problems, rows.targets, strict=True):
            target = problem.unit.targets(problem.loss, y).astype(np.float32)
            for part, measured in ((order[:measured_from], False), (order[measured_from:], True)):
                problem.training.learn(
                    rows.X, part, target, weights, batch_size=batch, measured=measured
                )

    def _fit(self, rows: Rows, loss: Loss, k: int, validation: Rows | None) -> None:
        """Train: passes, then the finish."""
        known = rows.weights > 0
        if not known.all():
            rows = Rows(rows.X[known], [y[known] for y in rows.targets], rows.weights[known])
        n, total = rows.X.shape[0], float(rows.weights.sum())
        rows = replace(rows, weights=rows.weights * (n / total))
        random = check_random_state(self.random_state)
        warm = self.warm_start and hasattr(self, "coef_")
        self._begin(rows, loss, k, 1 / total)
        if warm:
            self._warm()
        self.loss_curve_: list[float] = []
        self.validation_curve_: list[float] = []
        kept, least, since = None, np.inf, 0
        choice: list[Choice] = []
        for number in range(self.max_iter):
            for problem in self._problems:
                problem.training.forget()
            self._learn(rows, random.permutation(n), n // 2 if number == 0 else 0)
            if number == 0:
                choice = [problem.training.best() for problem in self._problems]
                self._note(choice)
            self.loss_curve_.append(self._progressive(choice))
            watched = self.loss_curve_[-1]
            found = self._found(choice)
            if validation is not None:
                watched, choice = self._validated(validation)
                found = self._found(choice)
                self.validation_curve_.append(watched)
            if validation is None or watched < least or kept is None:
                kept = found
            since = 0 if watched < least - (self.tol or 0.0) else since + 1
            least = min(least, watched)
            if self.tol is not None and since >= self.n_iter_no_change:
                break
        assert kept is not None
        self.lr_ = self._lr(choice)
        self.n_iter_ = number + 1
        small = n * rows.X.shape[1] * k * len(self._problems) <= _SMALL
        if loss.smooth and (small and validation is None if self.finish == "auto" else self.finish):
            kept = self._finished(rows, kept)
        self._keep(kept)
        del self._problems, self._columns

    def _note(self, choice: list[Choice]) -> None:
        self.progressive_loss_ = self._progressive(choice)
        self.lr_ = self._lr(choice)

    def _progressive(self, choice: list[Choice]) -> float:
        pairs = zip(self._problems, choice, strict=True)
        return float(np.mean([p.unit.of_loss * p.training.losses[c] for p, c in pairs]))

    def _lr(self, choice: list[Choice]) -> Any:
        rates = [float(p.rates[c[1]]) for p, c in zip(self._problems, choice, strict=True)]
        return rates[0] if len(rates) == 1 else np.array(rates)

    def _found(self, choice: list[Choice]) -> list[NDArray[np.float64]]:
        return [p.training.parameters(*c) for p, c in zip(self._problems, choice, strict=True)]

    def _validated(self, held_out: Rows) -> tuple[float, list[Choice]]:
        """Return the least validation loss, and which lane and average has it in each training."""
        choice, total = [], 0.0
        for problem, y in zip(self._problems, held_out.targets, strict=True):
            target, losses = problem.unit.targets(problem.loss, y), {}
            for which, lane in np.ndindex(2, LANES):
                coef, intercept = self._columns.original(problem.training.parameters(which, lane))
                with np.errstate(all="ignore"):  # of lanes that diverged
                    z = held_out.X @ coef.T + intercept
                    values = problem.loss.rows(z, target, problem.parameter)[0]
                    mean = float(np.average(values, weights=held_out.weights))
                losses[which, lane] = mean if np.isfinite(mean) else np.inf
            best = min(losses, key=losses.__getitem__)
            choice.append(best)
            total += problem.unit.of_loss * losses[best]
        return total / len(choice), choice

    def _finished(self, rows: Rows, starts: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """Go on to the optimum."""
        columns, whole, ends = self._columns, self._columns.whole(rows.X), []
        share = rows.weights / rows.weights.sum()
        for problem, y, w in zip(self._problems, rows.targets, starts, strict=True):
            penalties = np.zeros((2, len(w), 1))
            l2, l1 = problem.penalties
            penalties[0, : len(columns.scale), 0] = l2 / columns.scale**2
            penalties[1, : len(columns.scale), 0] = l1 / columns.scale
            target = problem.unit.targets(problem.loss, y)
            objective = Objective(whole, target, share, problem.loss, problem.parameter, *penalties)
            ends.append(optimum(objective, w))
        return ends

    def _keep(self, parameters: list[NDArray[np.float64]]) -> None:
        """Set the coefficients and intercepts."""
        pairs = []
        for problem, w in zip(self._problems, parameters, strict=True):
            if problem.loss.name == "softmax" and self.fit_intercept:
                w[-1] -= w[-1].mean()  # what is added to all outputs changes no probability
            unit = problem.unit
            coef, intercept = self._columns.original(w)
            start = unit.start if self.fit_intercept else 0.0
            pairs.append((coef * unit.of_outputs, intercept * unit.of_outputs + start))
        self.coef_ = np.concatenate([coef for coef, _ in pairs])
        self.intercept_ = np.concatenate([intercept for _, intercept in pairs])

    def _continue(self, rows: Rows, loss: Loss, k: int) -> None:
        """Learn rows that follow those before; of at least the last half the loss counts."""
        if not hasattr(self, "_problems"):
            self._begin(rows, loss, k, _STREAMED)
            if hasattr(self, "coef_"):
                self._warm()
        measured = self._measured(rows, np.arange(rows.X.shape[0]))
        self._choose()
        self.rows_seen_ = getattr(self, "rows_seen_", 0) + rows.X.shape[0]
        mean = float(np.mean([each[c] for each, c in zip(measured, self._choice, strict=True)]))
        self.stream_curve_ = [*getattr(self, "stream_curve_", []), (self.rows_seen_, mean)]
        self.n_iter_ = getattr(self, "n_iter_", 0) + 1

    def _measured(self, rows: Rows, order: NDArray[np.intp]) -> list[NDArray[np.float64]]:
        """Learn rows; return each training's progressive loss of them, (2, LANES)."""
        before = [problem.training.measured for problem in self._problems]
        self._learn(rows, order, 0)
        after = [problem.training.measured for problem in self._problems]
        return [
            p.unit.of_loss * (sums - old) / max(weight - past, 1e-300)
            for p, (sums, weight), (old, past) in zip(self._problems, after, before, strict=True)
        ]

    def learning_curve(self, X: Any, y: Any, pieces: int = 40) -> tuple[Any, Any]:
        """Return how the progressive loss of one pass fell: rows seen, and the loss of each piece.

        Args:
            X: rows as in ``fit``, which must have been called.
            y: their targets.
            pieces: that the pass is cut into, >= 1; default 40.
        """
        check_is_fitted(self)
        X = self._rows(X, reset=False)
        n = X.shape[0]
        own = clone(self)
        vars(own).update({name: vars(self)[name] for name in _FITTED if name in vars(self)})
        rows = Rows(X, self._targets(np.asarray(y)), np.ones(n))
        own._begin(rows, *self._trained, 1 / n)  # noqa: SLF001 - its own kind
        order = check_random_state(self.random_state).permutation(n)
        parts = np.array_split(order, min(pieces, n))
        found = [own._measured(rows, part) for part in parts]  # noqa: SLF001
        choice = [problem.training.best() for problem in own._problems]  # noqa: SLF001
        losses = [np.mean([e[c] for e, c in zip(each, choice, strict=True)]) for each in found]
        return np.cumsum([len(part) for part in parts]), np.array(losses)

    def _choose(self) -> None:
        """Choose by at least the last half of what was measured, and keep that."""
        for problem in self._problems:
            problem.training.forget_half()
        self._choice = [problem.training.best() for problem in self._problems]
        self._note(self._choice)
        self._keep(self._found(self._choice))

    def _average(self, found: Sequence[tuple[Any, int]]) -> None:
        """Become the average of copies that went on, weighted by the rows that each learned."""
        rows = np.array([count for _, count in found])
        for i, problem in enumerate(self._problems):
            others = [each._problems[i].training for each, _ in found]  # noqa: SLF001
            problem.training.average(others, rows / rows.sum())
        self._choose()
        losses = [each.stream_curve_[-1][1] for each, _ in found]
        self.rows_seen_ += int(rows.sum())
        self.stream_curve_.append((self.rows_seen_, float(np.average(losses, weights=rows))))

    def _forget(self) -> None:
        """Begin a stream anew, or from the coefficients of the last fit."""
        kept = {*self.get_params(), *(_FITTED if self.warm_start else ())}
        for name in set(vars(self)) - kept:
            delattr(self, name)
        self._passes = self.rows_seen_ = 0

    def _learn_window(self, X: Any, y: Any, weights: Any, first: dict[str, Any]) -> None:
        """Learn a window of a stream; the first one with more arguments."""
        more = {} if hasattr(self, "_problems") else first
        self.partial_fit(X, y, sample_weight=weights, **more)

    def fit_stream(
        self,
        source: Any,
        *,
        target: str | None = None,
        weight: str | None = None,
        drop: Sequence[str] = (),
        classes: Any = None,
        window: int = 1 << 16,
        hashed: int = 1 << 18,
        hash_seed: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 60.0,
        n_jobs: int | None = None,
        interval: int = 1 << 18,
        on_window: Callable[[Any], None] | None = None,
    ) -> Self:
        """Train on a source that need not fit into memory: ``max_iter`` passes, and no finish.

        A thread reads while the rows before are learned. What is held at a time are two windows and
        the model. Columns and targets are scaled as the first window asks for. ``warm_start=True``
        starts from the coefficients of the last fit.

        Args:
            source: a Parquet, CSV, libsvm or Arrow (Feather) file, a folder of such files, a list
                of them; or an iterable of Arrow tables, record batches, (X, y) or (X, y,
                sample_weight); or a function that returns such an iterable.
            target: of tables, the column to predict.
            weight: of tables, the column of the rows' weights, if there is one.
            drop: of tables, columns to leave out.
            classes: of a classifier, all labels; by default those of the first window.
            window: rows that are shuffled together, >= 1, or as many as have 2²³ numbers if these
                are fewer; default 2¹⁶.
            hashed: of tables, features that words are hashed to, >= 1; default 2¹⁸.
            hash_seed: of that hash, >= 0; default 0.
            checkpoint: a file that is written now and then. If it is there, a training that was
                killed goes on after its last window; one that has ended is taken from it.
            checkpoint_every: seconds between two, >= 0; default 60.
            n_jobs: workers, as in joblib, whose backend may be processes, Dask or Ray. Each has a
                share of the files and learns from the same start; their parameters are averaged
                after each ``interval``. None: one.
            interval: rows that a worker learns between two averages, >= 1; default 2¹⁸.
            on_window: is called with the estimator after each window, or average.

        Returns:
            The estimator. ``encoding_.transform(table)`` makes the rows for ``predict`` of tables;
            ``stream_curve_`` has (rows seen, progressive loss of the window) for each window.

        Raises:
            ValueError: a block cannot be used, or the checkpoint is of another training.
            FileExistsError: checkpoint names a file that is none.

        Example:
            >>> from sklearn.datasets import load_iris
            >>> from thalweg.linear import LinearClassifier
            >>> X, y = load_iris(return_X_y=True)
            >>> blocks = [(X[i::3], y[i::3]) for i in range(3)]
            >>> LinearClassifier(max_iter=9).fit_stream(blocks).rows_seen_
            1350
        """
        from thalweg.data.hashed import Hashed  # noqa: PLC0415 - loads PyArrow
        from thalweg.linear.streamed import fit_stream  # noqa: PLC0415 - the same

        for name, value in {"window": window, "hashed": hashed, "interval": interval}.items():
            count(name, value)
        own = None if target is None else Hashed(target, weight, drop, size=hashed, seed=hash_seed)
        first = {} if classes is None else {"classes": classes}
        fit_stream(
            self, source, first, own, window, checkpoint, checkpoint_every, n_jobs, interval,
            on_window,
        )  # fmt: skip
        return self

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        data = self._rows(X, reset=False)
        z: NDArray[np.float64] = data @ np.atleast_2d(self.coef_).T + self.intercept_
        return z
