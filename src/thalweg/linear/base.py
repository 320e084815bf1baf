"""What the estimators share: passes at eight rates, the choice among them, and the finish."""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils._array_api import _is_numpy_namespace, get_namespace
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from thalweg.checks import count
from thalweg.kernels.cpu.generate import WIDTHS
from thalweg.kernels.cpu.vector import LANES
from thalweg.linear.callbacks import Callbacks, Told
from thalweg.linear.columns import Columns, check_stored
from thalweg.linear.course import FITTED, KNOWN, Course
from thalweg.linear.learnable import check_learnable
from thalweg.linear.objective import Objective
from thalweg.linear.optimum import optimum, proximal_step
from thalweg.linear.problem import Choice, Problem, Rows
from thalweg.linear.progressive import Progressive
from thalweg.linear.resting import rests
from thalweg.linear.stream import orders
from thalweg.linear.strength import strength
from thalweg.linear.unit import Unit, first_outputs, first_squares
from thalweg.linear.zeros import Zeros
from thalweg.losses import Loss
from thalweg.rule import Rule
from thalweg.rules import get

__all__ = ["Linear"]

_RATES = np.geomspace(0.25, 8, LANES)  # of Adagrad on scaled columns
_AROUND = 4.0 ** np.arange(-3, LANES - 3)  # times the default rate of another rule
_FEW = 5000  # dense rows up to which a step takes one
_BATCH = 32  # rows of a step above
_STREAMED = 1e-4  # alpha="auto" where it is not known how many rows will come


