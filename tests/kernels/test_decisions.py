"""A sign or a comparison in a kernel falls as in the rule's function, on the same numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg import rules
from thalweg.elementwise import log, maximum, sign, sqrt, where
from thalweg.kernels import Step
from thalweg.kernels.cpu.generate import generate
from thalweg.kernels.cpu.vector import FEATURES
from thalweg.rule import Rule, rule

# ruff: noqa: ANN001, ANN201 - of rules
# mypy: disable-error-code="no-untyped-def"

every_precision = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["32", "64"])
Array = NDArray[Any]

# One tenth, a third and the like: their squares are rounded.
GRADIENTS = np.array(
    [0.1, 0.3, 0.7, 1.1, 33.3, 100.1, 0.01, 5.7, -0.1, 1 / 3, -7.3, 0.0, 2.0, 1e-5]
)


def function_and_kernel(
    of: Rule, gradients: list[Array], **hyper: float
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return x and the states after the steps, by the rule's function and by its kernel."""
    dtype = gradients[0].dtype
    x, values = np.full_like(gradients[0], 0.3), of.resolve(hyper)
    step = Step(of, [x.copy()], **hyper)
    state = {n: np.asarray(s, dtype) for n, s in of.first_state(x, values).items()}
    with np.errstate(all="ignore"):
        for t, g in enumerate(gradients, 1):
            step([g])
            x, state = of.advance(g, x, state, t=t, hyper=values)
            assert x.dtype == dtype
    made = {name: arrays[0] for name, arrays in step.state.items()}
    return {"x": x, **state}, {"x": step.arrays[0], **made}


@every_precision
@pytest.mark.parametrize("beta2", [0.0, 0.5, 0.9])
def test_yogi_stands_still_where_its_paper_does(beta2: float, dtype: type) -> None:
    """Under a constant gradient v stays at its square, once it is there, to the last bit."""
    gradients = [GRADIENTS.astype(dtype)] * 8
    wanted, got = function_and_kernel(rules.get("yogi"), gradients, beta2=beta2)
    np.testing.assert_array_equal(got["v"], wanted["v"])
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(got["x"], wanted["x"], rtol=tolerance, atol=tolerance)


def test_yogi_in_16_bits_decides_as_the_function_on_what_is_stored() -> None:
    torch = pytest.importorskip("torch")
    from thalweg.optim import Descent  # noqa: PLC0415 - needs torch

    yogi = rules.get("yogi")
    g = torch.tensor(np.resize(GRADIENTS, 77)).bfloat16()
    x = torch.zeros(77, dtype=torch.bfloat16, requires_grad=True)
    optimizer = Descent([x], "yogi", beta2=0.0)
    for t in range(1, 5):
        kept = {n: optimizer.state[x][n].float() if t > 1 else 0 * g.float() for n in yogi.state}
        hyper = yogi.resolve({"beta2": 0.0})
        _, wanted = yogi.advance(g.float(), x.detach().float(), kept, t=t, hyper=hyper)
        x.grad = g.clone()
        optimizer.step()
        assert torch.equal(optimizer.state[x]["v"], wanted["v"].bfloat16())


def difference(v, g, scale):
    return scale * v - scale * g * g


def signed(g, x, v, d, *, t, lr=0.1):
    return x, g * g, sign(v - g * g)


def compared(g, x, v, d, *, t, lr=0.1):
    return x, g * g, where(v - g * g > 0, 1.0, where(g * g - v > 0, -1.0, 0.0))


def by_name(g, x, v, d, *, t, lr=0.1):
    square = g * g
    left = v - square
    return x, square, sign(left)


def by_helper(g, x, v, d, *, t, lr=0.1):
    return x, g * g, sign(difference(v, g, lr))


def in_a_state(g, x, v, d, *, t, beta=0.9):
    d = sign(v - g * g)
    return x, beta * v + (1 - beta) * g * g, d


def two_products(g, x, v, d, *, t, lr=0.1):
    return x, g, where(v * g - g * v == 0, 1.0, -1.0)


