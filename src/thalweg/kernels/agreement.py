"""Agreement: a user's rule and its kernel must compute the same before the kernel is used.

The function is called with float64 arrays, and again with arrays whose operations are rounded about
a thousand times as coarsely. The kernel rounds elsewhere, so it may differ by as much as that
changes. A result that changes far, for example because a decision flips, tells nothing.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.kernels.body import Place
from thalweg.rule import Rule

__all__ = ["Inputs", "check", "inputs_of"]

Floats = NDArray[np.float64]

_ELEMENTS = 64
_SIDE = 8  # of a matrix of so many
_SETTINGS = 5  # of the hyperparameters
_COARSER = 2.0**-43  # relative; float64 rounds by 2**-53
_PROBES = [
    0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    1e-3,
    -1e-3,
    1e3,
    -1e3,
    1e-8,
    -1e-8,
    1e8,
    -1e8,
]
_VALUES = [0.0, 0.5, 0.9, 0.999, 1.0, 0.1, 1e-3, 1e-8, 2.0, 10.0, -0.3, -1.0]  # of hyperparameters
_LEAST = 1e-290  # hardly more than the smallest normal number
_SCALING = {np.multiply, np.divide, np.power, np.float_power, np.square, np.reciprocal, np.exp}
_ROUNDED = {*_SCALING, np.add, np.subtract, np.log, np.sqrt}


@dataclass(frozen=True)
class Inputs:
    """What a rule and its kernel are called with.

    Attributes:
        t: the step.
        first: whether no step came before it.
        hyper: hyperparameters by name.
        g: gradients.
        x: parameters.
        state: by name: arrays for varying state, numbers for uniform state.
    """

    t: int
    first: bool
    hyper: Mapping[str, float]
    g: Floats
    x: Floats
    state: Mapping[str, Any]


_WHY = (
    "A kernel is made of the function's text (thalweg.kernels.source shows it): the function must "
    "do what its text says, and the same at each call. If it does, this is a fault of thalweg: "
    "please report the rule, and write its equation in another way until it is mended"
)

Values = dict[str, Any]  # x and the state by name: arrays, or numbers of uniform state
Kernel = Callable[[Inputs], Values]


def check(
    rule: Rule,
    kernel: Kernel,
    where: Mapping[str, Place] | None = None,
    *,
    matrix: bool = False,
) -> int:
    """Compare a kernel with its rule's function.

    Args:
        rule: the rule.
        kernel: takes a step as the rule's kernel does, in float64.
        where: of a rule of sums, where each state is there.
        matrix: whether the arrays are matrices, and no vectors.

    Returns:
        How many numbers were compared.

    Raises:
        ValueError: the kernel computes something else. The message has an input and both answers.
    """
    compared = 0
    for inputs in inputs_of(rule, where, matrix=matrix):
        trace = _Trace()
        wanted = _called(rule, inputs, trace)
        if not wanted:
            continue
        if where is not None:  # what one element loses, a sum loses
            trace.lost = np.bool_(np.any(trace.lost))
        got = kernel(inputs)
        slack = _slack(rule, inputs, wanted, range(1))
        compared += sum(int(np.sum(np.isfinite(one) & ~trace.lost)) for one in slack.values())
        if _apart(wanted, got, slack, trace.lost):  # it may be so by chance
            slack = _slack(rule, inputs, wanted, range(1, 9))
        for name, index in _apart(wanted, got, slack, trace.lost):
            raise ValueError(
                f"rule {rule.name!r} and the kernel made of it differ: for {_told(inputs, index)} "
                f"the function returns {name} = {_at(wanted[name], index):.17g}, the kernel "
                f"{_at(got[name], index):.17g}. {_WHY}"
            )
    return compared


def _apart(
    wanted: Values, got: Values, slack: Values, lost: NDArray[np.bool_]
) -> list[tuple[str, int]]:
    """Return a name and the index of an element for each result that is wrong."""
    found = []
    for name, value in wanted.items():
        with np.errstate(invalid="ignore"):
            near = np.abs(got[name] - value) <= slack[name]
        alike = near | (got[name] == value) | (np.isnan(got[name]) & np.isnan(value))
        wrong = np.asarray(~alike & np.isfinite(slack[name]) & ~lost)
        apart = np.broadcast_to(wrong.ravel(), _ELEMENTS)
        found += [(name, int(np.argmax(apart)))] if apart.any() else []
    return found


def _slack(rule: Rule, inputs: Inputs, exact: Values, seeds: Iterable[int]) -> Values:
    """Return how far each result may be off; it is not finite where any result is allowed."""
    slack = {name: np.abs(value) * _COARSER for name, value in exact.items()}
    for seed, size in itertools.product(seeds, (_COARSER, -_COARSER)):  # equals part both ways
        for name, value in _called(rule, inputs, _Coarse(size, seed)).items():
            same = (value == exact[name]) | (np.isnan(value) & np.isnan(exact[name]))
            with np.errstate(invalid="ignore"):
                slack[name] += np.where(same, 0.0, 4 * np.abs(value - exact[name]))
    return slack


def _at(value: Any, index: int) -> float:  # noqa: ANN401 - a number or an array
    side = _SIDE if np.ndim(value) > 1 else _ELEMENTS
    shape = (side, side) if np.ndim(value) > 1 else (side,)
    return float(np.broadcast_to(value, shape).ravel()[index])


def _told(inputs: Inputs, index: int) -> str:
    given = {"g": inputs.g, "x": inputs.x, **inputs.state, "t": inputs.t, **inputs.hyper}
    return ", ".join(f"{name}={_at(value, index):.17g}" for name, value in given.items())


def inputs_of(
    rule: Rule, where: Mapping[str, Place] | None = None, *, matrix: bool = False
) -> Iterator[Inputs]:
    """Yield inputs of steps: the first ones of a run, and later ones from random states."""
    rng = np.random.default_rng(0)
    shape = (_SIDE, _SIDE) if matrix else (_ELEMENTS,)

    def drawn_at(place: Place) -> Floats:
        sizes = {Place.ROW: (_SIDE, 1), Place.COLUMN: (1, _SIDE), Place.UNIFORM: ()}
        wanted = sizes.get(place, shape)
        return _numbers(rng)[-int(np.prod(wanted)) :].reshape(wanted)

    for setting in range(_SETTINGS):
        hyper = rule.defaults if setting == 0 else _drawn(rule, rng)
        x = drawn_at(Place.ELEMENT)
        state = rule.first_state(x, hyper)
        for t in range(1, 5):
            inputs = Inputs(t, t == 1, hyper, drawn_at(Place.ELEMENT), x, state)
            yield inputs
            new = _called(rule, inputs, _Trace())
            if not new:
                break
            x = new["x"]
            state = {name: _placed(new[name], (where or {}).get(name)) for name in state}
        for t in (10, 1000):
            for signed in (False, True):
                places = where or dict.fromkeys(rule.state, Place.ELEMENT)
                drawn: dict[str, Any] = {name: drawn_at(at) for name, at in places.items()}
                drawn |= {name: _numbers(rng)[-1] for name in rule.uniform_state}
                random = drawn if signed else {name: abs(s) for name, s in drawn.items()}
                g, x = drawn_at(Place.ELEMENT), drawn_at(Place.ELEMENT)
                yield Inputs(t, True, hyper, g, x, random)  # noqa: FBT003 - first


def _placed(value: Any, place: Place | None) -> Any:  # noqa: ANN401 - an array or a number
    """Return a state as it is there, from what it is for each element."""
    match place:
        case Place.ROW:
            return value[:, :1]
        case Place.COLUMN:
            return value[:1]
        case Place.UNIFORM:
            return np.asarray(value).ravel()[0]
    return value


def _drawn(rule: Rule, rng: np.random.Generator) -> dict[str, float]:
    drawn = {}
    for name, h in rule.hyperparameters.items():
        values = [v for v in (h.default, h.default, h.default / 3, *_VALUES) if v in h.range]
        drawn[name] = float(rng.choice(values or [h.default]))
    return drawn


def _numbers(rng: np.random.Generator) -> Floats:
    """Return small and large numbers of both signs, and 0."""
    rest = _ELEMENTS - len(_PROBES)
    spread = rng.standard_normal(rest) * 10.0 ** rng.uniform(-3, 3, rest)
    return np.concatenate([rng.permutation(_PROBES), spread])


def _called(rule: Rule, inputs: Inputs, trace: "_Trace") -> Values:
    def traced(value: Any) -> "_Traced":  # noqa: ANN401 - a number or an array
        made = np.array(value, np.float64).view(_Traced)
        made.noted = trace
        return made

    state = {name: traced(value) for name, value in inputs.state.items()}
    hyper: Any = {name: traced(value) for name, value in inputs.hyper.items()}
    t: Any = traced(inputs.t)
    try:
        with np.errstate(all="ignore"):
            x, new = rule.advance(traced(inputs.g), traced(inputs.x), state, t=t, hyper=hyper)
    except Exception:  # noqa: BLE001 - whatever a user's function raises for numbers it was not meant for
        return {}
    return {
        name: np.broadcast_to(np.asarray(value, np.float64), inputs.x.shape)
        if name not in rule.uniform_state
        else np.asarray(value, np.float64)
        for name, value in {"x": x, **new}.items()
    }


class _Trace:
    """Notes for which elements the results of one call left the range of float64."""

    def __init__(self) -> None:
        self.lost: Any = np.False_

    def rounded(self, ufunc: np.ufunc, operands: list[Any], result: Any) -> Any:  # noqa: ANN401
        """Return the result of an operation."""
        if ufunc in _SCALING:
            outside = (np.abs(result) < _LEAST) | (np.abs(result) > 1 / _LEAST)
            for operand in operands:
                outside = outside & np.isfinite(operand) & (operand != 0)
            self.lost = self.lost | outside
        return result


class _Coarse(_Trace):
    """Rounds every result up or down, by one to two times a given share of it."""

    def __init__(self, size: float, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.size = size

    def rounded(self, ufunc: np.ufunc, operands: list[Any], result: Any) -> Any:  # noqa: ANN401
        """Return the result of an operation, rounded."""
        if (
            ufunc in {np.equal, np.not_equal} and self.size < 0
        ):  # numbers that are almost equal count as equal too
            a, b = operands
            return result ^ ((a != b) & (np.abs(a - b) <= 64 * _COARSER * np.abs(b)))
        if ufunc not in _ROUNDED:
            return result
        part = self.rng.uniform(-1, 1, result.shape)
        return result * (1 + self.size * (part + np.sign(part)))


class _Traced(np.ndarray[Any, np.dtype[np.float64]]):
    """An array: a trace rounds everything that is computed from it."""

    noted: _Trace

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:  # noqa: ANN401
        plain = [np.asarray(value) for value in inputs]
        options.pop("out", None)  # NumPy's mean divides its sum in place
        if method == "reduce":  # in another order, each term is rounded otherwise
            plain[0] = self.noted.rounded(ufunc, [], plain[0])
        result = np.asarray(getattr(ufunc, method)(*plain, **options))
        rounded = self.noted.rounded(ufunc, plain, result)
        if result.dtype == bool and result.ndim == 0:  # two tests add up as in Python
            return bool(rounded)
        return self.wrapped(rounded)

    def __array_function__(self, function: Any, _: Any, inputs: Any, options: Any) -> Any:  # noqa: ANN401
        return self.wrapped(function(*map(np.asarray, inputs), **options))

    def wrapped(self, result: Any) -> "_Traced":  # noqa: ANN401
        made = np.asarray(result).view(_Traced)
        made.noted = self.noted
        return made
