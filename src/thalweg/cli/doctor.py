"""``thalweg doctor``: why does a training fail? Asked of its curves, or by training it."""

from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.checks import count
from thalweg.cli.check import BATCH_SIZE, set_up
from thalweg.cli.findings import failing, show
from thalweg.cli.terminal import say
from thalweg.tasks.source import is_task_file

if TYPE_CHECKING:
    from thalweg.doctor import Report

__all__ = ["doctor"]

_Source = Annotated[
    str,
    typer.Argument(
        metavar="LOG|FILE.py:FUNCTION",
        help="Loss curves: a CSV file (of Lightning, Keras, W&B, ...), JSON or JSON lines (such as "
        "trainer_state.json), TensorBoard event files, printed lines, a folder that holds one of "
        "these, or a race's folder. Or a training, as thalweg check takes it.",
    ),
]
_Train = Annotated[
    str | None, typer.Option(help="Column of the training loss; found by its name else.")
]
_Validation = Annotated[str | None, typer.Option(help="Column of the validation loss.")]
_Step = Annotated[str | None, typer.Option(help="Column of steps or epochs.")]
_Constant = Annotated[
    float | None,
    typer.Option(
        help="For curves: loss of the best constant output, such as 2.303 (log of 10) for "
        "ten equally frequent classes. It tells what learned nothing from what learned before."
    ),
]
_Steps = Annotated[int | None, typer.Option(help="Steps to train a task for; 500 by default.")]


def doctor(
    context: typer.Context, source: _Source, *, train: _Train = None,
    validation: _Validation = None, step: _Step = None, constant: _Constant = None,
    steps: _Steps = None, batch_size: BATCH_SIZE = 32,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say what was ruled out, and why.")
    ] = False,
) -> None:  # fmt: skip
    """Say why a training fails, and what cures it: from its loss curves, or by training it.

    A task is trained in a plain loop, so that a fault of your own loop does not show: for that, use
    thalweg.Doctor in it. The exit code is 1 if there is a problem, 0 if there is none (warnings
    alone are none), and 2 if nothing could be looked at.
    """
    own = ("steps", "batch_size") if not is_task_file(source) else (
        "train", "validation", "step", "constant",
    )  # fmt: skip
    for name in own:
        given = context.get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            whom = "a training, FILE.py:FUNCTION" if "steps" in own else "loss curves"
            raise ValueError(f"{option} is for {whom}, and {source} is none")
    with failing():
        if is_task_file(source):
            report, unit = _trained(source, 500 if steps is None else steps, batch_size)
        else:
            from thalweg.doctor.curves import diagnose, read_curves  # noqa: PLC0415

            curves = read_curves(source, train=train, validation=validation, step=step)
            if not json:
                say("; ".join(curves.notes))
            report, unit = diagnose(curves, constant=constant), curves.unit
    show(report, unit=unit, json=json, verbose=verbose)


def _trained(source: str, steps: int, batch_size: int) -> "tuple[Report, str]":
    count("steps", steps)
    watched = set_up(source, batch_size).train(steps)
    report = watched.report()
    return report, "step"
