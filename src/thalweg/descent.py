"""Descents: the path that a rule takes on a problem, step by step, in float64."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg import problems, schedules, second_order
from thalweg.checks import NOT_NEGATIVE, Hyperparameter, count, number
from thalweg.errors import user_line
from thalweg.problems import Problem
from thalweg.rule import Rule
from thalweg.schedules import Hyper

__all__ = ["Trace", "descend"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trace:
    """The path of one descent; row 0 is the start, row t the point after step t.

    Attributes:
        problem: what was descended on.
        rule: what took the steps.
        hyper: every hyperparameter, a number or a schedule.
        x: the points, (steps + 1, d).
        f: the exact values there, (steps + 1,).
        gradient_norm: the Euclidean norms of the exact gradients there, (steps + 1,). On a domain,
            those of x − P(x − ∇f), where P is the projection: they are 0 at a minimizer on the
            border too.
        state: the rule's state after the last step, by name.
        end: how it ended: "finished" all its steps; "converged": the gradient norm fell below the
            tolerance, and there are no rows after that; "diverged": a point, value or gradient was
            not finite, and the rows after that are NaN.
    """

    problem: Problem
    rule: Rule
    hyper: Mapping[str, Hyper]
    x: Vector = field(repr=False)
    f: Vector = field(repr=False)
    gradient_norm: Vector = field(repr=False)
    state: Mapping[str, Any] = field(repr=False)
    end: str

    @property
    def diverged_at(self) -> int:
        """The first step at which the point, value or gradient was not finite; 0 = never."""
        finite = np.isfinite(self.f) & np.isfinite(self.gradient_norm)
        finite &= np.isfinite(self.x).all(axis=1)
        return 0 if finite.all() else int(np.argmin(finite))

    @property
    def average(self) -> Vector:
        """The average of the points that gradients were taken at, weighted by the rate, row by row.

        Shape (steps + 1, d). Row t is Σ η_s x_s / Σ η_s over s < t, where η_s is the rate of the
        step from x_s. ``theory.risk_bound`` bounds the value at this point after t steps. Row 0 is
        the start. A rule without a rate weighs all points alike.

        Example:
            >>> descend("bowl", "sgd", steps=2, lr=0.25).average.tolist()
            [[-5.0, -2.0], [-5.0, -2.0], [-3.75, -1.0]]
        """
        rates = schedules.values(self.hyper.get("lr", 1.0), np.arange(len(self.x) - 1))
        with np.errstate(all="ignore"):  # a diverged path is not finite; the first rates may be 0
            total = np.cumsum(rates)[:, None]
            means = np.cumsum(rates[:, None] * self.x[:-1], axis=0) / total
        return np.vstack([self.x[:1], np.where(total > 0, means, self.x[0])])


def descend(
    problem: Problem | str,
    rule: Rule | str,
    x0: ArrayLike | None = None,
    *,
    steps: int = 20,
    noise: float = 0.0,
    batch_size: int | None = None,
    sampling: str = "shuffle",
    tolerance: float = 0.0,
    seed: int = 0,
    **hyper: Hyper,
) -> Trace:
    """Take steps of a rule on a problem: g = ∇f(x) + noise·N(0, I); x, state = rule(g, x, state).

    With a batch size, ∇f is replaced by the mean gradient of so many of the problem's parts. On a
    domain each step is followed by projection. A descent that overflows ends there quietly.

    Args:
        problem: a Problem, or the name of one.
        rule: a Rule, or the name of one; or newton, diagonal_newton, bfgs or lbfgs.
        x0: the first point, (d,), in the problem's domain; the problem's own start by default.
        steps: how many, an integer >= 1; 20 by default.
        noise: standard deviation of the Gaussian noise on each component of the gradient, >= 0.
        batch_size: parts per step, 1 to their number n; None, the default, for the exact gradient.
        sampling: of the parts: "shuffle" (default), a fresh random order each epoch of n parts;
            "replacement", n independent draws each epoch; or "sequential", in their own order. The
            last batch of an epoch is smaller where batch_size does not divide n.
        tolerance: the descent stops where the exact gradient's norm is below it, >= 0; 0, the
            default, never stops it.
        seed: of noise and sampling; the same seed gives the same path.
        hyper: the rule's hyperparameters, each a number or a schedule; its defaults for the rest.

    Returns:
        The path, with its exact values and gradient norms.

    Raises:
        ValueError: a name is unknown, a value out of range, x0 of the wrong shape, the rule one of
            matrices, or batch_size given for a problem without parts.
        TypeError: the rule has no such hyperparameter, or a value is not a number.

    Example:
        >>> trace = descend("bowl", "sgd", lr=0.25)
        >>> trace.x.shape, trace.x[1].tolist(), trace.end
        ((21, 2), [-2.5, 0.0], 'finished')
    """
    problem = problems.get(problem)
    rule = second_order.get(rule, problem)
    steps = count("steps", steps)
    hyper = rule.lasting(hyper, steps)
    noise = number("noise", noise, NOT_NEGATIVE)
    tolerance = number("tolerance", tolerance, NOT_NEGATIVE)
    random = np.random.default_rng(count("seed", seed, 0))
    batches = _batches(problem, batch_size, sampling, random)
    values = _values(rule, hyper, steps)
    x = _first_point(problem, x0)
    state = rule.first_state(x, {name: each[0] for name, each in values.items()})
    points = np.full((steps + 1, x.size), np.nan)
    f, gradient_norm = np.full((2, steps + 1), np.nan)
    end = "finished"
    with np.errstate(all="ignore"):  # a diverging path overflows, and its rows say so
        for t in range(steps + 1):
            g = problem.gradient(x)
            points[t], f[t], gradient_norm[t] = x, problem.value(x), _norm(problem, x, g)
            if not np.isfinite([*x, f[t], gradient_norm[t]]).all():
                end = "diverged"
            elif gradient_norm[t] < tolerance:
                end = "converged"
                points, f, gradient_norm = points[: t + 1], f[: t + 1], gradient_norm[: t + 1]
            if t == steps or end != "finished":
                break
            batch = next(batches, None)
            drawn = noise * random.standard_normal(x.size) if noise else 0.0
            inputs = _inputs(problem, batch, drawn)
            now = {name: each[t] for name, each in values.items()}
            g = g + drawn if batch is None else inputs["gradient"](x)
            moved, state = _moved(rule, g, x, state, t=t + 1, hyper=now, inputs=inputs)
            x = problem.project(moved)
    return Trace(problem, rule, rule.defaults | hyper, points, f, gradient_norm, state, end)


def _moved(
    rule: Rule,
    g: Vector,
    x: Vector,
    state: Mapping[str, Any],
    **given: Any,  # noqa: ANN401 - as Rule.advance has them
) -> tuple[Vector, dict[str, Any]]:
    """Take a step of the rule, and say what to write where it cannot take one."""
    try:
        moved, state = rule.advance(g, x, state, **given)
    except ValueError as error:
        if "truth value of an array" not in str(error):
            raise
        raise ValueError(
            f"{user_line(error) or 'somewhere'}: rule {rule.name!r} decides for all elements at "
            "once; write where(test, a, b), of thalweg.elementwise, which decides for each"
        ) from None
    if np.shape(moved) != x.shape:
        raise ValueError(f"rule {rule.name!r} must return an x of shape {x.shape}, got {moved!r}")
    return moved, state


def _inputs(
    problem: Problem, batch: NDArray[np.int64] | None, noise: Vector | float
) -> dict[str, Callable[[Vector], Vector]]:
    """Return the gradient, and the Hessian's diagonal, of a step's parts as functions of x.

    The noise of the gradient is the same at each point.
    """
    parts = [problem] if batch is None else [problem.parts[i] for i in batch]

    def gradient(x: Vector) -> Vector:
        mean: Vector = np.mean([part.gradient(x) for part in parts], axis=0)
        return mean + noise

    def curvature(x: Vector) -> Vector:
        mean: Vector = np.mean([np.diag(part.hessian(x)) for part in parts], axis=0)
        return mean

    return {"gradient": gradient, "curvature": curvature}


def _norm(problem: Problem, x: Vector, g: Vector) -> float:
    return math.hypot(*(g if problem.domain is None else x - problem.project(x - g)))


_ORDERS: dict[str, Callable[[np.random.Generator, int], NDArray[np.int64]]] = {
    "shuffle": lambda random, n: random.permutation(n),
    "replacement": lambda random, n: random.integers(n, size=n),
    "sequential": lambda _, n: np.arange(n),
}


def _batches(
    problem: Problem, batch_size: int | None, sampling: str, random: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield the parts of each step, for ever; nothing where there is no batch size."""
    if sampling not in _ORDERS:
        raise ValueError(f"sampling must be one of {', '.join(_ORDERS)}, got {sampling!r}")
    if batch_size is None:
        return iter(())
    n = len(problem.parts)
    if not n:
        some = ", ".join(name for name in problems.names() if problems.get(name).parts)
        raise ValueError(
            f"batch_size needs a problem with parts, and {problem.name!r} has none: take one of "
            f"{some}, or make one with problems.finite_sum or problems.noisy_sum"
        )
    batch_size = count("batch_size", batch_size, 1, n, "the number of parts")
    orders = (_ORDERS[sampling](random, n) for _ in itertools.count())
    return (order[i : i + batch_size] for order in orders for i in range(0, n, batch_size))


