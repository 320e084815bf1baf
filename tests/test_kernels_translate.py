"""Rules as people write them: the kernel computes what the function does, or refuses the line."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thalweg import rules
from thalweg.elementwise import maximum, minimum, sign, where
from thalweg.kernels import Step, source
from thalweg.rule import Rule, read_signature, rule
from thalweg.rules import adam, momentum

G = np.array([0.3, -2.0, 0.0, -0.0, 5.0, 1e-3, -1e3, 7.0, 0.5])
X = np.array([1.0, -1.0, 2.0, 0.5, -0.25, 3.0, 0.0, -2.0, 1e-3])


def undeclared(function: Callable[..., Any]) -> Rule:
    """Return the rule, not registered: others may have its name."""
    return read_signature(function, "test", {}, {})


def assert_same(of: Rule, steps: int = 3, dtype: str = "float64", **hyper: float) -> None:
    """Take steps with the kernel and with the function."""
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    x, wanted = X.astype(dtype), X.copy()
    step = Step(of, [x], **hyper)
    values = of.resolve(hyper)
    state = of.first_state(X, values)
    with np.errstate(all="ignore"):
        for t in range(1, steps + 1):
            step([G.astype(dtype) * t])
            wanted, state = of.advance(G * t, wanted, state, t=t, hyper=values)
    np.testing.assert_allclose(x, np.broadcast_to(wanted, x.shape), rtol=tolerance, atol=tolerance)


SLOPE = -0.5
ONCE, MANY, HALF = np.float64(-1.5), np.int64(-3), np.float64(-0.5)
ON, NEVER, NOTHING = np.bool_(True), float("-inf"), float("nan")  # noqa: FBT003 - a constant


def leaked(a, slope=-0.5):  # noqa: ANN001, ANN201
    return a * slope**2


def scaled(a, *, by=SLOPE):  # noqa: ANN001, ANN201
    return a * by**2 + by


twice = lambda a: a * 2  # noqa: E731 - as people write them
pair = (lambda a: a * 3, lambda a: a - 1)
thrice, lower = pair
nested_lambda = lambda a: (lambda b: b * 5)(a) if ON else a  # noqa: E731, PLC3002
multiline = lambda a, b=-2.0: (  # noqa: E731
    a * b**2 - 1
)
halved = functools.partial(scaled, by=-0.25)
moved = functools.partial(leaked, slope=-3)


def by_constant(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * SLOPE**2 * g - ONCE**2 * lr + MANY**2 * g * HALF**2


def by_default(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * leaked(g) - lr * scaled(x) + leaked(x, -2) - lr * scaled(g, by=-3.0)


def by_hyper(g, x, *, t, lr=0.1, kick=-2.0):  # noqa: ANN001, ANN201
    return x - lr * kick**2 * g - (-kick) ** 3 * lr - -(kick**2) * lr


def by_infinity(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    bounded = maximum(minimum(g, -NEVER), NEVER)
    return x - lr * where(bounded > 4, NOTHING, bounded) * where(ON, 1, NEVER) - lr * 1e400**-1


def by_whole_numbers(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    n = 2
    return x - lr * g**n * (2**60 + 1 - 2**60) * 10**25 / 10**25 * (7 / 2) - True * n**-1


def by_lambda(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * (twice(g) + thrice(g) * lower(x) + multiline(x)) - halved(g) - moved(x)


def by_uniform_test(g, x, m, *, t, lr=0.1):  # noqa: ANN001, ANN201
    m = where(t > 1, 0.5 * m + g, g)
    a = where(t > 2, g, 0.0) + where(lr > 0.5, 0.0, x) + where(t > 2, 1.0, -1.0)
    b = where(g > 0, where(t > 1, g, 0.0), where(lr > 0.5, 1.0, m))
    c = where(t > 1, g > 0, x > 0) + where(lr, g, x) + where(t > 1, where(g > 0, 1, 2), g)
    return x - lr * (a + b + c), m


def by_tiny_divisor(g, x, *, t, lr=0.1, c=1e-310):  # noqa: ANN001, ANN201
    tiny = 5e-324
    return x - sign(g / c) * lr - minimum(abs(g) / (c * 2), 1.0) - minimum(abs(g) / tiny, 1.0)


def by_large_divisor(g, x, *, t, lr=0.1, c=1e308):  # noqa: ANN001, ANN201
    return x - lr * (g * 1e300) / c * 1e8


def by_annotation(g, x, m, *, t, lr=0.1):  # noqa: ANN001, ANN201
    """Words."""
    "more of them"
    m: float = 0.5 * m + g
    a = b = c = m
    [d, e] = a, b
    x = y = x + d
    return x - lr * (c + e + y), m


def by_several(g, x, m, v, *, t, lr=0.1):  # noqa: ANN001, ANN201
    first, *rest = adam(g, x, m, v, t=t, lr=lr)
    result = momentum(g, x, m, t=t, lr=lr)
    _, second = result
    return first - lr * second, *rest


RULES = [
    by_constant, by_default, by_hyper, by_infinity, by_whole_numbers, by_lambda, by_uniform_test,
    by_tiny_divisor, by_large_divisor, by_annotation, by_several,
]  # fmt: skip


@pytest.mark.parametrize("function", RULES, ids=lambda function: function.__name__)
def test_the_kernel_is_the_function(function: Callable[..., Any]) -> None:
    assert_same(undeclared(function))


@pytest.mark.parametrize("function", [by_uniform_test, by_constant], ids=lambda f: f.__name__)
def test_the_kernel_is_the_function_in_float32(function: Callable[..., Any]) -> None:
    assert_same(undeclared(function), dtype="float32")


def test_a_division_by_a_number_of_ordinary_size_is_one_division_a_step() -> None:
    assert "v_hat = v * u" in source("adam")


def test_a_test_may_be_a_number_of_the_step() -> None:
    tensors = [torch.tensor(G), torch.tensor(X), torch.zeros(9, dtype=torch.float64)]
    x, _ = by_uniform_test(*tensors, t=2)
    wanted, _ = by_uniform_test(G, X, np.zeros(9), t=2)
    np.testing.assert_array_equal(x, wanted)


# Decorators: what is called is what is compiled.


def clipped(limit: float) -> Callable[..., Any]:
    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(g, x, *state, **hyper):  # noqa: ANN001, ANN002, ANN003, ANN202
            return function(minimum(maximum(g, -limit), limit), x, *state, **hyper)

        return inner

    return around


def halving(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args, **kwargs):  # noqa: ANN002, ANN003, ANN202
        g, x, *state = args
        new, *state = function(g, x, *state, **kwargs)
        return (x + (new - x) / 2, *state)

    return inner


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def doubled(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(a):  # noqa: ANN001, ANN202
        return 2 * function(a)

    return inner


@doubled
@doubled
def quadrupled(a):  # noqa: ANN001, ANN201
    return a


@quiet
@clipped(1.5)
@halving
@clipped(1.0)
def decorated(g, x, m, *, t, lr=0.1, beta=0.5):  # noqa: ANN001, ANN201
    m = beta * m + g
    return x - lr * m, m


@clipped(1.0)
def stateless(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * quadrupled(g)


def behind(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - 7 * lr * g


def posing(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * g


posing.__wrapped__ = behind  # type: ignore[attr-defined]


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


# What cannot be compiled is refused with its line and what to do.

HEAD = """
import functools, math
import numpy as np
from math import sqrt as root
from thalweg.elementwise import *
from thalweg.rule import rule
class Machine:
    def step(self, a): return a
    def __call__(self, a): return a
