"""Descents: the path that a rule takes on a problem, step by step, in float64."""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg import problems, rules, schedules
from thalweg.problems import Problem
from thalweg.rule import Hyperparameter, Range, Rule

__all__ = ["Trace", "descend"]

Vector = NDArray[np.float64]
Hyper = float | Callable[[int], float]


@dataclass(frozen=True, eq=False)
class Trace:
    """The path of one descent; row 0 is the start, row t the point after step t.

    Attributes:
        problem: what was descended on.
        rule: what took the steps.
        hyper: every hyperparameter, a number or a schedule.
        x: the points, (steps + 1, d).
        f: the exact values there, (steps + 1,).
        gradient_norm: the Euclidean norms of the exact gradients there, (steps + 1,).
    """

    problem: Problem
    rule: Rule
    hyper: Mapping[str, Hyper]
    x: Vector = field(repr=False)
    f: Vector = field(repr=False)
    gradient_norm: Vector = field(repr=False)

    @property
    def diverged_at(self) -> int:
        """The step whose point, value or gradient was the first not finite; 0 = never."""
        finite = np.isfinite(self.f) & np.isfinite(self.gradient_norm)
        finite &= np.isfinite(self.x).all(axis=1)
        return 0 if finite.all() else int(np.argmin(finite))


def descend(
    problem: Problem | str,
    rule: Rule | str,
    x0: ArrayLike | None = None,
    *,
    steps: int = 20,
    noise: float = 0.0,
    seed: int = 0,
    **hyper: Hyper,
) -> Trace:
    """Take steps of a rule on a problem: g = ∇f(x) + noise·N(0, I); x, state = rule(g, x, state).

    A descent that overflows ends there quietly: the later rows are NaN, and ``diverged_at`` says
    at which step.

    Args:
        problem: a Problem, or the name of one.
        rule: a Rule, or the name of one.
        x0: the first point, (d,); the problem's own start by default.
        steps: how many, an integer >= 1; 20 by default.
        noise: standard deviation of the Gaussian noise on each component of the gradient, >= 0.
        seed: of the noise; the same seed gives the same path.
        hyper: the rule's hyperparameters, each a number or a schedule; its defaults for the rest.

    Returns:
        The path, with its exact values and gradient norms.

    Raises:
        ValueError: a name is unknown, a value out of range, or x0 of the wrong shape.
        TypeError: the rule has no such hyperparameter, or a value is not a number.

    Example:
        >>> trace = descend("bowl", "sgd", lr=0.25)
        >>> trace.x.shape, trace.x[1].tolist()
        ((21, 2), [-2.5, 0.0])
    """
    problem, rule = problems.get(problem), rules.get(rule)
    if operator.index(steps) < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    noise = Hyperparameter("noise", 0.0, Range(0.0, ends="[)")).check(noise)
    values = _values(rule, hyper, steps)
    x = _first_point(problem, x0)
    state = rule.first_state(x, {name: each[0] for name, each in values.items()})
    points = np.full((steps + 1, x.size), np.nan)
    f, gradient_norm = np.full((2, steps + 1), np.nan)
    random = np.random.default_rng(seed)
    with np.errstate(all="ignore"):  # a diverging path overflows, and its rows say so
        for t in range(steps + 1):
            g = problem.gradient(x)
            points[t], f[t], gradient_norm[t] = x, problem.value(x), math.hypot(*g)
            if t == steps or not np.isfinite([*x, f[t], gradient_norm[t]]).all():
                break
            g = g + noise * random.standard_normal(x.size)
            now = {name: each[t] for name, each in values.items()}
            x, state = rule.advance(g, x, state, t=t + 1, hyper=now)
    return Trace(problem, rule, rule.defaults | hyper, points, f, gradient_norm)


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
    x = np.array(problem.start if x0 is None else x0, dtype=np.float64)
    if x.shape != problem.start.shape:
        raise ValueError(
            f"x0 must have shape {problem.start.shape}, as problem {problem.name!r} has, "
            f"got {x.shape}"
        )
    with np.errstate(all="ignore"):
        value = problem.value(x)
    if not (np.isfinite(x).all() and np.isfinite(value)):
        raise ValueError(f"x0 and f(x0) must be finite, got f({x.tolist()}) = {value}")
    return x
