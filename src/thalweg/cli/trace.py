"""``thalweg trace``: paths of rules on a problem."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli.arguments import numbers, rules_and_hyper

if TYPE_CHECKING:
    from thalweg.descent import Trace

__all__ = ["EPILOG", "trace"]

EPILOG = "Hyperparameters are options too, such as --lr 0.6 --beta 0.5: see thalweg rules."


def trace(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RULE [--HYPERPARAMETER VALUE]...",
            help="A rule, or several separated by commas, then their hyperparameters.",
            show_default=False,
        ),
    ],
    *,
    problem: Annotated[
        str, typer.Option(help="bowl, stretched_bowl, rotated_bowl or rosenbrock.")
    ] = "bowl",
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 20,
    noise: Annotated[
        float, typer.Option(help="Standard deviation of the noise added to each gradient.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    start: Annotated[
        str | None, typer.Option(help="First point, such as --start=-5,-2; the problem's own.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture: .png, .svg or .pdf.")] = Path("trace.png"),
) -> None:
    """Draw a rule's path over a problem's contours, and print where it ends."""
    from thalweg import descend  # noqa: PLC0415

    first = None if start is None else numbers("start", start, "-5,-2")
    traces = [
        descend(problem, rule, first, steps=steps, noise=noise, seed=seed, **hyper)
        for rule, hyper in rules_and_hyper(words, "trace")
    ]
    from thalweg import plots, style  # noqa: PLC0415 - after the checks: matplotlib takes its time

    written = style.save(plots.paths(traces).figure.canvas.figure, out)
    for path in traces:
        typer.echo(_end(path))
    typer.echo(f"picture: {written}")


def _end(path: "Trace") -> str:
    hyper = ", ".join(f"{name} {value:g}" for name, value in path.hyper.items())
    head = f"{path.rule.name} ({hyper}) on {path.problem.name}, {len(path.f) - 1} steps:"
    if path.diverged_at:
        return f"{head} diverged, not finite from step {path.diverged_at} on"
    point = ", ".join(f"{value:.6g}" for value in path.x[-1])
    grew = "; diverging: f grew" if path.f[-1] > path.f[0] else ""
    return (
        f"{head}\n  x = ({point}), f = {path.f[-1]:.6g} (from {path.f[0]:.6g}), "
        f"gradient norm {path.gradient_norm[-1]:.6g}{grew}"
    )
