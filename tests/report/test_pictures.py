import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import race_folder
from thalweg import rules, style
from thalweg.report import Record, pictures

Results = dict[str, Any]


def loss_curves(results: Results, *given: Any, **how: Any) -> Figure:
    return pictures.loss_curves(Record.of(results), *given, **how)


def learning_rates(results: Results, *given: Any, **how: Any) -> Figure:
    return pictures.learning_rates(Record.of(results), *given, **how)


def time_to_target(results: Results, *given: Any, **how: Any) -> Figure:
    return pictures.time_to_target(Record.of(results), *given, **how)


def prices(results: Results, _: pa.Table, **how: Any) -> Figure:
    return pictures.prices(Record.of(results), **how)


Race = tuple[dict[str, Any], pa.Table]
FIGURES = (loss_curves, learning_rates)


@pytest.fixture(scope="module", params=[1, 6, 20])
def race(request: pytest.FixtureRequest) -> Race:
    return race_folder.make(rules.names()[: request.param], trials=24, seeds=8)


@pytest.fixture(scope="module")
def six() -> Race:
    return race_folder.make(rules.names()[:6], trials=24, seeds=8)


def panel(figure: Figure, rule: str) -> Axes:
    return next(a for a in figure.axes if a.get_title(loc="left").split()[-1] == rule)


def points(axes: Axes, marker: str) -> np.ndarray:
    """The (x, y) of everything drawn with a marker."""
    drawn = [line for line in axes.lines if line.get_marker() == marker]
    return np.concatenate([line.get_xydata() for line in drawn])


def losses(curves: pa.Table, rule: str, phase: str, order: str) -> tuple[np.ndarray, np.ndarray]:
    chosen = curves.filter((pc.field("rule") == rule) & (pc.field("phase") == phase))
    chosen = chosen.sort_by([(order, "ascending"), ("epoch", "ascending")])
    lanes = len(pc.unique(chosen[order]))
    return chosen["lr"].to_numpy().reshape(lanes, -1), chosen["validation_loss"].to_numpy().reshape(
        lanes, -1
    )


def test_loss_curves_draw_the_median_over_seeds(six: Race) -> None:
    results, curves = six
    figure = loss_curves(results, curves)
    for rule in ("sgd", "nesterov"):
        expected = np.median(losses(curves, rule, "final", "seed")[1], axis=0)
        drawn = [line.get_ydata() for line in panel(figure, rule).lines]
        assert any(len(y) == len(expected) and np.allclose(y, expected) for y in drawn)


@pytest.mark.parametrize("draw", FIGURES)
def test_a_loss_of_zero_has_a_place_on_the_logarithmic_axis(six: Race, draw: Any) -> None:
    results, curves = six
    column = curves.column_names.index("validation_loss")
    perfect = np.where(curves["epoch"].to_numpy() > 2, 0.0, curves["validation_loss"].to_numpy())
    zeros = curves.set_column(column, "validation_loss", pa.array(perfect))
    best = {**results["rules"][0], "val_loss": 0.0}
    figure = draw({**results, "rules": [best, *results["rules"][1:]]}, zeros)
    low, high = panel(figure, best["rule"]).get_ylim()
    assert 0 < low <= 1e-8 < high


def lowered(race: Race, by: float) -> Race:
    """The same race with every loss so much lower, such as that of a Gaussian's likelihood."""
    results, curves = race
    index = curves.schema.get_field_index("validation_loss")
    lower = pc.subtract(curves["validation_loss"], by)
    losses = {k: results["target"][k] - by for k in ("validation_loss", "constant", "reference")}
    target = {**results["target"], **losses}
    rows = [{**row, "val_loss": row["val_loss"] - by} for row in results["rules"]]
    return {**results, "target": target, "rules": rows}, curves.set_column(
        index, "validation_loss", lower
    )


