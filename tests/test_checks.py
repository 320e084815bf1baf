"""Counts and numbers are checked in one way, wherever a user gives them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from thalweg import data, descend, plots, problems, schedules, theory
from thalweg.checks import NOT_NEGATIVE, POSITIVE, Hyperparameter, Range, count, number
from thalweg.data.delimited import Dialect
from thalweg.linear import train
from thalweg.racing.protocol import Protocol

X, Y = np.arange(8.0).reshape(4, 2), np.arange(4.0)
BOWL = problems.noisy_sum(problems.bowl(), 9)


def fit(**given: Any) -> object:
    return train(X, Y, rule="sgd", **{"epochs": 1, **given})


# Every count that a user may give: its name, a legal value, and the call that takes it.
COUNTS: list[tuple[str, int, Callable[[Any], object]]] = [
    ("epochs", 2, lambda n: fit(epochs=n)),
    ("batch_size", 2, lambda n: fit(batch_size=n)),
    ("lanes", 2, lambda n: fit(lanes=n)),
    ("threads", 2, lambda n: fit(threads=n)),
    ("evaluate_every", 2, lambda n: fit(evaluate_every=n)),
    ("seed", 2, lambda n: fit(seed=n)),
    ("steps", 2, lambda n: descend("bowl", "sgd", steps=n)),
    ("seed", 2, lambda n: descend("bowl", "sgd", steps=2, seed=n)),
    ("batch_size", 2, lambda n: descend(BOWL, "sgd", steps=2, batch_size=n)),
    ("d", 2, problems.rosenbrock),
    ("n", 5, problems.noisy_bowl),
    ("seed", 5, lambda n: problems.noisy_bowl(seed=n)),
    ("steps", 5, lambda n: schedules.cosine(0.1, n)),
    ("every", 5, lambda n: schedules.step(0.1, n)),
    ("boundaries", 5, lambda n: schedules.piecewise_constant((0.1, 0.2), (n,))),
    ("steps", 5, lambda n: theory.risk_bound(0.1, n, 1.0, 1.0)),
    ("steps", 5, lambda n: theory.horizon_lr(n, 1.0, 1.0)),
    ("steps", 5, lambda n: theory.strong_risk_bound(n, 1.0, 1.0)),
    ("n", 5, lambda n: theory.leaky_weights(0.5, n)),
    ("n", 5, lambda n: plots.leaky_weights([0.5], n)),
    ("seed", 5, lambda n: data.split(data.load("iris"), seed=n)),
    ("header_row", 1, lambda n: Dialect(header_row=n)),
    ("epochs", 5, lambda n: Protocol(("sgd",), epochs=n)),
    ("trials", 5, lambda n: Protocol(("sgd",), trials=n)),
    ("seeds", 5, lambda n: Protocol(("sgd",), seeds=n)),
    ("seed", 5, lambda n: Protocol(("sgd",), seed=n)),
    ("batch_size", 5, lambda n: Protocol(("sgd",), batch_sizes=(n,))),
]
every_count = pytest.mark.parametrize(
    ("name", "legal", "call"), COUNTS, ids=[f"{i}-{name}" for i, (name, *_) in enumerate(COUNTS)]
)


@every_count
@pytest.mark.parametrize("value", [True, np.True_, 2.5, 3.0, "3", -1], ids=repr)
def test_what_is_no_count_is_refused_everywhere(
    name: str, legal: int, call: Callable[[Any], object], value: object
) -> None:
    assert legal > 0
    bound = r"(>= \d|in \[\d, \d+\].*), got "
    with pytest.raises(ValueError, match=f"^{name} must be an integer {bound}") as caught:
        call(value)
    assert str(caught.value).endswith(f"got {value!r}")


@every_count
def test_whole_numbers_of_numpy_are_counts_everywhere(
    name: str, legal: int, call: Callable[[Any], object]
) -> None:
    assert name
    call(np.int64(legal))


def test_a_count_of_torch_is_one_and_a_flag_of_torch_is_none() -> None:
    torch = pytest.importorskip("torch")
    assert count("n", torch.tensor(3)) == 3
    with pytest.raises(ValueError, match="n must be an integer >= 1, got tensor"):
        count("n", torch.tensor(True))  # noqa: FBT003


def test_a_count_is_python_s_own() -> None:
    assert type(count("n", np.uint8(3))) is int
    assert type(number("lr", np.float32(0.5))) is float


@pytest.mark.parametrize(
    ("value", "within", "message"),
    [
        (True, Range(), "lr must be a number, got True"),
        (np.True_, Range(), f"lr must be a number, got {np.True_!r}"),
        ("1", Range(), "lr must be a number, got '1'"),
        (None, Range(), "lr must be a number, got None"),
        (np.nan, Range(), "lr must be finite, got nan"),
        (np.inf, POSITIVE, "lr must be finite, got inf"),
        (0.0, POSITIVE, "lr must be > 0, got 0.0"),
        (-1, NOT_NEGATIVE, "lr must be >= 0, got -1"),
        (1.0, Range(0.0, 1.0, "[)"), "lr must be in [0, 1), got 1.0"),
        (0.0, Range(0.0, 1.0, "(]"), "lr must be in (0, 1], got 0.0"),
    ],
)
def test_numbers_out_of_range(value: object, within: Range, message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        number("lr", value, within)
    assert str(caught.value) == message


def test_the_ends_of_a_range_belong_to_it_or_not() -> None:
    for ends in ("[]", "[)", "(]", "()"):
        within = Range(0.0, 1.0, ends)
        assert (0.0 in within, 1.0 in within) == (ends[0] == "[", ends[1] == "]")
        assert 0.5 in within
        assert -0.1 not in within
        assert 1.1 not in within


def test_a_schedule_may_touch_the_open_end() -> None:
    lr = Hyperparameter("lr", 0.1, POSITIVE)
    assert lr.check_scheduled(0.0) == 0.0
    with pytest.raises(ValueError, match=r"lr must be > 0, got 0\.0"):
        lr.check(0.0)
    with pytest.raises(ValueError, match=r"lr must be >= 0, got -0\.1"):
        lr.check_scheduled(-0.1)
