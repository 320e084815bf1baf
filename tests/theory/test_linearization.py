"""Iteration matrices against the literature, and against what the rules themselves do."""

# ruff: noqa: ANN001, ANN202 - the rules declared here are equations, as in thalweg.rules
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import ortho_group

from thalweg import descend, problems, rules, theory
from thalweg.elementwise import maximum, sqrt
from thalweg.rule import rule
from thalweg.theory.linearization import linearize, parities
from theory.literature import each_beta, users_rules

each_eigenvalue = pytest.mark.parametrize("eigenvalue", [0.2, 4.0])
USERS = ("quasi_hyperbolic", "aggregated", "chained", "optional")


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


def test_hyperparameters_on_a_grid_leave_one_matrix_per_point() -> None:
    each = rules.get("momentum")
    map_ = linearize(each, {"lr": np.array([[0.1], [0.2]]), "beta": np.array([0.5, 0.6, 0.7])})
    assert (map_.states, map_.A.shape, map_.b.shape) == (("v", "x"), (2, 3, 2, 2), (2, 3, 2))
    for (i, lr), (j, beta) in pairwise([(0, 0.1), (2, 0.7), (1, 0.2), (0, 0.5)]):
        if i < 2:
            expected = theory.iteration_matrix("momentum", 2.0, lr=lr, beta=beta)
            np.testing.assert_allclose(map_.matrix(2.0)[i, j], expected, rtol=1e-14)


def test_eps_counts_where_there_is_no_preconditioner() -> None:
    @rule("this test")
    def damped(g, x, *, t, lr=1e-3, eps=0.5):
        return x - lr * (g + eps * x)

    assert theory.rate(damped, [1.0], lr=0.1) == pytest.approx(1 - 0.1 * (1 + 0.5))


def test_factors_of_matrices_are_even_and_what_carries_gradients_is_odd() -> None:
    assert parities(rules.soap) == (("m",), ("v", "L", "R", "P", "Q"))
    assert parities(rules.shampoo) == ((), ("L", "R"))
    assert parities(rules.adafactor) == ((), ("r", "c"))
    assert parities(rules.came)[1][:2] == ("r", "c")


def test_soap_with_its_factors_held_is_its_matrix_in_their_coordinates() -> None:
    """On tr(XᵀAXB)/2 with P and Q the eigenvectors of A and B, and v held: λ = a b / √v each."""
    random = np.random.default_rng(0)
    P, Q = ortho_group.rvs(3, random_state=1), ortho_group.rvs(2, random_state=2)
    a, b, root = np.array([1.0, 4.0, 9.0]), np.array([0.5, 2.0]), random.uniform(1, 3, (3, 2))
    A, B = P * a @ P.T, Q * b @ Q.T
    hyper = rules.soap.defaults | {"lr": 0.02, "weight_decay": 0.0, "eps": 0.0, "beta2": 1 - 1e-13}
    x, m = random.normal(size=(3, 2)), random.normal(size=(3, 2))
    state = {"m": m, "v": root**2, "L": A, "R": B, "P": P, "Q": Q}
    settled = linearize(rules.soap, hyper | {"beta2": 0.95})  # whatever that is
    expected = np.stack([m, root * (P.T @ x @ Q)], axis=-1)  # in units of P⁻¹H
    M = settled.matrix(a[:, None] * b / root)
    t = 2**40 + 1  # no step of QR
    for _ in range(6):
        state["v"], state["P"], state["Q"] = root**2, P, Q
        scale = np.sqrt(1 - hyper["beta2"] ** (t - 1))
        x, state = rules.soap.advance(
            A @ x @ B, x, state, t=t, hyper=hyper | {"lr": hyper["lr"] / scale}
        )
        expected = np.einsum("ijkl,ijl->ijk", M, expected)
    np.testing.assert_allclose(root * (P.T @ x @ Q), expected[..., -1], rtol=1e-9)


def test_what_is_said_of_a_step_of_muon_is_true() -> None:
    random = np.random.default_rng(1)
    hyper = rules.muon.defaults | {"lr": 0.1, "weight_decay": 0.0}
    for size in (1e-3, 1.0, 1e3):
        for shape in ((4, 4), (3, 8), (8, 3)):
            x, g = np.zeros(shape), size * random.normal(size=shape)
            moved, _ = rules.muon.advance(g, x, {"m": 0.0}, t=1, hyper=hyper)
            share = np.linalg.norm(moved, 2) / (0.1 * 0.2 * max(shape) ** 0.5)
            assert 0.68 < share < 1.21
    with pytest.raises(ValueError, match=r"spectral norm is 0\.2 lr √max\(rows, columns\)"):
        theory.iteration_matrix("muon", 1.0)
