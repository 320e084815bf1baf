"""``thalweg trace``: paths of rules on a problem."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.checks import count
from thalweg.cli.arguments import numbers, rules_and_hyper
from thalweg.cli.terminal import say
from thalweg.words import percent

if TYPE_CHECKING:
    from thalweg.descent import Trace

__all__ = ["EPILOG", "trace"]

_MOST_STEPS = 100_000  # steps of a path; these many are drawn in some seconds

EPILOG = "Hyperparameters are options too, such as --lr 0.6 --beta 0.5: see thalweg rules."


_Words = Annotated[
    list[str],
    typer.Argument(
        metavar="RULE [--HYPERPARAMETER VALUE]...",
        help="A rule, or several separated by commas, then their hyperparameters. newton, "
        "diagonal_newton, bfgs and lbfgs are rules here too.",
        show_default=False,
    ),
]
_Problem = Annotated[
    str,
    typer.Option(
        help="bowl, stretched_bowl, rotated_bowl, noisy_bowl, saddle, rosenbrock, beale, "
        "himmelblau, ripples, sigmoid_fit or reddi."
    ),
]
_FAR = 0.01  # of the way down: a path with a larger share left has not arrived
_Steps = Annotated[int, typer.Option(help="Largest number of steps, up to 100,000.")]
_Tolerance = Annotated[
    float, typer.Option(help="Stop when the norm of the gradient is below this.")
]
_Noise = Annotated[
    float, typer.Option(help="Standard deviation of the noise added to each gradient.")
]
_BatchSize = Annotated[
    int | None,
    typer.Option(
        help="How many parts of a sum each step takes its gradient from; all of them by default."
    ),
]
_Sampling = Annotated[
    str, typer.Option(help="How parts are drawn: shuffle, replacement or sequential.")
]
_Seed = Annotated[int, typer.Option(help="Seed of the noise and of the draws.")]
_Start = Annotated[
    str | None,
    typer.Option(
        help="First point, such as --start=-5,-2; by default the start that the problem has."
    ),
]
_Out = Annotated[Path, typer.Option(help="File of the picture: .png, .svg or .pdf.")]
_Animate = Annotated[
    Path | None, typer.Option(help="File of an animation that grows step by step: .gif.")
]


def trace(
    words: _Words, *, problem: _Problem = "bowl", steps: _Steps = 20, tolerance: _Tolerance = 0.0,
    noise: _Noise = 0.0, batch_size: _BatchSize = None, sampling: _Sampling = "shuffle",
    seed: _Seed = 0, start: _Start = None, out: _Out = Path("trace.png"), animate: _Animate = None,
) -> None:  # fmt: skip
    """Draw the paths of rules over the contours of a problem, and print where they end."""
    from thalweg import descend, problems, second_order  # noqa: PLC0415

    count("steps", steps, 1, _MOST_STEPS)
    chosen = problems.get(problem)
    first = None if start is None else numbers("start", start, "-5,-2")
    traces = [
        descend(
            chosen, rule, first, steps=steps, tolerance=tolerance, noise=noise,
            batch_size=batch_size, sampling=sampling, seed=seed, **hyper,
        )
        for rule, hyper in rules_and_hyper(
            words, "trace", lambda name: second_order.get(name, chosen)
        )
    ]  # fmt: skip
    from thalweg import plots, style  # noqa: PLC0415 - after the checks: matplotlib takes its time

    style.check(out)  # a wrong name is refused before either picture is written
    if animate is not None:  # printed once it is there: the other picture may fail
        say(f"picture: {plots.animate(traces, animate)}")
    picture = style.save(plots.paths(traces).figure.canvas.figure, out)
    for path in traces:
        say(_end(path))
    say(f"picture: {picture}")


def _end(path: "Trace") -> str:
    hyper = ", ".join(f"{name} {value:g}" for name, value in path.hyper.items())
    head = f"{path.rule.name} ({hyper}) on {path.problem.name}, {len(path.f) - 1} steps:"
    if path.end == "diverged":
        return f"{head} diverged, not finite from step {path.diverged_at} on"
    point = ", ".join(f"{value:.6g}" for value in path.x[-1])
    notes = "; converged" * (path.end == "converged")
    notes += "; f grew" * bool(path.f[-1] > path.f[0])
    least = path.problem.minimum
    if path.end == "finished" and least is not None:
        left = (path.f[-1] - least) / (path.f[0] - least) if path.f[0] > least else 0.0
        if _FAR < left <= 1:
            notes += f"; {percent(left)} of the way down is left: raise --steps to go on"
    if indefinite := path.state.get("indefinite"):
        notes += f"; the Hessian had a negative eigenvalue at {indefinite:g} of the steps"
    return (
        f"{head}\n  x = ({point}), f = {path.f[-1]:.6g} (from {path.f[0]:.6g}), "
        f"gradient norm {path.gradient_norm[-1]:.6g}{notes}"
    )
