"""Sources: rules, problems, schedules and data as JavaScript, written from what Python has."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from thalweg import catalog, data, problems, schedules
from thalweg.explore.traced import function, names
from thalweg.kernels.javascript import source, text
from thalweg.problems import Problem
from thalweg.rule import Rule
from thalweg.schedules import Schedule
from thalweg.theory import linearization, optimum

__all__ = [
    "data_source",
    "problem_source",
    "rule_source",
    "schedule_source",
    "share_source",
    "theory_of",
]


def _said(thing: Any) -> str:  # noqa: ANN401 - a rule or a function
    """Return the first sentence of a docstring."""
    paragraph = (inspect.getdoc(thing) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


def rule_source(rule: Rule, module: str | None = None) -> str:
    """Return a rule as JavaScript, with what is known of it.

    Args:
        rule: the rule.
        module: the module that a user imports it from; None for a rule of thalweg's.

    Raises:
        ValueError: it cannot be translated (with its line).
    """
    written = source(rule)  # first: it refuses what theory would fall over
    about = {
        "source_of": rule.source,
        "said": _said(rule.function),
        "ranges": [
            [_bound(h.range.low), _bound(h.range.high), h.range.ends]
            for h in rule.hyperparameters.values()
        ],
        "module": module,
        "theory": theory_of(rule),
        "usual": catalog.of(rule).usual,
    }
    return _joined(written, about)


def _bound(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _joined(written: str, about: dict[str, Any]) -> str:
    lines = "".join(f"  {name}: {text(value)},\n" for name, value in about.items())
    return written.removesuffix("}") + lines + "}"


def theory_of(rule: Rule) -> dict[str, Any]:
    """Return what the page needs to read a rule's iteration matrix off its function; or why not."""
    try:
        settled = rule.defaults | dict.fromkeys(_unsettling(rule), 0.0)
        map_ = linearization.linearize(rule, settled)
        linear, frozen = linearization.parities(rule)
        memories = optimum.memories_of(rule, settled) if "lr" in settled else []
    except (ValueError, ArithmeticError) as error:
        return {"refused": str(error)}
    return {
        "states": map_.states,
        "linear": linear,
        "frozen": frozen,
        "memories": memories,
        "zeroed": _unsettling(rule),
    }


def _unsettling(rule: Rule) -> list[str]:
    """Return the hyperparameters that must be 0 for a rule to have one iteration matrix."""
    try:
        linearization.linearize(rule, rule.defaults)
    except ValueError as error:
        said = str(error)
        return [name for name in rule.hyperparameters if f"set {name} = 0" in said]
    return []


@cache
def problem_source(name: str) -> str:
    """Return a problem as JavaScript: its value, its gradient, and those of its parts."""
    problem = problems.get(name)
    arguments = [f"x{index + 1}" for index in range(problem.start.size)]
    x = names(*arguments)
    about = {
        "name": problem.name,
        "said": _said(getattr(problems, name)).removeprefix("Return "),
        "start": problem.start.tolist(),
        "minimizers": problem.minimizers.tolist(),
        "minimum": problem.minimum,
        "spectrum": None if problem.spectrum is None else problem.spectrum.tolist(),
        "curvatures": [
            np.linalg.eigvalsh(np.asarray(problem.hessian(point))).tolist()
            for point in problem.minimizers
        ],
        "domain": None if problem.domain is None else [end.tolist() for end in problem.domain],
        "view": _view(problem),
    }
    parts = ",\n".join(function(arguments, part.gradient(x)) for part in problem.parts)
    lines = [
        "{",
        *(f"  {key}: {text(value)}," for key, value in about.items()),
        f"  value: {function(arguments, problem.value(x))},",
        f"  gradient: {function(arguments, problem.gradient(x))},",
        f"  parts: [{parts}],",
        "}",
    ]
    return "\n".join(lines)


