"""The compiled training of linear models, against a plain loop over the rule functions."""

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression, Ridge

from thalweg import rules, schedules
from thalweg.kernels.cpu.vector import LANES
from thalweg.linear import train, train_on
from thalweg.linear.examples import Examples
from thalweg.linear.stream import orders, stream

LOSSES = {"squared": 1, "logistic": 1, "softmax": 4}
Data = tuple[NDArray[Any], NDArray[Any]]


def data(loss: str, n: int = 53, d: int = 5, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    if loss == "squared":
        return X, X @ rng.standard_normal(d) + rng.standard_normal(n)
    codes = rng.integers(0, 2 if loss == "logistic" else LOSSES[loss], n)
    codes[:4] = [0, 1, 0, 1] if loss == "logistic" else range(4)
    return X, codes


def loss_and_residual(loss: str, z: NDArray[Any], y: NDArray[Any]) -> Data:
    """Mean loss and its derivative in the outputs, by SciPy; logistic as a softmax of (0, z)."""
    if loss == "squared":
        r = z - y[:, None]
        return (r**2).mean() / 2, r
    two = np.concatenate([np.zeros_like(z), z], axis=1) if loss == "logistic" else z
    codes = y.astype(int)
    r = softmax(two, axis=1) - np.eye(two.shape[1])[codes]
    mean = -log_softmax(two, axis=1)[np.arange(len(y)), codes].mean()
    return mean, r[:, -1:] if loss == "logistic" else r


def plain_loop(  # noqa: PLR0917 - as the settings of one training
    X: NDArray[Any], y: NDArray[Any], loss: str, rule: str, w: NDArray[Any],
    epochs: int, batch_size: int, l2: float, hyper: dict[str, Any],
) -> tuple[NDArray[Any], list[float]]:  # fmt: skip
    """Train on rows in their order, and judge at the rule's answer; X ends in a column of ones."""
    of = rules.get(rule)
    numbers = of.resolve({n: v for n, v in hyper.items() if not callable(v)})
    state = of.first_state(w, numbers | {n: v(0) for n, v in hyper.items() if callable(v)})
    penalty = np.full(w.shape, l2)
    penalty[-1] = 0
    losses = [loss_and_residual(loss, X @ w, y)[0]]
    t = 0
    for _ in range(epochs):
        for first in range(0, len(X), batch_size):
            rows = slice(first, first + batch_size)
            r = loss_and_residual(loss, X[rows] @ w, y[rows])[1]
            g = X[rows].T @ r / len(r) + penalty * w
            now = numbers | {n: v(t) for n, v in hyper.items() if callable(v)}
            t += 1
            w, state = of.advance(g, w, state, t=t, hyper=now)
        answer = of.answer_at(w, state, now)
        losses.append(loss_and_residual(loss, X @ answer, y)[0])
    return answer, losses


def assert_is_plain_loop(loss: str, rule: str, batch_size: int = 10, **hyper: Any) -> None:
    X, y = data(loss)
    w = np.random.default_rng(1).standard_normal((6, LOSSES[loss])) * 0.3
    fit = train(
        X, y, loss=loss, rule=rule, epochs=3, batch_size=batch_size, sampling="sequential",
        l2=0.1, dtype="float64", initial=w, validation=(X, y), **hyper,
    )  # fmt: skip
    ones = np.column_stack([X, np.ones(len(X))])
    wanted, losses = plain_loop(ones, y, loss, rule, w, 3, batch_size, 0.1, hyper)
    np.testing.assert_allclose(fit.coef[0], wanted[:-1].T, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(fit.intercept[0], wanted[-1], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(fit.train_loss[:, 0], losses, rtol=1e-11)
    np.testing.assert_allclose(fit.validation_loss[:, 0], losses, rtol=1e-11)


@pytest.mark.parametrize("rule", rules.names("element-wise"))
@pytest.mark.parametrize("loss", LOSSES)
def test_a_training_is_the_plain_loop(loss: str, rule: str) -> None:
    assert_is_plain_loop(loss, rule)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batch_size", [1, 2, 7, 52, 53])
def test_at_any_batch_size(loss: str, batch_size: int) -> None:
    assert_is_plain_loop(loss, "adam", batch_size)


@pytest.mark.parametrize("rule", ["sgd", "adam", "nadam", "rprop"])
def test_any_hyperparameter_may_be_a_schedule(rule: str) -> None:
    hyper: dict[str, Any] = {"lr": schedules.warmup(schedules.cosine(0.1, steps=15), steps=4)}
    if "beta1" in rules.get(rule).hyperparameters:
        hyper["beta1"] = lambda step: 0.5 + 0.02 * step  # a callable of the user's own
    assert_is_plain_loop("squared", rule, **hyper)


@dataclass
class Falling:
    """A schedule of a user's own that, like any dataclass, cannot be hashed."""

    rate: float

    def __call__(self, step: int) -> float:
        return self.rate / (step + 1)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_schedule_need_not_be_hashable(wrapped: bool) -> None:  # noqa: FBT001 - a row of the table
    falling = Falling(0.1)
    assert_is_plain_loop("squared", "sgd", lr=schedules.warmup(falling, 3) if wrapped else falling)


class Labelled:
    """Values with an index of labels, as a column of a data frame has them."""

    def __init__(self, by_label: dict[int, float]) -> None:
        self.by_label = by_label

    def __len__(self) -> int:
        return len(self.by_label)

    def __iter__(self) -> Iterator[float]:
        return iter(self.by_label.values())

    def __getitem__(self, label: int) -> float:
        return self.by_label[label]

    def __array__(self, *args: Any, **kwargs: Any) -> NDArray[Any]:
        return np.array([*self], *args, **kwargs)


@pytest.mark.parametrize("labels", [(2, 0, 1), (5, 6, 7)])
def test_lanes_follow_the_order_of_values_not_their_labels(labels: tuple[int, ...]) -> None:
    X, y = data("squared")
    rates = [0.001, 0.1, 0.3]
    labelled: Any = Labelled(dict(zip(labels, rates, strict=True)))
    fits = [train(X, y, rule="sgd", epochs=2, lr=lr) for lr in (labelled, rates)]
    np.testing.assert_array_equal(fits[0].coef, fits[1].coef)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 150),
    d=st.integers(1, 9),
    k=st.integers(1, 5),
    batch=st.integers(1, 150),
    intercept=st.booleans(),
    seed=st.integers(0, 99),
)
def test_full_gradient_of_any_shape(  # noqa: PLR0917 - Hypothesis passes by name
    n: int,
    d: int,
    k: int,
    batch: int,
    intercept: bool,  # noqa: FBT001
    seed: int,
) -> None:
    """One sequential epoch of SGD is a chain of exact minibatch gradients, whatever the tiles."""
    rng = np.random.default_rng(seed)
    loss, lr = ("softmax", 0.5) if k > 1 else ("squared", 0.02)
    X, y = rng.standard_normal((n, d)), rng.integers(0, k, n)
    y[0] = k - 1
    w = rng.standard_normal((d + intercept, k))
    batch = min(batch, n)
    fit = train(
        X, y, loss=loss, rule="sgd", lr=lr, epochs=1, batch_size=batch,
        sampling="sequential", dtype="float64", initial=w, intercept=intercept,
    )  # fmt: skip
    table = np.column_stack([X, np.ones(n)]) if intercept else X
    for first in range(0, n, batch):
        rows = table[first : first + batch]
        r = loss_and_residual(loss, rows @ w, y[first : first + batch])[1]
        w = w - lr * rows.T @ r / len(rows)
    np.testing.assert_allclose(fit.coef[0], w[:d].T, rtol=1e-10, atol=1e-12)


def test_a_lane_does_not_depend_on_its_neighbours_nor_on_threads() -> None:
    X, y = data("softmax", n=200)
    rates = np.geomspace(1e-3, 1e3, 2 * LANES + 3)

    def run(lr: Any, threads: int) -> Any:
        return train(X, y, loss="softmax", rule="adam", epochs=4, lr=lr, threads=threads, seed=5)

    together = run(rates, 2)
    for other in (run(rates, 1), run(rates[::-1], 3)):
        order = (
            slice(None) if other.coef[0, 0, 0] == together.coef[0, 0, 0] else slice(None, None, -1)
        )
        np.testing.assert_array_equal(other.coef[order], together.coef)
    for lane in (0, LANES, 2 * LANES + 2):
        alone = run([rates[lane]], 1)
        np.testing.assert_array_equal(alone.coef[0], together.coef[lane])
        np.testing.assert_array_equal(alone.train_loss[:, 0], together.train_loss[:, lane])


def test_a_diverged_lane_is_marked_and_its_neighbours_never_notice() -> None:
    X, y = data("squared", n=40)
    rates = [0.01, 1e30, 0.02, 5.0]
    fit = train(X, y, rule="sgd", epochs=60, batch_size=4, lr=rates, seed=2)
    np.testing.assert_array_equal(fit.diverged_at[[0, 2]], 0)
    assert 1 <= fit.diverged_at[1] < fit.diverged_at[3] <= 600
    assert not np.isfinite(fit.train_loss[-1, [1, 3]]).any()
    quiet = train(X, y, rule="sgd", epochs=60, batch_size=4, lr=[0.01, 0.01, 0.02], seed=2)
    np.testing.assert_array_equal(fit.train_loss[:, [0, 2]], quiet.train_loss[:, [0, 2]])


def test_divergence_is_dated_by_the_step_after_which_parameters_are_not_finite() -> None:
    X, y = np.ones((8, 1)), np.zeros(8)
    fit = train(X, y, rule="sgd", lr=1e20, epochs=2, batch_size=2, intercept=False, initial=[[1.0]])
    # x grows by -1e20 a step: 1e20, 1e40 = inf in float32 at step 2
    assert fit.diverged_at.tolist() == [2]


def test_float32_follows_float64() -> None:
    X, y = data("logistic", n=300)
    fits = [
        train(X, y, loss="logistic", rule="adam", lr=0.01, epochs=20, dtype=dtype)
        for dtype in ("float32", "float64")
    ]
    np.testing.assert_allclose(fits[0].train_loss, fits[1].train_loss, rtol=2e-5)
    assert fits[0].coef.dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_outputs_however_large_have_their_loss_and_gradient(loss: str, dtype: str) -> None:
    """Beyond 87 in float32 and 708 in float64 an exponential leaves the normal numbers."""
    size = np.array([0.0, 0.1, 20, 43, 44, 80, 87.33, 87.34, 104, 353, 355, 708, 709, 1e4, 1e15])
    outputs = np.concatenate([size, -size])
    k = LOSSES[loss]
    W = np.array([[1.0, 0.5, -1.0, -0.25]])[:, :k]
    y = np.arange(len(outputs)) % max(2, k)
    fit = train(
        np.diag(outputs), y, loss=loss, rule="sgd", lr=1.0, epochs=1, batch_size=len(outputs),
        dtype=dtype, intercept=False, initial=np.tile(W, (len(outputs), 1)),
    )  # fmt: skip
    z = outputs[:, None] * W
    mean, residual = loss_and_residual(loss, z, y)
    tolerance = 2e-6 if dtype == "float32" else 1e-13
    assert fit.train_loss[0, 0] == pytest.approx(mean, rel=tolerance)
    expected = W - outputs[:, None] * residual / len(outputs)
    np.testing.assert_allclose(fit.coef[0], expected.T, rtol=tolerance, atol=1e-30)


def test_it_finds_the_optimum_of_scikit_learn() -> None:
    X, y = data("squared", n=200)
    fit = train(X, y, rule="nesterov", lr=0.3, epochs=400, batch_size=200, l2=0.1, dtype="float64")
    ridge = Ridge(alpha=0.1 * 200).fit(X, y)
    np.testing.assert_allclose(fit.coef[0, 0], ridge.coef_, atol=1e-10)
    np.testing.assert_allclose(fit.intercept[0, 0], ridge.intercept_, atol=1e-10)
    np.testing.assert_allclose(fit.predict(X)[0], ridge.predict(X), atol=1e-9)


@pytest.mark.parametrize("d", range(1, 18))  # whatever is left over beside whole tiles
def test_without_an_intercept_every_weight_is_penalized(d: int) -> None:
    X, y = data("squared", n=200, d=d)
    fit = train(
        X, y, rule="nesterov", lr=0.3, epochs=400, batch_size=200, l2=0.5, dtype="float64",
        intercept=False,
    )  # fmt: skip
    ridge = Ridge(alpha=0.5 * 200, fit_intercept=False).fit(X, y)
    np.testing.assert_allclose(fit.coef[0, 0], ridge.coef_, atol=1e-10)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_it_finds_the_classifier_of_scikit_learn(loss: str) -> None:
    X, y = data(loss, n=200)
    fit = train(
        X,
        y,
        loss=loss,
        rule="nesterov",
        lr=1.0,
        epochs=600,
        batch_size=200,
        l2=0.01,
        dtype="float64",
    )
    model = LogisticRegression(C=1 / (0.01 * 200), tol=1e-10, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(fit.coef[0], model.coef_, atol=1e-6)
    np.testing.assert_array_equal(fit.predict(X)[0], model.predict(X))


def test_the_uniform_start_is_that_of_torch_linear() -> None:
    X, y = data("softmax", d=100)
    fit = train(X, y, loss="softmax", rule="sgd", lr=1e-30, epochs=1, initial="uniform", seed=3)
    start = np.concatenate([fit.coef.ravel(), fit.intercept.ravel()])
    assert np.abs(start).max() <= 0.1
    assert start.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.1)


def test_evaluating_less_often_changes_no_bit() -> None:
    X, y = data("squared", n=100)
    often = train(X, y, rule="adam", lr=0.1, epochs=7)
    seldom = train(X, y, rule="adam", lr=0.1, epochs=7, evaluate_every=3)
    assert seldom.epoch.tolist() == [0, 3, 6, 7]
    np.testing.assert_array_equal(seldom.train_loss, often.train_loss[seldom.epoch])


def rows_of(sampling: str, n: int, batch: int, lengths: list[int], seed: int = 0) -> NDArray[Any]:
    stretches = stream(n, batch, lengths, sampling, np.random.SeedSequence(seed))
    return np.concatenate([s.order for s in stretches])


@pytest.mark.parametrize("sampling", ["shuffle", "replacement", "sequential"])
def test_how_a_stream_is_cut_changes_no_minibatch(sampling: str) -> None:
    whole = rows_of(sampling, 10, 3, [6])
    np.testing.assert_array_equal(whole, rows_of(sampling, 10, 3, [1, 2, 3]))


def test_shuffling_takes_every_row_once_per_epoch_in_every_order() -> None:
    drawn = rows_of("shuffle", 4, 1, [24_000]).reshape(-1, 4)
    assert (np.sort(drawn, axis=1) == np.arange(4)).all()
    counts = np.unique(drawn, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 1000) ** 2 / 1000).sum() < 49.7  # chi-squared, 23 degrees, p = 0.001


