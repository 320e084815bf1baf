"""Iteration matrices, limits and optima against closed forms, and against the rules themselves."""
# ruff: noqa: ANN001, ANN202 - the rules declared here are equations, as in thalweg.rules

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from thalweg import descend, problems, rules, theory
from thalweg.elementwise import maximum, sqrt
from thalweg.rule import Rule, rule
from thalweg.theory import optimum, rates, steps
from thalweg.theory.linearization import linearize

BETAS = [0.0, 0.25, 0.9, 0.999]
each_beta = pytest.mark.parametrize("beta", BETAS)
each_eigenvalue = pytest.mark.parametrize("eigenvalue", [0.2, 4.0])

# What each rule is once its preconditioner is held: the closed form of its limit at λ = 1.
SGD, HEAVY_BALL, AVERAGED, LOOK_AHEAD, LOOKING_AHEAD = (
    "2",
    "2 + 2*b",
    "(2 + 2*b) / (1 - b)",
    "(2 + 2*b) / (1 + 2*b)",
    "(2 + 2*b) / (1 + 2*b) / (1 - b)",
)
LIMITS = {
    "sgd": SGD, "asgd": SGD, "adagrad": SGD, "rmsprop": SGD, "centered_rmsprop": SGD,
    "adadelta": SGD, "momentum": HEAVY_BALL, "rmsprop_momentum": HEAVY_BALL,
    "averaged_momentum": AVERAGED, "adam": AVERAGED, "amsgrad": AVERAGED, "adamw": AVERAGED,
    "adamax": AVERAGED, "radam": AVERAGED, "yogi": AVERAGED, "adabelief": AVERAGED,
    "nesterov": LOOK_AHEAD, "nadam": LOOKING_AHEAD, "nadamw": LOOKING_AHEAD,
    "laprop": AVERAGED, "adopt": AVERAGED,
    # Where the sign of x changes at each step, an average of gradients is (1 - b)/(1 + b) of one.
    "adan": "2 / ((1 - b) / (1 + b) + 0.92 * 2 * (1 - 0.92) / (1 + 0.92))",
    "ademamix": "2 / ((1 - b) / (1 + b) + 5 * (1 - 0.9999) / (1 + 0.9999))",
}  # fmt: skip
SETTLED = {
    "asgd": {"lambd": 0.0}, "adamw": {"weight_decay": 0.0}, "nadamw": {"weight_decay": 0.0},
}  # fmt: skip
NOT_LINEAR = {"lion", "rprop"}
OWN_EIGENVALUES = {"adan", "ademamix"}  # they have a second average


def memory_of(name: str) -> list[str]:
    return [n for n in ("beta", "beta1") if n in rules.get(name).hyperparameters]


USERS = ("quasi_hyperbolic", "aggregated", "chained", "optional")


def users_rules() -> dict[str, Rule]:
    """Return rules as users write them, two states and unusual forms among them."""

    @rule("Ma & Yarats 2019, equations 3-4")
    def quasi_hyperbolic(g, x, m, *, t, lr=0.1, beta=0.9, nu=0.7):
        m = beta * m + (1 - beta) * g
        return x - lr * ((1 - nu) * g + nu * m), m

    @rule("Lucas et al. 2019, two velocities")
    def aggregated(g, x, v, w, *, t, lr=0.1, beta=0.9, beta1=0.5):
        v, w = beta * v + g, beta1 * w + g
        return x - lr / 2 * (v + w), v, w

    @rule("a leaky sum of a leaky sum, each as it was, and a count of both that nothing reads")
    def chained(g, x, v, w, total, *, t, lr=0.1, beta=0.5):
        return x - lr * w, beta * v + g, beta * w + v, total + v + w

    @rule("momentum that is off by default")
    def optional(g, x, v, *, t, lr=0.1, beta=0.0):
        v = beta * v + g
        return x - lr * v, v

    return {r.name: r for r in (quasi_hyperbolic, aggregated, chained, optional)}


