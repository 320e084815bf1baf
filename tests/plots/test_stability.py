"""Pictures of rates and of the map of rates, against what theory computes."""

import math

import numpy as np
import pytest
from matplotlib.axes import Axes

from plots.examples import LR, momentum_map, texts
from thalweg import plots, theory


def spans(ax: Axes) -> list[tuple[float, float]]:
    """Return the ends of each shaded region, the oscillating one first."""
    return [
        (float(path.vertices[:, 0].min()), float(path.vertices[:, 0].max()))  # type: ignore[index, union-attr]
        for region in ax.collections
        for path in region.get_paths()
    ]


def test_rates_of_gradient_descent_and_its_regions() -> None:
    ax = plots.rates("sgd", [1.0, 2.0, 4.0])
    least, largest, worst, best = ax.lines
    lr = np.asarray(worst.get_xdata())
    np.testing.assert_allclose(least.get_ydata(), np.abs(1 - lr), atol=1e-12)
    np.testing.assert_allclose(largest.get_ydata(), np.abs(1 - 4 * lr), atol=1e-12)
    rates = np.abs(1 - np.outer([1, 2, 4], lr)).max(axis=0)
    np.testing.assert_allclose(worst.get_ydata(), rates, atol=1e-12)
    assert np.ravel(best.get_data()).tolist() == pytest.approx([2 / 5, 3 / 5])
    oscillating, divergent = spans(ax)
    step = lr[1] - lr[0]
    assert oscillating == pytest.approx((1 / 4, 1 / 2), abs=1.01 * step)
    assert divergent == pytest.approx((1 / 2, 5 / 8), abs=1.01 * step)
    assert "divergent: lr ≥ 0.5" in texts(ax)


def test_momentum_oscillates_from_its_double_root_on() -> None:
    ax = plots.rates("momentum", 1.0, beta=0.25)
    lr = np.asarray(ax.lines[-2].get_xdata())
    (start, end), divergent = spans(ax)
    assert start == pytest.approx((1 - math.sqrt(0.25)) ** 2, abs=2 * (lr[1] - lr[0]))
    assert end == pytest.approx(2 + 2 * 0.25, abs=2 * (lr[1] - lr[0]))
    assert divergent[1] == lr[-1]


def test_the_rate_map_marks_its_best_point_and_its_border() -> None:
    found = momentum_map()
    ax = plots.rate_map(found)
    star = ax.lines[-1]
    assert np.ravel(star.get_data()).tolist() == list(found.best.values())
    border = [c for c in ax.collections if np.allclose(c.get_linewidth(), 1.8)]
    points = np.vstack([path.vertices for path in border[0].get_paths()])
    inside = points[(points[:, 0] > LR[0]) & (points[:, 1] > 0)]
    assert len(inside) > 20
    limit = (2 + 2 * inside[:, 1]) / 4  # of momentum at λ = 4
    np.testing.assert_allclose(inside[:, 0], limit, rtol=0.1)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "function")


def test_rates_and_memories_near_one_are_told_in_enough_digits() -> None:
    best = theory.best("nesterov", 1e-10, 1.0)
    lr, beta = best.hyper["lr"], best.hyper["beta"]
    ax = plots.rates("nesterov", [1e-10, 1.0], beta=beta)
    assert "least rate 0.9999885 at lr 1.333" in texts(ax)
    over = {"lr": lr * np.linspace(0.5, 1, 9), "beta": np.sort([*np.linspace(0, 0.9999, 9), beta])}
    mapped = plots.rate_map(theory.rate_map("nesterov", [1e-10, 1.0], over))
    assert texts(mapped)[0] == "best on this grid: lr 1.33, beta 0.9999769, rate 0.9999885"
    contours = [float(text.get_text()) for text in mapped.texts]
    assert len(set(contours)) == len(contours)
    assert max(contours) < 1


def test_short_memories_have_ticks() -> None:
    over = {"lr": [0.1, 0.5, 1.0], "beta": [0.1, 0.3, 0.5]}
    ax = plots.rate_map(theory.rate_map("momentum", 1.0, over))
    low, high = ax.get_ylim()
    assert sum(low <= tick <= high for tick in ax.get_yticks()) > 2
