"""The functions that a rule may call mean one thing, whoever computes them."""

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from thalweg import elementwise
from thalweg.elementwise import exp, log, maximum, minimum, sign, sqrt, where
from thalweg.kernels import Step
from thalweg.rule import rule

NUMBERS = (math.nan, 0.0, -0.0, math.inf, -math.inf, 3.0, -2.0, 0.5)
PAIRS = np.array(list(product(NUMBERS, NUMBERS))).T

# What each result of ``every_function`` is, of a number g and a number x.
MEANT: Mapping[str, Callable[[float, float], float]] = {
    "negated": lambda _, x: -x,
    "root": lambda g, _: math.sqrt(g) if g >= 0 else math.nan,
    "power": lambda g, _: math.exp(g),
    "logarithm": lambda g, _: math.log(g) if g > 0 else (-math.inf if g == 0 else math.nan),
    "direction": lambda g, _: math.copysign(1.0, g) if g > 0 or g < 0 else g,
    "size": lambda g, _: math.fabs(g),
    "larger": lambda g, x: math.nan if math.isnan(g) or math.isnan(x) else max(g, x),
    "smaller": lambda g, x: math.nan if math.isnan(g) or math.isnan(x) else min(g, x),
    "less": lambda g, x: 0.1 if g < x else 0.7,
    "at_most": lambda g, x: float(g <= x),
    "more": lambda g, x: float(g > x),
    "at_least": lambda g, x: float(g >= x),
    "equal": lambda g, x: float(g == x),
    "other": lambda g, x: float(g != x),
    "chosen": lambda g, x: g if g > 0 else x,
}


def every_function(  # type: ignore[no-untyped-def] # noqa: ANN201, PLR0917 - a state each
    g, x, root, power, logarithm, direction, size, larger, smaller,  # noqa: ANN001
    less, at_most, more, at_least, equal, other, chosen, *, t,  # noqa: ANN001
):  # fmt: skip
    return (
        -x, sqrt(g), exp(g), log(g), sign(g), abs(g), maximum(g, x), minimum(g, x),
        where(g < x, 0.1, 0.7), where(g <= x, 1.0, 0.0), where(g > x, 1.0, 0.0),
        where(g >= x, 1.0, 0.0), where(g == x, 1.0, 0.0), where(g != x, 1.0, 0.0),
        where(g > 0, g, x),
    )  # fmt: skip


def in_a_kernel(g: NDArray[Any], x: NDArray[Any]) -> list[Any]:
    g, x = g.copy(), x.copy()
    step = Step(rule("test")(every_function), [x])
    step([g])
    return [x, *(values[0] for values in step.state.values())]


def called(make: Callable[[Any], Any]) -> Callable[..., list[Any]]:
    """Return what calls the functions with numbers of a kind."""

    def call(g: NDArray[Any], x: NDArray[Any]) -> list[Any]:
        results = every_function(make(g), make(x), *[None] * 14, t=1)
        return list(map(np.asarray, results))

    return call


def number_by_number(g: NDArray[Any], x: NDArray[Any]) -> list[Any]:
    pairs = zip(g.tolist(), x.tolist(), strict=True)
    results = [every_function(*pair, *[None] * 14, t=1) for pair in pairs]
    assert all(type(value) is float for result in results for value in result)
    return list(np.array(results).T)


FACES = {
    "a kernel": in_a_kernel,
    "NumPy": called(np.asarray),
    "torch": called(torch.from_numpy),
    "numbers": number_by_number,
}


def assert_meant(results: list[Any], dtype: Any) -> None:
    """Compare with what is meant, bit by bit but for the payload of NaN and the last bits."""
    g, x = PAIRS
    for values, (name, meant) in zip(results, MEANT.items(), strict=True):
        wanted = np.array([meant(a, b) for a, b in zip(g.tolist(), x.tolist(), strict=True)])
        np.testing.assert_allclose(values, wanted, rtol=4 * np.finfo(dtype).eps, err_msg=name)
        if name not in {"larger", "smaller"}:  # of 0.0 and -0.0 either is the larger
            clear = ~np.isnan(wanted)
            signs = np.signbit(values)[clear], np.signbit(wanted)[clear]
            np.testing.assert_array_equal(*signs, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("face", FACES)
def test_a_function_means_the_same_everywhere(face: str, dtype: Any) -> None:
    """Of NaN, of infinite numbers and of both zeros too."""
    g, x = PAIRS.astype(dtype)
    with np.errstate(all="ignore"):
        results = FACES[face](g, x)
    assert_meant(results, dtype)


def test_every_function_is_among_them() -> None:
    names = set(every_function.__code__.co_names)
    assert {*elementwise.__all__, "abs"} == names


def test_a_condition_may_be_a_number_of_the_step() -> None:
    a, b = torch.ones(3), torch.zeros(3)
    for condition, chosen in ((0.5, a), (-1, a), (0.0, b), (True, a), (np.float64(0), b)):
        assert where(condition, a, b) is chosen
    np.testing.assert_array_equal(where(torch.tensor([-2.0, 0.0, torch.nan]), a, b), [1, 0, 1])


def test_of_two_numbers_tensors_get_all_digits() -> None:
    chosen = where(torch.tensor([True, False]), 0.1, 0.2)
    assert chosen.tolist() == [0.1, 0.2]
