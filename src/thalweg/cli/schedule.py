"""``thalweg schedule``: the curve of a schedule, in numbers and as a picture."""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.checks import count
from thalweg.cli.arguments import positional_and_options
from thalweg.cli.terminal import say
from thalweg.words import closest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from thalweg.schedules import Schedule

__all__ = ["EPILOG", "schedule"]

EPILOG = (
    "The arguments of a schedule are options too, such as --initial 0.1 or --final 0.001: see "
    "thalweg.schedules. The first or highest value is 1 unless you give another."
)
_MOST_STEPS = 1_000_000  # what is still drawn at once
_SEVERAL = {"values", "boundaries"}  # arguments that are several numbers
_BARS = "▁▂▃▄▅▆▇█"


def schedule(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME [--ARGUMENT VALUE]...",
            help="constant, piecewise_constant, exponential, polynomial, inverse_time, "
            "inverse_sqrt, step, linear, cosine, one_cycle, warmup_stable_decay or warm_restarts, "
            "then its arguments.",
            show_default=False,
        ),
    ],
    *,
    steps: Annotated[int, typer.Option(help="Length of the curve, with the warm-up.")] = 1000,
    warmup: Annotated[int, typer.Option(help="Steps of a linear rise before the schedule.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="File of the picture: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Show the curve of a schedule: the Python that makes it, its values, and a picture."""
    import numpy as np  # noqa: PLC0415

    from thalweg import schedules  # noqa: PLC0415

    count("steps", steps, 1, _MOST_STEPS)
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup must be >= 0 and < steps, got warmup {warmup} and steps {steps}")
    names, given = positional_and_options(words)
    if len(names) != 1:
        raise ValueError(f"give one NAME of a schedule, got {' '.join(names)!r}")
    made = _make(names[0], given, steps - warmup)
    if warmup:
        made = schedules.warmup(made, warmup)
    with np.errstate(over="ignore"):  # a curve that overflows gets a message below, not a warning
        values = made(np.arange(steps + 1))
    if not np.isfinite(values).all():
        raise ValueError(f"{made!r} is not finite from step {np.isfinite(values).argmin()} on")
    picture = None if out is None else _draw(made, steps, out)
    _print(made, values)
    if picture:
        say(f"picture: {picture}")


def _make(name: str, given: Mapping[str, str], steps: int) -> "Schedule":
    from thalweg import schedules  # noqa: PLC0415

    known = [each for each in schedules.__all__ if each not in {"Schedule", "values", "warmup"}]
    if name not in known:
        hint = closest(name, known) or f"the schedules are: {', '.join(known)}"
        raise ValueError(f"unknown schedule {name!r}; {hint}")
    make: Callable[..., Schedule] = getattr(schedules, name)
    parameters = inspect.signature(make).parameters
    for each in given:
        if each not in parameters:
            raise ValueError(
                f"--{each.replace('_', '-')} is neither an option (see thalweg schedule --help) "
                f"nor an argument of {name}, which has: {', '.join(parameters)}"
            )
    arguments: dict[str, Any] = {"initial": 1.0, "peak": 1.0, "value": 1.0, "steps": steps}
    arguments |= {each: _value(each, text) for each, text in given.items()}
    for each, parameter in parameters.items():
        if each not in arguments and parameter.default is parameter.empty:
            what = "numbers such as 1,0.1" if each in _SEVERAL else "a number"
            raise ValueError(f"schedule {name!r} needs --{each.replace('_', '-')}, {what}")
    return make(**{each: value for each, value in arguments.items() if each in parameters})


def _value(name: str, text: str) -> int | float | list[int | float]:
    """Read a number, or all numbers between commas for an argument that takes several."""
    if name in _SEVERAL:
        return [_number(name, word) for word in text.split(",")]
    return _number(name, text)


def _number(name: str, text: str) -> int | float:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    raise ValueError(f"{name} must be a number, got {text!r}")


def _print(made: "Schedule", values: "NDArray[Any]") -> None:
    """Print the Python that makes a schedule, its curve, and its values at a few steps."""
    import numpy as np  # noqa: PLC0415

    say(f"{made!r}\n{_sparkline(values)}")
    last = len(values) - 1
    shown = np.linspace(0, last, min(last, 8) + 1).astype(int)
    cells = [("step", "value"), *((str(step), f"{values[step]:.4g}") for step in shown)]
    widths = [max(map(len, cell)) for cell in cells]
    for row in zip(*cells, strict=True):
        say("  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)))


def _sparkline(values: "NDArray[Any]") -> str:
    """Return a line of blocks whose heights are the values, from 0 or the lowest to the highest."""
    import numpy as np  # noqa: PLC0415

    shown = values[np.linspace(0, len(values) - 1, min(len(values), 64)).astype(int)]
    low, high = min(0.0, shown.min()), shown.max()
    heights = (shown - low) / ((high - low) or 1.0)
    return "".join(_BARS[round(height * (len(_BARS) - 1))] for height in heights.tolist())


def _draw(made: "Schedule", steps: int, out: Path) -> Path:
    from thalweg import plots, style  # noqa: PLC0415

    return style.save(plots.schedule([made], steps).figure.canvas.figure, out)