@pytest.mark.parametrize("by", [1.0, 5.0])  # losses of both signs; none above 0
def test_negative_losses_have_a_linear_axis(six: Race, by: float) -> None:
    results, curves = lowered(six, by)
    figure = loss_curves(results, curves)
    for rule in ("sgd", "nesterov"):
        axes = panel(figure, rule)
        expected = np.median(losses(curves, rule, "final", "seed")[1], axis=0)
        assert axes.get_yscale() == "linear"
        assert any(np.allclose(y, expected) for y in (line.get_ydata() for line in axes.lines[:2]))
        low, high = axes.get_ylim()
        assert low < min(expected.min(), results["target"]["validation_loss"])
        assert expected.max() < high < low + 1.4 * (expected.max() - low)
    figure = learning_rates(results, curves)
    for rule in ("sgd", "nesterov"):
        lr, loss = (values[:, -1] for values in losses(curves, rule, "trial", "trial"))
        axes = panel(figure, rule)
        assert axes.get_yscale() == "linear"
        low, high = axes.get_ylim()
        assert low < np.nanmin(loss)
        assert results["target"]["constant"] < high < results["target"]["constant"] + 0.3
        shown = points(axes, "o")
        order = np.argsort(shown[:, 0])
        np.testing.assert_allclose(shown[order, 1], loss[loss < high][np.argsort(lr[loss < high])])
        np.testing.assert_allclose(points(axes, "*"), [[lr[np.nanargmin(loss)], np.nanmin(loss)]])


def test_a_curve_that_diverges_below_zero_leaves_a_linear_panel(six: Race) -> None:
    results, curves = lowered(six, 5.0)
    index = curves.schema.get_field_index("validation_loss")
    lost = (curves["rule"].to_numpy() == "sgd") & (curves["epoch"].to_numpy() > 3)
    loss = np.where(lost, np.nan, curves["validation_loss"].to_numpy())
    figure = loss_curves(results, curves.set_column(index, "validation_loss", pa.array(loss)))
    axes = panel(figure, "sgd")
    _, median, *_ = axes.lines
    assert axes.get_ylim()[1] < median.get_ydata()[-1] < 1e5  # further up no browser draws


def test_a_target_of_zero_has_a_linear_axis(six: Race) -> None:
    results, curves = six
    target = {**results["target"], "validation_loss": 0.0}
    axes = loss_curves({**results, "target": target}, curves).axes[0]
    assert axes.get_yscale() == "linear"
    assert -0.5 < axes.get_ylim()[0] < 0


def test_a_lucky_trial_below_zero_does_not_flatten_the_others(six: Race) -> None:
    results, curves = six
    index = curves.schema.get_field_index("validation_loss")
    lucky = np.where(curves["trial"].to_numpy() == 1, -50.0, curves["validation_loss"].to_numpy())
    figure = learning_rates(results, curves.set_column(index, "validation_loss", pa.array(lucky)))
    constant = results["target"]["constant"]
    least = min(row["val_loss"] for row in results["rules"])
    for rule in ("sgd", "nesterov"):
        assert points(panel(figure, rule), "o")[:, 1].min() == pytest.approx(
            least - (constant - least) / 2
        )


def test_a_lucky_trial_does_not_flatten_the_others(six: Race) -> None:
    results, curves = six
    column = curves.column_names.index("validation_loss")
    lucky = np.where(curves["trial"].to_numpy() == 1, 1e-7, curves["validation_loss"].to_numpy())
    changed = curves.set_column(column, "validation_loss", pa.array(lucky))
    figure = learning_rates(results, changed)
    least = min(row["val_loss"] for row in results["rules"])
    for rule in ("sgd", "nesterov"):
        axes = panel(figure, rule)
        assert axes.get_ylim()[0] > least / 4
        assert points(axes, "o")[:, 1].min() == pytest.approx(least / 3)


def test_row_order_of_the_table_does_not_matter(six: Race) -> None:
    results, curves = six
    shuffled = curves.take(np.random.default_rng(0).permutation(len(curves)))
    for draw in FIGURES:
        assert style.svg(draw(results, curves), "a") == style.svg(draw(results, shuffled), "a")


