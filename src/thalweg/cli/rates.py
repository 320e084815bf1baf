"""``thalweg rates``: what theory predicts of rules, beside what descents measure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.checks import Range, number
from thalweg.cli.arguments import numbers, rules_and_hyper
from thalweg.cli.terminal import say, show
from thalweg.live import waiting

if TYPE_CHECKING:
    from thalweg.descent import Trace
    from thalweg.rule import Rule

__all__ = ["EPILOG", "rates"]

EPILOG = (
    "Hyperparameters are options too. Those that you give are kept; the others are chosen so that "
    "the rate is lowest, without weight decay. If you give --lr, nothing is chosen."
)
_MOST_STEPS = 100_000  # of a descent that is measured; it takes a second or two
_POINTS = 400  # points on each axis of the map
_LEAST = 1e-250  # of a coordinate; below it floats lose their digits and then stand still
_STRETCHED = 1e12  # beyond it a rate differs from 1 by little more than rounding does
_FAR = 0.05  # a row is marked if the logarithms of its rates differ by a larger share


@dataclass(frozen=True)
class _Row:
    """A rule and its hyperparameters, what is predicted for them and what was measured."""

    rule: "Rule"
    hyper: Mapping[str, Any]
    source: str
    limit: float
    rate: float
    steps: int | None  # None: it does not converge
    trace: "Trace"
    measured_rate: float
    measured_steps: int | None  # None: not within the steps of the descent

    @property
    def far(self) -> bool:
        """Whether the measured rate is far from the predicted one."""
        if math.isinf(self.measured_rate):
            return self.rate < 1
        if min(self.rate, self.measured_rate) <= 0:
            return max(self.rate, self.measured_rate) > 0.01
        predicted, measured = math.log(self.rate), math.log(self.measured_rate)
        return abs(predicted - measured) > _FAR * abs(predicted)

    @property
    def adaptive(self) -> bool:
        """Whether the rule has a preconditioner."""
        from thalweg.theory.linearization import adaptive  # noqa: PLC0415

        return adaptive(self.rule)

    @property
    def reason(self) -> str:
        """Why the two rates are far apart, if that is known."""
        if self.adaptive:
            return ": a descent adapts the preconditioner"
        if self.steps is not None and len(self.trace.x) - 1 < self.steps:
            return (
                f": a descent is measured for {_MOST_STEPS:,}\n  steps at the most, too few here "
                "to come to its long run"
            )
        return ""


def rates(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RULE] [--HYPERPARAMETER VALUE]...",
            help="A rule, then the hyperparameters that you choose yourself.",
            show_default=False,
        ),
    ] = None,
    *,
    spectrum: Annotated[
        str | None, typer.Option(help="Eigenvalues of the Hessian, such as 0.2,4.")
    ] = None,
    kappa: Annotated[
        float | None,
        typer.Option(
            help="Condition number, instead of --spectrum. The largest eigenvalue is then 1."
        ),
    ] = None,
    compare: Annotated[
        str | None, typer.Option(help="Rules to compare, separated by commas.")
    ] = None,
    accuracy: Annotated[
        float, typer.Option(help="Count the steps until this share of the first error is left.")
    ] = 1e-6,
    out: Annotated[
        Path | None, typer.Option(help="File of the picture: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Predict how fast rules converge on a quadratic, and up to which lr they are stable.

    Each prediction follows from the rule's equation. Beside it stands what a descent from (1, 1, …)
    measures.
    """
    from thalweg import rules  # noqa: PLC0415

    eigenvalues = _eigenvalues(spectrum, kappa)
    if out is not None:
        from thalweg import style  # noqa: PLC0415 - loads matplotlib

        style.check(out)  # before the work
    words = [*(words or []), *([compare] if compare else [])]
    rows = []
    for rule, hyper in rules_and_hyper(words, "rates", rules.get):
        with waiting(f"looking for the best rate of {rule.name}"):
            rows.append(_row(rule, eigenvalues, accuracy, hyper))
    picture = None if out is None else _draw(rows, eigenvalues, out)
    _print(rows, accuracy)
    if picture:
        say(f"picture: {picture}")


def _eigenvalues(spectrum: str | None, kappa: float | None) -> list[float]:
    if (spectrum is None) == (kappa is None):
        raise ValueError("give either --spectrum, such as 0.2,4, or --kappa, such as 1e4")
    if spectrum is not None:
        from thalweg.theory.linearization import positive  # noqa: PLC0415

        return sorted(positive("spectrum", numbers("spectrum", spectrum, "0.2,4")).tolist())
    assert kappa is not None
    number("kappa", kappa, Range(1.0, _STRETCHED, "[]"))
    return [1 / kappa, 1.0]


