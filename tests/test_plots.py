"""The picture of a descent: what is drawn stands where the trace says, and all of it is seen."""

import io
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from thalweg import plots, problems, schedules
from thalweg.descent import Trace, descend

RULES = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "lion", "rprop", "adamax"]


def png(ax: Axes) -> bytes:
    content = io.BytesIO()
    ax.figure.canvas.figure.savefig(content, format="png")
    return content.getvalue()


def labels(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def lines_of(ax: Axes, label: str) -> list[Any]:
    return [np.column_stack(line.get_data()) for line in ax.lines if line.get_label() == label]


def arrows(ax: Axes) -> list[Annotation]:
    return [text for text in ax.texts if isinstance(text, Annotation)]


def test_path_start_end_and_minimizer_stand_where_the_trace_has_them() -> None:
    trace = descend("bowl", "momentum", lr=0.1, beta=0.5)
    ax = plots.paths([trace])
    drawn, end = lines_of(ax, labels(ax)[0])
    np.testing.assert_array_equal(drawn, trace.x)
    np.testing.assert_array_equal(end, trace.x[-1:])
    (start,) = lines_of(ax, "start")
    np.testing.assert_array_equal(start, [[-5.0, -2.0]])
    (minimizer,) = lines_of(ax, "minimizer")
    np.testing.assert_array_equal(minimizer, [[0.0, 0.0]])
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title("left")) == ("x₁", "x₂", "bowl")


def test_the_legend_names_rule_rate_and_what_is_not_a_default() -> None:
    traces = [
        descend("bowl", "adam", lr=0.5, beta2=0.9),
        descend("bowl", "sgd"),
        descend("bowl", "sgd", lr=schedules.constant(0.25)),
        descend("bowl", "sgd", lr=math.exp2, steps=20),
        descend("bowl", "sgd", lr=1e300),
    ]
    ax = plots.paths(traces)
    assert labels(ax) == [
        f"adam  lr 0.5, beta2 0.9  →  f = {traces[0].f[-1]:.2g}",
        f"sgd  lr 0.001  →  f = {traces[1].f[-1]:.2g}",
        f"sgd  lr constant  →  f = {traces[2].f[-1]:.2g}",
        f"sgd  lr exp2  →  f = {traces[3].f[-1]:.2g}",
        "sgd  lr 1e+300  →  diverged at step 1",
        "start",
        "minimizer",
    ]


def test_paths_differ_without_colour() -> None:
    ax = plots.paths([descend("bowl", rule, lr=0.1) for rule in RULES])
    legend = ax.get_legend()
    assert legend is not None
    looks = [
        (line.get_marker(), str(line._dash_pattern))  # type: ignore[attr-defined]
        for line in legend.get_lines()[: len(RULES)]
    ]
    assert len(set(looks)) == len(RULES)
    colors = [line.get_color() for line in legend.get_lines()[: len(RULES)]]
    assert all(a != b for a, b in itertools.pairwise(colors))


PICTURES = {
    "converging": [descend("bowl", rule, lr=0.1) for rule in RULES[:3]],
    "one flat path": [descend("stretched_bowl", "sgd", [-5.0, 0.0], lr=0.4)],
    "one steep path": [descend("stretched_bowl", "sgd", [0.0, -2.0], lr=0.4)],
    "many": [descend("rotated_bowl", rule, lr=0.1) for rule in RULES],
    "diverging": [descend("bowl", "sgd", lr=2.5, steps=400), descend("bowl", "sgd", lr=0.1)],
    "at once": [descend("bowl", "sgd", lr=1e307)],
    "beyond floats": [descend("bowl", "sgd", lr=1.7e308)],
    "rosenbrock": [descend("rosenbrock", "adam", lr=0.1, steps=300)],
    "saddle": [descend(problems.quadratic([-1.0, 2.0]), "sgd", [0.1, 1.0], lr=0.3, steps=30)],
    "at rest": [descend("bowl", "sgd", [0.0, 0.0])],
    "two starts": [descend("bowl", "sgd", [4.0, y], lr=0.1) for y in (-3.0, 3.0)],
}
every_picture = pytest.mark.parametrize("traces", PICTURES.values(), ids=PICTURES)