def _values(rule: Rule, hyper: Mapping[str, Hyper], steps: int) -> dict[str, Vector]:
    """Return every hyperparameter's value at each step, checked."""
    rule.check_names(hyper)
    return {
        h.name: _scheduled(h, hyper.get(h.name, h.default), np.arange(steps))
        for h in rule.hyperparameters.values()
    }


def _scheduled(hyperparameter: Hyperparameter, given: Hyper, steps: NDArray[np.int64]) -> Vector:
    if not callable(given):
        return schedules.values(hyperparameter.check(given), steps)
    values = schedules.values(given, steps)
    for step, value in enumerate(values.tolist()):
        try:
            hyperparameter.check_scheduled(value)
        except ValueError as error:
            raise ValueError(f"{error} from its schedule at step {step}") from None
    return values


def _first_point(problem: Problem, x0: ArrayLike | None) -> Vector:
    try:
        x = np.array(problem.start if x0 is None else x0, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"x0 must be numbers, got {x0!r}") from None
    if x.shape != problem.start.shape:
        raise ValueError(
            f"x0 must have shape {problem.start.shape}, as problem {problem.name!r} has, "
            f"got {x.shape}"
        )
    if not np.array_equal(problem.project(x), x, equal_nan=True):
        low, high = (end.tolist() for end in problem.domain or ())
        raise ValueError(
            f"x0 must be in the domain of problem {problem.name!r}, from {low} to {high}, "
            f"got {x.tolist()}"
        )
    with np.errstate(all="ignore"):
        value = problem.value(x)
    if not (np.isfinite(x).all() and np.isfinite(value)):
        raise ValueError(f"x0 and f(x0) must be finite, got f({x.tolist()}) = {value}")
    return x