def test_an_order_brings_neighbours_near_each_other_and_no_two_in_their_place() -> None:
    n, window = 100_003, 8192
    first, second = orders(n, 2, np.random.SeedSequence(0))
    for order in (first, second):
        assert (np.sort(order) == np.arange(n)).all()
        place = np.argsort(order)[: n // 16 * 16].reshape(-1, 16)
        apart = np.ptp(place // window, axis=1)  # a block may lie across two windows
        assert apart.max() == 1
        assert (apart == 1).sum() <= n // window
        assert np.mean(np.diff(order) == 1) < 0.005
        assert abs(np.corrcoef(order, np.arange(n))[0, 1]) < 0.05
    assert np.mean(first == second) < 0.001
    few = np.concatenate([*orders(100, 3, np.random.SeedSequence(1))])
    np.testing.assert_array_equal(few, rows_of("shuffle", 100, 1, [3], seed=1))


def test_with_replacement_a_row_is_missed_once_in_e() -> None:
    drawn = rows_of("replacement", 1000, 10, [50]).reshape(50, 1000)
    missed = np.mean([1 - len(np.unique(o)) / 1000 for o in drawn])
    assert missed == pytest.approx((1 - 1 / 1000) ** 1000, abs=0.005)


def test_the_last_batch_is_smaller() -> None:
    (stretch,) = stream(10, 4, [2], "shuffle", np.random.SeedSequence(0))
    assert np.diff(stretch.bounds).tolist() == [4, 4, 2, 4, 4, 2]


def test_should_stop_ends_a_long_training_at_once() -> None:
    X, y = data("softmax", n=2000)
    asked = iter_after(0.2)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        train(
            X, y, loss="softmax", rule="adam", epochs=10**9, evaluate_every=10**9,
            should_stop=lambda: next(asked),
        )  # fmt: skip
    assert set(threading.enumerate()) <= before


def iter_after(seconds: float) -> Iterator[bool]:
    end = time.monotonic() + seconds
    while True:
        yield time.monotonic() > end


GOOD: dict[str, Any] = {"X": np.eye(4), "y": np.zeros(4), "rule": "sgd", "epochs": 1}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "hing"}, r"loss must be one of squared, logistic, softmax, .*, got 'hing'"),
        ({"loss": "huber"}, "loss 'huber' needs epsilon, which LinearRegressor takes"),
        ({"X": csr_array(np.eye(4))}, r"X must be dense, got csr_array; use X.toarray\(\)"),
        ({"X": np.eye(4) * 1j}, "X must be real, got complex128; use X.real"),
        ({"y": np.zeros(4, complex)}, "y must be real, got complex128; use y.real"),
        ({"X": np.zeros(4)}, r"X must have shape \(rows, features\), got \(4,\)"),
        ({"X": np.zeros((0, 3)), "y": []}, r"X must have shape \(rows, features\), got \(0, 3\)"),
        ({"y": np.zeros(3)}, r"y must have shape \(4,\) like X, got \(3,\)"),
        ({"X": np.full((4, 1), np.nan)}, r"X must be finite as float32; X\[0, 0\] is not"),
        ({"y": [0, 1e300, 0, 0]}, r"y must be finite as float32; y\[1\] is not"),
        (
            {"y": [0, 1, 2, 0], "loss": "logistic"},
            "y must be 0 or 1 for a loss of two classes, got 2 in row 2",
        ),
        (
            {"y": [0, 0.5, 2, 0], "loss": "softmax"},
            "y must be whole numbers from 0 .*, got 0.5 in row 1",
        ),
        (
            {"validation": (np.eye(3), np.zeros(3))},
            "validation X must have 4 features like X, got 3",
        ),
        (
            {"validation": (np.eye(4), [0, 0, 0, 5]), "loss": "softmax"},
            "validation y must hold class codes below 1, got 5",
        ),
        (
            {"validation": (csr_array(np.eye(4)), np.zeros(4))},
            "validation X must be dense, got csr_array",
        ),
        ({"validation": (np.eye(4),)}, r"None or two arrays \(X, y\), got 1 of them"),
        ({"validation": np.eye(4)}, r"None or two arrays \(X, y\), got one ndarray"),
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"epochs": "3"}, "epochs must be an integer >= 1, got '3'"),
        ({"evaluate_every": 2.5}, "evaluate_every must be an integer >= 1, got 2.5"),
        ({"batch_size": 5}, r"batch_size must be an integer in \[1, 4\], the rows of X, got 5"),
        ({"batch_size": 0}, r"batch_size must be an integer in \[1, 4\], the rows of X, got 0"),
        ({"batch_size": 2.5}, r"batch_size must be an integer in \[1, 4\], the rows of X, got 2.5"),
        ({"threads": -1}, "threads must be an integer >= 1, got -1"),
        (
            {"sampling": "random"},
            "sampling must be one of shuffle, replacement, sequential, got 'random'",
        ),
        ({"l2": -1.0}, "l2 must be >= 0, got -1.0"),
        ({"initial": "ones"}, "initial must be 'zeros', 'uniform' or an array, got 'ones'"),
        ({"initial": np.zeros(4)}, r"initial must have shape \(5, 1\), got \(4,\)"),
        ({"dtype": "float16"}, "dtype must be float32 or float64, got float16"),
        ({"lr": -0.1}, "lr must be > 0, got -0.1"),
        ({"lr": [0.1, np.nan]}, "lr must be finite, got nan"),
        ({"lr": [0.1, 0.2], "lanes": 3}, r"lr must hold one value per lane \(3\), got 2"),
        (
            {"lr": lambda t: 0.5 - t, "batch_size": 2},
            "lr must be >= 0, got -0.5 from its schedule at step 1",
        ),
        (
            {"lr": lambda t: np.nan if t else 0.1, "batch_size": 2},
            "lr must be finite, got nan from its schedule at step 1",
        ),
        ({"lanes": 0}, "lanes must be an integer >= 1, got 0"),
        ({"lanes": 1.5}, "lanes must be an integer >= 1, got 1.5"),
        ({"rule": "sdg"}, "unknown rule 'sdg'; did you mean sgd"),
    ],
)
def test_bad_arguments_get_a_sentence(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(**{**GOOD, **wrong})


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (csr_array(np.eye(4)), r"X must be dense, got csr_array; use X.toarray\(\)"),
        (np.eye(3), r"X must have shape \(rows, 4\), got \(3, 3\)"),
        (np.zeros(4), r"X must have shape \(rows, 4\), got \(4,\)"),
    ],
)
def test_a_model_refuses_data_that_are_not_rows_of_its_features(X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(**GOOD).predict(X)


@pytest.mark.parametrize("intercept", [True, False])
def test_data_are_laid_out_without_a_wider_copy(intercept: bool) -> None:  # noqa: FBT001
    X = np.random.default_rng(0).standard_normal((20_000, 50), dtype=np.float32)
    tracemalloc.start()
    made = Examples.of(X, X[:, 0], loss="squared", intercept=intercept, dtype=X.dtype)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(made.X[:, :50], X)
    assert (made.X[:, 50:] == 1).all()
    assert peak < 1.5 * X.nbytes  # the table, and a byte per number while it is checked


_BESIDE_ANOTHER_ALLOCATOR = """
import threading
import numpy as np
from thalweg import linear

X = np.random.default_rng(0).standard_normal((3000, 5))

def train():
    fit = linear.train(X, X[:, 0], rule="adam", lr=0.01, epochs=40, batch_size=10, threads=1)
    return fit.coef.tobytes() + fit.train_loss.tobytes()

alone = train()
stop = threading.Event()

def allocate():
    while not stop.is_set():
        held = [np.full(size, 255, np.uint8) for size in range(64, 1024, 16) for _ in range(8)]

other = threading.Thread(target=allocate)
other.start()
differ = [train() != alone for _ in range(3)]
stop.set()
other.join()
raise SystemExit(any(differ))
"""


def test_a_training_uses_no_memory_that_another_thread_may_be_given() -> None:
    # One arena and no thread's own cache: what is freed too early is handed out again at once.
    environment = {"MALLOC_ARENA_MAX": "1", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    run = subprocess.run(
        [sys.executable, "-c", _BESIDE_ANOTHER_ALLOCATOR],
        env=os.environ | environment,
        check=False,
    )
    assert run.returncode == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"l2": "a"}, "l2 must be a number, got 'a'"),
        ({"lr": lambda _: None}, "schedule .* at step 0 must be a number, got None"),
    ],
)
def test_what_is_no_number_gets_a_sentence(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        train(**GOOD, **wrong)


def test_an_unknown_hyperparameter_is_refused() -> None:
    with pytest.raises(TypeError, match="rule 'sgd' has no hyperparameter 'beta'; it has: lr"):
        train(**GOOD, beta=0.9)


def test_data_prepared_once_train_as_those_that_are_given_each_time() -> None:
    X, y = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60) % 3
    layout: dict[str, Any] = {"loss": "softmax", "intercept": True, "dtype": np.dtype("float32")}
    examples, held_out = (
        Examples.of(X[:40], y[:40], **layout),
        Examples.of(X[40:], y[40:], **layout),
    )
    expected = train(
        X[:40], y[:40], validation=(X[40:], y[40:]), loss="softmax", rule="adam", epochs=3, lr=0.1
    )
    for _ in range(2):
        found = train_on(examples, held_out, {"lr": 0.1}, rule="adam", epochs=3)
        np.testing.assert_array_equal(found.coef, expected.coef)
        np.testing.assert_array_equal(found.validation_loss, expected.validation_loss)
