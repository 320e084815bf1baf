"""The kernel computes what the function does, or the rule is refused with its line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kernels.own_rules import (
    asking,
    assert_same,
    by_annotation,
    by_constant,
    by_default,
    by_hyper,
    by_infinity,
    by_lambda,
    by_large_divisor,
    by_returns,
    by_several,
    by_sums_of_tests,
    by_switches,
    by_tiny_divisor,
    by_uniform_test,
    by_whole_numbers,
    calling,
    colliding,
    counting,
    declared,
    every_so_often,
    mixed,
    nested,
    numbered,
    random_problem,
    reference,
    undeclared,
)
from thalweg import optim
from thalweg.kernels import Step, source
from thalweg.kernels.cpu.generate import generate
from thalweg.rule import rule


@pytest.mark.parametrize(
    ("function", "start"),
    [
        (mixed, {}), (counting, {"count": 2.0}), (nested, {}), (numbered, {"c": 1.0}),
        (asking, {}), (every_so_often, {}), (calling, {}), (colliding, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 3e-5)])
def test_a_users_rule_is_compiled_as_it_is_written(
    function: Callable[..., Any], start: dict[str, float], dtype: str, tolerance: float
) -> None:
    of = rule("test", start=start)(function)
    arrays, gradients = random_problem(dtype, steps=5)
    expected, _ = reference(of, arrays, gradients)
    step = Step(of, arrays)
    for g in gradients:
        step(g)
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=tolerance, atol=tolerance)


RULES = [
    by_constant, by_default, by_hyper, by_infinity, by_whole_numbers, by_lambda, by_uniform_test,
    by_sums_of_tests, by_tiny_divisor, by_large_divisor, by_annotation, by_several,
    by_switches, by_returns,
]  # fmt: skip


@pytest.mark.parametrize("function", RULES, ids=lambda function: function.__name__)
def test_the_kernel_is_the_function(function: Callable[..., Any]) -> None:
    assert_same(undeclared(function))


@pytest.mark.parametrize("function", [by_uniform_test, by_constant], ids=lambda f: f.__name__)
def test_the_kernel_is_the_function_in_float32(function: Callable[..., Any]) -> None:
    assert_same(undeclared(function), dtype="float32")


def refused(body: str, tmp_path: Path, signature: str = "g, x, v, *, t, lr=0.1") -> str:
    """Return the message with which a rule of that body is refused."""
    path = tmp_path / "own.py"
    lines = ["from thalweg.rule import rule", "import math", "table = [1, 2]", '@rule("test")']
    path.write_text(
        "\n".join([*lines, f"def own({signature}):", *[f"    {b}" for b in body.split("\n")]])
    )
    namespace: dict[str, Any] = {"__name__": "own"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)  # noqa: S102
    with pytest.raises(ValueError, match=r"compiled|must|source") as caught:
        generate(namespace["own"])
    return str(caught.value)


@pytest.mark.parametrize(
    ("body", "line", "part"),
    [
        ("while x: pass\nreturn x, v", 6, "while x:"),
        ("if x > 1: x = g\nreturn x, v", 6, "if x > 1:"),
        ("return math.sqrt(x), v", 6, "math.sqrt(x)"),
        ("return x // 2, v", 6, "x // 2"),
        ("return x % lr, v", 6, "x % lr"),
        ("return x if x > 0 else v, v", 6, "the test depends on the gradient; write where"),
        ("return (x > 0) and x, v", 6, "x > 0 and x"),
        ("return 0 < x < 1, v", 6, "0 < x < 1"),
        ("y = x[0]\nreturn y, v", 6, "x[0]"),
        ("return sum(x), v", 6, "sum(x)"),
        ("return table * x, v", 6, "'table' is neither"),
        ("y = unknown + x\nreturn y, v", 6, "'unknown' is neither"),
        ("x.data = g\nreturn x, v", 6, "x.data"),
        ("a, b = x\nreturn a, v", 6, "1 values for 2 names"),
        ("v = v + g", 6, "must end in a return"),
        ("return (lambda: x), v", 6, "lambda: x"),
        ("return f'{x}', v", 6, "f'{x}'"),
        ("return x - lr * ((g > 0) + (x > 0)), v", 6, "arrays of tests do not add up; write where"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_its_line(
    body: str, line: int, part: str, tmp_path: Path
) -> None:
    message = refused(body, tmp_path)
    assert f"own.py, line {line}" in message
    assert part in message


def test_a_wrong_number_of_results_is_refused(tmp_path: Path) -> None:
    message = refused("return x", tmp_path)
    assert re.search(r"own\.py, line \d+: rule '\w+' must return 2 values, x, v, and", message)


def test_uniform_state_must_stay_uniform(tmp_path: Path) -> None:
    message = refused("return x, v, c * x", tmp_path, "g, x, v, *, t, c, lr=0.1")
    assert "the uniform state 'c' must not depend on g or x" in message


WAYS = "\n".join(f"if t == {i}:\n    return x - g" for i in range(2000, 2100)) + "\nreturn x"
DEEP = "+".join(["g"] * 300)


@pytest.mark.parametrize(
    ("body", "line", "part"),
    [
        ("return x - recursive(g, 3)", None, "the function calls itself; write its steps out"),
        ("return x - ping(g)", None, "calls itself"),
        ("return x - lr * 10**400 * g", 0, "the number is too large"),
        ("return x - (t + 1" + "0" * 400 + ") * g", 0, "the number is too large"),
        ("return x - huge * g", 0, "the number is too large"),
        ("return x - single * g", 0, "NumPy's float32, which rounds; make it float(...)"),
        ("return x - partial(g)", 0, "NumPy's int8"),
        ("return x - lr * 10**10**10 * g", 0, "the number is too large"),
        ("return x - 1e300**2 * g", 0, "too large"),
        ("return x - (-8) ** (1 / 3) * g", 0, "a negative number has no such power"),
        ("return x - 0**-1 * g", 0, "cannot be raised to a negative power"),
        ("return x - lr * (1 / 0) * g", 0, "division by zero"),
        ("y = g\ny = y - (g > 0 and x > 0)\nreturn y", 1, "write `(a) * (b)`"),
        ("return x if not t > 1 else g", 0, "write `where(test, 0.0, 1.0)`"),
        ("return x - (0 < t < 3) * g", 0, "`(a < b) * (b < c)`"),
        ("for _ in (1, 2):\n    x = x - g\nreturn x", 0, "write its steps out"),
        ("def f(a):\n    return a\nreturn x - f(g)", 0, "declare it outside of the rule"),
        ("f = lambda a: a\nreturn x - f(g)", 0, "declare it outside of the rule"),
        (
            "if g > 1:\n    x = g\nreturn x",
            0,
            "`if g > 1:` cannot be compiled: the test depends on the",
        ),
        (
            "if t > 1:\n    y = g\nreturn x - y",
            2,
            "'y' is neither an argument, nor a name assigned be",
        ),
        ("if t > 1:\n    return x", 0, "both ways must end in a return, of as many values"),
        ("if t > 1:\n    return x\nreturn x, x", 0, "both ways must end in a return, of as many"),
        ("y = g\nif t > 1:\n    y = many(g)\nreturn x", 1, "'y' is several values; choose betwe"),
        ("return x - math.sqrt(lr) * g", 0, "call sqrt, of thalweg.elementwise"),
        ("return x - np.maximum(g, x)", 0, "call maximum, of thalweg.elementwise"),
        ("return x - root(lr) * g", 0, "call sqrt, of thalweg.elementwise"),
        ("return x - max(lr, 1.0) * g", 0, "call maximum, of thalweg.elementwise"),
        ("return x - cached(lr) * g", 0, "take the cache away"),
        ("return x - machine(g)", 0, "it is an object of the class Machine"),
        ("return x - Machine(g)", 0, "it is a class"),
        ("return x - method(g)", 0, "it is a method"),
        ("return x - machine.step(g)", 0, "a rule may use"),
        ("return x - many(g)", 0, "it has several values"),
        ("return x - optional(g, 1, 2)", 0, "too many positional arguments"),
        ("return x - optional(g)", None, "'out' is neither an argument"),
        ("return x - later(g)", None, "declare it with def"),
        ("return x - where(g > 0, x)", 0, "where takes 3 values, without their names"),
        ("return x - where(g > 0, a=x, b=g)", 0, "where takes 3 values, without their names"),
        ("return x - sqrt(g, x)", 0, "sqrt takes 1 values"),
        ("return x - six(g)", None, "more than 1,000 calls"),
        (WAYS, None, "too many ways lead through it; write `where(test, a, b)`"),
        (f"return x - lr * ({DEEP})", 0, "give some a name"),
        ("abs = g\nreturn x - abs(g)", 1, "a rule may use"),
        ("return x - lr * (h := g) * h", 0, "give it its name in a line of its own"),
        ("a, b = many(g), x\nreturn a", 0, "cannot be compiled"),
        ("a, *b, c = (x,)\nreturn a", 0, "1 values for 3 names"),
        ("return x - lr * 2j * g", 0, "a rule may use"),
        ("while t < 3:\n    x = x - g\nreturn x", 0, "write its steps out"),
        ("return x - lr * (g % 2)", 0, "count by a state, as"),
        ("return x - lr * (g > 0) & (x > 0)", 0, "write `(a) * (b)`"),
        ("return [x - lr * g]", 0, "return x and its state with commas between"),
        ("print(g)\nreturn x", 0, "leave it out, or do it outside of the rule"),
        ("return x - lr * math.pi * g", 0, "give it a name outside of the rule"),
        ("return x - np.clip(g, -1, 1)", 0, "write `minimum(maximum(a, low), high)`"),
        ("return x - lr * g / g.norm()", 0, "call norm, of thalweg.sums"),
        ("return x - lr * tanh(g)", 0, "'tanh' is the name of nothing here; a rule may use"),
        ("return x - lr * norm(g)", 0, "'norm' is the name of nothing here; call norm, of"),
        ("return x - many(*g)[0]", 0, "a rule sees no part of an array"),
        ("return x - optional(**lr)", 0, "it is no **parameter"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_its_line_and_a_remedy(
    body: str, line: int | None, part: str, tmp_path: Path
) -> None:
    of, first = declared(body, tmp_path)
    with pytest.raises(ValueError, match="cannot be compiled") as caught:
        source(of)
    message = str(caught.value)
    assert part in message
    assert line is None or message.startswith(f"{tmp_path / 'own.py'}, line {first + line}: ")
    assert len(message) < 600


@pytest.mark.parametrize("gradient", [0.0, 1.0, -1.0])
def test_a_cautious_step_never_climbs_and_rests_where_there_is_no_slope(gradient: float) -> None:
    """Liang et al. 2024, Algorithm 1: the mask is u * g > 0."""
    p = torch.zeros(20, requires_grad=True)
    optimizer = optim.Descent([p], "momentum", lr=0.5, beta=0.9, cautious=True)
    p.grad = torch.ones(20)
    optimizer.step()
    assert p.tolist() == [-0.5] * 20
    p.grad = torch.full((20,), gradient)
    optimizer.step()
    velocity = 0.9 + gradient
    assert p.tolist() == pytest.approx([-0.5 - 0.5 * velocity * (velocity * gradient > 0)] * 20)
