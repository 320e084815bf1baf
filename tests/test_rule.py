"""What a rule is, where it is declared and looked up."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.own_rules import X, clipped, declared, posing, undeclared
from thalweg import rules
from thalweg.kernels import Step
from thalweg.rule import Range, read_signature, rule
from thalweg.wrapper import wrapper


def test_a_range_may_be_the_users_own() -> None:
    @rule("test", ranges={"kick": Range(0.0, 1.0, "[]")})
    def kicked(g, x, *, t, kick=0.5):  # noqa: ANN001, ANN202
        return x - kick * g

    with pytest.raises(ValueError, match=r"kick must be in \[0, 1\], got 2"):
        Step(kicked, [np.zeros(1)], kick=2)


@pytest.mark.parametrize(
    ("body", "remedy"),
    [
        ("x -= lr * g\nreturn x", "write `x = x - ...`"),
        ("m = g\nm *= 0.5\nreturn x - m", "write `m = m * ...`"),
        ("return x - inplace(g)", "write `b = b * ...`"),
        ("g.mul_(0.5)\nreturn x - g", "`.mul_` changes arrays that are not its own; write a new"),
        ("g[0] = 1.0\nreturn x - g", "`[...] =` changes arrays that are not its own; write a new"),
    ],
)
def test_a_rule_that_changes_arrays_in_place_is_refused_where_it_is_declared(
    body: str, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=r"own\.py, line \d+: `.*` changes arrays that") as caught:
        declared(body, tmp_path)
    assert remedy in str(caught.value)


class Wrapping:
    def __init__(self, of: Any) -> None:
        functools.update_wrapper(self, of)

    def __call__(self, g, x, **hyper):  # noqa: ANN001, ANN003, ANN204
        return posing(g, x, **hyper)


def plain(of: Any) -> Callable[..., Any]:
    return lambda g, *args, **hyper: of(2 * g, *args, **hyper)


@pytest.mark.parametrize(
    "decorator", [clipped(1.0), plain, Wrapping, lambda of: plain(clipped(1.0)(of))]
)
def test_a_decorator_above_the_rule_is_refused(
    decorator: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = rule("test")(posing)
    assert rules.get("posing") is declared
    outer = decorator(declared)
    monkeypatch.setitem(posing.__globals__, "posing", outer)
    with pytest.raises(ValueError, match=r"a decorator above @rule, .* write @rule"):
        rules.get("posing")
    with pytest.raises(TypeError, match=r"must be a Rule or the name of one.*; write @rule"):
        Step(outer, [X.copy()])  # type: ignore[arg-type] # as a user may


def stepping(g, x, *, t=1, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * g


def test_a_step_has_no_default() -> None:
    with pytest.raises(TypeError, match="the step t must have no default"):
        undeclared(stepping)


def with_a_state_of_one(g, x, m=1.0, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * g, m


def with_a_flag(g, x, *, t, lr=0.1, nesterov=True):  # noqa: ANN001, ANN201
    return x - lr * g * nesterov


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (with_a_state_of_one, r"m must have no default; start=\{'m': 1.0\} says where a state st"),
        (with_a_flag, "the default of nesterov must be a number, got True"),
    ],
)
def test_a_default_that_would_be_lost_or_refused_later_is_refused(
    function: Callable[..., Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        undeclared(function)


def beyond(g, x, *, t, lr=0.1, beta=1.5):  # noqa: ANN001, ANN201
    return x - lr * beta * g


def beyond_it(step, g, x, *, t, beta=1.5):  # noqa: ANN001, ANN201
    return step(beta * g, x)


def test_a_default_outside_its_range_is_refused_where_it_is_declared() -> None:
    message = r"the default of beta must be in \[0, 1\), got 1.5; ranges=\{'beta': thalweg.rule.R"
    with pytest.raises(ValueError, match=f"rule 'beyond': {message}"):
        rule("test")(beyond)
    with pytest.raises(ValueError, match=f"wrapper 'beyond_it': {message}"):
        wrapper("test")(beyond_it)
    with pytest.raises(ValueError, match="unknown rule 'beyond'"):
        rules.get("beyond")
    wide = read_signature(beyond, "test", {}, {"beta": Range(0.0, 2.0)})
    assert wide.defaults["beta"] == 1.5


@pytest.mark.parametrize("ranges", [{"q": Range(0.0, 1.0)}, {"lr": (0.0, 1.0)}], ids=str)
def test_a_range_is_of_a_hyperparameter(ranges: Any) -> None:
    with pytest.raises(TypeError, match=r"must map a hyperparameter to its thalweg.rule.Range"):
        read_signature(posing, "test", {}, ranges)


@pytest.mark.parametrize("decorator", [rule, wrapper], ids=["rule", "wrapper"])
def test_a_decorator_without_its_source_is_refused(decorator: Any) -> None:
    with pytest.raises(TypeError, match=r'write @\w+\("paper, equation"\) above the function'):
        decorator(posing)
