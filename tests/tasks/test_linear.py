"""The linear task against scikit-learn."""

import threading
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error

import thalweg
import thalweg.rule
from thalweg import data
from thalweg.linear import Examples
from thalweg.tasks.linear import LinearTask


# -- the target ----------------------------------------------------------------------------------
def _task(name: str, l2: float) -> LinearTask:
    return LinearTask(data.load(name), l2=l2, seed=3)


def test_target_of_a_regression_by_scikit_learn() -> None:
    task = _task("diabetes", 0.05)
    train, validation = task.split.train, task.split.validation
    # scikit-learn's Ridge minimizes ||y - Xw||² + alpha ||w||²: ours times 2 n
    ridge = Ridge(alpha=0.05 * len(train.y)).fit(train.X, train.y)
    end = mean_squared_error(validation.y, ridge.predict(validation.X)) / 2
    target = task.target()
    assert target.constant == pytest.approx(np.mean((validation.y - train.y.mean()) ** 2) / 2)
    assert task._reference_path()[-1] == pytest.approx(end, rel=1e-4)
    assert target.reference <= end * (1 + 1e-4)  # the path may have been lower before its end
    assert target.validation_loss == pytest.approx(0.95 * target.reference + 0.05 * target.constant)
    least_squares = LinearRegression().fit(train.X, train.y)
    assert target.reference < mean_squared_error(validation.y, least_squares.predict(validation.X))


def test_a_repeat_draws_its_parts_anew() -> None:
    task = _task("iris", 1e-2)
    again = task.repeated(1)
    assert task.repeated(0) is task
    assert again.parts == task.parts
    for name in ("train", "validation", "test"):
        rows = {*getattr(task.split, name).rows.tolist()}
        other = {*getattr(again.split, name).rows.tolist()}
        assert len(other) == len(rows)
        assert other != rows
    same = _task("iris", 1e-2).repeated(1).split
    np.testing.assert_array_equal(same.test.rows, again.split.test.rows)
    assert task.repeated(2).split.test.rows.tolist() != again.split.test.rows.tolist()


@pytest.mark.parametrize("name", ["breast_cancer", "iris"])
def test_target_of_classes_by_scikit_learn(name: str) -> None:
    task = _task(name, 1e-2)
    train, validation = task.split.train, task.split.validation
    # scikit-learn minimizes C Σ loss + 1/2 ||w||²: ours times 1 / l2
    fit = LogisticRegression(C=1 / (1e-2 * len(train.y)), tol=1e-8, max_iter=1000)
    p = fit.fit(train.X, train.y).predict_proba(validation.X)
    end = log_loss(validation.y, p)
    shares = np.bincount(train.y) / len(train.y)
    target = task.target()
    assert task._reference_path()[-1] == pytest.approx(end, rel=1e-3)
    assert target.reference <= end * (1 + 1e-3)
    assert target.constant == pytest.approx(log_loss(validation.y, [shares] * len(p)))


def test_the_data_of_a_race_are_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    of = Examples.of

    def noted(*given: Any, **named: Any) -> Examples:
        prepared.append(threading.get_ident())
        return of(*given, **named)

    monkeypatch.setattr(Examples, "of", noted)
    thalweg.race("iris", rules=["sgd", "adam"], epochs=1, trials=8, repeats=2, workers=4)
    assert len(prepared) == 2 * 2  # the training and the validation part of each repeat


def test_every_epoch_of_every_lane_is_counted() -> None:
    told: list[int] = []
    task = _task("iris", 0.0)
    lanes = [task._adam(8, 7)] * 3
    task.run(lanes, should_stop=lambda: False, epochs_ended=told.append)
    assert sum(told) == 3 * 7