def _view(problem: Problem) -> list[list[float]]:
    """Return the lowest and the highest point of the picture, with start and minimizers inside."""
    if problem.domain is not None:
        low, high = problem.domain
    else:
        points = np.vstack([problem.start, -problem.start, problem.minimizers])
        if problem.spectrum is None and len(problem.minimizers):
            points = np.vstack([problem.start, problem.minimizers])
        low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.18 * np.maximum(high - low, 2.0)
    return [(low - margin).tolist(), (high + margin).tolist()]


@cache
def schedule_source(name: str) -> str:
    """Return a schedule as JavaScript: its arguments, and its value as a function of them and t."""
    make = getattr(schedules, name)
    parameters = inspect.signature(make).parameters
    if name == "piecewise_constant":
        arguments, made = _pieces()
    else:
        arguments = list(parameters)
        made = _symbolic(make, arguments)
    value = made._at(names("t"))[0]  # noqa: SLF001 - the schedule's formula
    about = {
        "name": name,
        "said": _said(make),
        "arguments": arguments,
        "defaults": [_default(parameters.get(each)) for each in arguments],
    }
    lines = (f"  {key}: {text(of)}," for key, of in about.items())
    return "\n".join(["{", *lines, f"  at: {function(['t', *arguments], value)},", "}"])


def _pieces() -> tuple[list[str], Schedule]:
    """Return ``piecewise_constant`` with three values."""
    values, boundaries = ["value1", "value2", "value3"], ["boundary1", "boundary2"]
    made = object.__new__(schedules.piecewise_constant)
    for field, given in (("values", values), ("boundaries", boundaries)):
        object.__setattr__(made, field, list(names(*given)))
    return [*values, *boundaries], made


def _symbolic(make: Callable[..., Schedule], arguments: Sequence[str]) -> Schedule:
    """Return a schedule whose arguments are not known yet; it is made without their checks.

    A function that makes a schedule is asked with numbers first, to see which field gets which.
    """
    samples = {name: 3 + 2 * index for index, name in enumerate(arguments)}
    if isinstance(make, type):
        fields: dict[str, Any] = dict(zip(arguments, names(*arguments), strict=True))
        kind: type[Schedule] = make
    else:
        sampled = make(**samples)
        kind = type(sampled)
        symbols = {
            samples[name]: symbol for name, symbol in zip(arguments, names(*arguments), strict=True)
        }
        fields = {
            field.name: symbols.get(getattr(sampled, field.name), getattr(sampled, field.name))
            for field in dataclasses.fields(kind)  # type: ignore[arg-type] # every schedule is one
        }
    made = object.__new__(kind)
    for field, value in fields.items():
        object.__setattr__(made, field, value)
    return made


def _default(parameter: inspect.Parameter | None) -> float | None:
    if parameter is None or parameter.default is parameter.empty:
        return None
    return float(parameter.default)


def share_source() -> str:
    """Return the rise of ``warmup`` as JavaScript, a function of t and steps."""
    made = object.__new__(schedules.warmup)
    (steps,) = names("steps")
    object.__setattr__(made, "steps", steps)
    return function(["t", "steps"], made._share(names("t"))[0])


@cache
def data_source(name: str) -> dict[str, Any]:
    """Return a data set for linear regression, standardized, and what theory needs of it.

    ``eigenvectors`` has one in each row, ``noise`` the variance of one example's gradient along
    each, at the minimizer.
    """
    loaded = data.load(name)
    X, y = (np.asarray(part, dtype=np.float64) for part in (loaded.X, loaded.y))
    X = np.round((X - X.mean(axis=0)) / X.std(axis=0), 3)
    y = np.round((y - y.mean()) / y.std(), 3)
    H = X.T @ X / len(X)
    spectrum, vectors = np.linalg.eigh(H)
    w = np.linalg.solve(H, X.T @ y / len(X))
    gradients = (X @ w - y)[:, None] * X
    noise = np.var(gradients @ vectors, axis=0)
    return {
        "name": name,
        "features": list(loaded.features),
        "X": X.tolist(),
        "y": y.tolist(),
        "spectrum": spectrum.tolist(),
        "eigenvectors": vectors.T.tolist(),
        "noise": noise.tolist(),
        "minimizer": w.tolist(),
        "minimum": float(np.mean((X @ w - y) ** 2) / 2),
    }