def test_learning_rates_draw_every_trial_once(six: Race) -> None:
    results, curves = six
    figure = learning_rates(results, curves)
    for rule in [row["rule"] for row in results["rules"][:2]] + ["sgd"]:
        lr, loss = (values[:, -1] for values in losses(curves, rule, "trial", "trial"))
        axes = panel(figure, rule)
        shown = points(axes, "o")
        np.testing.assert_allclose(sorted(shown[:, 0]), sorted(lr[loss < axes.get_ylim()[1]]))
        np.testing.assert_allclose(sorted(points(axes, "x")[:, 0]), sorted(lr[np.isnan(loss)]))
        np.testing.assert_allclose(points(axes, "*"), [[lr[np.nanargmin(loss)], np.nanmin(loss)]])


def test_of_very_many_trials_those_that_cover_each_other_are_drawn_once() -> None:
    results, curves = race_folder.make(("sgd", "adam"), trials=20_000, seeds=2, epochs=1)
    figure = learning_rates(results, curves)
    lr, loss = (values[:, -1] for values in losses(curves, "adam", "trial", "trial"))
    axes = panel(figure, "adam")
    shown = loss < axes.get_ylim()[1]
    for marker, every, transform in (
        ("o", np.column_stack([lr, loss])[shown], axes.transData),
        ("x", np.column_stack([lr, 0.96 * np.ones(len(lr))])[np.isnan(loss)],
         axes.get_xaxis_transform()),
    ):  # fmt: skip
        drawn = points(axes, marker)
        assert len(drawn) < len(every) / 5
        known, there = transform.transform(drawn), transform.transform(every)
        apart = np.linalg.norm(there[:, None] - known, axis=-1).min(axis=1)
        assert apart.max() < 3 * np.sqrt(2)  # pixels; a marker is larger


def test_finite_losses_above_the_scale_are_triangles(six: Race) -> None:
    results, curves = six
    loss = curves["validation_loss"].to_numpy().copy()
    worst = (curves["rule"].to_numpy() == "sgd") & (curves["trial"].to_numpy() == 5)
    worst &= curves["phase"].to_numpy() == "trial"
    loss[worst] = 1e6
    index = curves.schema.get_field_index("validation_loss")
    axes = panel(
        learning_rates(results, curves.set_column(index, "validation_loss", pa.array(loss))),
        "sgd",
    )
    assert points(axes, "^")[:, 0] == pytest.approx(curves["lr"].to_numpy()[worst][0])
    assert axes.get_ylim()[1] < 10


def test_time_to_target_draws_seconds_and_says_who_never_arrived() -> None:
    results, _ = race_folder.make(("sgd", "adam", "asgd"), trials=24, seeds=8)
    axes = time_to_target(results).axes[0]
    seconds = {row["rule"]: row["seconds_to_target"] for row in results["rules"]}
    assert seconds.pop("asgd") is None
    assert axes.get_xscale() == "log"
    assert sorted(points(axes, "o")[:, 0]) == pytest.approx(sorted(seconds.values()))
    said = [text.get_text() for text in axes.texts]
    assert said[-1] == "not reached"
    assert all("epoch" in text for text in said[:-1])


def test_the_rule_to_take_and_those_as_good_are_marked_without_colour(race: Race) -> None:
    results, curves = race
    titles = [a.get_title(loc="left") for a in loss_curves(results, curves).axes]
    results = Record.of(results)
    good = {row.rule for row in results.rules if row.state == "as good"}
    assert titles[0] == f"★ {results.take}"
    assert {title[2:] for title in titles if title.startswith("= ")} == good - {results.take}
    assert len(titles) == len(results.rules)


def test_prices_are_drawn_with_their_intervals_grouped_by_state(race: Race) -> None:
    results = Record.of(race[0])
    axes = pictures.prices(results).axes[0]
    drawn = [line.get_xydata() for line in axes.lines]
    ends = {place[0, 1]: place[:, 0] for place in drawn if len(place) == 2}
    dots = {place[0, 1]: place[0, 0] for place in drawn if len(place) == 1}
    for y, row in enumerate(results.rules):
        np.testing.assert_allclose(ends[y], [row.price.low, row.price.high])
        assert dots[y] == row.price.typical
        assert axes.get_yticklabels()[y].get_text() == results.mark(row.rule)
    between = [line for line in axes.lines if line.get_ydata()[0] % 1]
    assert len(between) == len({row.state for row in results.rules}) - 1


