"""What a rule may ask of whole tensors, against NumPy, for every kind of number."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from thalweg.sums import mean, norm, rms, total, tsum
from thalweg.tensors import Tensors

SHAPES = ((), (3,), (2, 3), (4, 2, 3))


@pytest.mark.parametrize("of", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_those_of_numpy(shape: tuple[int, ...], of: Callable[[Any], Any]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    whole = {tsum: np.sum(x), norm: np.linalg.norm(x), mean: np.mean(x)}
    whole[rms] = np.sqrt(np.mean(x * x))
    for function, expected in whole.items():
        np.testing.assert_allclose(function(of(x)), expected, rtol=1e-14)
    matrix = x if x.ndim > 1 else x.reshape(-1, 1)  # a vector is a column
    for axis in (0, 1):
        found, wanted = mean(of(x), axis), matrix.mean(axis - 2, keepdims=True)
        np.testing.assert_allclose(np.ravel(found), np.ravel(wanted), rtol=1e-14)
        assert (of(x) + found).shape == x.shape


def test_a_number_is_a_tensor_of_one_element() -> None:
    assert (tsum(-3.0), norm(-3.0), rms(-3.0), mean(-3.0), mean(-3.0, 1)) == (-3, 3, 3, -3, -3)


def test_a_total_is_over_all_tensors_and_the_others_over_each() -> None:
    parts = [np.array([3.0, 4.0]), np.array([[1.0]])]
    assert total(Tensors(parts)) == 8
    assert [float(part) for part in norm(Tensors(parts))] == [5.0, 1.0]
    assert total(parts[0]) == 7


def test_an_axis_is_rows_or_columns() -> None:
    with pytest.raises(ValueError, match=r"axis must be 0 for a mean of each column, 1 .*, got 2"):
        mean(np.ones((2, 2)), 2)
