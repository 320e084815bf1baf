"""A step over all arrays, against the rule functions themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.own_rules import Arrays, random_problem, reference
from thalweg import rules, schedules
from thalweg.kernels import Step

RULES = rules.names("element-wise")


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 2e-14), ("float32", 1e-5)])
def test_a_step_is_the_rule_function(name: str, dtype: str, tolerance: float) -> None:
    of = rules.get(name)
    hyper = {"weight_decay": 0.1} if "weight_decay" in of.hyperparameters else {}
    arrays, gradients = random_problem(dtype)
    expected, states = reference(of, arrays, gradients, **hyper)
    step = Step(name, arrays, **hyper)
    for g in gradients:
        step(g)
    for i, array in enumerate(arrays):
        np.testing.assert_allclose(array, expected[i], rtol=tolerance, atol=tolerance)
        for state in of.state:
            np.testing.assert_allclose(
                step.state[state][i], states[i][state], rtol=20 * tolerance, atol=tolerance
            )
    for state in of.uniform_state:
        assert step.uniform_state[state] == pytest.approx(states[0][state], rel=1e-13)


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(RULES),
    sizes=st.lists(st.integers(0, 70), min_size=1, max_size=5),
    lr=st.floats(1e-6, 10.0),
    seed=st.integers(0, 1000),
)
def test_a_step_is_the_rule_function_at_any_size(
    name: str, sizes: list[int], lr: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(n) for n in sizes]
    gradients = [[rng.standard_normal(n) for n in sizes] for _ in range(3)]
    expected, _ = reference(rules.get(name), arrays, gradients, lr=lr)
    step = Step(name, arrays, lr=lr)
    for g in gradients:
        step(g)
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=1e-12, atol=1e-12)


def test_a_schedule_is_followed_and_may_reach_zero() -> None:
    x = np.array([1.0])
    step = Step("sgd", [x], lr=schedules.linear(1.0, steps=2))
    for _ in range(3):
        step([np.array([1.0])])
    assert x[0] == pytest.approx(1.0 - 1.0 - 0.5)


def test_hyperparameters_may_change_between_steps() -> None:
    x = np.zeros(1)
    step = Step("sgd", [x], lr=1.0)
    step([np.ones(1)])
    step.hyper["lr"] = 0.25
    step([np.ones(1)])
    assert x[0] == -1.25
    step.hyper["lr"] = -1.0
    with pytest.raises(ValueError, match=r"lr must be > 0, got -1\.0"):
        step([np.ones(1)])


@pytest.mark.parametrize(
    ("arrays", "gradients", "message"),
    [
        ([], [], "arrays must hold at least one array, got none"),
        (np.zeros(2), [], "arrays must be a list of NumPy arrays, got float64 in it"),
        ([np.zeros(2), np.zeros(2, np.float32)], [], "array 0 is float64, array 1 is float32"),
        ([np.zeros(2, np.int64)], [], "dtype must be float32 or float64, got int64"),
        ([np.zeros((4, 4))[:, ::2]], [], "array 0 must be C-contiguous and writable"),
        ([np.zeros(2)], [np.zeros(2), np.zeros(2)], "expected 1 gradients, got 2"),
        (
            [np.zeros(2)],
            [np.zeros(3)],
            r"gradient 0 must be float64\[2\] like its parameter, got float64\[3\]",
        ),
        ([np.zeros(2)], [np.zeros(4)[::2]], "gradient 0 must be C-contiguous"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    arrays: Arrays, gradients: Arrays, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Step("sgd", arrays)(gradients)