class Linear(Callbacks, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """What the classifier and the regressor share."""

    alpha_: Any

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "rule": [str, Rule],
        "lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "hyper": [dict, None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "sparse": [StrOptions({"exact", "lazy"})],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "finish": [StrOptions({"auto"}), "boolean", Interval(Real, 0, 1, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [None, Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
    }

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> list[str]:
        """Return the names of the settings; scikit-learn reads them off ``__init__`` each time."""
        names: list[str] = super()._get_param_names()
        return names

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _rows(self, X: Any, *, reset: bool, **options: Any) -> Any:
        """Return X checked: an array, or CSR without duplicates; not copied if it is so."""
        namespace, dispatched = get_namespace(X)
        if dispatched and not _is_numpy_namespace(namespace):
            raise ValueError(
                f"X must be a NumPy array, a sparse matrix or a frame, got {type(X).__name__}: "
                "kernels read memory of the processor; give numpy.asarray(X)"
            )
        if issparse(X):
            check_stored(X)
        if issparse(y := options.get("y")):
            raise TypeError(f"y must be dense, got {type(y).__name__}: give y.toarray()")
        checked = validate_data(
            self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset, **options
        )
        data = checked[0] if isinstance(checked, tuple) else checked
        if issparse(data) and not data.has_canonical_format:
            data = data.copy()
            data.sum_duplicates()
        return (data, *checked[1:]) if isinstance(checked, tuple) else data

    def _weights(self, given: Any, X: Any) -> NDArray[np.float64]:
        """Return the weights of rows, checked; None: each counts 1."""
        if given is None:
            return np.ones(X.shape[0])
        weights: NDArray[np.float64] = _check_sample_weight(
            given, X, dtype=np.float64, ensure_non_negative=True
        )
        return weights

    def _begin(
        self, rows: Rows, loss: Loss, k: int, unknown: float, beside: Sequence["Linear"] = ()
    ) -> None:
        """Measure the columns and make a training for each array of targets.

        Others beside may have a rate and penalties of their own: each then has a lane. In what
        units columns are penalized is the same for all.
        """
        models = [self, *beside]
        columns = Columns.of(
            rows.X, rows.weights, intercept=self.fit_intercept, user=type(self).__name__
        )
        chosen = self._chosen(sparse=issparse(rows.X))
        rates, lanes = self._rates(chosen, models)
        for model in models:
            model._columns, model._problems = columns, []  # noqa: SLF001 - its own kind
            model.alpha_ = unknown if self._own else float(model.alpha)
        for y in rows.targets:
            given = getattr(self, loss.parameter) if loss.parameter else 0.0
            unit = Unit.of(loss, y, rows.weights, given, intercept=self.fit_intercept)
            penalties = [unit.penalties(m.alpha_, m.l1_ratio, own=self._own) for m in models]
            strength = np.zeros((2, len(rates)))
            for model, where, (l2, l1) in zip(models, lanes, penalties, strict=True):
                # One pass needs no help against overfitting: a w² that nobody asked for is left
                # to the finish.
                once = self._own and model.max_iter == 1
                strength[:, where] = [[0.0 if once else l2], [l1]]
            parameter = unit.parameter(loss, given)
            training = self._training(rows, y, loss, k, unit, parameter, chosen, rates, strength)
            for model, where, own in zip(models, lanes, penalties, strict=True):
                model._problems.append(  # noqa: SLF001 - its own kind
                    Problem(loss, unit, parameter, training, rates, own, where)
                )

    def _rates(
        self, chosen: Rule, models: Sequence["Linear"]
    ) -> tuple[NDArray[np.float64], list[Sequence[int]]]:
        """Return the rates of the lanes, and which lanes are whose."""
        if self.lr == "auto":
            known = _RATES if self.rule == "auto" else chosen.defaults["lr"] * _AROUND
            return np.asarray(known), [range(LANES)]
        given = [float(model.lr) for model in models]
        lanes = next(width for width in WIDTHS if width >= len(given))
        rates = np.array(given + given[-1:] * (lanes - len(given)))
        return rates, [[i] for i in range(len(models))]

    def _training(  # noqa: PLR0917 - what _begin has
        self, rows: Rows, y: NDArray[Any], loss: Loss, k: int, unit: Unit, parameter: float,
        chosen: Rule, rates: NDArray[np.float64], strength: NDArray[np.float64],
    ) -> Progressive:  # fmt: skip
        """Return the lanes of a training where it begins: at the best constant."""
        columns, batch = self._columns, self._step_size(rows.X)
        factor = columns.square**-0.5 if self.rule == "auto" else 1.0
        each = [float(rate * factor) for rate in rates]
        hyper = chosen.resolve({**(self.hyper or {}), "lr": each[0]})
        training = Progressive(
            chosen,
            loss,
            parameter,
            columns,
            outputs=k,
            lanes=[hyper | {"lr": chosen.hyperparameters["lr"].check(lr)} for lr in each],
            sparse=issparse(rows.X),
            penalties=columns.penalties(batch, own=self._own) if strength.any() else None,
            strength=strength,
        )
        first = first_outputs(loss, y, rows.weights, k) * self.fit_intercept
        if self.fit_intercept:
            training.start(first[None], len(columns.scale))
        if self.rule == "auto":
            squares = first_squares(
                loss, first, unit, y=y, weights=rows.weights, parameter=parameter
            )
            training.fill("s", squares / batch)
        return training

    def _chosen(self, *, sparse: bool) -> Rule:
        """Return the rule, which rows like these can be learned by."""
        chosen = get("adagrad") if self.rule == "auto" else get(self.rule)
        check_learnable(chosen)
        if chosen.judged is not None:
            raise ValueError(
                f"rule {chosen.name!r} trains at one point and is used at another. An estimator "
                "keeps an average of its own: take 'auto', 'adagrad' or 'sgd'"
            )
        if "lr" in (self.hyper or {}):
            raise ValueError("hyper must not hold 'lr': give lr itself")
        if (
            sparse
            and self.sparse == "exact"
            and not rests(chosen, chosen.resolve(self.hyper or {}))
        ):
            raise ValueError(
                f"rule {chosen.name!r} moves parameters also where the gradient is 0, but a step "
                "on sparse rows moves those of their columns only: give sparse='lazy', with which "
                "the others wait, or dense rows, X.toarray()"
            )
        return chosen

    @property
    def _own(self) -> bool:
        """Whether columns are penalized in their own units, as alpha="auto" has it."""
        return isinstance(self.alpha, str)

    def _step_size(self, X: Any) -> int:
        if self.batch_size != "auto":
            return int(self.batch_size)
        return 1 if issparse(X) or X.shape[0] <= _FEW else _BATCH

    def _warm(self, k: int) -> None:
        """Start from the coefficients of the last fit, of trainings with k outputs."""
        coef, intercept = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        asked = len(self._problems) * k, len(self._columns.scale)
        if coef.shape != asked:
            raise ValueError(
                "warm_start=True needs X and y with as many columns and classes as in the last "
                f"fit, whose coef_ has shape {coef.shape}; these need {asked}. Give such, or "
                "warm_start=False"
            )
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
            target = problem.unit.targets(problem.loss, y)
            constants = problem.unit.constants(problem.loss, target)
            problem.training.learn(
                rows.X,
                order,
                target.astype(np.float32),
                weights,
                batch_size=batch,
                measured_from=measured_from,
                constants=constants,
            )

    def _fit(self, rows: Rows, loss: Loss, k: int, validation: Rows | None) -> None:
        """Train, and all that ``LinearSearch`` trains beside: passes, then the finish."""
        known = rows.weights > 0
        if not known.all():
            rows = rows.some(known)
        n, total = rows.X.shape[0], float(rows.weights.sum())
        rows = replace(rows, weights=rows.weights * (n / total))
        random = check_random_state(self.random_state)
        # In a search, whose models nobody sees, losses count where they choose or stop alone.
        seen = "_beside" not in vars(self) or self.tol is not None
        beside: Sequence[Linear] = self.__dict__.pop("_beside", ())
        shared = {name: value for name, value in vars(self).items() if name in KNOWN}
        for model in beside:
            model.__dict__.update(shared)
        warm = self.warm_start and hasattr(self, "coef_")
        self._begin(rows, loss, k, 1 / total, beside)
        if warm:
            self._warm(k)
        courses = [Course(model, loss, k, validation, seen=seen) for model in (self, *beside)]
        told = Told(self)
        seed = np.random.SeedSequence(random.randint(2**31))
        for number, order in enumerate(orders(n, self.max_iter, seed)):
            told.begin()
            for problem in self._problems:
                problem.training.forget()
            self._learn(rows, order, n // 2 if number == 0 else 0 if seen else n)
            for course in courses:
                course.look(first=number == 0)
            if number == 0:
                courses[0].let_off(courses)
            stopped = told.end(courses[0].fitted)
            if stopped or all(course.done for course in courses):
                break
        for course in courses:
            course.end(rows)
        told.over()

    def _note(self, choice: list[Choice]) -> None:
        self.progressive_loss_ = self._progressive(choice)
        self.lr_ = self._lr(choice)

    def _progressive(self, choice: list[Choice]) -> float:
        pairs = zip(self._problems, choice, strict=True)
        return float(np.mean([problem.progressive(each) for problem, each in pairs]))

    def _lr(self, choice: list[Choice]) -> Any:
        rates = [float(p.rates[c[1]]) for p, c in zip(self._problems, choice, strict=True)]
        return rates[0] if len(rates) == 1 else np.array(rates)

    def _shares(self) -> list[NDArray[np.float64]]:
        return [problem.training.shares(problem.lanes) for problem in self._problems]

    def _mixed(self, shares: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        return [p.training.mixed(each) for p, each in zip(self._problems, shares, strict=True)]

    def _found(self, choice: list[Choice]) -> list[NDArray[np.float64]]:
        return [p.training.parameters(*c) for p, c in zip(self._problems, choice, strict=True)]

    def _validated(self, held_out: Rows) -> tuple[float, list[Choice]]:
        """Return the least validation loss, and which lane and average has it in each training."""
        choice, total = [], 0.0
        for problem, y in zip(self._problems, held_out.targets, strict=True):
            losses = problem.validated(self._columns, held_out.X, y, held_out.weights)
            choice.append(min(losses, key=losses.__getitem__))
            total += losses[choice[-1]]
        return total / len(choice), choice

    def _loss_of(self, rows: Rows, loss: Loss) -> float:
        """Return the mean loss of rows, in the unit of y; infinite where it is not finite."""
        z = np.split(self._outputs_of(rows.X), len(rows.targets), axis=1)
        own = getattr(self, loss.parameter) if loss.parameter else 0.0
        with np.errstate(all="ignore"):  # of outputs that are far off
            each = [loss.rows(o, y, own)[0] for o, y in zip(z, rows.targets, strict=True)]
            mean = float(np.average(np.sum(each, axis=0), weights=rows.weights))
        return mean if np.isfinite(mean) else np.inf

    def _finished(
        self, rows: Rows, starts: list[NDArray[np.float64]], *, asked: bool
    ) -> list[NDArray[np.float64]]:
        """Go on to the optimum, if that is asked for; else where |w| is penalized to its zeros."""
        ends, factors, known = [], [], iter(self.__dict__.pop("_factors", ()))
        accuracy = 0.0 if isinstance(self.finish, (str, bool)) else float(self.finish)
        for problem, y, start in zip(self._problems, rows.targets, starts, strict=True):
            (l2, l1), factor, end = problem.penalties, 1.0, start
            if asked or l1:
                objective, w = self._objective(problem, rows, y), self._columns.centred(start)
                if asked and self._own and not l1 and problem.loss.kinks is None:
                    factor = next(known, None) or strength(objective, w, l2)
                    objective = replace(objective, l2=factor * objective.l2)
                w = optimum(objective, w, accuracy) if asked else proximal_step(objective, w)
                end = self._columns.centred(w, -1)
            ends.append(end)
            factors.append(factor)
        self.alpha_ = self.alpha_ * (np.array(factors) if len(factors) > 1 else factors[0])
        return ends

    def _objective(self, problem: Problem, rows: Rows, y: NDArray[Any]) -> Objective:
        return problem.objective(self._columns, rows.X, y, rows.weights, own=self._own)

    def _keep(self, parameters: list[NDArray[np.float64]]) -> None:
        """Set the coefficients and intercepts."""
        pairs = []
        for problem, w in zip(self._problems, parameters, strict=True):
            if problem.loss.name == "softmax" and self.fit_intercept:
                w[-1] -= w[-1].mean()  # what is added to all outputs changes no probability
            unit = problem.unit
            coef, intercept = self._columns.original(w)
            pairs.append((coef * unit.of_outputs, intercept * unit.of_outputs + unit.start))
        self.coef_ = np.concatenate([coef for coef, _ in pairs])
        self.intercept_ = np.concatenate([intercept for _, intercept in pairs])

    def _continue(self, rows: Rows, loss: Loss, k: int) -> None:
        """Learn rows that follow, stored as the first were; of the last half the loss counts."""
        if not hasattr(self, "_problems"):
            self._begin(rows, loss, k, _STREAMED)
            penalties = [p.weights(self._columns, own=self._own) for p in self._problems]
            self._zeros = {i: Zeros(l1) for i, (_, l1) in enumerate(penalties) if l1.any()}
            if hasattr(self, "coef_"):
                self._warm(k)
        if (first := self._problems[0].training.sparse) != issparse(rows.X):
            rows = replace(rows, X=csr_array(rows.X) if first else rows.X.toarray())
        measured = self._measured(rows, np.arange(rows.X.shape[0]))
        self._choose(rows)
        self.rows_seen_ = getattr(self, "rows_seen_", 0) + rows.X.shape[0]
        mean = float(np.mean([each[c] for each, c in zip(measured, self._choice, strict=True)]))
        self.stream_curve_ = [*getattr(self, "stream_curve_", []), (self.rows_seen_, mean)]
        self.n_iter_ = getattr(self, "n_iter_", 0) + 1

    def _measured(self, rows: Rows, order: NDArray[np.intp]) -> list[NDArray[np.float64]]:
        """Learn rows; return each training's progressive loss of them, (2, lanes)."""
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
        count("pieces", pieces)
        check_is_fitted(self)
        X, y, weights = self._again(X, y, None)
        n = X.shape[0]
        own = clone(self)
        vars(own).update({name: vars(self)[name] for name in FITTED if name in vars(self)})
        rows = Rows(X, self._targets(y), weights)
        own._begin(rows, *self._trained, 1 / n)  # noqa: SLF001 - its own kind
        order = check_random_state(self.random_state).permutation(n)
        parts = np.array_split(order, min(pieces, n))
        found = [own._measured(rows, part) for part in parts]  # noqa: SLF001
        choice = [p.training.best(p.lanes) for p in own._problems]  # noqa: SLF001
        losses = [np.mean([e[c] for e, c in zip(each, choice, strict=True)]) for each in found]
        return np.cumsum([len(part) for part in parts]), np.array(losses)

    def _choose(self, rows: Rows | None = None) -> None:
        """Choose by at least the last half of what was measured, and keep that.

        Args:
            rows: what was learned just now, if anything was; the zeros of |w| are told by it.
        """
        for problem in self._problems:
            problem.training.forget_half()
        self._choice = [p.training.best(p.lanes) for p in self._problems]
        self._note(self._choice)
        ends = self._mixed(self._shares())
        for i, zeros in self._zeros.items():
            if rows is not None and rows.weights.any():
                objective = self._objective(self._problems[i], rows, rows.targets[i])
                here = self._columns.centred(ends[i])
                zeros.add(objective, here, float(rows.weights.sum()))
            ends[i] = zeros.applied(ends[i])
        self._keep(ends)

    def _average(self, found: Sequence[tuple[Any, int]]) -> None:
        """Become the average of copies that went on, weighted by the rows that each learned."""
        rows = np.array([count for _, count in found])
        for i, problem in enumerate(self._problems):
            others = [each._problems[i].training for each, _ in found]  # noqa: SLF001
            problem.training.average(others, rows / rows.sum())
        for i, zeros in self._zeros.items():
            zeros.average([each._zeros[i] for each, _ in found], rows / rows.sum())  # noqa: SLF001
        self._choose()
        losses = [each.stream_curve_[-1][1] for each, _ in found]
        self.rows_seen_ += int(rows.sum())
        self.stream_curve_.append((self.rows_seen_, float(np.average(losses, weights=rows))))

    def _forget(self) -> None:
        """Begin a stream anew, or from the coefficients of the last fit."""
        kept = {*self.get_params(), *(FITTED if self.warm_start else ())}
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
                of them; or an iterable of frames, Arrow tables, record batches, (X, y) or (X, y,
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
        if (known := vars(self).get("_known")) and known[0] is X:  # in a search
            outputs: NDArray[np.float64] = known[1]
            return outputs
        check_is_fitted(self)
        return self._outputs_of(self._rows(X, reset=False))

    def _outputs_of(self, X: Any) -> NDArray[np.float64]:
        z: NDArray[np.float64] = X @ np.atleast_2d(self.coef_).T + self.intercept_
        return z
