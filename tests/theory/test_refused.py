"""What the theory refuses, and the words it says so with."""
# ruff: noqa: ANN001, ANN202 - the rules declared here are equations, as in thalweg.rules

import math
from typing import Any

import pytest

from thalweg import theory
from thalweg.elementwise import maximum, sign
from thalweg.rule import rule


def refused() -> list[tuple[Any, type[Exception], str]]:
    """Return calls with bad input, and the exact words they are refused with."""
    T, grid = theory, {"lr": [0.1, 0.2], "beta": [0.5]}
    not_linear = (
        "rule {!r} is not linear, so that it has no iteration matrix: its step does not grow with "
        "the gradient; thalweg.descend measures what it does"
    ).format
    return [
        (lambda: T.rate("sgd", [1.0, -2.0]), ValueError,
         "spectrum must be finite and > 0, got -2"),
        (lambda: T.rate("sgd", [1.0, math.nan]), ValueError,
         "spectrum must be finite and > 0, got nan"),
        (lambda: T.rate("sgd", []), ValueError, "spectrum must have one value or more, got none"),
        (lambda: T.iteration_matrix("sgd", 0.0), ValueError,
         "eigenvalue must be finite and > 0, got 0"),
        (lambda: T.iteration_matrix("sgd", [1.0, 2.0]), ValueError,  # type: ignore[arg-type]
         "eigenvalue must be one number, got [1.0, 2.0]; call once for each"),
        (lambda: T.max_lr("sgd", [1.0, 2.0]), ValueError,  # type: ignore[arg-type]
         "sharpness must be one number, got [1.0, 2.0]; call once for each"),
        (lambda: T.best("sgd", [1.0, 2.0], 3.0), ValueError,  # type: ignore[arg-type]
         "mu must be one number, got [1.0, 2.0]; call once for each"),
        (lambda: T.noise_floor("sgd", [1.0, 2.0], 0.1, lr=0.1), ValueError,  # type: ignore[arg-type]
         "eigenvalue must be one number, got [1.0, 2.0]; call once for each"),
        (lambda: T.max_lr("sgd", -1.0), ValueError, "sharpness must be finite and > 0, got -1"),
        (lambda: T.max_lr("sgd", "x"), TypeError,  # type: ignore[arg-type]
         "sharpness must be numbers, got 'x'"),
        (lambda: T.max_lr("cautious(sgd)", 1.0), ValueError,
         ("rule 'cautious(sgd)' is not linear, so that it has no iteration matrix: where an "
          "element goes depends on the others; thalweg.descend measures what it does")),
        (lambda: T.max_lr("averaged(cautious(shampoo))", 1.0), ValueError,
         ("rule 'averaged(cautious(shampoo))' is not linear, so that it has no iteration matrix: "
          "where an element goes depends on the others; thalweg.descend measures what it does")),
        (lambda: T.max_lr("sgd", 1e-300), ValueError,
         "sharpness must be in [1e-200, 1e200], got 1e-300; scale f"),
        (lambda: T.max_lr("sgd", 1e300), ValueError,
         "sharpness must be in [1e-200, 1e200], got 1e+300; scale f"),
        (lambda: T.max_lr("sgd", 1.0, lr=0.1), TypeError,
         "max_lr finds lr: do not give it, got lr = 0.1"),
        (lambda: T.rate("momentum", 1.0, beta=1.0), ValueError, "beta must be in [0, 1), got 1.0"),
        (lambda: T.rate("sgd", 1.0, lr=-0.1), ValueError, "lr must be > 0, got -0.1"),
        (lambda: T.rate("sgd", 1.0, beta=0.9), TypeError,
         "rule 'sgd' has no hyperparameter 'beta'; it has: lr"),
        (lambda: T.rate("sdg", 1.0), ValueError, "unknown rule 'sdg'; did you mean sgd?"),
        (lambda: T.rate("lion", 1.0), ValueError, not_linear("lion")),
        (lambda: T.best("rprop", 1.0, 2.0), ValueError, not_linear("rprop")),
        (lambda: T.rate("asgd", 1.0), ValueError,
         ("rule 'asgd' has no one iteration matrix: its step changes with t; set lambd = 0 or "
          "alpha = 0")),
        (lambda: T.rate("schedule_free_sgd", 1.0), ValueError,
         ("rule 'schedule_free_sgd' has no one iteration matrix: its step changes with t, for "
          "weights has no limit; thalweg.descend measures what it does")),
        (lambda: T.rate("adam", 1.0, beta2=0.0), ValueError,
         ("rule 'adam' has no preconditioner to hold fixed: with these hyperparameters v forgets "
          "all but the last gradient; give it a memory")),
        (lambda: T.best("sgd", 2.0, 1.0), ValueError, "mu must be <= L, got mu = 2 and L = 1"),
        (lambda: T.best("sgd", 1.0, 2.0, lr=0.1), TypeError,
         "best chooses lr: rule 'sgd' must have one, and it is not given"),
        (lambda: T.steps_to("sgd", 1.0, 1.0), ValueError, "accuracy must be in (0, 1), got 1.0"),
        (lambda: T.steps_to("sgd", 1.0, 0.1, lr=2.5), ValueError,
         ("rule 'sgd' must converge, but its rate is 1.5 per step at lr = 2.5; take an lr well "
          "between 0 and max_lr")),
        (lambda: T.noise_floor("sgd", 1.0, 1.0, lr=2.0), ValueError,
         ("rule 'sgd' must converge, but its rate is 1 per step at lr = 2; take an lr well between "
          "0 and max_lr")),
        (lambda: T.rate_map("sgd", 1.0, {"lr": [0.1]}), ValueError,
         "over must have two hyperparameters, got lr"),
        (lambda: T.rate_map("momentum", 1.0, grid, beta=0.5), TypeError,
         "beta is in over already: do not give it a value as well"),
        (lambda: T.rate_map("sgd", 1.0, grid), TypeError,
         "rule 'sgd' has no hyperparameter 'beta'; it has: lr"),
        (lambda: T.rate_map("momentum", 1.0, {**grid, "beta": [0.5, 1.0]}), ValueError,
         "beta must be in [0, 1), got 1.0"),
        (lambda: T.rate_map("momentum", 1.0, {**grid, "beta": 0.5}), ValueError,
         "over must give beta an array of values (n,), got shape ()"),
        (lambda: T.rate_map("radam", 1.0, {"lr": [0.1], "beta2": [0.9, 0.99]}), ValueError,
         ("rule 'radam' has an if on a hyperparameter, so that it takes no grid of its values: it "
          "needs elementwise.where in its place")),
    ]  # fmt: skip


