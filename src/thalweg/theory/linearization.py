"""A rule near a minimizer: the linear map of its state and its error, read off the rule itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg import catalog, rules
from thalweg.kind import MATRICES, SUMS
from thalweg.rule import STEPS, Rule
from thalweg.wrapper import Wrapped, Wrapper

__all__ = [
    "Linearization",
    "adaptive",
    "iteration_matrix",
    "linearize",
    "parities",
    "positive",
    "positive_number",
]

Array = NDArray[np.float64]
# The results of a rule by name, its states and "x", for the named arguments; others are zero.
_Step = Callable[..., dict[str, Any]]

# Its square is negligible beside 1. As a power of two it divides exactly.
_TINY = 2.0**-300
_DEGREE = "its step does not grow with the gradient"
# Steps so late that bias corrections are gone. A rule that differs between them never settles.
_LATE = (2**40, 2**50)


@dataclass(frozen=True, eq=False)
class Linearization:
    """A step on f = λx²/2 as a linear map of z = (states, x): z ← (A + λ b eᵀ) z + b ξ, eᵀz = x.

    Attributes:
        states: the names of the components of z; x is the last.
        A: what a step does without a gradient, (..., n, n), one matrix per grid point.
        b: what a gradient of 1 adds, (..., n). ξ is the noise of the gradient.
    """

    states: tuple[str, ...]
    A: Array
    b: Array

    def matrix(self, eigenvalue: ArrayLike) -> Array:
        """Return A + λ b eᵀ, (..., n, n), for one eigenvalue or an array (...) of them."""
        scaled = np.asarray(eigenvalue)[..., None] * self.b
        matrix = np.broadcast_to(self.A, scaled.shape + self.A.shape[-1:]).copy()
        matrix[..., :, -1] += scaled
        return matrix


def iteration_matrix(rule: Rule | str, eigenvalue: float, **hyper: float) -> Array:
    """Return the matrix M of a step on f = λx²/2: (states, x) ← M (states, x).

    It is found from the rule: each column is the result of a step from a basis vector, with g = λx
    and t so large that bias corrections are gone. States on which x never depends are left out.

    An adaptive rule is analysed with its preconditioner P held constant. P is Adam's √v̂ + eps, or
    any state that is made from squares of gradients. The eigenvalue is then one of the
    preconditioned Hessian P⁻¹H. Nothing depends on eps and the memory of P any more.

    Args:
        rule: a Rule, or the name of one. It may be your own.
        eigenvalue: λ > 0, the curvature along one eigenvector.
        hyper: the rule's hyperparameters; its defaults for the rest.

    Returns:
        (n, n), the last row and column for x: n = 1 without state, 2 with one.

    Raises:
        ValueError: a value is out of range, or the rule is not linear (lion and rprop: their steps
            do not grow with the gradient) or never settles (asgd, unless lambd = 0).
        TypeError: the rule has no such hyperparameter.

    Example:
        >>> iteration_matrix("momentum", 4.0, lr=0.25, beta=0.5)
        array([[ 0.5  ,  4.   ],
               [-0.125,  0.   ]])

    For the preconditioner held fixed: Cohen et al. 2022, "Adaptive Gradient Methods at the Edge of
    Stability".
    """
    rule = rules.get(rule)
    value = positive_number("eigenvalue", eigenvalue)
    return linearize(rule, rule.resolve(hyper)).matrix(value)


def positive(name: str, value: ArrayLike) -> Array:
    """Return values as float64.

    Raises:
        TypeError: they are not numbers.
        ValueError: one is not finite and > 0, or there is none.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be numbers, got {value!r}") from None
    wrong = ~(np.isfinite(array) & (array > 0))
    if not array.size:
        raise ValueError(f"{name} must have one value or more, got none")
    if wrong.any():
        raise ValueError(f"{name} must be finite and > 0, got {array[wrong].flat[0]:g}")
    return array


def positive_number(name: str, value: ArrayLike) -> float:
    """Return a value as a float. Raise ValueError unless it is one number, finite and > 0."""
    array = positive(name, value)
    if array.ndim:
        raise ValueError(f"{name} must be one number, got {array.tolist()}; call once for each")
    return array.item()


def linearize(rule: Rule, hyper: Mapping[str, Any]) -> Linearization:
    """Return a rule's linear map. Hyperparameters may be arrays, which broadcast to a grid."""
    try:
        settled, later = (_reaching_x(rule, hyper, t) for t in _LATE)
    except ValueError as error:
        if "truth value of an array" not in str(error):
            raise
        raise ValueError(
            f"rule {rule.name!r} has an if on a hyperparameter, so that it takes no grid of its "
            "values: it needs elementwise.where in its place"
        ) from None
    if not _same(settled, later):
        raise ValueError(_unsettled(rule, hyper))
    if not _couples_nothing(rule):
        raise ValueError(_not_linear(rule, "where an element goes depends on the others"))
    return settled