@pytest.mark.parametrize("draw", [*FIGURES, prices])
@pytest.mark.parametrize("width", [3.7, 7.2])
def test_no_text_covers_another(race: Race, draw: Any, width: float) -> None:
    figure = draw(*race, width=width)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [t for axes in figure.axes for t in (axes.title, axes._left_title)]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            texts += [tick.label1 for tick in axis._update_ticks()]
    texts += [text for text in (figure._supxlabel, figure._supylabel) if text]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    boxes = [
        (text.get_text(), text.get_window_extent(renderer).padded(-1))
        for text in texts
        if text.get_text() and text.get_visible()
    ]
    inside = figure.bbox
    for (name, box), (other, another) in itertools.combinations(boxes, 2):
        assert not box.overlaps(another), (name, other)
    for name, box in boxes:
        assert inside.x0 <= box.x0, name
        assert box.x1 <= inside.x1, name
        assert box.y1 <= inside.y1, name


def test_a_rule_that_only_diverges_and_one_without_a_rate_are_drawn(six: Race) -> None:
    results, curves = six
    rule = curves["rule"].to_numpy()
    loss, lr = (curves[name].to_numpy().copy() for name in ("validation_loss", "lr"))
    loss[rule == "sgd"] = np.nan
    lr[rule == "nesterov"] = np.nan
    for name, values in (("validation_loss", loss), ("lr", lr)):
        curves = curves.set_column(curves.schema.get_field_index(name), name, pa.array(values))
    for draw in FIGURES:
        assert len(style.svg(draw(results, curves), "a")) > 1000


def test_no_rule_reaches_the_target(six: Race) -> None:
    results, _ = six
    rows = [
        {**row, "seconds_to_target": None, "epochs_to_target": None} for row in results["rules"]
    ]
    figure = time_to_target({**results, "rules": rows})
    assert [text.get_text() for text in figure.axes[0].texts] == ["not reached"] * 6


@pytest.mark.parametrize("others", [True, False])
def test_a_rule_that_starts_at_the_target_has_no_time(six: Race, *, others: bool) -> None:
    results, _ = six
    rows = [
        {**row, "seconds_to_target": others * 0.02 * i, "epochs_to_target": others * i}
        for i, row in enumerate(results["rules"])
    ]
    axes = time_to_target({**results, "rules": rows}).axes[0]
    assert [text.get_text() for text in axes.texts].count("at the start") == (1 if others else 6)
    if others:
        assert sorted(points(axes, "o")[:, 0]) == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
        slowest = 0.1 * (1 + rows[5]["seconds_spread"])
        assert axes.get_xlim() == pytest.approx((0.7 * 0.02, 1.4 * slowest))
        ends = [line.get_xdata() for line in axes.lines if line.get_linestyle() == "-"]
        assert max(np.ravel(ends)) == pytest.approx(slowest)


def test_svg_follows_the_pages_theme_and_keeps_its_text() -> None:
    results, _ = race_folder.make(("sgd", "adam"), trials=24, seeds=8)
    for row, seconds in zip(results["rules"], (0.005, 0.02), strict=True):
        row |= {"seconds_to_target": seconds, "epochs_to_target": 2}
    text = style.svg(time_to_target(results), "times <by> rule")
    assert 'aria-label="times &lt;by&gt; rule"' in text
    assert "var(--winner)" in text
    assert not any(color in text for color in (style.INK, style.MUTED, style.WINNER, style.TIE))
    assert ">0.005<" in text
    assert "adam</text>" in text
    assert "font-family" not in text
    assert "<metadata" not in text


def test_style_leaves_the_callers_settings_alone() -> None:
    import matplotlib as mpl  # noqa: PLC0415 - the one test that looks at it

    before = dict(mpl.rcParams)
    style.svg(style.figure()[0], "empty")
    assert dict(mpl.rcParams) == before


def test_save_refuses_an_unknown_ending(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in .*\.png.*, got .*picture\.xyz"):
        style.save(style.figure()[0], tmp_path / "picture.xyz")
    assert not list(tmp_path.iterdir())


def test_names_in_any_script_are_drawn_without_a_warning() -> None:
    picture, axes = style.figure()
    axes.set_title("価格")
    assert "価格" in style.svg(picture, "a picture")  # a warning is an error here
