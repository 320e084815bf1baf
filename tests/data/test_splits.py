"""Splits: held against scikit-learn and closed forms."""

from typing import Any

import numpy as np
import pytest
from sklearn import datasets
from sklearn.model_selection import train_test_split

from thalweg import data


@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_parts_are_disjoint_whole_and_standardized_by_the_training_part(name: str) -> None:
    whole = data.load(name)
    parts = data.split(whole, seed=3)
    train, validation, test = parts.train, parts.validation, parts.test
    rows = np.concatenate([train.rows, validation.rows, test.rows])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(whole.y)))
    n = len(whole.y)
    assert (len(validation.y), len(test.y)) == (round(0.2 * n), round(0.2 * n))
    mean, scale = whole.X[train.rows].mean(axis=0), whole.X[train.rows].std(axis=0)
    scale[scale == 0] = 1
    for part in (train, validation, test):
        np.testing.assert_allclose(part.X, (whole.X[part.rows] - mean) / scale, atol=1e-12)
        restored = part.y * parts.y_scale + parts.y_mean
        np.testing.assert_allclose(restored, whole.y[part.rows], rtol=1e-12)
    if whole.classes is None:
        np.testing.assert_allclose([train.y.mean(), train.y.std()], [0, 1], atol=1e-12)
    else:
        assert (parts.y_mean, parts.y_scale, train.y.dtype) == (0.0, 1.0, np.int64)


def test_the_other_parts_cannot_reach_the_standardization() -> None:
    X, y = np.random.default_rng(0).normal(size=(2, 50, 3))
    one = data.Dataset.from_arrays(X, y[:, 0])
    rest = np.concatenate([data.split(one).validation.rows, data.split(one).test.rows])
    X[rest] *= 1e6
    two = data.split(data.Dataset.from_arrays(X, y[:, 0]))
    np.testing.assert_array_equal(two.train.X, data.split(one).train.X)


def test_parts_are_stratified_as_scikit_learn_does_it() -> None:
    cancer = data.load("breast_cancer")
    parts = data.split(cancer, seed=5)
    _, test = train_test_split(
        np.arange(569), test_size=114, random_state=5, stratify=datasets.load_breast_cancer().target
    )
    np.testing.assert_array_equal(parts.test.rows, test)
    for part in (parts.train, parts.validation, parts.test):
        assert abs(part.y.mean() - cancer.y.mean()) < 1 / len(part.y)


def test_the_seed_decides_the_rows() -> None:
    iris = data.load("iris")
    rows = [data.split(iris, seed=seed).train.rows for seed in (0, 0, 1)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert (rows[0] != rows[2]).any()


def test_constant_columns_keep_scale_one() -> None:
    X = np.column_stack([np.full(20, 7.25), np.arange(20.0)])
    parts = data.split(data.Dataset.from_arrays(X, [0.0] * 19 + [1.5]))
    assert parts.encoder.scale[0] == 1
    assert parts.y_scale == 1  # the seed puts row 19 outside the training part
    assert 19 not in parts.train.rows
    np.testing.assert_array_equal(parts.test.X[:, 0], 0)


@pytest.mark.parametrize("count", [1, 2])
def test_a_class_too_rare_for_three_parts_is_named(count: int) -> None:
    y = ["a"] * (30 - count) + ["b"] * count
    message = f"class 'b' of 'y' has {count} of 30 rows, too few to be in the training, validation"
    with pytest.raises(ValueError, match=message):
        data.split(data.Dataset.from_arrays(np.zeros((30, 1)), y))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fractions": (0.5, 0.5, 0.5)}, "fractions must be three numbers > 0 of sum 1, got"),
        ({"fractions": (1.0, 0.0, 0.0)}, "fractions must be three numbers > 0 of sum 1, got"),
        ({"fractions": (0.5, 0.5)}, "fractions must be three numbers > 0 of sum 1, got"),
        ({"fractions": (0.98, 0.01, 0.01)}, "of 20 rows leave a part empty"),
        ({"seed": -1}, r"seed must be an integer in \[0, 4294967295\], got -1"),
    ],
)
def test_split_names_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    regression = data.Dataset.from_arrays(np.zeros((20, 1)), np.arange(20) / 2)
    with pytest.raises(ValueError, match=message):
        data.split(regression, **changes)


def test_what_float64_cannot_standardize_is_refused() -> None:
    X = np.array([[1e300], [-1e300]] * 10)
    with pytest.raises(ValueError, match="column 'x0' overflows float64 when it is standardized"):
        data.split(data.Dataset.from_arrays(X, np.arange(20) / 2))
