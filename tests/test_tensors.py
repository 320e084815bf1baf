"""All tensors of a model as one value: what is done to it is done to each."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from thalweg.elementwise import maximum, sqrt, where
from thalweg.tensors import Tensors, each

A, B = [np.array([1.0, -2.0]), np.array([[3.0]])], [np.array([0.5, 4.0]), np.array([[2.0]])]
OPERATIONS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.lt, operator.le,
    operator.gt, operator.ge, operator.eq, operator.ne, operator.mod, operator.floordiv, maximum,
    lambda a, b: b**a, lambda a, b: -abs(a) * b, lambda a, b: where(a > 0, a, b),
    lambda a, b: sqrt(a * a) + b,
]  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_go_tensor_by_tensor(operation: Callable[[Any, Any], Any]) -> None:
    for a, b in ((A, B), (A, [2.0, 2.0]), ([np.float64(2.0)] * 2, B)):
        expected = [operation(np.asarray(x), y) for x, y in zip(a, b, strict=True)]
        given = [Tensors(each) if each[0] is not each[1] else each[0] for each in (a, b)]
        for part, wanted in zip(operation(*given), expected, strict=True):
            np.testing.assert_array_equal(part, wanted)


def test_what_is_no_one_value_is_refused() -> None:
    with pytest.raises(ValueError, match="the truth of several tensors"):
        bool(Tensors(A) > 0)
    with pytest.raises(ValueError, match=r"not equally many tensors: \[1, 2\]"):
        each(operator.add, Tensors(A), Tensors(A[:1]))
