import numpy as np
import pytest

from thalweg.explore.traced import Expression, function, names


def test_what_occurs_twice_is_computed_once() -> None:
    x, y = names("x", "y")
    text = function(["x", "y"], [np.exp(x * y) + 1, 2 / np.exp(x * y), np.exp(x * y)])
    assert text.count("exp(") == 1
    assert text.count("x * y") == 1


def test_numbers_are_folded_and_nothing_is_multiplied_by_zero() -> None:
    x, y = names("x", "y")
    matrix = np.array([[2.0, 0.0], [0.0, 4.0]])
    written = function(["x", "y"], np.array([x, y], dtype=object) @ matrix + np.array([0.0, 1.0]))
    assert written == "(x, y) => [x * 2, (y * 4) + 1]"


def test_a_decision_that_depends_on_a_value_is_refused() -> None:
    (x,) = names("x")
    with pytest.raises(TypeError, match=r"depends on x < 0\.0; write it with numpy\.where"):
        max(x, 0)
    assert isinstance(np.maximum(x, 0), Expression)


def test_lines_between_knots_are_constant_outside() -> None:
    written = function(["t"], np.interp(names("t"), [1.0, 2.0], [3.0, 5.0])[0])
    assert written == "(t) => (t < 1) ? 3 : ((t < 2) ? ((2 * (t - 1)) + 3) : 5)"


def test_names_of_javascript_are_renamed_in_arguments_and_uses() -> None:
    (power,) = names("power")
    assert function(["power"], power + 1) == "(power_) => power_ + 1"
