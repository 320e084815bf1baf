"""What expressions are made of: powers that run, tests that are numbers, divisions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.own_rules import mixed, undeclared
from thalweg.elementwise import where
from thalweg.kernels import Step, source
from thalweg.linear import train
from thalweg.rule import rule


def falling(g, x, *, t, lr=0.1, base=0.9):  # noqa: ANN001, ANN201
    b = base * t / (t + 1)  # another at every step
    return x - lr * (2 + b**t) * g


def counted(g, x, *, t, c, lr=0.1, base=0.9):  # noqa: ANN001, ANN201
    c = 0.5 * c + 1
    return x - lr * (2 + (base / c) ** t) * g, c


def renamed(g, x, *, t, lr=0.1, base=-0.9):  # noqa: ANN001, ANN201
    first = base**t
    base = base / 2
    return x - lr * (2 + first + base**t + 0.5**t) * g


@pytest.mark.parametrize("function", [falling, counted, renamed], ids=lambda f: f.__name__)
def test_a_power_runs_only_while_its_base_stays(function: Callable[..., Any]) -> None:
    """In a training, where a power is last step's times the base."""
    of = undeclared(function)
    X, y = np.ones((1, 1)), np.ones(1)
    fit = train(X, y, rule=of, epochs=9, evaluate_every=9, batch_size=1, dtype="float64")
    w, hyper = np.zeros(2), of.defaults  # intercept and weight: the loss is (sum w - 1)^2 / 2
    state = of.first_state(w, hyper)
    for t in range(1, 10):
        w, state = of.advance(np.full(2, w.sum() - 1), w, state, t=t, hyper=hyper)
    np.testing.assert_allclose(fit.coef.ravel(), w[:1], rtol=1e-12)


def by_number(g, x, *, t, lr=0.1, kick=-2.0):  # noqa: ANN001, ANN201
    varying = where(g, x * x, 1.0) + where(x, 2.0, -3.0)
    uniform = (g if kick else x) + where(kick, g, 5.0) + where(kick + 2, 7.0, x) + where(-t, x, g)
    return x - lr * (varying + uniform)


def test_a_number_holds_where_it_is_not_0_be_it_negative_or_nan() -> None:
    g = np.array([-2.0, -0.0, 0.0, 1e-310, np.nan, 3.0])
    x = np.array([-1.0, 2.0, np.nan, 0.0, 4.0, -5e-324])
    wanted = by_number(g, x, t=1)
    Step(undeclared(by_number), [x])([g])
    np.testing.assert_allclose(x, wanted, rtol=1e-15)


def test_of_two_literals_one_carries_the_element_type() -> None:
    assert "where(g > 0.0, u" in source(rule("test")(mixed))


def test_a_division_by_a_number_of_ordinary_size_is_one_division_a_step() -> None:
    assert "v_hat = v * u" in source("adam")
