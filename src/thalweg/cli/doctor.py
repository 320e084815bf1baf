"""``thalweg doctor``: why does a training fail? Asked of its curves, or by training it."""

from pathlib import Path
from typing import Annotated

import typer

from thalweg.checks import count
from thalweg.cli.check import BATCH_SIZE, set_up
from thalweg.cli.findings import failing, show
from thalweg.cli.terminal import say
from thalweg.live import waiting

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
_Out = Annotated[Path | None, typer.Option(help="Page to write, such as doctor.html.")]
_Prove = Annotated[
    bool, typer.Option("--prove", help="Try the cure of each finding of a task on copies.")
]


def doctor(
    context: typer.Context, source: _Source, *, train: _Train = None,
    validation: _Validation = None, step: _Step = None, constant: _Constant = None,
    steps: _Steps = None, batch_size: BATCH_SIZE = 32, prove: _Prove = False, out: _Out = None,
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
    from thalweg.tasks.source import is_task_file  # noqa: PLC0415 - loads NumPy

    own = ("steps", "batch_size", "prove") if not is_task_file(source) else (
        "train", "validation", "step", "constant",
    )  # fmt: skip
    for name in own:
        given = context.get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            whom = "a training, FILE.py:FUNCTION" if "steps" in own else "loss curves"
            raise ValueError(f"{option} is for {whom}, and {source} is none")
    with failing():
        if out is not None:
            from thalweg.doctor import page  # noqa: PLC0415 - refused before the work

            page.check(out)
        proof, unit = None, "step"
        if is_task_file(source):
            many = 500 if steps is None else count("steps", steps)
            setup = set_up(source, batch_size)
            with waiting(f"training {many} steps"):
                watched = setup.train(many)
            report = watched.report()
            if prove and report.findings:
                proof = watched.prove()
            if out is not None:
                watched.to_html(out, proof)
        else:
            from thalweg.doctor.curves import diagnose, read_curves  # noqa: PLC0415

            curves = read_curves(source, train=train, validation=validation, step=step)
            if not json:
                say("; ".join(curves.notes))
            report, unit = diagnose(curves, constant=constant), curves.unit
            if out is not None:
                from thalweg.doctor.watched import Watched  # noqa: PLC0415

                page.write(out, Watched(curves, report))
    show(report, proof, out, unit=unit, json=json, verbose=verbose)