@every_picture
def test_everything_is_seen_and_nothing_overlaps(traces: Sequence[Trace]) -> None:
    ax = plots.paths(traces)
    assert png(ax).startswith(b"\x89PNG")
    figure = ax.figure.canvas.figure
    legend = ax.get_legend()
    assert legend is not None
    box, below = ax.get_window_extent(), legend.get_window_extent()
    assert below.y1 < ax.xaxis.label.get_window_extent().y0
    for part in (below, ax.get_tightbbox()):
        assert part is not None
        assert part.x0 >= -1
        assert part.y0 >= -1
        assert part.x1 <= figure.bbox.x1 + 1
        assert part.y1 <= figure.bbox.y1 + 1
    assert box.height > 1.5 * figure.dpi
    assert box.width > 0.85 * figure.bbox.width
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    problem = traces[0].problem
    marked = [trace.x[0] for trace in traces] + (
        [] if problem.minimizer is None else [problem.minimizer]
    )
    assert len(lines_of(ax, "start")) == len(traces)
    for point in marked:
        assert (low < point).all()
        assert (point < high).all()
    per_unit = np.array([box.width, box.height]) / (high - low)
    assert per_unit[0] == pytest.approx(per_unit[1], rel=1e-3)


@every_picture
def test_every_path_has_its_end_or_an_arrow_at_the_edge(traces: Sequence[Trace]) -> None:
    ax = plots.paths(traces)
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    ends = [trace.x[np.isfinite(trace.x).all(axis=1)][-1] for trace in traces]
    outside = [not ((low <= end) & (end <= high)).all() for end in ends]
    assert len(arrows(ax)) == sum(outside)
    for arrow in arrows(ax):
        tip = np.array(arrow.xy)
        distance = np.minimum(tip - low, high - tip) / (high - low)
        assert distance.min() == pytest.approx(0, abs=1e-9)
    expected = [
        end.tolist()
        for trace, end, left in zip(traces, ends, outside, strict=True)
        if not left and not trace.diverged_at
    ]
    large = [line for line in ax.lines if line.get_markersize() == 9]
    assert [np.ravel(line.get_data()).tolist() for line in large] == expected


def test_a_path_that_leaves_and_returns_is_drawn_whole() -> None:
    trace = descend("stretched_bowl", "momentum", steps=200, lr=0.95, beta=0.95)
    assert np.abs(trace.x[:, 1]).max() > 7
    ax = plots.paths([trace])
    np.testing.assert_allclose(lines_of(ax, labels(ax)[0])[0], trace.x)


def test_the_picture_of_a_diverging_path_holds_what_is_near() -> None:
    near = descend("stretched_bowl", "sgd", lr=0.1)
    far = descend("stretched_bowl", "sgd", lr=1.5, steps=400)  # across, not along
    alone, both = plots.paths([near]), plots.paths([far, near])
    height, higher = (np.ptp(ax.get_ylim()) for ax in (alone, both))
    assert higher < 4 * height


def contour_levels(ax: Axes) -> Any:
    (contours,) = (c for c in ax.collections if isinstance(c, QuadContourSet))
    return contours.levels


def test_levels_double_over_the_minimum() -> None:
    problem = problems.quadratic([1.0, 2.0], linear=[1.0, 0.0], offset=-3.0)
    heights = contour_levels(plots.paths([descend(problem, "sgd", lr=0.1)])) - problem.minimum
    np.testing.assert_allclose(heights[1:] / heights[:-1], 2.0)
    saddle = contour_levels(plots.paths(PICTURES["saddle"]))
    np.testing.assert_allclose(np.diff(saddle), np.diff(saddle)[0])


def test_paths_are_drawn_on_the_axes_that_are_given() -> None:
    left, right = Figure(layout="constrained").subplots(ncols=2)
    trace = descend("bowl", "sgd", lr=0.1)
    assert plots.paths([trace], right) is right
    assert not left.lines
    assert isinstance(right.lines[0], Line2D)


def test_traces_that_make_no_picture_are_refused() -> None:
    bowl = descend("bowl", "sgd")
    cubic = descend(problems.quadratic([1.0, 2.0, 3.0], name="cigar"), "sgd")
    for traces, message in [
        ([], "paths needs one trace or more, got none"),
        ([cubic], "paths draws problems of one or two variables, 'cigar' has 3"),
        (
            [bowl, descend("rosenbrock", "sgd")],
            "all traces must be of one problem, got 'bowl' and another, 'rosenbrock'",
        ),
        ([bowl, cubic], "all traces must be of one problem, got 'bowl' and another, 'cigar'"),
    ]:
        with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
            plots.paths(traces)
        assert str(refusal.value) == message