machine, method = Machine(), Machine().step
@functools.cache
def cached(a): return a
def recursive(a, n): return a if n == 0 else a * recursive(a, n - 1)
def ping(a): return pong(a)
def pong(a): return ping(a)
def many(a): return a, a
def optional(a, out=None): return a if out else -a
def one(a): return a + a
def two(a): return one(one(one(one(a))))
def three(a): return two(two(two(two(a))))
def four(a): return three(three(three(three(a))))
def five(a): return four(four(four(four(a))))
def six(a): return five(five(five(five(a))))
async def later(a): return a
def inplace(a):
    b = a
    b *= 2
    return b
huge, single = 10**400, np.float32(0.1)
partial = functools.partial(recursive, n=np.int8(3))
@rule("test")
def own(g, x, *, t, lr=0.1):
"""


def declared(body: str, tmp_path: Path) -> tuple[Rule, int]:
    """Return a rule of a file, and the line where its body starts."""
    text = HEAD + "".join(f"    {line}\n" for line in body.split("\n"))
    path = tmp_path / "own.py"
    path.write_text(text)
    names: dict[str, Any] = {"__name__": "own"}
    exec(compile(text, str(path), "exec"), names)  # noqa: S102
    return names["own"], HEAD.count("\n") + 1


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
        ("if t > 1:\n    x = g\nreturn x", 0, "`if t > 1:` cannot be compiled: write `name = a if"),
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
        (f"return x - lr * ({DEEP})", 0, "give some a name"),
        ("abs = g\nreturn x - abs(g)", 1, "a rule may use"),
        ("return x - lr * (h := g) * h", 0, "a rule may use"),
        ("a, b = many(g), x\nreturn a", 0, "cannot be compiled"),
        ("a, *b, c = (x,)\nreturn a", 0, "1 values for 3 names"),
        ("return x - lr * 2j * g", 0, "a rule may use"),
        ("return x - many(*g)[0]", 0, "a rule may use"),
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


@pytest.mark.parametrize(
    ("body", "remedy"),
    [
        ("x -= lr * g\nreturn x", "write `x = x - ...`"),
        ("m = g\nm *= 0.5\nreturn x - m", "write `m = m * ...`"),
        ("return x - inplace(g)", "write `b = b * ...`"),
    ],
)
def test_a_rule_that_changes_arrays_in_place_is_refused_where_it_is_declared(
    body: str, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=r"own\.py, line \d+: `.*` changes arrays that") as caught:
        declared(body, tmp_path)
    assert remedy in str(caught.value)


def test_a_file_that_changed_since_it_was_loaded_is_not_what_was_loaded(tmp_path: Path) -> None:
    of, _ = declared("return x - lr * g", tmp_path)
    (tmp_path / "own.py").write_text(HEAD + "    return x + lr * g\n")
    with pytest.raises(
        ValueError, match=r"'own' is not what stands there now; load the file again"
    ):
        source(of)


def test_a_number_from_outside_is_read_when_a_kernel_is_made(tmp_path: Path) -> None:
    of, _ = declared("return x - lr * huge * g", tmp_path)
    names = of.function.__globals__
    for number in (2.0, 3.0):
        names["huge"] = number
        x = np.ones(1)
        Step(of, [x], lr=0.1)([np.ones(1)])
        assert x[0] == pytest.approx(1 - 0.1 * number)


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
    monkeypatch.setitem(globals(), "posing", outer)
    with pytest.raises(ValueError, match=r"a decorator above @rule, .* write @rule"):
        rules.get("posing")
    with pytest.raises(TypeError, match=r"must be a Rule or the name of one.*; write @rule"):
        Step(outer, [X.copy()])  # type: ignore[arg-type] # as a user may


def test_a_closure_is_read_when_a_kernel_is_made() -> None:
    factor = 2.0

    def closed(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return x - lr * factor * g

    of = undeclared(closed)
    assert_same(of)
    factor = 3.0
    assert_same(of)


def test_a_step_has_no_default() -> None:
    with pytest.raises(TypeError, match="the step t must have no default"):
        undeclared(stepping)


def stepping(g, x, *, t=1, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * g


WORDS = (
    "range", "float", "abs", "element", "update", "uniforms", "load", "store", "typed", "LANES",
    "slots", "places", "n", "i", "rest", "fresh", "hyper", "powers", "state", "u0", "power0",
    "factor1", "part1", "x_new", "x_old", "at_x", "tl", "lost", "seed", "gradient", "before",
    "moved", "shrink", "gradient_scale", "match", "print", "half", "power", "sign", "where",
    "scale", "group", "stepping", "keep", "number", "read", "write", "step", "triton", "name_",
)  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_state_may_have_any_name(word: str) -> None:
    code = f"def named(g, x, {word}, *, t, lr=0.1):\n"
    code += f"    {word} = 0.5 * {word} + g\n    return x - lr * {word}**2 * 0.9**t, {word}\n"
    of = in_memory(code)
    assert_same(of)


@pytest.mark.parametrize("word", [w for w in WORDS if w not in {"x_new", "u0"}])
def test_a_hyperparameter_may_have_any_name(word: str) -> None:
    code = f"def named(g, x, m, *, t, {word}=0.3, lr=0.1):\n"
    code += f"    m = {word} * m + g\n    return x - lr * m**2 * {word}**t, m\n"
    assert_same(in_memory(code))


def in_memory(code: str) -> Rule:
    """Return a rule as one of a notebook's cells declares it."""
    import linecache  # noqa: PLC0415

    file = f"<cell {hash(code)}>"
    linecache.cache[file] = len(code), None, code.splitlines(keepends=True), file
    names: dict[str, Any] = {}
    exec(compile(code, file, "exec"), names)  # noqa: S102
    return undeclared(names["named"])


@pytest.mark.parametrize(
    "words", ['a"""b', "ends in \\", 'says "so"', "\0", "\ud800", "two\nlines"]
)
def test_whatever_a_rules_source_is_called_it_is_words(words: str) -> None:
    of = read_signature(posing, words, {}, {})
    compile(source(of), "kernel", "exec")
    assert_same(of)
