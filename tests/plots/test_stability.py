"""Pictures of theory: the curves are the closed forms, and nothing overlaps."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from thalweg import plots, problems, schedules, theory
from thalweg.descent import descend

HALVING = problems.quadratic(2.0 ** -np.arange(12.0), name="halving")
LR = np.geomspace(0.01, 2, 60)
MEMORY = 1 - np.geomspace(1, 0.01, 50)


def momentum_map() -> theory.RateMap:
    return theory.rate_map("momentum", [0.2, 4.0], over={"lr": LR, "beta": MEMORY})


PICTURES: dict[str, Callable[[], Axes]] = {
    "schedule": lambda: plots.schedule([schedules.cosine(0.1, steps=90)], 100),
    "schedules": lambda: plots.schedule(
        [schedules.warmup(schedules.one_cycle(1.0, steps=90), 10), 0.5, math.exp2], 4
    ),
    "leaky": lambda: plots.leaky_weights([0.5, 0.9, 0.95]),
    "leaky, far apart": lambda: plots.leaky_weights([0.0, 0.9, 0.999]),
    "loss": lambda: plots.loss(
        [descend("stretched_bowl", rule, lr=0.4) for rule in ("sgd", "momentum", "adam", "newton")]
    ),
    "loss, diverging": lambda: plots.loss([descend("bowl", "sgd", lr=3.0, steps=2000)]),
    "loss, lengths": lambda: plots.loss(
        [descend("bowl", "sgd", lr=0.1, steps=k) for k in (3, 1000)]
    ),
    "components": lambda: plots.components(descend(HALVING, "momentum", lr=1.0, beta=0.8)),
    "rates": lambda: plots.rates("sgd", [0.2, 4.0]),
    "rates, one eigenvalue": lambda: plots.rates("averaged_momentum", 1.0),
    "rates, ill-conditioned": lambda: plots.rates("adam", [1e-6, 1.0], beta1=0.99),
    "rate map": lambda: plots.rate_map(momentum_map()),
    "rate map, short memories": lambda: plots.rate_map(
        theory.rate_map("momentum", 1.0, {"lr": LR, "beta": np.linspace(0.1, 0.5, 20)})
    ),
    "loss, eight": lambda: plots.loss(
        [descend("bowl", "sgd", lr=lr, steps=40) for lr in (0.01, 0.05, 0.1, 0.15)]
        + [descend("bowl", "adam", lr=lr, steps=40) for lr in (0.01, 0.05, 0.1, 0.15)]
    ),
    "loss, one point": lambda: plots.loss([descend("bowl", "sgd", lr=1e307)]),
    "leaky, very long": lambda: plots.leaky_weights([1 - 1e-9]),
}


def texts(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_axes_are_named_and_nothing_overlaps(draw: Callable[[], Axes]) -> None:
    ax = draw()
    figure = ax.figure.canvas.figure
    figure.draw_without_rendering()
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_window_extent().y1 < ax.xaxis.label.get_window_extent().y0
    for part in (legend.get_window_extent(), ax.get_tightbbox()):
        assert part is not None
        assert -1 <= part.x0 < part.x1 <= figure.bbox.x1 + 1
        assert -1 <= part.y0 < part.y1 <= figure.bbox.y1 + 1
    assert ax.get_window_extent().height > 1.4 * figure.dpi
    looks = [
        (line.get_linestyle(), line.get_marker(), line.get_linewidth(), str(line._dash_pattern))  # type: ignore[attr-defined]
        for line in legend.get_lines()
    ]
    assert len(set(looks)) == len(looks)  # in black and white too


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_no_tick_labels_overlap(draw: Callable[[], Axes]) -> None:
    ax = draw()
    ax.figure.canvas.figure.draw_without_rendering()
    for axis in (ax.xaxis, ax.yaxis):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_text()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_pictures_are_drawn_on_the_axes_that_are_given() -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - here alone

    trace = descend("bowl", "sgd", lr=0.1)
    draws: list[Callable[[Axes], Axes]] = [
        lambda ax: plots.schedule([1.0], 3, ax),
        lambda ax: plots.leaky_weights([0.5], ax=ax),
        lambda ax: plots.loss([trace], ax),
        lambda ax: plots.components(trace, ax),
        lambda ax: plots.rates("sgd", 1.0, ax),
        lambda ax: plots.rate_map(momentum_map(), ax),
    ]
    for draw in draws:
        ax = Figure().subplots()
        assert draw(ax) is ax


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


def test_what_makes_no_picture_is_refused() -> None:
    bowl, saddle = descend("bowl", "sgd"), descend("saddle", "sgd")
    far = theory.rate_map("momentum", 1.0, over={"lr": [5.0, 6.0], "beta": [0.1, 0.2]})
    point = theory.rate_map("momentum", 1.0, over={"lr": [0.1], "beta": [0.1]})
    refusals: list[tuple[Callable[[], Axes], str]] = [
        (lambda: plots.loss([]), "loss needs one trace or more, got none"),
        (
            lambda: plots.loss([bowl, saddle]),
            "loss needs a known minimum, problem 'saddle' has none",
        ),
        (
            lambda: plots.loss([bowl, descend("bowl", "sgd", [0.0, 0.0])]),
            "loss needs descents that do not start at the minimum",
        ),
        (
            lambda: plots.rate_map(point),
            "rate_map needs two values or more of each, got (1, 1)",
        ),
        (
            lambda: plots.components(saddle),
            "components needs a quadratic with a minimizer, problem 'saddle' is none",
        ),
        (
            lambda: plots.components(descend("rosenbrock", "sgd")),
            "components needs a quadratic with a minimizer, problem 'rosenbrock' is none",
        ),
        (
            lambda: plots.components(descend("bowl", "sgd", [0.0, 0.0])),
            "components needs a descent that does not start at the minimizer",
        ),
        (
            lambda: plots.rate_map(far),
            f"rate_map needs a point that converges, the least rate is {far.rate.min():.4g}",
        ),
        (lambda: plots.rates("sgd", [-1.0]), "spectrum must be finite and > 0, got -1"),
    ]
    for draw, message in refusals:
        with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
            draw()
        assert str(refusal.value) == message
