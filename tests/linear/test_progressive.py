"""One pass of eight rates, against a plain loop over the rule's function in float64."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from thalweg import rules
from thalweg.kernels.cpu.vector import LANES
from thalweg.linear.columns import Columns
from thalweg.linear.progressive import Progressive
from thalweg.losses import LOSSES

RATES = np.geomspace(0.05, 0.4, LANES)
RNG = np.random.default_rng(0)
N, D = 37, 6
TABLE = RNG.normal(size=(N, D)) * (RNG.random((N, D)) < 0.5)
WEIGHTS = RNG.uniform(0.5, 2, N)
CODES = np.arange(N) % 3
ONE = np.ones(D)
AS_THEY_ARE = Columns(
    0 * ONE, ONE, intercept=True, share=ONE, square=1.0, unit=ONE, mean=0 * ONE
)  # fmt: skip


def plain_loop(
    name: str, rule: str, lr: float, batch: int, l2: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return parameters, their average and both progressive losses; all columns always step."""
    loss, of = LOSSES[name], rules.get(rule)
    X = np.column_stack([TABLE, np.ones(N)])
    y = CODES if name == "softmax" else CODES % 2
    w = np.zeros((D + 1, 3 if name == "softmax" else 1))
    hyper = of.resolve({"lr": lr})
    state, mean, sums = of.first_state(w, hyper), w, np.zeros(2)
    for t, first in enumerate(range(0, N, batch), 1):
        rows = slice(first, first + batch)
        for i, at in enumerate((w, mean)):
            sums[i] += WEIGHTS[rows] @ loss.rows(X[rows] @ at, y[rows], 0.3)[0]
        slope = loss.rows(X[rows] @ w, y[rows], 0.3)[1] * WEIGHTS[rows, None]
        g = X[rows].T @ slope / len(slope) + l2[:, None] * w
        w, state = of.advance(g, w, state, t=t, hyper=hyper)
        mean = mean + 2 / (t + 1) * (w - mean)
    return w, mean, sums / WEIGHTS.sum()


def learned(
    name: str, rule: str, batch: int, l2: NDArray[Any], *, sparse: bool, blocks: int = 1
) -> Progressive:
    outputs = 3 if name == "softmax" else 1
    lanes = [
        rules.get(rule).resolve({"lr": rate}) for rate in (*RATES[::-1], *RATES)[-8 * blocks :]
    ]
    penalties = np.array([l2, np.zeros(D + 1)]) if l2.any() else None
    training = Progressive(
        rules.get(rule), LOSSES[name], 0.3, AS_THEY_ARE,
        outputs=outputs, lanes=lanes, sparse=sparse, penalties=penalties,
    )  # fmt: skip
    y = (CODES if outputs == 3 else CODES % 2).astype(np.float32)
    X = csr_array(TABLE) if sparse else TABLE
    cut = 2 * batch  # that rows come in parts changes nothing
    for order in (np.arange(cut), np.arange(cut, N)):
        training.learn(X, order, y, WEIGHTS.astype(np.float32), batch_size=batch, measured_from=0)
    return training


# Sparse rows have a driver for each rule, each loss, and rows one by one or several at once. Each
# takes seconds to compile: dense rows meet all losses, sparse ones a few of each kind.
SPARSE = [(n, 1, True) for n in ("squared", "logistic", "quantile", "softmax")]
SPARSE += [("logistic", 5, True), ("softmax", 5, True)]
PASSES = [*((n, b, False) for n in LOSSES for b in (1, 5)), *SPARSE]


@pytest.mark.parametrize(("name", "batch", "sparse"), PASSES)
def test_a_pass_is_the_plain_loop(name: str, batch: int, sparse: bool) -> None:  # noqa: FBT001
    stateless = batch == 5 and name in {"squared", "softmax"}
    rule, none = ("sgd" if stateless else "adagrad"), np.zeros(D + 1)
    training = learned(name, rule, batch, none, sparse=sparse)
    for lane in (0, LANES - 1):
        w, mean, sums = plain_loop(name, rule, RATES[lane], batch, none)
        np.testing.assert_allclose(training.parameters(0, lane), w, rtol=2e-3, atol=2e-5)
        np.testing.assert_allclose(training.parameters(1, lane), mean, rtol=2e-3, atol=2e-5)
        np.testing.assert_allclose(training.losses[:, lane], sums, rtol=1e-4)


