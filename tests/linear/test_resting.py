"""Rules that leave coordinates alone that have no gradient."""

import pytest

from thalweg.linear.resting import rests
from thalweg.rule import rule
from thalweg.rules import get


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_these_rest(name: str) -> None:
    assert rests(get(name), get(name).defaults)


@pytest.mark.parametrize("name", ["adam", "momentum", "nesterov", "lion", "rprop", "adamax"])
def test_these_move(name: str) -> None:
    assert not rests(get(name), get(name).defaults)


def test_it_is_asked_of_the_rule_and_its_hyperparameters_not_of_its_name() -> None:
    momentum, adamw = get("momentum"), get("adamw")
    assert rests(momentum, momentum.defaults | {"beta": 0.0})
    assert not rests(adamw, adamw.defaults | {"beta1": 0.0})

    @rule("Our own")
    def sign_of_the_last(g, x, last, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return x - lr * g * last, g

    @rule("Our own")
    def counted(g, x, *, t, n, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return x - lr * g / n, n + t

    assert not rests(sign_of_the_last, {"lr": 0.1})
    assert rests(counted, {"lr": 0.1})
