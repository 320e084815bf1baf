"""Before a user's rule is used, its kernel is compared with its function."""

# ruff: noqa: ANN001, ANN201 - of rules
# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg import rules
from thalweg.elementwise import exp, log, maximum, sign, sqrt, where
from thalweg.kernels import Step, agreement
from thalweg.kernels.builder import Builder, literal
from thalweg.kernels.cpu import kernel
from thalweg.rule import rule

DOUBLE = np.dtype(np.float64)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    kernel._check.cache_clear()
    yield
    kernel._check.cache_clear()


def leaky(g, x, m, *, t, lr=0.1, beta=0.9):
    m = beta * m + (1 - beta) * g
    return x - lr * where(m > 0, m, 2 * m) / (1 - beta**t), m


def faulty(change: Callable[[dict[str, Any], agreement.Inputs], None]) -> agreement.Kernel:
    """A kernel of ``leaky`` with something wrong in it."""
    of = rule("test")(leaky)
    right = kernel.KernelStep(kernel.compiled(of, DOUBLE))

    def step(inputs: agreement.Inputs) -> dict[str, Any]:
        new = right(inputs)
        change(new, inputs)
        return new

    return step


def wrong_sign(new: dict[str, Any], inputs: agreement.Inputs) -> None:
    new["m"] = np.where(inputs.g == 0, -new["m"], new["m"])


def dropped_term(new: dict[str, Any], inputs: agreement.Inputs) -> None:
    new["x"] = np.where(inputs.t == 2, inputs.x, new["x"])


def other_branch_at_zero(new: dict[str, Any], inputs: agreement.Inputs) -> None:
    lr, beta = inputs.hyper["lr"], inputs.hyper["beta"]
    new["x"] = np.where(new["m"] > 0, inputs.x - lr * new["m"] / (1 - beta**inputs.t), new["x"])
    new["x"] = np.where(inputs.state["m"] == 0, new["x"] + 1e-9, new["x"])


def little(new: dict[str, Any], _: agreement.Inputs) -> None:
    new["m"] = new["m"] * (1 + 1e-10)


def lost_to_nan(new: dict[str, Any], inputs: agreement.Inputs) -> None:
    new["x"] = np.where(np.abs(inputs.g) > 1e7, np.nan, new["x"])


@pytest.mark.parametrize(
    "change", [wrong_sign, dropped_term, other_branch_at_zero, little, lost_to_nan]
)
def test_a_kernel_that_differs_is_noticed(change: Any) -> None:
    with pytest.raises(ValueError, match="and the kernel made of it differ: for g="):
        agreement.check(rule("test")(leaky), faulty(change))


def cubed(g, x, *, t, lr=0.1):
    return x - lr * (-0.5) ** 3 * g


def test_a_faulty_translation_is_an_error_with_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a negative constant to a power once was: its sign got lost."""
    power = Builder.binary

    def without_a_sign(self: Builder, operator: Any, left: Any, right: Any) -> Any:
        if left.literal and right.literal:
            left = literal(abs(left.number))
        return power(self, operator, left, right)

    monkeypatch.setattr(Builder, "binary", without_a_sign)

    with pytest.raises(
        ValueError, match=r"rule 'cubed' .*g=.*x=.*t=1, lr=0\.1.*function returns x"
    ):
        Step(rule("test")(cubed), [np.zeros(3, np.float32)])


@pytest.mark.parametrize("name", rules.names("element-wise"))
def test_built_in_rules_agree(name: str) -> None:
    of = rules.get(name)
    assert agreement.check(of, kernel.KernelStep(kernel.compiled(of, DOUBLE))) > 2000


def raising(g, x, *, t, lr=0.1, beta=0.9):
    """A Python float divided by 0 raises; an array or a kernel does not."""
    return x - lr * g / (1 - beta**t) / (t - 10)


def unbounded(g, x, *, t, lr=0.1):
    return x - lr * exp(g * 100) * log(x) / sqrt(g)


def by_a_hair(g, x, m, *, t, lr=0.1, beta=0.9):
    m = beta * m + (1 - beta) * g
    return x - lr * sign(m - g) / (m - x) + maximum(exp(log(abs(g))) - abs(g), 0) * 1e18, m


def half_a_range(g, x, *, t, lr=0.1):
    return x - lr * g**60 * abs(x) ** -60


@pytest.mark.parametrize("function", [raising, unbounded, by_a_hair, half_a_range])
def test_what_is_hard_to_compute_is_no_difference(function: Callable[..., Any]) -> None:
    kernel.check(rule("test")(function))


def test_the_comparison_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    check = agreement.check
    monkeypatch.setattr(agreement, "check", lambda *given: calls.append(check(*given)))
    of = rule(str(tmp_path))(leaky)
    kernel.compiled(of, np.dtype(np.float32))
    kernel.compiled(of, DOUBLE)
    assert len(calls) == 1
    kernel._check.cache_clear()  # as in another process
    kernel.compiled(of, DOUBLE)
    assert len(calls) == 1
    assert len(list(tmp_path.glob("kernels/*.checked"))) == 1
    kernel.compiled(rules.get("sgd"), DOUBLE)
    assert len(calls) == 1


def test_without_a_folder_it_is_made_in_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(0o777)
    calls = []
    monkeypatch.setattr(agreement, "check", lambda *given: calls.append(given))
    of = rule(str(tmp_path))(leaky)
    for _ in range(2):
        kernel.compiled(of, DOUBLE)
        kernel.compiled(of, DOUBLE)
        kernel._check.cache_clear()
    assert len(calls) == 2