def _same(one: Linearization, other: Linearization) -> bool:
    pairs = ((one.A, other.A), (one.b, other.b))
    return all(np.allclose(*pair, rtol=1e-9, atol=0) for pair in pairs)


def _unsettled(rule: Rule, hyper: Mapping[str, Any]) -> str:
    """Say which hyperparameters must be 0 for the step not to change with t."""
    zeroed = {n: {**hyper, n: 0.0} for n, each in rule.hyperparameters.items() if 0.0 in each.range}
    settling = []
    for name, changed in zeroed.items():
        settled, later = (_reaching_x(rule, changed, t) for t in _LATE)
        if _same(settled, later) and settled.b.any():
            settling.append(f"{name} = 0")
    holds = catalog.of(rule).holds
    remedy = f"; set {' or '.join(settling)}" if settling else f"; {holds}" if holds else ""
    return f"rule {rule.name!r} has no one iteration matrix: its step changes with t{remedy}"


def _reaching_x(rule: Rule, hyper: Mapping[str, Any], t: int) -> Linearization:
    """Return the linear map at step t of the states on which x depends, directly or not."""
    A, b = _respond(rule, hyper, t)
    names = (*parities(rule)[0], "x")
    read = _reading(rule) | (A != 0).any(axis=tuple(range(A.ndim - 2)))
    paths = np.linalg.matrix_power(read.astype(int) + np.eye(len(names), dtype=int), len(names))
    kept = paths[-1] > 0
    states = tuple(name for name, each in zip(names, kept, strict=True) if each)
    return Linearization(states, A[..., kept, :][..., kept], b[..., kept])


@cache
def _reading(rule: Rule) -> NDArray[np.bool_]:
    """Return which linear state reads which at the defaults: a beta of 0 must not hide a state."""
    return np.asarray(_respond(rule, rule.defaults, _LATE[0])[0] != 0)


def _respond(rule: Rule, hyper: Mapping[str, Any], t: int) -> tuple[Array, Array]:
    """Return A and b over all linear states at step t."""
    linear, frozen = parities(rule)
    names = (*linear, "x")
    grid = np.broadcast_shapes(*(np.shape(value) for value in hyper.values()))
    if frozen and "eps" in hyper:
        hyper = {**hyper, "eps": 0.0}  # it belongs to P, which is held at 1
    with np.errstate(all="ignore"):
        step = _stepper(rule, hyper, t)
        held = _held(rule, step, frozen)

        def respond(**at: float) -> Array:
            result = step(**held, **{name: _TINY * value for name, value in at.items()})
            return np.stack([np.broadcast_to(result[n] / _TINY, grid) for n in names], axis=-1)

        A = np.stack([respond(**{name: 1.0}) for name in names], axis=-1)
        b = respond(g=1.0)
        weights = 1.5 ** np.arange(1, len(names) + 1)  # any vector that is not a basis vector
        together = respond(g=0.7, **dict(zip(names, weights.tolist(), strict=True)))
    if not np.allclose(together, A @ weights + 0.7 * b, rtol=1e-9, atol=0):
        raise ValueError(_not_linear(rule, _DEGREE))
    return A, b


def _couples_nothing(rule: Rule) -> bool:
    """Return whether no element's way depends on the others.

    A rule of matrices is looked at in one element, which hides what its wrapper sums: that is tried
    around SGD.
    """
    if rule.kind == MATRICES and isinstance(rule, Wrapped):
        around = _around_sgd(rule.wrapper)
        return (around is None or _couples_nothing(around)) and _couples_nothing(rule.inner)
    return rule.kind != SUMS or _moves_each_alone(rule)


def _around_sgd(wrapper: Wrapper) -> Rule | None:
    """Return SGD within a wrapper; None where that asks for a hyperparameter that SGD lacks."""
    try:
        return wrapper(rules.get("sgd"))
    except ValueError:
        return None


@cache
def _moves_each_alone(rule: Rule) -> bool:
    """Return whether two elements take the steps that each would take if it were a tensor."""
    pair = np.array([1.0, 0.5]) * _TINY
    with np.errstate(all="ignore"):
        step = _stepper(rule, rule.defaults, _LATE[0])
        held = _held(rule, step, parities(rule)[1])
        together = step(**held, g=pair)["x"]
        alone = [step(**held, g=each)["x"] for each in pair.tolist()]
    return np.allclose(together, alone, rtol=1e-9, atol=0)


def _not_linear(rule: Rule, why: str) -> str:
    instead = catalog.of(rule).holds or "thalweg.descend measures what it does"
    return f"rule {rule.name!r} is not linear, so that it has no iteration matrix: {why}; {instead}"