@pytest.mark.parametrize("i", range(len(refused())))
def test_what_cannot_be_predicted_is_refused(i: int) -> None:
    call, error, message = refused()[i]
    with pytest.raises(error) as refusal:
        call()
    assert str(refusal.value) == message


def test_rules_of_other_kinds_are_refused_with_their_reason() -> None:
    @rule("steps one way only")
    def rectified(g, x, *, t, lr=0.1):
        return x - lr * maximum(g, 0.0)

    @rule("the larger of two gradients")
    def larger(g, x, last, *, t, lr=0.1):
        return x - lr * sign(g) * maximum(abs(g), abs(last)), g

    @rule("no lr")
    def fixed(g, x, *, t, beta=0.5):
        return x - beta * g

    with pytest.raises(ValueError, match="a step from −g is not the opposite of one from g"):
        theory.rate(rectified, 1.0)
    with pytest.raises(ValueError, match="rule 'fixed' has no lr to limit"):
        theory.max_lr(fixed, 1.0)
    with pytest.raises(TypeError, match="rule 'fixed' must have one"):
        theory.best(fixed, 1.0, 2.0)
    assert theory.rate(fixed, 1.0) == 0.5
    with pytest.raises(ValueError, match="rule 'larger' is not linear"):
        theory.rate(larger, 1.0)


# -- what no test noticed once (tests/mutate.py) ---------------------------------------------------
