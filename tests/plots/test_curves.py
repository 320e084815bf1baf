"""Pictures of schedules and of leaky weights, against their values."""

import numpy as np
import pytest

from plots.examples import texts
from thalweg import plots, schedules


def test_schedules_are_drawn_as_steps_of_their_values() -> None:
    curve = schedules.piecewise_constant([1.0, 0.25], [2])
    ax = plots.schedule([curve, lambda step: step / 4], 4)
    first, second = ax.lines
    np.testing.assert_array_equal(first.get_ydata(), [1, 1, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal(second.get_ydata(), [0, 0.25, 0.5, 0.75, 1])
    assert first.get_drawstyle() == "steps-post"
    assert texts(ax)[0] == repr(curve)
    with pytest.raises(ValueError, match="steps must be an integer >= 1, got 0"):
        plots.schedule([curve], 0)


def test_leaky_weights_are_powers_with_a_mark_at_the_window() -> None:
    ax = plots.leaky_weights([0.9, 0.5], n=20)
    nines, mark, halves, other = ax.lines
    np.testing.assert_allclose(nines.get_ydata(), [0.9**i for i in range(20)])
    np.testing.assert_array_equal(halves.get_xdata(), range(1, 21))
    assert np.ravel(mark.get_data()).tolist() == pytest.approx([10, 0.9**9])
    assert np.ravel(other.get_data()).tolist() == pytest.approx([2, 0.5])
    assert ax.get_xscale() == "linear"
    assert plots.leaky_weights([0.5, 0.999]).get_xscale() == "log"
    long = plots.leaky_weights([1 - 1e-9])
    age, weight = (np.asarray(values) for values in long.lines[0].get_data())
    assert (len(age) < 5000, age[0], age[-1]) == (True, 1, pytest.approx(3e9))
    np.testing.assert_allclose(weight, np.exp(-(age - 1) / 1e9), rtol=1e-6)
    assert texts(long) == ["beta 0.999999999, effective window 1e+09 steps"]
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        plots.leaky_weights([0.5], n=0)
    for betas, message in (([], "needs one beta or more"), ([1.0], r"beta must be in \[0, 1\)")):
        with pytest.raises(ValueError, match=message):
            plots.leaky_weights(betas)