def _row(
    rule: "Rule", eigenvalues: Sequence[float], accuracy: float, given: Mapping[str, Any]
) -> _Row:
    from thalweg import descend, kind, problems, theory  # noqa: PLC0415

    hyper, source = dict(given), "given"
    if "lr" not in given:
        best = theory.best(rule, eigenvalues[0], eigenvalues[-1], **given)
        hyper, source = dict(best.hyper), best.source
    others = {name: value for name, value in hyper.items() if name != "lr"}
    limit = theory.max_lr(rule, eigenvalues[-1], **others)
    rate = theory.rate(rule, eigenvalues, **hyper)
    steps = theory.steps_to(rule, eigenvalues, accuracy, **hyper) if rate < 1 else None
    if rule.kind == kind.MATRICES:
        raise ValueError(
            f"thalweg rates measures the descent of a vector, and rule {rule.name!r} steps "
            f"matrices; in Python theory.rate({rule.name!r}, ...) and theory.max_lr predict"
        )
    quadratic = problems.quadratic(eigenvalues, name=f"spectrum {_spectrum(eigenvalues)}")
    long = min(4 * (steps or 50) + 40, _MOST_STEPS)
    trace = descend(quadratic, rule, steps=long, **hyper)
    measured = _measured_rate(trace), _measured_steps(trace, accuracy)
    return _Row(rule, hyper, source, limit, rate, steps, trace, *measured)


def _measured_rate(trace: "Trace") -> float:
    """Return the factor per step from the third to the fourth quarter of a descent's steps."""
    import numpy as np  # noqa: PLC0415

    size = np.abs(trace.x[: trace.diverged_at or None])
    if len(size) < 2:
        return math.inf
    size[size < _LEAST] = 0.0
    long = max(2, int(size.any(axis=1).sum()))
    quarter = max(1, long // 4)
    third = size[long - 2 * quarter : long - quarter].max(axis=0)
    fourth = size[long - quarter : long].max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # a coordinate that is exactly 0
        factors = np.nan_to_num(fourth / third, nan=0.0) ** (1 / quarter)
    return float(factors.max())


def _measured_steps(trace: "Trace", accuracy: float) -> int | None:
    import numpy as np  # noqa: PLC0415

    above = np.abs(trace.x) > accuracy * np.abs(trace.x[0])
    last = int(np.flatnonzero(above.any(axis=1))[-1])
    return None if trace.diverged_at or last == len(trace.x) - 1 else last + 1


def _print(rows: Sequence[_Row], accuracy: float) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="underline")
    shown.add_column("rule", no_wrap=True)
    shown.add_column("hyperparameters", no_wrap=True)
    shown.add_column("found by")
    for name in (
        "limit\nof lr", "rate\npredicted", "\nmeasured", f"steps to {accuracy:g}\npredicted",
        "\nmeasured",
    ):  # fmt: skip
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(
            row.rule.name,
            Text("\n".join(f"{name} {value:.6g}" for name, value in row.hyper.items())),
            Text(row.source),
            f"{row.limit:.6g}",
            f"{row.rate:.6g}",
            f"{row.measured_rate:.6g}{' ≠' if row.far else ''}",
            "never" if row.steps is None else f"{row.steps:,}",
            f"{row.measured_steps:,}" if row.measured_steps else f"> {len(row.trace.x) - 1:,}",
        )
    show(shown)
    if held := [row.rule.name for row in rows if row.adaptive]:
        typer.echo(
            f"{', '.join(held)}: predicted with the preconditioner held fixed at 1. With a "
            "preconditioner P\n  (Adam's √v̂ + eps), lr is P times as large."
        )
    for reason in dict.fromkeys(row.reason for row in rows if row.far):
        say(f"≠ the logarithms of the rates differ by more than {_FAR:.0%}{reason}")


def _spectrum(eigenvalues: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in eigenvalues)


def _draw(rows: Sequence[_Row], eigenvalues: Sequence[float], out: Path) -> Path:
    """Draw one rule's rates, over lr and over lr and memory; or the descents of several rules."""
    import numpy as np  # noqa: PLC0415

    from thalweg import plots, style, theory  # noqa: PLC0415

    row = rows[0]
    if len(rows) > 1:
        return style.save(plots.loss([each.trace for each in rows]).figure.canvas.figure, out)
    best = theory.best(row.rule, eigenvalues[0], eigenvalues[-1])
    kept = {name: value for name, value in row.hyper.items() if name != "lr"}
    memory = next((n for n in best.hyper if n not in {"lr", "weight_decay"}), None)
    picture, (left, right) = style.figure(12.8, 5.2, ncols=2)
    plots.rates(row.rule, eigenvalues, left, **kept)
    if memory is None:
        plots.loss([row.trace], right)
    else:
        over = {
            "lr": best.hyper["lr"] * np.geomspace(0.01, 3, _POINTS),
            memory: 1 - np.geomspace(1, (1 - best.hyper[memory]) / 20, _POINTS),
        }
        # The optimum is a point of the grid, so that both pictures mark the same one.
        over = {name: np.union1d(values, best.hyper[name]) for name, values in over.items()}
        others = {name: value for name, value in kept.items() if name != memory}
        plots.rate_map(theory.rate_map(row.rule, eigenvalues, over, **others), right)
    picture.suptitle(f"{row.rule.name} on a quadratic of spectrum {_spectrum(eigenvalues)}")
    return style.save(picture, out)
