"""Best hyperparameters against the literature and against searches."""

# ruff: noqa: ANN001, ANN202 - the rules declared here are equations, as in thalweg.rules
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg import rules, theory
from thalweg.rule import rule
from thalweg.theory import optimum
from theory.literature import AVERAGED, HEAVY_BALL, LIMITS, SETTLED, SGD, memory_of, users_rules

OWN_EIGENVALUES = {"adan", "ademamix", "mars"}  # they see gradients of the past twice


def closed_forms(mu: float, L: float) -> dict[str, tuple[dict[str, float], float]]:
    """Return E1, E2 and E3, each written in κ."""
    kappa = L / mu
    ball = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
    root = math.sqrt(3 * kappa + 1)
    polyak = 4 / (math.sqrt(mu) + math.sqrt(L)) ** 2
    return {
        "sgd": ({"lr": 2 / (mu + L)}, (kappa - 1) / (kappa + 1)),
        "momentum": ({"lr": polyak, "beta": ball**2}, ball),
        "averaged_momentum": ({"lr": polyak / (1 - ball**2), "beta": ball**2}, ball),
        "nesterov": ({"lr": 4 / (3 * L + mu), "beta": (root - 2) / (root + 2)}, 1 - 2 / root),
    }


@pytest.mark.parametrize(("mu", "L"), [(1.0, 1.0), (0.2, 4.0), (3.0, 3e3), (1e-6, 1.0)])
def test_the_best_is_that_of_the_literature(mu: float, L: float) -> None:
    for name, (hyper, rate) in closed_forms(mu, L).items():
        best = theory.best(name, mu, L)
        assert best.hyper == pytest.approx(hyper, rel=1e-10, abs=1e-12)
        assert best.rate == pytest.approx(rate, rel=1e-10, abs=1e-12)
        assert best.source != "minimized numerically"
        # The roots are double there: rounding moves them by its square root.
        assert theory.rate(name, [mu, L], **best.hyper) == pytest.approx(best.rate, abs=3e-7)


@pytest.mark.parametrize(
    ("name", "kappa"),
    [("sgd", 1.5), ("momentum", 100.0), ("averaged_momentum", 1e6), ("nesterov", 1e4)],
)
def test_a_search_finds_the_closed_forms_and_beats_them_nowhere(name: str, kappa: float) -> None:
    hyper, rate = closed_forms(1.0, kappa)[name]
    each = rules.get(name)
    found, least = optimum._minimize(
        each, each.defaults, memory_of(name), np.geomspace(1, kappa, 9)
    )
    assert least >= rate - 1e-12
    assert 1 - least == pytest.approx(1 - rate, rel=1e-8)
    assert found == pytest.approx(hyper, rel=1e-6)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.sampled_from(["sgd", "momentum", "nesterov", "adam"]),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(0, 5),
)
def test_no_hyperparameters_nearby_beat_the_best(
    name: str, lr: float, memory: float, decades: float
) -> None:
    spectrum = [1.0, 10.0**decades]
    best = theory.best(name, *spectrum)
    hyper = {"lr": best.hyper["lr"] * 10**lr}
    for each in memory_of(name):
        hyper[each] = max(0.0, 1 - (1 - best.hyper[each]) * 10**memory)
    assert theory.rate(name, spectrum, **hyper) >= best.rate - 1e-12


@pytest.mark.parametrize("name", [n for n in LIMITS if n not in OWN_EIGENVALUES])
def test_rules_with_the_same_eigenvalues_have_the_same_best(name: str) -> None:
    reference = {SGD: "sgd", HEAVY_BALL: "momentum", AVERAGED: "averaged_momentum"}
    asked = {n: v for n, v in SETTLED.get(name, {}).items() if n != "weight_decay"}
    best = theory.best(name, 0.5, 50.0, **asked)
    same = theory.best(reference.get(LIMITS[name], "nesterov"), 0.5, 50.0)
    assert (best.rate, best.source) == (same.rate, same.source)
    hyper = {n: best.hyper[n] for n in memory_of(name)}
    assert list(hyper.values()) == [v for n, v in same.hyper.items() if n != "lr"]
    assert theory.rate(name, [0.5, 50.0], **best.hyper) == pytest.approx(best.rate, abs=1e-7)


def test_the_usual_choice_for_convex_functions_is_slower_on_quadratics() -> None:
    for kappa in (4.0, 100.0, 1e4):
        root = math.sqrt(kappa)
        usual = theory.rate("nesterov", [1, kappa], lr=1 / kappa, beta=(root - 1) / (root + 1))
        assert usual == pytest.approx(1 - 1 / root, abs=1e-7)
        assert usual > theory.best("nesterov", 1, kappa).rate + 0.1 / root


def test_the_best_keeps_what_is_given() -> None:
    best = theory.best("momentum", 1.0, 100.0, beta=0.5)
    assert (best.hyper["beta"], best.source) == (0.5, "minimized numerically")
    at = theory.rate("momentum", [1.0, 100.0], **best.hyper)
    assert at == pytest.approx(best.rate, rel=1e-12)
    for factor in (0.97, 0.999, 1.001, 1.03):
        nearby = {**best.hyper, "lr": factor * best.hyper["lr"]}
        assert theory.rate("momentum", [1.0, 100.0], **nearby) > at
    without = theory.best("momentum", 1.0, 100.0, beta=0.0)
    assert without.hyper["lr"] == pytest.approx(2 / 101, rel=1e-9)
    assert without.rate == pytest.approx(99 / 101, rel=1e-9)


def test_the_best_of_a_users_rule_is_found_by_search() -> None:
    # Quasi-hyperbolic momentum at nu = 1 is the averaged form, and at another nu its own.
    mine = users_rules()["quasi_hyperbolic"]
    best = theory.best(mine, 1.0, 100.0, nu=1.0)
    assert best.rate == pytest.approx(9 / 11, rel=1e-12)
    other = theory.best(mine, 1.0, 100.0, nu=0.95)
    assert other.source == "minimized numerically"
    for lr in other.hyper["lr"] * np.array([0.9, 1, 1.1]):
        for beta in 1 - (1 - other.hyper["beta"]) * np.array([0.9, 1, 1.1]):
            at = theory.rate(mine, np.geomspace(1, 100, 9), lr=lr, beta=beta, nu=0.95)
            assert at >= other.rate - 1e-12


def test_the_best_rate_holds_between_the_ends_of_the_spectrum() -> None:
    """This rule is slowest at a curvature between mu and L."""

    @rule("a sum of the gradients and a leaky sum of a leaky sum of them")
    def twice_averaged(g, x, v, w, *, t, lr=0.1, beta=0.9, k=0.5):
        v = beta * v + g
        w = beta * w + v
        return x - lr * (g + k * w), v, w

    found = theory.best(twice_averaged, 1.0, 30.0, beta=0.7)  # to search both takes seconds
    inside = theory.rate(twice_averaged, np.geomspace(1.0, 30.0, 200), **found.hyper)
    assert inside == pytest.approx(found.rate, rel=2e-3)
