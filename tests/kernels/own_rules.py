"""Rules as people write them, and what holds a kernel against its function."""

import functools
import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.elementwise import exp, log, maximum, minimum, sign, sqrt, where
from thalweg.kernels import Step
from thalweg.rule import Rule, read_signature
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
    found = {name: arrays[0] for name, arrays in step.state.items()} | step.uniform_state
    for value, right in ((x, wanted), *((found[name], state[name]) for name in found)):
        whole = np.broadcast_to(right, np.shape(value))
        np.testing.assert_allclose(value, whole, rtol=tolerance, atol=tolerance)


def mixed(g, x, m, *, t, lr=0.1, beta=0.9, kappa=3.0):  # noqa: ANN001, ANN201
    a, b = beta * m, g  # a tuple assignment
    a = a + b
    scale = 2 if t > 1 else 0.5  # uniform in the step
    power = (abs(g) + 1.0) ** kappa + g**3
    flag = where(g > 0, 2, 1)  # two literals
    chosen = a if kappa < 2 else -a  # uniform test, varying values
    return x - lr * scale * flag * chosen / power - sqrt(abs(g)) * 1e-3 + -sign(m), a


def counting(g, x, *, t, count, lr=0.1, beta=0.5):  # noqa: ANN001, ANN201
    factor = beta**t + exp(-count) + log(count + 1)
    beta2 = beta * beta
    first = 1 - beta2**t
    beta2 = beta2 / 2  # the name now means something else
    second = 1 - beta2**t
    count = maximum(count, t) + 1
    return x - lr * factor * first / second * g, count


def nested(g, x, v, *, t, lr=0.1, beta=0.9):  # noqa: ANN001, ANN201
    y, v = helper(g, x, v, factor=lr * 2, beta=beta)
    return halved(y) + halved(x), v


def helper(g, x, v, factor, beta=0.1):  # noqa: ANN001, ANN201
    v = beta * v + g
    x = x - factor * v
    return x, v


def halved(v):  # noqa: ANN001, ANN201
    return v / 2


DECAY = 0.9


def numbered(g, x, m, *, t, c, lr=0.1, boost=2.0, flag=1.0):  # noqa: ANN001, ANN201
    m = DECAY * m + g  # uniform numbers and tests that are no vectors
    rate = lr * (boost if t > 2 else 1.0) / (1 - DECAY**t)
    c = c + 1 if t > 3 else 0.0
    n = 3
    return x - rate * (-1) ** t * (m if flag else -m) - lr * c * 2**-n, m, c


def every_so_often(g, x, v, *, t, lr=0.1, k=2.0, span=0.3):  # noqa: ANN001, ANN201
    if t % k == 0:
        v = v + g
    rate = lr / (1 + t // k) + (-t) // span * 1e-3 + (-t) % span + t % -span
    return x - rate * v, v


def asking(g, x, up, *, t, lr=0.1, kappa=3.0):  # noqa: ANN001, ANN201
    turned = (g > 0) == (up > 0)  # tests as numbers
    climbs = g > 0
    x = x - lr * turned - 0.5 * climbs * (kappa > 2) * (t > 1) * (x > 0) + where(turned, lr, 0.0)
    return x, climbs


def calling(g, x, m, v, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return adam(g, x, m, v, t=t, lr=lr)  # its other hyperparameters are numbers


def colliding(g, x, v, *, t, lr=0.1):  # noqa: ANN001, ANN201
    helper1_v = g * 2  # names that the variables of a called function have had, and have
    v_call1 = g * 3
    y, v = helper(g, x, v, factor=lr)
    return y + helper1_v + v_call1, v


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


quartered = functools.partial(scaled, by=-0.25)


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
    return x - lr * (twice(g) + thrice(g) * lower(x) + multiline(x)) - quartered(g) - moved(x)


def by_uniform_test(g, x, m, *, t, lr=0.1):  # noqa: ANN001, ANN201
    m = where(t > 1, 0.5 * m + g, g)
    a = where(t > 2, g, 0.0) + where(lr > 0.5, 0.0, x) + where(t > 2, 1.0, -1.0)
    b = where(g > 0, where(t > 1, g, 0.0), where(lr > 0.5, 1.0, m))
    c = where(t > 1, g > 0, x > 0) + where(lr, g, x) + where(t > 1, where(g > 0, 1, 2), g)
    return x - lr * (a + b + c), m


def by_switches(g, x, m, *, t, c, d, lr=0.1, nesterov=1.0):  # noqa: ANN001, ANN201
    if t > c:
        c, d = d, c + 1  # of one name's old value
    if t < 2:
        lr = lr * 2
        m = g
    elif t < 3:
        m = 0.9 * m + g
    else:
        lr, unread = lr / 2, g  # only here
        m = m - unread
    step = g + 0.9 * m if nesterov else m
    if nesterov:
        step = step + x
    return x - lr * step * c / (1 + d), m, c, d


def by_returns(g, x, m, *, t, lr=0.1, k=2.0):  # noqa: ANN001, ANN201
    if t < 2:
        return x, g  # a step that rests
    m = _halved(m, t)
    if k > 1:
        if t > 2:
            return x - lr * m, m + flagged(g)
        m = m + g
    return x - lr * m * flagged(x, 1), m


def _halved(a, t):  # noqa: ANN001, ANN202
    if t > 2:
        a = a / 2
    return a


def flagged(a, flag=0):  # noqa: ANN001, ANN201
    if flag:
        return a + 1
    if not_read:
        return -a
    return 2 * a


not_read = 0


def by_sums_of_tests(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    count = (t > 1) + (lr > 0) + (t > 2) * 1 - (lr > 2)  # Python counts them
    return x - lr * count * g


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


def in_memory(code: str) -> Rule:
    """Return a rule as one of a notebook's cells declares it."""
    file = f"<cell {hash(code)}>"
    linecache.cache[file] = len(code), None, code.splitlines(keepends=True), file
    names: dict[str, Any] = {}
    exec(compile(code, file, "exec"), names)  # noqa: S102
    return undeclared(names["named"])


SHAPES = [(3,), (17, 5), (0,), (1,), (8,), (40_000,)]
Arrays = list[NDArray[Any]]


def reference(
    of: Rule, arrays: Arrays, gradients: list[Arrays], **hyper: float
) -> tuple[Arrays, list[dict[str, Any]]]:
    """The plain function in float64."""
    values = of.resolve(hyper)
    arrays = [np.asarray(a, np.float64) for a in arrays]
    states = [of.first_state(a, values) for a in arrays]
    for t, step_gradients in enumerate(gradients, 1):
        for i, g in enumerate(step_gradients):
            arrays[i], states[i] = of.advance(
                np.asarray(g, np.float64), arrays[i], states[i], t=t, hyper=values
            )
    return arrays, states


def random_problem(dtype: str, steps: int = 20, seed: int = 0) -> tuple[Arrays, list[Arrays]]:
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    gradients = [
        [rng.standard_normal(shape).astype(dtype) for shape in SHAPES] for _ in range(steps)
    ]
    return arrays, gradients


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
def twice(a): return 2 * a
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