@each_eigenvalue
@each_beta
def test_the_matrices_are_those_of_the_literature(eigenvalue: float, beta: float) -> None:
    lr, λ = 0.3, eigenvalue  # noqa: PLC2401 - the mathematics
    forms = {
        "sgd": [[1 - lr * λ]],
        "momentum": [[beta, λ], [-lr * beta, 1 - lr * λ]],
        "averaged_momentum": [[beta, (1 - beta) * λ], [-lr * beta, 1 - lr * (1 - beta) * λ]],
        "nesterov": [[beta, λ], [-lr * beta**2, 1 - lr * (1 + beta) * λ]],
    }
    for name, expected in forms.items():
        hyper = {"lr": lr} if name == "sgd" else {"lr": lr, "beta": beta}
        matrix = theory.iteration_matrix(name, λ, **hyper)
        np.testing.assert_allclose(matrix, expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("name", ["sgd", "momentum", "averaged_momentum", "nesterov", *USERS])
def test_a_descent_is_a_power_of_the_matrix(name: str) -> None:
    users_rules()
    rule = rules.get(name)
    spectrum = [0.3, 1.0, 5.0]
    hyper = {"lr": 0.07} | {n: 0.8 for n in rule.hyperparameters if n == "beta"}
    trace = descend(problems.quadratic(spectrum, start=[1.0, -2.0, 3.0]), rule, steps=40, **hyper)
    for i, eigenvalue in enumerate(spectrum):
        matrix = theory.iteration_matrix(rule, eigenvalue, **hyper)
        powers = [np.linalg.matrix_power(matrix, k)[-1, -1] for k in range(41)]
        np.testing.assert_allclose(trace.x[:, i], trace.x[0, i] * np.array(powers), atol=1e-13)


def test_states_that_x_never_reads_are_left_out_and_no_others() -> None:
    mine = users_rules()
    assert theory.iteration_matrix(mine["chained"], 1.0).shape == (3, 3)
    assert theory.iteration_matrix(mine["aggregated"], 1.0).shape == (3, 3)
    assert theory.iteration_matrix("asgd", 1.0, lambd=0.0).shape == (1, 1)
    assert theory.iteration_matrix("centered_rmsprop", 1.0).shape == (1, 1)
    # A memory of 0 hides the state, from one side only.
    assert theory.iteration_matrix("momentum", 1.0, beta=0.0).shape == (2, 2)
    assert theory.iteration_matrix(mine["optional"], 1.0, beta=0.5).shape == (2, 2)


# A preconditioner that hardly moves: its memory lasts 10⁹ steps, at a step of 10¹².
STEADY: dict[str, dict[str, float]] = {
    "adagrad": {}, "rmsprop": {"gamma": 1 - 1e-9}, "centered_rmsprop": {"gamma": 1 - 1e-9},
    "rmsprop_momentum": {"gamma": 1 - 1e-9, "beta": 0.7}, "adadelta": {"rho": 1 - 1e-9},
}  # fmt: skip
for _name in (
    "adam", "amsgrad", "adamw", "adamax", "nadam", "radam", "yogi", "adabelief",
    "nadamw", "laprop", "adopt", "ademamix",
):  # fmt: skip
    STEADY[_name] = {"beta1": 0.7, "beta2": 1 - 1e-9}


@pytest.mark.parametrize("name", STEADY)
def test_an_adaptive_rule_whose_preconditioner_hardly_moves_is_a_power_of_its_matrix(
    name: str,
) -> None:
    rule, eigenvalue = rules.get(name), 1.7
    steady = {"lr": 0.4, "eps": 0.0} | STEADY[name]
    hyper = rule.resolve(steady)
    x, state = 1e-9, dict.fromkeys(rule.state, 0.0) | dict.fromkeys(rule.uniform_state, 0.0)
    state |= dict.fromkeys({"s", "u", "v_max"} & set(state), 1.0)
    state |= {"v": 1.0} if "v" in state and name != "rmsprop_momentum" else {}
    path = [x]
    for t in range(10**12, 10**12 + 20):
        x, state = rule.advance(eigenvalue * x, x, state, t=t, hyper=hyper)
        path.append(x)
    # With a memory of usual length, and any eps, the matrix is the same: neither enters.
    usual = {n: 0.6 if v > 1 - 1e-6 else v for n, v in steady.items()} | {"eps": 0.3}
    for given_hyper in (steady, usual):
        matrix = theory.iteration_matrix(name, eigenvalue, **given_hyper)
        powers = [np.linalg.matrix_power(matrix, k)[-1, -1] for k in range(21)]
        np.testing.assert_allclose(path, 1e-9 * np.array(powers), rtol=1e-6, atol=1e-16)


def test_a_preconditioner_is_held_where_a_users_rule_reads_it() -> None:
    @rule("Taniguchi et al. 2024, Algorithm 2: v is read before its update")
    def before(g, x, m, v, *, t, lr=0.1, beta1=0.9, beta2=0.9, eps=1e-6):
        m = beta1 * m + (1 - beta1) * g / maximum(sqrt(v), eps)
        return x - lr * m, m, beta2 * v + (1 - beta2) * g * g

    @rule("Adam with one memory for both moments")
    def shared(g, x, m, v, *, t, lr=0.1, beta=0.9, eps=1e-8):
        m = beta * m + (1 - beta) * g
        v = beta * v + (1 - beta) * g * g
        return x - lr * m / (sqrt(v) + eps), m, v

    expected = theory.iteration_matrix("averaged_momentum", 3.0, lr=0.1, beta=0.9)
    for mine in (before, shared):
        np.testing.assert_allclose(theory.iteration_matrix(mine, 3.0), expected, rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in rules.names() if n not in NOT_LINEAR])
