"""Signs: what the shape of loss curves says of a training, each with its threshold.

A curve is cut into at most 60 bins of equally many values, whose medians are its *levels*. The
noise of a level is what second differences of levels show, for these hardly see a smooth course.
Thresholds were set on the families CALIBRATED of ``tests/doctor/curve_families.py``; the others
there judge them.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from thalweg.doctor.finding import Finding
from thalweg.words import digits, percent

__all__ = ["Curves", "Shape", "look"]

Floats = NDArray[np.float64]
Said = Finding | str
"""A finding, or why there is none."""

_BINS = 60
_FEW = 8  # values, fewer of which show no shape
_SOURCE = "calibrated on generated curves: tests/doctor/curve_families.py"
_GUESSING = (2, 3, 4, 5, 6, 8, 10, 16, 20, 26, 50, 100, 200, 256, 1000)  # usual numbers of classes


@dataclass(frozen=True)
class Curves:
    """Losses of one training.

    Args:
        name: of the log.
        steps: at which the training loss was noted, rising.
        training: the losses; NaN and infinite as they are.
        validation_steps: the same for the validation loss; both empty where there is none.
        validation: the losses.
        unit: what steps count: ``"step"``, ``"epoch"`` or ``"line"``.
        notes: what was assumed about the log.
    """

    name: str
    steps: Floats
    training: Floats
    validation_steps: Floats
    validation: Floats
    unit: str = "step"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shape:
    """The course of a loss, of finite values only.

    Args:
        steps: of each value.
        values: the losses.
        unit: what steps count.
    """

    steps: Floats
    values: Floats
    unit: str = "step"

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """Where bins begin, and the end."""
        return np.linspace(0, len(self.values), min(_BINS, len(self.values)) + 1).astype(np.int64)

    @cached_property
    def levels(self) -> Floats:
        """The median of each bin."""
        edges = self.edges
        if len(self.values) <= _BINS:
            return self.values
        pairs = itertools.pairwise(edges)
        return np.array([np.median(self.values[low:high]) for low, high in pairs])

    @cached_property
    def window(self) -> int:
        """How many bins make the level of an end."""
        return max(1, round(len(self.levels) / 10))

    @cached_property
    def start(self) -> float:
        """The level at the start: of few values, for much may be learned in the first steps."""
        few = max(1, min(9, len(self.values) // 50))
        first, level = float(np.median(self.values[:few])), float(self.levels[0])
        scatter = 1.25 * self.single(slice(0, int(self.edges[1]) + 1)) / math.sqrt(few)
        return first if abs(first - level) > 3 * scatter else level

    def single(self, part: slice) -> float:
        """Return the standard deviation of single values about a smooth course."""
        steps = np.diff(self.values[part])
        return 1.4826 * float(np.median(np.abs(steps))) / math.sqrt(2) if len(steps) else 0.0

    @cached_property
    def smooth(self) -> Floats:
        """Means of as many neighbouring levels as make an end."""
        means: Floats = sliding_window_view(self.levels, self.window).mean(axis=1)
        return means

    @cached_property
    def end(self) -> float:
        """The level at the end."""
        return float(np.median(self.levels[-self.window :]))

    @cached_property
    def least(self) -> float:
        """The least level."""
        return float(self.smooth.min())

    @cached_property
    def least_at(self) -> int:
        """The bin around which the level is least."""
        return int(self.smooth.argmin()) + self.window // 2

    @cached_property
    def noise(self) -> float:
        """Standard deviation of a level about a smooth course, in the second half."""
        half = self.levels[len(self.levels) // 2 :]
        bends = (half[1:-1] - (half[:-2] + half[2:]) / 2) / math.sqrt(1.5)
        return 1.4826 * float(np.median(np.abs(bends))) if len(bends) else 0.0

    @cached_property
    def wander(self) -> float:
        """Fluctuation of levels in the second half, as a share, beyond that of single values.

        About a parabola through their logarithms, so that slow fluctuation counts too.
        """
        half = len(self.levels) // 2
        logs = np.log(self.levels[half:])
        u = np.linspace(-1, 1, len(logs))
        rest = logs - np.polynomial.Polynomial.fit(u, logs, 2)(u)
        size = len(self.values) / len(self.levels)
        single = self.single(slice(self.edges[half], None)) / self.end if size >= 2 else 0.0
        spread = 1.4826 * float(np.median(np.abs(rest)))
        return math.sqrt(max(0.0, spread**2 - 1.57 * single**2 / size))

    def fall(self, share: float) -> float:
        """Return how far the level fell over the last share of the log, by the median slope."""
        last = self.levels[-max(4, round(share * len(self.levels))) :]
        low, high = np.triu_indices(len(last), 1)
        slopes = (last[high] - last[low]) / (high - low)
        return -float(np.median(slopes)) * (len(last) - 1)

    @property
    def range(self) -> float:
        """How far the level fell in all."""
        return self.start - self.least

    def step(self, place: int) -> int:
        """Return the step at which a bin begins."""
        return int(self.steps[self.edges[max(0, place)]])

    def at(self, step: float) -> float:
        """Return the level at a step."""
        centres = (self.edges[:-1] + self.edges[1:] - 1) // 2
        return float(np.interp(step, self.steps[centres], self.levels))


def look(
    curves: Curves, constant: float | None
) -> tuple[list[Finding], list[str], dict[str, str], dict[str, str]]:
    """Return findings, what was looked at, what was ruled out and what could not be looked at."""
    findings: list[Finding] = []
    ruled_out: dict[str, str] = {}
    looked_at: list[str] = []
    skipped: dict[str, str] = {}

    def note(name: str, title: str, said: Said) -> None:
        if title not in looked_at:
            looked_at.append(title)
        if isinstance(said, Finding):
            findings.append(said)
        else:
            ruled_out[name] = said

    shapes = _finite_shapes(curves, note, skipped)
    for role, shape in shapes.items():
        note("diverged", f"growth of the {role} loss", _diverged(role, shape))
    if not any(one.severity == "problem" for one in findings):
        _shapes(shapes, curves.unit, constant, note)
    elif shapes:
        skipped["other signs"] = f"{findings[0].cause} hides them"
    order = sorted(findings, key=lambda one: (one.severity != "problem", -one.sure))
    first = list({one.cause: one for one in reversed(order)}.values())[::-1]
    for one in first:
        ruled_out.pop(one.cause, None)
    return first, looked_at, ruled_out, skipped


def _finite_shapes(
    curves: Curves, note: Callable[[str, str, Said], None], skipped: dict[str, str]
) -> dict[str, Shape]:
    """Return the shapes of the curves that have one, and note what is not finite."""
    shapes = {}
    for role, steps, values in (
        ("training", curves.steps, curves.training),
        ("validation", curves.validation_steps, curves.validation),
    ):
        finite = np.isfinite(values)
        if not len(values):
            skipped[f"{role} loss"] = "the log has none"
            continue
        note(
            "loss_not_finite", f"{role} loss finite", _not_finite(role, steps, values, curves.unit)
        )
        if finite[-1] and finite.sum() >= _FEW:
            shapes[role] = Shape(steps[finite], values[finite], curves.unit)
        elif finite.all():
            skipped[f"shape of the {role} loss"] = (
                f"{len(values)} value{'s' * (len(values) != 1)}: {_FEW} or more show a shape"
            )
    return shapes


def _shapes(
    shapes: dict[str, Shape],
    unit: str,
    constant: float | None,
    note: Callable[[str, str, Said], None],
) -> None:
    training, held = shapes.get("training"), shapes.get("validation")
    main = training or held
    if main is None:
        return
    overfitted: Said = "there is no validation loss"
    if held is not None:
        overfitted = _overfitting(training, held)
        note("overfitting", "rise of the validation loss", overfitted)
    if training is not None and held is not None:
        uneven = _uneven(training, held)
        note("validation_of_other_distribution", "validation beside training loss", uneven)
    note("plateau", "stretches without learning", _plateau(main, unit, constant))
    note("underfitting", "what is left of the loss", _underfitting(main, held, constant))
    if not isinstance(overfitted, Finding):
        note("still_falling", "slope at the end", _still_falling(main))
    jumped = _spikes(main)
    note("loss_spikes", "spikes", jumped)
    for shape in (held, None if isinstance(jumped, Finding) else training):
        if shape is not None:
            note("noise_floor", "fluctuation at the end", _noise_floor(shape))


def _found(  # noqa: PLR0917 - in the order in which a finding is told
    cause: str,
    severity: Literal["problem", "warning"],
    sentence: str,
    evidence: dict[str, float | str],
    threshold: str,
    sure: float,
    onset: int | None = None,
    *,
    source: str = _SOURCE,
) -> Finding:
    return Finding(cause, severity, sentence, evidence, threshold, source, onset, sure)


def _not_finite(role: str, steps: Floats, values: Floats, unit: str) -> Said:
    bad = np.flatnonzero(~np.isfinite(values))
    if not len(bad):
        return f"every {role} loss is finite"
    first = int(bad[0])
    onset = int(steps[first])
    before = values[:first]
    word = "NaN" if np.isnan(values[first]) else "infinite"
    evidence: dict[str, float | str] = {
        "values not finite": float(len(bad)),
        "values": float(len(values)),
    }
    grew = len(before) >= 3 and float(np.max(before[-5:])) > 2 * max(
        float(np.min(before)), 0.5 * float(np.abs(before[0]))
    )
    if grew:
        evidence |= {"least before": float(np.min(before)), "last before": float(before[-1])}
        return _found(
            "diverged",
            "problem",
            f"The {role} loss grew from {digits(float(np.min(before)))} to "
            f"{digits(float(np.max(before[-5:])))} and was {word} at {unit} {onset}.",
            evidence,
            "twice the least value, and above where it began",
            0.95,
            onset,
            source="what a finite loss is",
        )
    where = (
        "from the first value on" if first == 0 else f"at {unit} {onset}, where it had not grown"
    )
    how = "" if len(bad) == len(values) - first else f"; {len(bad)} of {len(values)} values are so"
    return _found(
        "loss_not_finite",
        "problem",
        f"The {role} loss is {word} {where}{how}.",
        evidence,
        "a loss is a finite number",
        0.95,
        onset,
        source="what a finite loss is",
    )


def _diverged(role: str, shape: Shape) -> Said:
    rise, fell = shape.end - shape.least, shape.range
    line = max(0.5 * fell, 0.2 * abs(shape.least), 6 * shape.noise)
    if role == "validation":  # where it rises alone, that is overfitting
        line = max(line, 9 * abs(shape.start))
    evidence: dict[str, float | str] = {
        "start": shape.start,
        "least": shape.least,
        "end": shape.end,
    }
    if rise <= line:
        return f"the {role} loss ends {digits(max(rise, 0.0))} above its least level"
    onset = shape.step(shape.least_at)
    return _found(
        "diverged",
        "problem",
        f"The {role} loss rises from {digits(shape.least)} near {shape.unit} {onset} to "
        f"{digits(shape.end)} at the end.",
        evidence,
        f"it ends {digits(line)} or more above its least level: half of what it had fallen, a "
        "fifth of that level, and 6 times its noise",
        0.9,
        onset,
    )


def _overfitting(training: Shape | None, held: Shape) -> Said:
    rise = held.end - held.least
    share = rise / abs(held.least) if held.least else 0.0
    line = max(0.05 * abs(held.least), 3 * held.noise)
    onset = held.step(held.least_at)
    evidence: dict[str, float | str] = {
        "least validation loss": held.least,
        "validation loss at the end": held.end,
    }
    if training is not None:
        there = training.at(onset)
        evidence |= {"training loss there": there, "training loss at the end": training.end}
        if rise > line and training.end > there + 3 * training.noise:
            return "the training loss rises too"
    if rise > line:
        went = "" if training is None else (
            f"; the training loss goes from {digits(there)} to {digits(training.end)}"
        )  # fmt: skip
        return _found(
            "overfitting",
            "problem" if share > 0.15 else "warning",
            f"The validation loss is least, {digits(held.least)}, near {held.unit} {onset}, and "
            f"ends at {digits(held.end)}{went}.",
            evidence,
            f"it ends {digits(line)} or more above its least level: 5 % of it, and 3 times its "
            "noise; a problem from 15 % on",
            0.9 if training is not None else 0.6,
            onset,
        )
    if training is not None and _positive(training, held):
        stuck = _fallen(held) < 0.3 * _fallen(training)
        if stuck and held.end > 2.5 * training.end and training.end < 0.5 * training.start:
            return _found(
                "overfitting",
                "warning",
                f"The training loss falls to {digits(training.end)}, and the validation loss stays "
                f"at {digits(held.end)}: what is learned does not carry over.",
                evidence,
                "a validation loss 2.5 times the training loss, that fell less than a third as "
                "much, in logarithms",
                0.7,
                onset,
            )
    return f"the validation loss ends {percent(max(0.0, share))} above its least level"


def _positive(*shapes: Shape) -> bool:
    return all(shape.values.min() > 0 for shape in shapes)


def _fallen(shape: Shape) -> float:
    """Return the logarithm of how many times lower the end is than the start."""
    return math.log(shape.start / shape.end)


def _uneven(training: Shape, held: Shape) -> Said:
    if not _positive(training, held):
        return "losses that are not positive have no ratio"
    half = len(held.levels) // 2
    steps = [held.step(place) for place in range(len(held.levels))]
    ratios = held.levels / np.array([training.at(step) for step in steps])
    late, early = float(np.median(ratios[half:])), float(np.median(ratios[: held.window]))
    evidence: dict[str, float | str] = {
        "validation over training loss, at first": early,
        "in the second half": late,
    }
    if late < 0.6:
        return _found(
            "validation_of_other_distribution",
            "problem" if late < 0.45 else "warning",
            f"The validation loss is {digits(late)} times the training loss in the second half of "
            "the log: the validation part is easier, holds training examples, or dropout and "
            "augmentation make training harder.",
            evidence,
            "less than 0.6 times the training loss; a problem below 0.45, which dropout alone "
            "seldom makes",
            0.8,
        )
    alike = _fallen(held) > 0.3 * _fallen(training) > 0.1
    if early > 1.5 and late > 1.5 and alike and held.end < held.least + 3 * held.noise + 0.05 * abs(
        held.least
    ):  # fmt: skip
        return _found(
            "validation_of_other_distribution",
            "warning",
            f"The validation loss is {digits(early)} times the training loss from the first record "
            "on, and falls with it: the parts differ, or are prepared differently.",
            evidence,
            "1.5 times the training loss from the first tenth of the log on",
            0.7,
            held.step(0),
        )
    return f"the validation loss is {digits(early)} times the training loss in the first tenth"


def _plateau(shape: Shape, unit: str, constant: float | None) -> Said:
    top = shape.start if constant is None else constant
    fell = top - shape.end
    if fell < max(0.1 * abs(top), 4 * shape.noise / math.sqrt(shape.window)) and fell > -0.2 * abs(
        top
    ):
        classes = [k for k in _GUESSING if abs(shape.end / math.log(k) - 1) < 0.015]
        guess = (
            f" That is log({classes[0]}), the loss of guessing among {classes[0]} classes."
            if classes
            else ""
        )
        known = constant is not None or bool(classes) or unit != "epoch"
        begin = "the loss of the best constant" if constant is not None else "the first value"
        return _found(
            "plateau",
            "problem" if known else "warning",
            f"The loss stays where it is: {digits(shape.end)} at the end, {digits(top)} is {begin}."
            + guess,
            {"start": shape.start, "end": shape.end},
            f"less than a tenth below {begin}, or 3 times the noise",
            0.85 if known else 0.5,
            int(shape.steps[0]),
        )
    first, length = _longest_flat(shape)
    share = length / len(shape.levels)
    if share >= 0.25:
        last = first + length
        height = float(np.median(shape.levels[first:last]))
        return _found(
            "plateau",
            "warning",
            f"The loss stays near {digits(height)} from {shape.unit} {shape.step(first)} to "
            f"{shape.step(last)}, {percent(share)} of the log, and then falls to "
            f"{digits(shape.end)}.",
            {"height": height, "share of the log": share},
            "a quarter of the log within 3 % of the range, with 30 % of it still to fall",
            0.7,
            shape.step(first),
        )
    return f"it fell by {digits(fell)}, and no stretch without learning is followed by a fall"


def _longest_flat(shape: Shape) -> tuple[int, int]:
    """Return the first bin and the length of the longest level stretch that a fall follows."""
    levels = shape.levels
    foot = shape.end + max(0.3 * shape.range, 6 * shape.noise)
    bends = np.abs(levels[1:-1] - (levels[:-2] + levels[2:]) / 2)
    bends /= np.maximum(np.abs(levels[1:-1]), np.finfo(float).tiny)
    rough = 1.4826 * float(np.median(bends)) / math.sqrt(1.5)  # noise, as a share of the level
    best, first = (0, 0), 0
    for place in range(len(levels)):
        while True:
            part = levels[first : place + 1]
            middle = float(np.median(part))
            if np.ptp(part) <= 0.03 * shape.range + 5 * rough * abs(middle):
                break
            first += 1
        if middle > foot:
            best = max(best, (first, place + 1 - first), key=lambda pair: pair[1])
    return best


def _underfitting(shape: Shape, held: Shape | None, constant: float | None) -> Said:
    top = shape.start if constant is None else constant
    if not _positive(shape) or top <= 0:
        return "a loss that is not positive has no share that is left"
    left = shape.end / top
    late = shape.fall(0.25)
    flat = late < max(0.12 * abs(shape.range), _sure_fall(shape, 0.25))
    near = held is None or held.end < 1.25 * shape.end
    if 0.6 < left <= 0.9 and flat and near:
        return _found(
            "underfitting",
            "warning",
            f"{percent(left)} of the loss is left, and it no longer falls: the model is too small "
            "or too constrained, or this is the best that the data allow.",
            {"left": left, "fall over the last quarter": late},
            "more than 60 % of the first value, or of the loss of the best constant where that is "
            "known; less than 12 % of the fall in the last quarter",
            0.6,
        )
    return f"{percent(max(0.0, left))} of the loss is left"


def _sure_fall(shape: Shape, share: float) -> float:
    """Return three standard deviations of the fall of a line through the levels of the end."""
    return 3 * shape.noise * math.sqrt(12 / max(4, share * len(shape.levels)))


def _still_falling(shape: Shape) -> Said:
    late = shape.fall(0.25)
    total = shape.start - shape.end
    share = late / total if total > 0 else 0.0
    if share > 0.12 and shape.fall(0.5) > _sure_fall(shape, 0.5) and late > 0.02 * abs(shape.end):
        slow = _positive(shape) and shape.end > 0.5 * shape.start
        return _found(
            "still_falling",
            "problem" if slow else "warning",
            f"The loss is still falling at the end: {percent(share)} of its whole fall, from "
            f"{digits(shape.start)} to {digits(shape.end)}, is in the last quarter.",
            {"share of the fall in the last quarter": share},
            "12 % of the fall in the last quarter; a line has 25 %, an exponential course of two "
            "time constants 10 %; a problem where half of the loss is left",
            0.75,
        )
    return f"{percent(max(0.0, share))} of the fall is in the last quarter"


def _noise_floor(shape: Shape) -> Said:
    if not _positive(shape) or shape.end > 0.8 * shape.start:
        return "it has not learned, or the loss is not positive"
    share = shape.wander
    flat = shape.fall(0.5) < max(0.05 * shape.range, 2 * share * shape.end)
    if share > 0.12 and flat:
        return _found(
            "noise_floor",
            "warning",
            f"The loss no longer falls and fluctuates by {percent(share)} around "
            f"{digits(shape.end)}: the steps are too large or too noisy to settle.",
            {"fluctuation over level": share},
            "12 % of the level, without the noise of single batches; less than 5 % of the fall in "
            "the second half",
            0.65,
            shape.step(len(shape.levels) // 2),
        )
    return f"it fluctuates by {percent(share)} of its level"


def _running(mean: Callable[..., Floats], values: Floats, wide: int) -> Floats:
    """Return a mean of so many values around each; of an even number, one more."""
    half = wide // 2
    windows = sliding_window_view(np.pad(values, half, mode="reflect"), 2 * half + 1)
    return mean(windows, axis=1)


def _spikes(shape: Shape) -> Said:
    """Look for sudden rises that are taken back."""
    values = shape.values
    size = -(-len(values) // 5000)
    cut = values[: len(values) // size * size].reshape(-1, size)
    values = np.median(cut, axis=1)
    if len(values) < 12 or values.min() <= 0:
        return "too few values, or a loss that is not positive"
    if len(values) > 200:  # one batch of hard examples is no spike
        values = _running(np.median, values, 5)
    wide = max(9, len(values) // 20)
    above = values / _running(np.median, values, wide) - 1
    scatter = 1.4826 * float(np.median(np.abs(above)))
    before = np.concatenate([np.full(3, np.inf), _running(np.median, values, 5)[1:-2]])
    line = max(0.5, 8 * scatter)
    high = (above > line) & (values > (1 + line / 2) * before)
    places = np.flatnonzero(high)
    places = places[np.diff(places, prepend=-9) > 2]
    if not len(places):
        return f"no value is {digits(1 + line)} times those around it"
    worst = int(places[np.argmax(above[places])])
    return _found(
        "loss_spikes",
        "warning",
        f"The loss has {len(places)} spike{'s' * (len(places) > 1)}; the highest, at "
        f"{shape.unit} {int(shape.steps[worst * size])}, is {digits(1 + float(above[worst]))} "
        "times the values around it.",
        {"spikes": float(len(places)), "highest over its surroundings": float(1 + above[worst])},
        f"{digits(1 + line)} times the median of {wide} values around: 1.5, and 8 times their "
        "usual scatter",
        0.6,
        int(shape.steps[places[0] * size]),
    )