def _stepper(rule: Rule, hyper: Mapping[str, Any], t: int) -> _Step:
    """Return the rule at step t, with its uniform states at their limits."""
    uniform = dict.fromkeys(rule.uniform_state, 0.0)
    ones = dict.fromkeys(rule.state, 1.0)

    whole = rule.kind == MATRICES
    if whole:
        hyper = {name: _matrix(value) for name, value in hyper.items()}

    def step(**at: float) -> dict[str, Any]:
        values = (at.get(name, 0.0) for name in ("g", "x", *rule.state))
        g, x, *varying = map(_matrix, values) if whole else values
        state = {**dict(zip(rule.state, varying, strict=True)), **uniform}
        x, state = rule.advance(g, x, state, t=t, hyper=hyper)
        after = {**state, "x": x}
        return {name: v[..., 0, 0] for name, v in after.items()} if whole else after

    for name in rule.uniform_state:  # the fixed point of u ← u(0) + (u(1) − u(0)) u
        at_zero = step(**ones)[name]
        uniform[name] = 1.0
        slope = step(**ones)[name] - at_zero
        if np.any(slope == 1):
            raise ValueError(
                f"rule {rule.name!r} has no one iteration matrix: its step changes with t, for "
                f"{name} has no limit; thalweg.descend measures what it does"
            )
        uniform[name] = at_zero / (1 - slope)
    return step


def _matrix(value: Any) -> Array:  # noqa: ANN401 - a number or a grid of them
    """Return a number as a matrix of one element; a grid as so many."""
    return np.asarray(value, dtype=np.float64)[..., None, None]


def adaptive(rule: Rule) -> bool:
    """Return whether a rule has a preconditioner: theory holds it constant, a descent changes it.

    Raises:
        ValueError: a step from −g is not the opposite of one from g.
    """
    return bool(parities(rule)[1])


@cache
def parities(rule: Rule) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the states that are odd in (g, x, states), and the even ones.

    Odd states hold gradients, and the linear analysis follows them. Even ones hold squares or sizes
    of gradients, and are the preconditioner.
    """
    if asked := (*rule.inputs, *(h.name for h in rule.hyperparameters.values() if h is STEPS)):
        raise ValueError(_not_linear(rule, f"it asks for the {' and the '.join(asked)}"))
    step = _stepper(rule, rule.defaults, _LATE[0])
    names = ("g", "x", *rule.state)
    probe = dict(zip(names, 0.7 ** np.arange(1.0, len(names) + 1), strict=True))
    subsets = list(_subsets(rule.state))
    if rule.kind == MATRICES:  # SOAP hands its eigenvectors on: the step is even in them
        subsets.reverse()
    for frozen in subsets:
        mirrored = {name: v if name in frozen else -v for name, v in probe.items()}
        with np.errstate(all="ignore"):
            result, mirror = step(**probe), step(**mirrored)
        if all(mirror[n] == (result[n] if n in frozen else -result[n]) for n in names[1:]):
            return tuple(s for s in rule.state if s not in frozen), frozen
    raise ValueError(_not_linear(rule, "a step from −g is not the opposite of one from g"))


def _subsets(names: tuple[str, ...]) -> chain[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))


def _held(rule: Rule, step: _Step, frozen: tuple[str, ...]) -> dict[str, Any]:
    """Return values of the preconditioner's states for which it is 1 where the step reads it.

    The step reads it after its update (Adam's v) or before (Adadelta's u); the right choice makes
    the step linear in g, however large g is. If a square of a linear state is in it (centered
    RMSProp), no choice does, and the value after the update is held.
    """
    for before in (*_subsets(frozen), ()):
        small, large = (_after(rule, step, frozen, before, g) for g in (_TINY, 2.0**-4))
        gains = step(g=_TINY, **small)["x"] / _TINY, step(g=2.0**-4, **large)["x"] / 2.0**-4
        if np.allclose(*gains, rtol=1e-9, atol=0):
            return small
    ratio = np.abs(gains[1] / gains[0])
    if rule.kind == MATRICES and np.any((ratio < 0.5) | (ratio > 2)):
        # What divides a matrix by its norm has a smallest norm, below which it seems linear.
        raise ValueError(_not_linear(rule, _DEGREE))
    return small


def _after(
    rule: Rule, step: _Step, frozen: tuple[str, ...], before: tuple[str, ...], g: float
) -> dict[str, Any]:
    """Return the states whose update is 1 for this g, those named in ``before`` themselves 1."""
    held: dict[str, Any] = dict.fromkeys(frozen, 1.0)
    for name in frozen:
        if name not in before:  # updates are affine above the largest of what they are compared to
            low, high = (step(g=g, **(held | {name: value}))[name] for value in (1.0, 2.0))
            if np.any(high == low):
                raise ValueError(
                    f"rule {rule.name!r} has no preconditioner to hold fixed: with these "
                    f"hyperparameters {name} forgets all but the last gradient; give it a memory"
                )
            held[name] = 1.0 + (1.0 - low) / (high - low)
    return held
