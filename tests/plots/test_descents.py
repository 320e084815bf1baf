"""Pictures of descents and of theory: what is drawn stands where it belongs, and is all seen."""

import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from PIL import Image, ImageSequence

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


def places(problem: problems.Problem, x: Any) -> Any:
    """Return where points of a problem stand in its picture."""
    with np.errstate(over="ignore"):
        return x if problem.start.size == 2 else np.column_stack([x, problem.value(x)])


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
        descend("bowl", "newton", tolerance=1e-6),
    ]
    ax = plots.paths(traces)
    assert labels(ax) == [
        f"adam  lr 0.5, beta2 0.9  →  f = {traces[0].f[-1]:.2g}",
        f"sgd  lr 0.001  →  f = {traces[1].f[-1]:.2g}",
        f"sgd  lr constant  →  f = {traces[2].f[-1]:.2g}",
        f"sgd  lr exp2  →  f = {traces[3].f[-1]:.2g}",
        "sgd  lr 1e+300  →  diverged at step 1",
        f"newton  lr 1  →  f = {traces[5].f[-1]:.2g} at step 1",
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
    "saddle": [descend("saddle", "sgd", lr=0.3, steps=30)],
    "many minimizers": [descend("himmelblau", "adam", lr=0.5, steps=60)],
    "second order": [descend("rosenbrock", rule, steps=30) for rule in ("newton", "bfgs", "lbfgs")],
    "one variable": [descend("ripples", "momentum", lr=0.02), descend("ripples", "adam", lr=0.5)],
    "one variable, diverging": [descend("ripples", "sgd", lr=0.9)],
    "box": [descend("reddi", "sgd", lr=0.5, batch_size=1, sampling="sequential", steps=90)],
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
    starts = [trace.x[0] for trace in traces]
    assert len(lines_of(ax, "start")) == len(traces)
    assert len(lines_of(ax, "minimizer")) == len(problem.minimizers)
    for point in places(problem, np.vstack([starts, *problem.minimizers])):
        assert (low < point).all()
        assert (point < high).all()
    if problem.start.size == 1:
        return
    per_unit = np.array([box.width, box.height]) / (high - low)
    assert per_unit[0] == pytest.approx(per_unit[1], rel=1e-3)


@every_picture
def test_every_path_has_its_end_or_an_arrow_at_the_edge(traces: Sequence[Trace]) -> None:
    ax = plots.paths(traces)
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    ends = [
        places(trace.problem, trace.x[np.isfinite(trace.x).all(axis=1)])[-1] for trace in traces
    ]
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


def test_the_picture_holds_the_detour_from_which_a_path_comes_back() -> None:
    trace = descend("rosenbrock", "newton")
    far = trace.x[:, 1].min()
    assert far < -3  # the start and the minimizer are at 1
    low, _ = plots.paths([trace]).get_ylim()
    assert low < far


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
    assert problems.get("saddle").minimum is None
    saddle = contour_levels(plots.paths(PICTURES["saddle"]))
    np.testing.assert_allclose(np.diff(saddle), np.diff(saddle)[0])


def test_the_picture_of_a_saddle_holds_it() -> None:
    ax = plots.paths(PICTURES["saddle"])
    (low, high), (left, right) = ax.get_ylim(), ax.get_xlim()
    assert left < -2 < 0 < right
    assert low < 0 < high


def test_a_factor_of_the_ticks_is_not_beneath_the_title() -> None:
    ax = plots.paths([descend("bowl", "sgd", [1e-9, 1e-9], lr=0.1)])
    ax.figure.canvas.figure.draw_without_rendering()
    factor = ax.yaxis.get_offset_text()
    assert factor.get_text()
    titles = [text for text in (ax.title, ax._left_title) if text.get_text()]  # type: ignore[attr-defined]
    assert titles
    for title in titles:
        assert not title.get_window_extent().overlaps(factor.get_window_extent())


def test_a_path_on_one_variable_stands_on_the_curve() -> None:
    trace = descend("ripples", "sgd", [2.0], lr=0.05)
    ax = plots.paths([trace])
    drawn = lines_of(ax, labels(ax)[0])[0]
    np.testing.assert_array_equal(drawn, np.column_stack([trace.x, trace.f]))
    x, y = ax.lines[0].get_data()  # x²(1 + sin x), written down again
    np.testing.assert_allclose(y, np.square(x) * (1 + np.sin(x)), atol=1e-12)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "f(x)")


def frames_of(path: Path) -> list[Any]:
    with Image.open(path) as picture:
        return [np.asarray(frame.convert("L"), float) for frame in ImageSequence.Iterator(picture)]


def test_an_animation_grows_step_by_step_to_the_whole_picture(tmp_path: Path) -> None:
    traces = [descend("stretched_bowl", "sgd", lr=lr, steps=6) for lr in (0.3, 0.4, 0.7)]
    written = plots.animate(traces, tmp_path / "paths.gif", frames_per_second=20)
    assert [each.name for each in tmp_path.iterdir()] == ["paths.gif"]
    frames = frames_of(written)
    assert len(frames) == 7  # equal frames, the rest at the end, are one
    still = io.BytesIO()
    plots.paths(traces).figure.canvas.figure.savefig(still, format="png", facecolor="white")
    whole = np.asarray(Image.open(still).convert("L"), float)
    title = 20  # rows at the top, which say the step
    differences = [np.abs(frame - whole)[title:].mean() for frame in frames]
    assert all(a > b for a, b in itertools.pairwise(differences))
    assert np.abs(frames[-1] - whole)[title:].max() < 60  # a GIF has few colours
    with Image.open(written) as picture:
        assert picture.info["duration"] == 50
        picture.seek(6)
        assert picture.info["duration"] > 1000


def test_animations_that_cannot_be_made_leave_no_file(tmp_path: Path) -> None:
    trace = descend("bowl", "sgd", lr=0.1)
    with pytest.raises(ValueError, match=r"an animation's name must end in .gif, got .*a.png"):
        plots.animate([trace], tmp_path / "a.png")
    with pytest.raises(
        ValueError, match=r"frames_per_second must be an integer in \[1, 50\], got 0"
    ):
        plots.animate([trace], tmp_path / "a.gif", frames_per_second=0)
    with pytest.raises(ValueError, match="animate needs one trace or more"):
        plots.animate([], tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


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
