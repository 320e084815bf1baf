"""What is called is what is compiled."""

import functools
import linecache
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kernels.own_rules import (
    HEAD,
    X,
    assert_same,
    declared,
    decorated,
    posing,
    stateless,
    undeclared,
)
from thalweg.kernels import Step, source


class Home:
    @staticmethod
    def inside(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN205, ARG004 - a rule may ignore t
        return x - lr * g

    wrapped = staticmethod(decorated)


@pytest.mark.parametrize(
    "function",
    [decorated, stateless, posing, Home.inside, vars(Home)["wrapped"]],
    ids=["stacked", "stateless", "wrapped by hand", "static", "static and decorated"],
)
def test_a_decorator_is_compiled_with_its_rule(function: Callable[..., Any]) -> None:
    assert_same(undeclared(function))


@contextmanager
def context() -> Iterator[None]:
    yield


@context()
def in_context(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * g


class Calling:
    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, g, x, **hyper):  # noqa: ANN001, ANN003, ANN204
        return self.function(-g, x, **hyper)


@Calling
def turned(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * g


class Machine:
    def step(self, g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201, ARG002 - the same
        return x - lr * g


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (in_context, r"contextlib\.py, line \d+: `with"),
        (np.errstate(all="ignore")(posing), "cannot be compiled"),
        (torch.no_grad()(posing), "cannot be compiled"),
        (turned, "it is an object of the class Calling; a rule may call other rules, functions"),
        (Machine().step, "it is a method"),
    ],
    ids=["context", "errstate", "no_grad", "object", "method"],
)
def test_a_decorator_that_cannot_be_compiled_is_refused(
    function: Callable[..., Any], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        Step(undeclared(function), [X.copy()])


def test_a_file_that_is_edited_after_a_rule_was_declared_changes_nothing(tmp_path: Path) -> None:
    of, _ = declared("return x - lr * twice(g)", tmp_path)
    (tmp_path / "own.py").write_text(HEAD.replace("2 * a", "3 * a") + "    return x + lr * g\n")
    assert_same(of)
    linecache.clearcache()
    assert_same(of)


def test_a_text_that_is_not_the_functions_is_refused(tmp_path: Path) -> None:
    of, _ = declared("return x - lr * g", tmp_path)
    (tmp_path / "own.py").write_text(HEAD + "    return x + lr * g\n")
    linecache.clearcache()
    with pytest.raises(
        ValueError, match=r"'own' is not what stands there now; load the file again"
    ):
        source(of)


def test_a_function_of_a_file_that_is_loaded_again_is_the_new_one(tmp_path: Path) -> None:
    for body in ("return x - lr * g", "return x - 2 * lr * g"):
        of, _ = declared(body, tmp_path)
        assert_same(of)


def test_a_closure_is_read_when_a_kernel_is_made() -> None:
    factor = 2.0

    def closed(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return x - lr * factor * g

    of = undeclared(closed)
    assert_same(of)
    factor = 3.0
    assert_same(of)