def divided(g, x, v, d, *, t, lr=0.1):
    return x, g / lr, sign(v - g / lr)


def divided_by_a_number(g, x, v, d, *, t, lr=0.1):
    return x, g / 3.0, sign(v - g / 3.0)


def corrected(g, x, v, d, *, t, beta=0.9):
    hat = (1 - beta) * g / (1 - beta)
    return x, hat, sign(hat - g)


def negated(g, x, v, d, *, t, lr=0.1):
    return x, g * g, where(-(g * g) + v < 0, 1.0, 0.0)


def flags(g, x, v, d, *, t, lr=0.1):
    return x, g * g, (v - g * g > 0) - 1.0 * (v - g * g < 0)


def by_the_parameter(g, x, v, d, *, t, lr=0.1):
    """What is decided in the next step hangs on what x was moved to in this one."""
    return x - lr * g * v, g, sign(x)


def by_a_uniform_test(g, x, v, d, *, t, lr=0.1, beta=0.7):
    return x, v, g if beta * beta - 0.7 * 0.7 > 0 else -g


DECISIONS = [
    signed, compared, by_name, by_helper, in_a_state, two_products, divided, divided_by_a_number,
    corrected, negated, flags, by_the_parameter, by_a_uniform_test,
]  # fmt: skip


@every_precision
@pytest.mark.parametrize("function", DECISIONS)
def test_a_decision_falls_as_in_the_function(function: Callable[..., Any], dtype: type) -> None:
    rng = np.random.default_rng(0)
    g = np.concatenate([GRADIENTS, rng.standard_normal(1000), rng.integers(-9, 9, 300) / 10])
    gradients = [g.astype(dtype)] * 3
    wanted, got = function_and_kernel(rule("test")(function), gradients)
    np.testing.assert_array_equal(got["d"], wanted["d"])
    np.testing.assert_array_equal(got["v"], wanted["v"])


def below_a_root(g, x, v, d, *, t, lr=0.1):
    return x, g * g, sqrt(v - g * g)


def below_a_root_of_the_larger(g, x, v, d, *, t, lr=0.1):
    return x, g * g, sqrt(maximum(v - g * g, 0.0))


def under_a_logarithm(g, x, v, d, *, t, lr=0.1):
    return x, g * g, log(v - g * g)


def in_a_divisor(g, x, v, d, *, t, lr=0.1):
    left = v - g * g
    return x, g * g, x / (left + 0.0)


@every_precision
@pytest.mark.parametrize(
    "function", [below_a_root, below_a_root_of_the_larger, under_a_logarithm, in_a_divisor]
)
def test_what_cancels_at_an_edge_cancels(function: Callable[..., Any], dtype: type) -> None:
    """A residue below 0 has no root: the step would be lost to NaN."""
    wanted, got = function_and_kernel(rule("test")(function), [GRADIENTS.astype(dtype)] * 3)
    np.testing.assert_array_equal(got["d"], wanted["d"])


@pytest.mark.skipif("+fma" not in FEATURES, reason="the processor cannot contract")
def test_elsewhere_products_and_sums_are_one_instruction() -> None:
    """For speed, as in torch's own kernels: what is left is the error of the product."""
    lr, g = np.float32(0.1), np.float32(0.3)
    x = np.array([lr * g])
    Step("sgd", [x], lr=float(lr))([np.array([g])])
    assert x[0] == float(lr * g) - float(lr) * float(g) != 0


def by_a_bias(g, x, *, t, lr=0.1, beta=0.9):
    return x - lr * g / (1 - beta**t)


def by_what_is_given(g, x, *, t, lr=0.1):
    return x - g / lr


def test_one_division_a_step_where_the_divisor_cannot_be_subnormal() -> None:
    assert "* u" in generate(rule("test")(by_a_bias)).text
    assert "/ u" not in generate(rule("test")(by_a_bias)).text
    wanted, got = function_and_kernel(
        rule("test")(by_what_is_given), [np.array([0.0, 1e-310, 1.0])], lr=1e-310
    )
    np.testing.assert_array_equal(got["x"], wanted["x"])