@each_beta
def test_stability_limits_are_those_of_the_literature(name: str, beta: float) -> None:
    hyper = SETTLED.get(name, {}) | dict.fromkeys(memory_of(name), beta)
    expected = eval(LIMITS[name], {"b": beta})  # noqa: S307 - the formulas above
    for eigenvalue in (1e-200, 1e-3, 1.0, 40.0, 1e200):
        limit = theory.max_lr(name, eigenvalue, **hyper)
        assert limit == pytest.approx(expected / eigenvalue, rel=1e-11)


def test_the_table_of_limits_has_every_linear_rule() -> None:
    assert {*LIMITS, *NOT_LINEAR} == set(rules.names())


def test_weight_decay_lowers_the_limit_as_its_characteristic_polynomial_has_it() -> None:
    # z = −1 in z² − (1 + β − ηw − η(1−β)λ) z + β(1 − ηw): E4 with w = 0.
    for beta, decay, eigenvalue in ((0.9, 0.5, 2.0), (0.5, 10.0, 0.01), (0.0, 0.1, 1.0)):
        expected = (2 + 2 * beta) / ((1 - beta) * eigenvalue + (1 + beta) * decay)
        limit = theory.max_lr("adamw", eigenvalue, beta1=beta, weight_decay=decay)
        assert limit == pytest.approx(expected, rel=1e-11)


def test_limits_of_users_rules_are_where_their_matrix_has_a_root_on_the_unit_circle() -> None:
    mine = users_rules()
    for each in mine.values():
        limit = theory.max_lr(each, 2.0)
        sizes = [
            np.abs(np.linalg.eigvals(theory.iteration_matrix(each, 2.0, lr=limit * part))).max()
            for part in (0.01, 0.5, 0.999, 1.0, 1.001)
        ]
        assert max(sizes[:3]) < 1 < sizes[4]
        assert sizes[3] == pytest.approx(1, abs=1e-10)


def test_a_rule_without_limit_says_so() -> None:
    @rule("an implicit step for λ = 1")
    def implicit(g, x, *, t, lr=0.1):
        return x - lr / (1 + lr) * g

    @rule("ascent")
    def ascent(g, x, *, t, lr=0.1):
        return x + lr * g

    assert theory.max_lr(implicit, 1.0) == math.inf
    with pytest.raises(ValueError, match=r"^rule 'ascent' diverges at every lr$"):
        theory.max_lr(ascent, 1.0)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_radius_is_the_largest_eigenvalue(n: int) -> None:
    matrices = np.random.default_rng(n).normal(size=(6, 50, n, n))
    expected = np.abs(np.linalg.eigvals(matrices)).max(axis=-1)
    np.testing.assert_allclose(rates.radius(matrices), expected, rtol=1e-12)


def test_the_radius_is_exact_at_a_double_root() -> None:
    # General methods are off by 1e-8 here: the companion matrix of (z − 0.9)².
    assert rates.radius(np.array([[1.8, -0.81], [1.0, 0.0]])) == pytest.approx(0.9, abs=2e-8)
    assert rates.radius(np.array([[0.9, 1.0], [0.0, 0.9]])) == 0.9


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


@settings(max_examples=200, deadline=None, derandomize=True)
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


