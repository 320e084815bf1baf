"""Descents against closed forms: powers of 1 − ηλ and of the heavy ball's matrix, variances."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ortho_group

from thalweg import problems, rules, schedules
from thalweg.descent import descend
from thalweg.problems import Problem


def test_gradient_descent_shrinks_each_eigen_coordinate_by_its_own_factor() -> None:
    spectrum = 2.0 ** -np.arange(6)
    R = ortho_group.rvs(6, random_state=np.random.default_rng(1))
    problem = problems.quadratic(spectrum, rotation=R, linear=np.arange(6.0), offset=3.0)
    trace = descend(problem, "sgd", np.full(6, 2.0), steps=50, lr=1.5)
    t = np.arange(51)[:, None]
    start = R.T @ (np.full(6, 2.0) - problem.minimizer)
    expected = start * (1 - 1.5 * spectrum) ** t
    np.testing.assert_allclose((trace.x - problem.minimizer) @ R, expected, atol=1e-11)
    np.testing.assert_allclose(trace.f, problem.minimum + (expected**2 @ spectrum) / 2, rtol=1e-12)
    norms = np.linalg.norm(expected * spectrum, axis=1)
    np.testing.assert_allclose(trace.gradient_norm, norms, atol=1e-11)
    assert trace.diverged_at == 0
    assert trace.end == "finished"


@pytest.mark.parametrize(("lr", "beta"), [(0.6, 0.5), (0.1, 0.9), (0.3, 0.25)])
def test_the_heavy_ball_is_a_power_of_its_matrix(lr: float, beta: float) -> None:
    trace = descend("stretched_bowl", "momentum", steps=30, lr=lr, beta=beta)
    for axis, eigenvalue in enumerate([0.2, 4.0]):
        # (v, x) after a step: MISSION E2's matrix.
        matrix = np.array([[beta, eigenvalue], [-lr * beta, 1 - lr * eigenvalue]])
        for t in (1, 2, 7, 30):
            _, x = np.linalg.matrix_power(matrix, t) @ [0.0, trace.x[0, axis]]
            assert trace.x[t, axis] == pytest.approx(x, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("spectrum", [(2.0, 4.0), (0.2, 4.0)])
def test_the_bowls_are_descended_as_by_hand(spectrum: tuple[float, float]) -> None:
    x, y = -5.0, -2.0
    trace = descend(problems.quadratic(spectrum), "sgd", (x, y), lr=0.1)
    for point in trace.x:
        np.testing.assert_allclose(point, [x, y], rtol=1e-13)
        x, y = x - 0.1 * spectrum[0] * x, y - 0.1 * spectrum[1] * y
    assert trace.x.shape == (21, 2)
    assert trace.f.shape == trace.gradient_norm.shape == (21,)


@pytest.mark.parametrize(
    ("problem", "rule", "hyper", "end"),
    [
        # What the bowls' source prints as the end of 20 steps, to six decimals.
        ("stretched_bowl", "sgd", {"lr": 0.4}, (-0.943467, -0.000073)),
        ("stretched_bowl", "sgd", {"lr": 0.6}, (-0.387814, -1673.365109)),
        ("stretched_bowl", "momentum", {"lr": 0.6, "beta": 0.5}, (0.007188, 0.002553)),
        ("stretched_bowl", "momentum", {"lr": 0.6, "beta": 0.25}, (-0.126340, -0.186632)),
        ("stretched_bowl", "adagrad", {"lr": 0.4}, (-2.382563, -0.158591)),
        ("stretched_bowl", "adagrad", {"lr": 2.0}, (-0.002295, 0.0)),
    ],
)
def test_the_bowls_end_where_their_source_prints(
    problem: str, rule: str, hyper: dict[str, float], end: tuple[float, float]
) -> None:
    # Its adagrad has eps = 1e-6 under the root: no more than one in the last digit.
    np.testing.assert_allclose(descend(problem, rule, **hyper).x[-1], end, atol=1.01e-6)


@pytest.mark.parametrize("name", rules.names("element-wise"))
def test_every_rule_takes_the_steps_of_its_own_equation(name: str) -> None:
    rule = rules.get(name)
    trace = descend("bowl", rule, steps=15)
    # The same path, one coordinate at a time, in floats.
    for axis, eigenvalue in enumerate([2.0, 4.0]):
        x = [-5.0, -2.0][axis]
        state: list[Any] = [rule.start_of(s, rule.defaults) for s in rule.state]
        extra = {s: rule.start_of(s, rule.defaults) for s in rule.uniform_state}
        for t in range(1, 16):
            result = rule(eigenvalue * x, x, *state, t=t, **extra, **rule.defaults)
            x, *new = result if state or extra else (result,)
            state, last = new[: len(state)], new[len(state) :]
            extra = dict(zip(extra, last, strict=True))
            assert trace.x[t, axis] == pytest.approx(x, rel=1e-12)
    assert trace.hyper == rule.defaults
    assert trace.rule is rule


def test_a_hyperparameter_may_be_a_schedule() -> None:
    schedule = schedules.inverse_time(0.25)
    trace = descend("bowl", "sgd", lr=schedule)
    factors = np.cumprod([1 - 0.25 / (t + 1) * 2.0 for t in range(20)])
    np.testing.assert_allclose(trace.x[1:, 0], -5.0 * factors, rtol=1e-12)
    assert trace.hyper["lr"] is schedule
    by_hand = descend("bowl", "sgd", lr=lambda t: 0.25 / (t + 1))
    np.testing.assert_allclose(by_hand.x, trace.x, rtol=1e-14)
    beta = descend("bowl", "momentum", lr=0.1, beta=lambda t: 0.0)  # noqa: ARG005
    np.testing.assert_allclose(beta.x, descend("bowl", "sgd", lr=0.1).x, rtol=1e-14)


def test_a_rate_may_fall_to_rest() -> None:
    trace = descend("bowl", "adam", steps=9, lr=schedules.linear(0.5, steps=4))
    assert np.abs(np.diff(trace.x[:5], axis=0)).min() > 0
    np.testing.assert_array_equal(trace.x[5:], trace.x[[4] * 5])


def test_noise_is_gaussian_of_the_given_deviation_and_seeded() -> None:
    still = problems.quadratic(np.zeros(500), start=np.zeros(500))
    trace = descend(still, "sgd", steps=400, lr=1.0, noise=0.3, seed=7)
    drawn = -np.diff(trace.x, axis=0).ravel()  # 200,000 of them
    assert abs(drawn.mean()) < 4 * 0.3 / math.sqrt(drawn.size)
    assert drawn.std() == pytest.approx(0.3, rel=4 / math.sqrt(2 * drawn.size))
    kurtosis = np.mean(drawn**4) / drawn.var() ** 2
    assert kurtosis == pytest.approx(3.0, abs=4 * math.sqrt(24 / drawn.size))
    again = descend(still, "sgd", steps=400, lr=1.0, noise=0.3, seed=7)
    np.testing.assert_array_equal(again.x, trace.x)
    other = descend(still, "sgd", steps=400, lr=1.0, noise=0.3, seed=8)
    assert not np.allclose(other.x, trace.x)


def test_values_and_gradient_norms_are_exact_under_noise() -> None:
    problem = problems.get("rosenbrock")
    trace = descend(problem, "adam", lr=0.1, noise=5.0)
    np.testing.assert_allclose(trace.f, problem.value(trace.x), rtol=1e-13)
    norms = np.linalg.norm(problem.gradient(trace.x), axis=1)
    np.testing.assert_allclose(trace.gradient_norm, norms, rtol=1e-13)


def test_gradient_noise_leaves_the_floor_that_theory_predicts() -> None:
    # E f -> ησ²/(2(2 − ηλ)) per coordinate (MISSION E7), here over 400 coordinates.
    lr, eigenvalue, noise = 0.5, 2.0, 0.1
    problem = problems.quadratic(np.full(400, eigenvalue))
    trace = descend(problem, "sgd", steps=600, lr=lr, noise=noise)
    floor = 400 * lr * noise**2 / (2 * (2 - lr * eigenvalue))
    assert trace.f[100:].mean() == pytest.approx(floor, rel=0.02)


def test_a_diverging_descent_ends_quietly_at_its_step() -> None:
    # |1 − ηλ| = 9: f = 2·2²·9^(2t) passes 1.8e308 at t = 161.
    trace = descend("bowl", "sgd", steps=400, lr=2.5)
    assert trace.diverged_at == 1 + math.floor((math.log(1.797e308 / 8)) / (2 * math.log(9)))
    assert np.isfinite(trace.f[: trace.diverged_at]).all()
    assert np.isnan(trace.f[trace.diverged_at + 1 :]).all()
    assert np.isnan(trace.x[trace.diverged_at + 1 :]).all()
    assert trace.x.shape == (401, 2)
    assert trace.end == "diverged"


@pytest.mark.parametrize("name", rules.names("element-wise", "sums"))
def test_no_rule_warns_when_it_diverges(name: str) -> None:
    trace = descend("rosenbrock", name, [1e50, 1e50], steps=50, lr=1e50)
    rows = np.column_stack([trace.x, trace.f, trace.gradient_norm])
    last = trace.diverged_at or 51
    assert np.isfinite(rows[:last]).all()
    assert not np.isfinite(rows[last : last + 1]).all(axis=1).any()
    assert np.isnan(rows[last + 1 :]).all()


def test_a_descent_stops_at_its_tolerance() -> None:
    # g = 2·5·2^(−t) along x₁ alone: less than 1e-3 first at t = 14.
    trace = descend("bowl", "sgd", [-5.0, 0.0], steps=100, lr=0.25, tolerance=1e-3)
    assert trace.end == "converged"
    assert trace.x.shape == (15, 2)
    np.testing.assert_allclose(trace.gradient_norm, 10 * 0.5 ** np.arange(15), rtol=1e-14)
    np.testing.assert_array_equal(trace.f, trace.problem.value(trace.x))
    assert descend("bowl", "sgd", [0.0, 0.0], tolerance=1e-9).x.tolist() == [[0.0, 0.0]]
    assert descend("bowl", "sgd", [0.0, 0.0]).end == "finished"
    just = descend("bowl", "sgd", [-5.0, 0.0], steps=14, lr=0.25, tolerance=1e-3)
    assert just.end == "converged"


def test_the_last_state_is_kept() -> None:
    trace = descend("stretched_bowl", "momentum", lr=0.3, beta=0.5)
    np.testing.assert_allclose(trace.state["v"], (trace.x[-2] - trace.x[-1]) / 0.3, rtol=1e-12)


def marked_parts(n: int) -> Problem:
    """Return a sum in which one step of part i lowers x_i by the rate and moves nothing else."""
    parts = [problems.quadratic(np.zeros(n), linear=axis) for axis in np.eye(n)]
    return problems.finite_sum(parts)


def parts_drawn(sampling: str, n: int, epochs: int, seed: int = 0) -> Any:
    trace = descend(
        marked_parts(n), "sgd", steps=n * epochs, lr=1.0, batch_size=1, sampling=sampling, seed=seed
    )
    moved = -np.diff(trace.x, axis=0)
    np.testing.assert_array_equal(np.sort(moved)[:, :-1], 0)  # one part each step
    return moved.argmax(axis=1).reshape(epochs, n)


def test_parts_are_drawn_as_the_sampling_says() -> None:
    n, epochs = 12, 150
    np.testing.assert_array_equal(parts_drawn("sequential", n, 3), [np.arange(n)] * 3)
    shuffled = parts_drawn("shuffle", n, epochs)
    np.testing.assert_array_equal(np.sort(shuffled), [np.arange(n)] * epochs)
    assert len(np.unique(shuffled, axis=0)) == epochs  # a fresh order each
    drawn = parts_drawn("replacement", n, epochs)
    missed = [n - len(set(epoch)) for epoch in drawn.tolist()]
    expected = n * (1 - 1 / n) ** n
    error = np.std(missed) / math.sqrt(epochs)
    assert abs(np.mean(missed) - expected) < 3 * error
    for sampling in ("shuffle", "replacement"):
        first, again, other = (parts_drawn(sampling, n, 2, seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_the_last_batch_of_an_epoch_is_smaller() -> None:
    trace = descend(
        marked_parts(5), "sgd", np.zeros(5), steps=4, lr=1.0, batch_size=2, sampling="sequential"
    )
    steps = [[0.5, 0.5, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 1], [0.5, 0.5, 0, 0, 0]]
    np.testing.assert_array_equal(-np.diff(trace.x, axis=0), steps)


def test_a_batch_of_all_parts_is_the_full_gradient() -> None:
    # MISSION A1: the same estimator from B = 1 to B = n.
    for problem in (problems.noisy_sum(problems.rosenbrock(), 30), problems.sigmoid_fit()):
        n = len(problem.parts)
        full, all_parts = (descend(problem, "adam", lr=0.1, batch_size=b) for b in (None, n))
        np.testing.assert_allclose(all_parts.x, full.x, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 4, 16])
@pytest.mark.parametrize("sampling", ["shuffle", "replacement"])
def test_a_batchs_gradient_is_unbiased_and_its_error_falls_as_its_root(
    sampling: str, batch_size: int
) -> None:
    # MISSION A1. The problem is flat, so that every step of rate 1 is the batch's error.
    n, d, steps, noise = 64, 50, 1600, 0.7
    still = problems.noisy_sum(problems.quadratic(np.zeros(d)), n, noise=noise)
    trace = descend(still, "sgd", steps=steps, lr=1.0, batch_size=batch_size, sampling=sampling)
    errors = -np.diff(trace.x, axis=0)
    variance = noise**2 / batch_size
    if sampling == "shuffle":
        variance *= (n - batch_size) / (n - 1)
        epoch = errors.reshape(-1, n // batch_size, d).sum(axis=1)
        np.testing.assert_allclose(epoch, 0, atol=1e-12)  # each part once
    assert np.abs(errors.mean(axis=0)).max() < 4 * math.sqrt(variance / steps)
    # The bound is that of Gaussians; the parts' lengths differ less than theirs.
    assert np.mean(errors**2) == pytest.approx(variance, rel=4 * math.sqrt(2 / (steps * d)))


def test_batches_are_the_same_for_every_rule() -> None:
    still = problems.noisy_sum(problems.quadratic([0.0, 0.0]), 10)
    sgd, heavy = (descend(still, rule, batch_size=3, lr=1.0) for rule in ("sgd", "momentum"))
    velocity = -np.diff(heavy.x, axis=0)
    g = velocity - 0.9 * np.vstack([[0.0, 0.0], velocity[:-1]])
    np.testing.assert_allclose(g, -np.diff(sgd.x, axis=0), atol=1e-14)


def test_a_descent_stays_in_its_domain() -> None:
    # Full gradients: g = 10/101, so that x falls by ηg a step until −1 stops it.
    trace = descend("reddi", "sgd", steps=30, lr=0.5, tolerance=1e-12)
    expected = np.maximum(-0.5 * np.arange(22) * 10 / 101, -1)
    np.testing.assert_allclose(trace.x[:, 0], expected, rtol=1e-12)
    assert trace.end == "converged"
    np.testing.assert_allclose(trace.gradient_norm[:-3], 10 / 101)
    assert trace.gradient_norm[-1] == 0
    up = descend("reddi", "sgd", steps=1, lr=1.0, batch_size=1, sampling="sequential")
    assert up.x.tolist() == [[0.0], [-1.0]]


def test_the_average_weighs_points_by_their_rate() -> None:
    schedule = schedules.inverse_time(0.25)
    trace = descend("stretched_bowl", "sgd", steps=10, lr=schedule)
    assert trace.average.shape == trace.x.shape
    assert trace.average[0].tolist() == trace.x[0].tolist()
    for t in range(1, 11):
        weights = [0.25 / (s + 1) for s in range(t)]
        expected = np.average(trace.x[:t], axis=0, weights=weights)
        np.testing.assert_allclose(trace.average[t], expected, rtol=1e-13)
    newton = descend("stretched_bowl", "bfgs", steps=4)  # no rate
    np.testing.assert_allclose(newton.average[4], newton.x[:4].mean(axis=0))
    late = descend("bowl", "sgd", steps=3, lr=schedules.linear(0.0, 2, final=0.1))
    np.testing.assert_array_equal(late.average[:2], late.x[[0, 0]])
    diverged = descend("bowl", "sgd", steps=400, lr=2.5)
    assert np.isnan(diverged.average[-1]).all()


@pytest.mark.parametrize("schedule", [0.05, schedules.polynomial(0.5), schedules.constant(2.0)])
def test_the_average_keeps_the_bound_of_convex_functions(schedule: Any) -> None:
    # MISSION E6: f(x̄) − f* <= (r² + L²Ση²)/(2Ση) on √(1 + ‖x‖²), of slope less than L = 1.
    def length(x: Any) -> Any:
        return np.sqrt(1 + np.sum(x**2, axis=-1))

    problem = replace(
        problems.bowl(), value=length, gradient=lambda x: x / length(x)[..., None], minimum=1.0
    )
    trace = descend(problem, "sgd", [3.0, -4.0], steps=200, lr=schedule)
    rates = schedules.values(schedule, np.arange(200))
    bound = (25 + np.cumsum(rates**2)) / (2 * np.cumsum(rates))
    excess = problem.value(trace.average[1:]) - 1
    assert (excess <= bound).all()
    assert excess[-1] < 0.5 * excess[0]


def test_adam_fails_where_amsgrad_and_yogi_converge() -> None:
    # Reddi, Kale & Kumar 2018, section 5, with its beta1, beta2 and rate falling as 1/√t: f is
    # least at −1. Yogi's v grows to 1010², AMSGrad's to about 126²: hence its larger rate.
    end = {}
    for rule, rate in [("adam", 4.0), ("amsgrad", 4.0), ("yogi", 40.0)]:
        trace = descend(
            "reddi", rule, steps=10_100, lr=schedules.inverse_sqrt(rate), beta1=0.9, beta2=0.99,
            batch_size=1, sampling="sequential",
        )  # fmt: skip
        assert np.abs(trace.x).max() <= 1
        end[rule] = trace.x[-101:].mean()  # the last epoch
    assert end["adam"] > 0.8
    assert end["amsgrad"] < -0.6
    assert end["yogi"] < -0.4


@pytest.mark.parametrize(
    ("rule", "turns"),
    [("sgd", True), ("momentum", True), ("nesterov", True), ("adagrad", False), ("adam", False)],
)
def test_paths_of_linear_rules_turn_with_their_bowl_and_of_adaptive_ones_do_not(
    rule: str, *, turns: bool
) -> None:
    upright, turned = problems.get("stretched_bowl"), problems.get("rotated_bowl")
    R = np.array([[1, -1], [1, 1]]) / math.sqrt(2)
    path = descend(upright, rule, lr=0.2).x @ R.T
    other = descend(turned, rule, R @ upright.start, lr=0.2).x
    apart = np.abs(path - other).max()
    assert apart < 1e-12 if turns else apart > 0.5


NO_PARTS = (
    "batch_size needs a problem with parts, and 'bowl' has none: take one of noisy_bowl, "
    "sigmoid_fit, reddi, or make one with problems.finite_sum or problems.noisy_sum"
)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("bwl", "sgd"), ValueError, "unknown problem 'bwl'; did you mean bowl?"),
        ((3, "sgd"), TypeError, "a problem must be a Problem or the name of one, got 3"),
        (("bowl", 3), TypeError, "a rule must be a Rule or the name of one, got 3"),
        (
            ("bowl", "muon"),
            ValueError,
            (
                "a rule of matrices steps no tensor of shape (2,), but those of a torch module: "
                "thalweg.optim.Descent(model, rule, otherwise='adamw') steps its vectors by another"
            ),
        ),
        (("bowl", "adm"), ValueError, "unknown rule 'adm'; did you mean adam, radam, nadam?"),
        (
            ("bowl", "sgd", [1.0]),
            ValueError,
            "x0 must have shape (2,), as problem 'bowl' has, got (1,)",
        ),
        (("bowl", "sgd", "a"), ValueError, "x0 must be numbers, got 'a'"),
        (
            ("bowl", "sgd", [np.inf, 0.0]),
            ValueError,
            "x0 and f(x0) must be finite, got f([inf, 0.0]) = nan",
        ),
        (
            ("bowl", "sgd", [1e200, 0.0]),
            ValueError,
            "x0 and f(x0) must be finite, got f([1e+200, 0.0]) = inf",
        ),
        (("bowl", "sgd", None, {"steps": 0}), ValueError, "steps must be an integer >= 1, got 0"),
        (("bowl", "sgd", None, {"noise": -1}), ValueError, "noise must be >= 0, got -1"),
        (("bowl", "sgd", None, {"lr": -0.1}), ValueError, "lr must be > 0, got -0.1"),
        (("bowl", "sgd", None, {"lr": 0}), ValueError, "lr must be > 0, got 0"),
        (
            ("bowl", "sgd", None, {"lr": schedules.linear(0.5, 4, final=-0.5)}),
            ValueError,
            "lr must be >= 0, got -0.25 from its schedule at step 3",
        ),
        (
            ("bowl", "momentum", None, {"beta": lambda t: t / 4}),
            ValueError,
            "beta must be in [0, 1), got 1.0 from its schedule at step 4",
        ),
        (
            ("bowl", "sgd", None, {"beta": 0.9}),
            TypeError,
            "rule 'sgd' has no hyperparameter 'beta'; it has: lr",
        ),
        (("bowl", "sgd", None, {"lr": "fast"}), TypeError, "lr must be a number, got 'fast'"),
        (
            ("bowl", "sgd", None, {"steps": 2.5}),
            ValueError,
            "steps must be an integer >= 1, got 2.5",
        ),
        (("bowl", "sgd", None, {"tolerance": -1}), ValueError, "tolerance must be >= 0, got -1"),
        (
            ("bowl", "sgd", None, {"batch_size": 2}),
            ValueError,
            NO_PARTS,
        ),
        (
            ("sigmoid_fit", "sgd", None, {"batch_size": 10}),
            ValueError,
            "batch_size must be an integer in [1, 9], the number of parts, got 10",
        ),
        (
            ("sigmoid_fit", "sgd", None, {"batch_size": 0}),
            ValueError,
            "batch_size must be an integer in [1, 9], the number of parts, got 0",
        ),
        (
            ("bowl", "sgd", None, {"sampling": "random"}),
            ValueError,
            "sampling must be one of shuffle, replacement, sequential, got 'random'",
        ),
        (
            ("reddi", "sgd", [2.0]),
            ValueError,
            "x0 must be in the domain of problem 'reddi', from [-1.0] to [1.0], got [2.0]",
        ),
    ],
)
def test_what_cannot_be_descended_is_refused(
    arguments: Any, error: type[Exception], message: str
) -> None:
    *positional, keywords = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(error) as refusal:
        descend(*positional, **keywords)
    assert str(refusal.value) == message


def test_what_a_users_rule_does_wrong_is_told() -> None:
    def deciding(g, x, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return x - lr if g > 0 else x + lr

    def forgetting(g, x, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        x - lr * g

    def undeclared(g, x, *, t, rate):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return x - rate * g

    with pytest.raises(ValueError, match="keyword without a default is a state, as rate here"):
        descend("bowl", rules.rule("a rate without a default")(undeclared))
    with pytest.raises(ValueError, match=r"test_descent.py:\d+: rule 'deciding' .* where\(test"):
        descend("bowl", rules.rule("a test of g")(deciding))
    with pytest.raises(ValueError, match=r"'forgetting' must return an x of shape \(2,\), got No"):
        descend("bowl", rules.rule("no return")(forgetting))
