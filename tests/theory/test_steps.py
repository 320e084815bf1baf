"""Steps to an accuracy against those that descents and plain loops take."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from thalweg import descend, problems, rules, theory
from thalweg.theory import rates, steps
from theory.literature import memory_of, users_rules


def simulated_steps(rule: str, spectrum: list[float], accuracy: float, **hyper: float) -> int:
    """Return how many steps a real descent takes, run for three times as long."""
    most = 3 * theory.steps_to(rule, spectrum, accuracy, **hyper) + 50
    trace = descend(problems.quadratic(spectrum), rule, steps=most, **hyper)
    return int(np.flatnonzero((np.abs(trace.x) > accuracy).any(axis=1))[-1]) + 1


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(["sgd", "momentum", "averaged_momentum", "nesterov"]),
    st.lists(st.floats(-1, 0.5), min_size=1, max_size=4),
    st.floats(0.05, 0.98),
    st.sampled_from([0.0, 0.5, 0.9, 0.97]),
    st.floats(-7, -0.1),
)
def test_steps_are_those_a_descent_takes(
    rule: str, decades: list[float], part: float, beta: float, accuracy: float
) -> None:
    spectrum = [10**each for each in decades]
    hyper = dict.fromkeys(memory_of(rule), beta)
    hyper["lr"] = part * theory.max_lr(rule, max(spectrum), **hyper)
    steps = theory.steps_to(rule, spectrum, 10**accuracy, **hyper)
    assert steps == simulated_steps(rule, spectrum, 10**accuracy, **hyper)


def test_long_descents_are_counted_without_walking_them() -> None:
    # (1 − ηλ)^k: more steps than anyone can take; with slow momentum, 1 − β times as many.
    for lr in (1e-4, 1e-8):
        expected = math.log(1e-6) / math.log1p(-lr)
        assert theory.steps_to("sgd", [1.0, 9.0], 1e-6, lr=lr) == pytest.approx(expected, rel=1e-5)
        steps = theory.steps_to("momentum", 1.0, 1e-6, lr=lr / 10, beta=0.9)
        assert steps == pytest.approx(expected, rel=2e-3)
    assert theory.steps_to("sgd", 1.0, 0.5**20, lr=0.5) == 20
    assert theory.steps_to("sgd", 1.0, 1e-300, lr=1.0) == 1


def looped_steps(matrix: np.ndarray, accuracy: float, most: int) -> int:
    """Return the count of a plain loop over a matrix (2, 2), with more digits than float64 has."""
    (a, b), (c, d) = matrix.astype(np.longdouble)
    last, v, x = -1, np.longdouble(0), np.longdouble(1)
    for k in range(most):
        last = k if abs(x) > accuracy else last
        v, x = a * v + b * x, c * v + d * x
    return last + 1


@pytest.mark.parametrize("kappa", [10.0, 1e3, 1e6])
@pytest.mark.parametrize("name", ["momentum", "averaged_momentum", "nesterov", "adam", "nadam"])
def test_steps_where_eigenvalues_meet_are_those_of_a_plain_loop(name: str, kappa: float) -> None:
    hyper = theory.best(name, 1 / kappa, 1.0).hyper
    steps = theory.steps_to(name, [1 / kappa, 1.0], 1e-6, **hyper)
    matrices = [theory.iteration_matrix(name, each, **hyper) for each in (1 / kappa, 1.0)]
    assert steps == max(looped_steps(each, 1e-6, 2 * steps) for each in matrices)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.tuples(st.floats(0.05, 0.97), st.floats(0.05, 0.97) | st.floats(-0.97, -0.05)),
    st.sampled_from([1, -1]),
    st.sampled_from(["apart", "pair", "together"]),
    st.floats(-1, 3),
    st.sampled_from([0.9, 0.5**7, 1e-6, 1e-40]),
)
def test_steps_are_those_of_a_plain_loop_wherever_the_eigenvalues_are(
    roots: tuple[float, float], sign: int, kind: str, shear: float, accuracy: float
) -> None:
    a, b = sign * roots[0], sign * roots[1]
    across = {"apart": 0.0, "pair": -0.1, "together": 1e-18}[kind]
    matrix = np.array([[a, 1.0], [across, b if kind == "apart" else a]])
    basis = np.array([[1.0, shear], [0.5, 1.0 + shear]])
    matrix = basis @ matrix @ np.linalg.inv(basis)
    assume(rates.radius(matrix) < 0.99)
    found = 1 + steps._last_above(matrix - np.eye(2), accuracy)
    assert found == looped_steps(matrix, accuracy, 4 * found + 200)
    assert found == 1 + steps._last_walked(rules.get("momentum"), matrix, accuracy)


@pytest.mark.parametrize(("decades", "tolerance"), [(8, 1e-5), (10, 1e-4), (12, 1e-2)])
def test_rules_of_the_same_eigenvalues_take_the_same_steps(decades: int, tolerance: float) -> None:
    kappa = 10.0**decades

    def best_steps(name: str) -> int:
        hyper = theory.best(name, 1 / kappa, 1.0).hyper
        return theory.steps_to(name, [1 / kappa, 1.0], 1e-6, **hyper)

    # At λ = 1 the heavy ball has the double root −ρ, and the error is (1 + k (1 + ρ)) ρ^k.
    rate = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
    expected = brentq(
        lambda k: math.log1p(k * (1 + rate)) + k * math.log(rate) - math.log(1e-6), 1e4, 1e8
    )
    for name in ("momentum", "averaged_momentum", "adam"):
        assert best_steps(name) == pytest.approx(expected, rel=tolerance)
    assert best_steps("nadam") == pytest.approx(best_steps("nesterov"), rel=tolerance)


def test_accuracies_near_the_least_float_and_memories_near_one_are_counted() -> None:
    assert theory.steps_to("sgd", 1.0, 1e-200, lr=0.1) == math.ceil(-200 / math.log10(0.9))
    # Two complex roots of size √β.
    steps = theory.steps_to("momentum", [0.2, 4.0], 1e-6, lr=0.1, beta=1 - 1e-8)
    assert steps == pytest.approx(math.log(1e-6) / (math.log1p(-1e-8) / 2), rel=0.01)


def test_steps_of_rules_with_two_states_are_walked_while_they_are_few() -> None:
    mine = users_rules()["aggregated"]
    # A slow root z, alone in the end: x_k = c z^k, its c from a matrix power.
    matrix = theory.iteration_matrix(mine, 1.0, lr=1e-4)
    z, c = theory.rate(mine, 1.0, lr=1e-4), np.linalg.matrix_power(matrix, 1000)[-1, -1]
    expected = 1000 + math.ceil(math.log(1e-6 / c) / math.log(z))
    assert theory.steps_to(mine, 1.0, 1e-6, lr=1e-4) == pytest.approx(expected, abs=1)
    with pytest.raises(ValueError, match="takes more than 4,194,304 steps to halve an error"):
        theory.steps_to(mine, 1.0, 1e-6, lr=1e-9)


def test_transients_count() -> None:
    # At the double root of the best heavy ball the error falls as k ρ^k.
    best = theory.best("momentum", 1e-4, 1.0)
    steps = theory.steps_to("momentum", [1e-4, 1.0], 1e-6, **best.hyper)
    assert steps > 1.2 * math.log(1e-6) / math.log(best.rate)


@pytest.mark.parametrize("steps", [3, 6])
def test_an_accuracy_that_is_met_exactly_is_met(steps: int) -> None:
    assert theory.steps_to("sgd", [1.0], 0.5**steps, lr=0.5) == steps