@pytest.mark.parametrize("rule", ["adam", "adagrad"])
def test_dense_rows_are_stepped_by_any_rule_and_penalized(rule: str) -> None:
    l2 = np.append(RNG.uniform(0.1, 0.3, D), 0)
    training = learned("softmax", rule, 4, l2, sparse=False)
    w, mean, _ = plain_loop("softmax", rule, RATES[3], 4, l2)
    np.testing.assert_allclose(training.parameters(0, 3), w, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(training.parameters(1, 3), mean, rtol=1e-3, atol=1e-5)


def test_the_least_progressive_loss_is_chosen_among_finite_lanes() -> None:
    training = learned("logistic", "sgd", 1, np.zeros(D + 1), sparse=False)
    which, lane = training.best()
    assert training.losses[which, lane] == training.losses.min()
    training._table[0, 0, 2, 0, lane], training._known = np.inf, None
    assert training.best()[1] != lane
    training._table[:, 0, 2], training._known = np.nan, None
    with pytest.raises(OverflowError, match="infinite at every rate"):
        training.best()


@pytest.mark.parametrize(
    ("name", "scale"), [("logistic", 1.0), ("squared", 1.0), ("quantile", 0.5)]
)
def test_luck_among_few_rows_is_shared(name: str, scale: float) -> None:
    """The least mean loss is ½, which is the scale of a loss that is as its first power."""
    training = learned(name, "sgd", 1, np.zeros(D + 1), sparse=False)
    losses = np.full((2, LANES), 0.5) + np.arange(2 * LANES).reshape(2, LANES) / 20
    for rows in (10, 10**6):
        training._sums, training._weight = (
            np.array([losses * rows, 0 * losses]),
            np.array([rows, 0.0]),
        )
        expected = np.exp(-0.3 * rows * (losses - 0.5) / scale)
        expected[expected < 1e-3] = 0
        np.testing.assert_allclose(training.shares(), expected / expected.sum())
        alone = training.shares([3])
        assert (alone[:, [0, 1, 2, 4, 5, 6, 7]] == 0).all()
        assert alone.argmax() == 3
    assert training.shares()[0, 0] == 1
    half = np.zeros((2, LANES))
    half[0, 2] = half[1, 5] = 0.5
    mean = (training.parameters(0, 2) + training.parameters(1, 5)) / 2
    np.testing.assert_allclose(training.mixed(half), mean)
    training._table[0, 0, 2, 0, 1], training._known = np.nan, None
    assert training.shares()[0, 1] == 0


@pytest.mark.parametrize("sparse", [False, True])
def test_lanes_of_wider_vectors_are_the_same_to_the_last_bit(sparse: bool) -> None:  # noqa: FBT001
    l2 = np.append(RNG.uniform(0.1, 0.3, D), 0)
    one, two = (
        learned("logistic", "adagrad", 1, l2, sparse=sparse, blocks=blocks) for blocks in (1, 2)
    )
    assert (one.lanes, two.lanes) == (LANES, 2 * LANES)
    np.testing.assert_array_equal(two.losses[:, ::-1][:, :LANES], two.losses[:, :LANES])
    np.testing.assert_array_equal(two.losses[:, LANES:], one.losses)
    for which in range(2):
        for lane in range(LANES):
            own = one.parameters(which, lane)
            np.testing.assert_array_equal(two.parameters(which, LANES + lane), own)
            np.testing.assert_array_equal(two.parameters(which, LANES - 1 - lane), own)
    two._table[...] = np.where(two._table == two.parameters(0, 3)[1, 0], np.nan, two._table)
    two._known = None
    assert (np.isinf(two._judged(None)).any(axis=0) == np.isin(range(16), (3, 12))).all()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("batch", [1, 5])
def test_parameters_go_on_without_an_average(batch: int, sparse: bool) -> None:  # noqa: FBT001
    l2 = np.zeros(D + 1)
    both, alone = (learned("logistic", "adagrad", batch, l2, sparse=sparse) for _ in range(2))
    before = alone._part(1).copy()
    alone.averaged = False
    X, order = (csr_array(TABLE) if sparse else TABLE), np.arange(N)
    for training in (both, alone):
        y, weights = (CODES % 2).astype(np.float32), WEIGHTS.astype(np.float32)
        training.learn(X, order, y, weights, batch_size=batch, measured_from=len(order))
    np.testing.assert_array_equal(alone._part(0), both._part(0))
    np.testing.assert_array_equal(alone._part(2), both._part(2))
    np.testing.assert_array_equal(alone._part(1), before)
    assert (both._part(1) != before).any()


def test_a_state_begins_where_it_is_told() -> None:
    training = learned("softmax", "adagrad", 1, np.zeros(D + 1), sparse=True)
    training.fill("s", np.array([1.0, 2.0, 3.0]))
    assert (training._table[:, 2] == np.array([1.0, 2.0, 3.0])[:, None]).all()


@pytest.mark.parametrize("sparse", [False, True])
def test_a_batch_may_have_more_rows_than_are_handled_at_a_time(*, sparse: bool) -> None:
    lanes = [rules.get("adagrad").resolve({"lr": rate}) for rate in RATES]
    y, weights = (CODES % 2).astype(np.float32), WEIGHTS.astype(np.float32)
    found = []
    for often in (1, 3):  # the mean over rows that come three times is the same
        training = Progressive(
            rules.get("adagrad"), LOSSES["logistic"], 0.0, AS_THEY_ARE,
            outputs=1, lanes=lanes, sparse=sparse,
        )  # fmt: skip
        X, order = csr_array(TABLE) if sparse else TABLE, np.tile(np.arange(N), often)
        for _ in range(3):
            training.learn(X, order, y, weights, batch_size=len(order), measured_from=len(order))
        assert training.steps == 3
        found.append(training.parameters(0, 0))
    np.testing.assert_allclose(*found, rtol=1e-4)
