"""Pictures of losses and of eigen-coordinates, against powers."""

from typing import Any

import numpy as np
import pytest

from plots.examples import HALVING, texts
from thalweg import plots, problems, schedules
from thalweg.descent import descend


def test_loss_is_drawn_with_the_line_that_gradient_descent_follows() -> None:
    problem = problems.quadratic([1.0, 4.0], linear=[1.0, 2.0], offset=5.0)
    assert problem.minimum is not None
    trace = descend(problem, "sgd", lr=0.1, steps=100)
    ax = plots.loss([trace])
    drawn, predicted = (np.asarray(line.get_ydata()) for line in ax.lines)
    np.testing.assert_array_equal(drawn[:50], trace.f[:50] - problem.minimum)
    np.testing.assert_allclose(predicted[1:] / predicted[:-1], 0.9**2)  # |1 − ηλ|, the slower
    assert predicted[0] == drawn[0]
    measured = drawn[50] / drawn[49]
    assert measured == pytest.approx(0.9**2, rel=1e-3)
    assert texts(ax)[0].endswith("predicted rate 0.9")


@pytest.mark.parametrize(
    ("problem", "rule", "hyper"),
    [
        ("bowl", "adam", {}),
        ("bowl", "adagrad", {}),
        ("bowl", "lion", {}),
        ("bowl", "asgd", {}),
        ("bowl", "newton", {}),
        ("bowl", "sgd", {"lr": schedules.inverse_time(0.1)}),
        ("rosenbrock", "sgd", {}),
    ],
)
def test_descents_without_a_rate_have_no_line(problem: str, rule: str, hyper: Any) -> None:
    ax = plots.loss([descend(problem, rule, **hyper)])
    assert len(ax.lines) == 1
    assert "predicted" not in " ".join(texts(ax))


def test_many_curves_differ_in_colour_or_dash() -> None:
    ax = plots.schedule([float(i) for i in range(20)], 3)
    looks = {(line.get_color(), str(line._dash_pattern)) for line in ax.lines}  # type: ignore[attr-defined]
    assert len(looks) == 20


def test_a_descent_of_one_point_is_seen() -> None:
    ax = plots.loss([descend("bowl", "sgd", lr=1e307), descend("bowl", "sgd", lr=0.1)])
    assert [line.get_marker() for line in ax.lines if line.get_label() != "predicted"] == [
        "o",
        "None",
    ]


def test_a_loss_of_zero_has_a_place_and_a_diverging_one_leaves() -> None:
    landed = descend("bowl", "newton", steps=5)
    ax = plots.loss([landed, descend("bowl", "sgd", lr=3.0)])
    first = np.asarray(ax.lines[0].get_ydata())
    assert first[1] == pytest.approx(1e-16 * landed.f[0])
    assert np.isnan(first[2:]).all()
    low, high = ax.get_ylim()
    assert low < first[1]
    assert high < 1e6 * landed.f[0]


def test_components_are_powers_of_one_minus_lr_times_eigenvalue() -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turned = problems.quadratic([0.2, 2.0, 4.0], rotation=rotation)
    ax = plots.components(descend(turned, "sgd", [-5.0, -2.0, 3.0], lr=0.3, steps=12))
    t = np.arange(13)
    slow, line, _, _, fast, _ = (np.asarray(line.get_ydata()) for line in ax.lines)
    np.testing.assert_allclose(slow, 0.94**t, rtol=1e-12)
    np.testing.assert_allclose(line, 0.94**t, rtol=1e-12)
    np.testing.assert_allclose(fast, 0.2**t, rtol=1e-6)
    assert texts(ax)[:3:2] == ["λ = 0.2, predicted rate 0.94", "λ = 4, predicted rate 0.2"]


def test_components_that_do_not_move_are_left_out_and_many_are_thinned() -> None:
    assert len(plots.components(descend("bowl", "sgd", [0.0, 1.0], lr=0.1)).lines) == 2
    ax = plots.components(descend(HALVING, "sgd", lr=1.0))
    assert len(ax.lines) == 10
    assert texts(ax)[0].startswith("λ = 0.0004883")
    assert "5 of 12 eigenvalues" in ax.get_title("left")
