"""What holds for every picture of theory: named axes, no text over another, refusals."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes

from plots.examples import HALVING, LR, momentum_map
from thalweg import plots, schedules, theory
from thalweg.descent import descend

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


@pytest.fixture(scope="module", params=PICTURES)
def ax(request: pytest.FixtureRequest) -> Axes:
    """Draw a picture, for whatever looks at it."""
    ax = PICTURES[request.param]()
    ax.figure.canvas.figure.draw_without_rendering()
    return ax


def test_axes_are_named_and_nothing_overlaps(ax: Axes) -> None:
    figure = ax.figure.canvas.figure
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


def test_no_tick_labels_overlap(ax: Axes) -> None:
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


def test_one_is_drawn_as_a_list_of_one() -> None:
    bowl = descend("bowl", "sgd")
    for alone, listed in (
        (plots.loss(bowl), plots.loss([bowl])),
        (plots.paths(bowl), plots.paths([bowl])),
        (plots.schedule(0.1, 5), plots.schedule([0.1], 5)),
        (plots.leaky_weights(0.9), plots.leaky_weights([0.9])),
    ):
        drawn, expected = ([line.get_xydata() for line in ax.lines] for ax in (alone, listed))
        assert len(drawn) == len(expected) > 0
        assert all(map(np.array_equal, drawn, expected))


def test_what_makes_no_picture_is_refused() -> None:
    bowl, saddle = descend("bowl", "sgd"), descend("saddle", "sgd")
    far = theory.rate_map("momentum", 1.0, over={"lr": [5.0, 6.0], "beta": [0.1, 0.2]})
    point = theory.rate_map("momentum", 1.0, over={"lr": [0.1], "beta": [0.1]})
    refusals: list[tuple[Callable[[], Axes], str]] = [
        (lambda: plots.loss([]), "loss needs one trace or more, got none"),
        (lambda: plots.schedule([], 9), "schedule needs one curve or more, got none"),
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