@pytest.mark.parametrize("name", [n for n in LIMITS if n not in {"adamw", *OWN_EIGENVALUES}])
def test_rules_with_the_same_eigenvalues_have_the_same_best(name: str) -> None:
    reference = {SGD: "sgd", HEAVY_BALL: "momentum", AVERAGED: "averaged_momentum"}
    best = theory.best(name, 0.5, 50.0, **SETTLED.get(name, {}))
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


@settings(max_examples=150, deadline=None, derandomize=True)
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


@pytest.mark.parametrize("name", ["momentum", "adam", "nesterov", "rmsprop"])
def test_a_map_is_the_rate_at_every_point(name: str) -> None:
    lrs, second = np.geomspace(0.01, 3, 7), np.array([0.9, 0.1, 0.5])
    other = (memory_of(name) or ["eps"])[0]
    found = theory.rate_map(name, [0.2, 4.0], over={"lr": lrs, other: second})
    expected = [[theory.rate(name, [0.2, 4], lr=a, **{other: b}) for b in second] for a in lrs]
    np.testing.assert_allclose(found.rate, expected, rtol=1e-14)
    assert list(found.over) == ["lr", other]
    np.testing.assert_array_equal(found.over[other], second)
    assert theory.rate(name, [0.2, 4.0], **found.best) == pytest.approx(found.rate.min())


def test_a_map_keeps_what_is_given_and_takes_three_states() -> None:
    mine = users_rules()["aggregated"]
    grid = {"beta": [0.3, 0.8], "beta1": [0.0, 0.5, 0.9]}
    found = theory.rate_map(mine, [1.0, 2.0], grid, lr=0.2)
    for i, beta in enumerate(grid["beta"]):
        for j, beta1 in enumerate(grid["beta1"]):
            expected = theory.rate(mine, [1.0, 2.0], lr=0.2, beta=beta, beta1=beta1)
            assert found.rate[i, j] == pytest.approx(expected, rel=1e-12)


def test_hyperparameters_on_a_grid_leave_one_matrix_per_point() -> None:
    each = rules.get("momentum")
    map_ = linearize(each, {"lr": np.array([[0.1], [0.2]]), "beta": np.array([0.5, 0.6, 0.7])})
    assert (map_.states, map_.A.shape, map_.b.shape) == (("v", "x"), (2, 3, 2, 2), (2, 3, 2))
    for (i, lr), (j, beta) in pairwise([(0, 0.1), (2, 0.7), (1, 0.2), (0, 0.5)]):
        if i < 2:
            expected = theory.iteration_matrix("momentum", 2.0, lr=lr, beta=beta)
            np.testing.assert_allclose(map_.matrix(2.0)[i, j], expected, rtol=1e-14)


def test_a_least_eigenvalue_of_0_is_not_positive() -> None:
    with pytest.raises(ValueError, match="must be positive definite, got the eigenvalue 0"):
        theory.precondition(np.diag([2.0, 0.0]))


@pytest.mark.parametrize("steps", [3, 6])
def test_an_accuracy_that_is_met_exactly_is_met(steps: int) -> None:
    assert theory.steps_to("sgd", [1.0], 0.5**steps, lr=0.5) == steps


def test_a_rule_that_diverges_at_small_rates_has_no_limit() -> None:
    @rule("this test")
    def growing(g, x, *, t, lr=1e-3):
        return 1.1 * x - lr * g

    with pytest.raises(ValueError, match="'growing' diverges at every lr"):
        theory.max_lr(growing, 1.0)


def test_eps_counts_where_there_is_no_preconditioner() -> None:
    @rule("this test")
    def damped(g, x, *, t, lr=1e-3, eps=0.5):
        return x - lr * (g + eps * x)

    assert theory.rate(damped, [1.0], lr=0.1) == pytest.approx(1 - 0.1 * (1 + 0.5))


def test_the_best_rate_holds_between_the_ends_of_the_spectrum() -> None:
    """This rule is slowest at a curvature between mu and L."""

    @rule("a sum of the gradients and a leaky sum of a leaky sum of them")
    def twice_averaged(g, x, v, w, *, t, lr=0.1, beta=0.9, k=0.5):
        v = beta * v + g
        w = beta * w + v
        return x - lr * (g + k * w), v, w

    found = theory.best(twice_averaged, 1.0, 30.0)
    inside = theory.rate(twice_averaged, np.geomspace(1.0, 30.0, 200), **found.hyper)
    assert inside == pytest.approx(found.rate, rel=2e-3)
