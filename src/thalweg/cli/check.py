"""``thalweg check``: is a training wired so that it can learn?"""

from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli.findings import failing, show

if TYPE_CHECKING:
    from thalweg.doctor.setup import Setup

__all__ = ["BATCH_SIZE", "check", "set_up"]

BATCH_SIZE = Annotated[int, typer.Option(help="Examples per step of a TorchTask.")]

_Task = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py:FUNCTION",
        help="A function (task by default) that returns a thalweg.TorchTask, which is trained by "
        "Adam at its default rate; or a dict with model, optimizer, loss_fn and loader, and "
        "val_loader and step(model, batch) where there are some.",
    ),
]


def check(
    task: _Task, *, batch_size: BATCH_SIZE = 32,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:  # fmt: skip
    """Look for faults of a training's wiring by experiments on copies, in some seconds.

    Nothing is trained but copies. The exit code is 1 if there is a problem, 0 if there is none
    (warnings alone are none), and 2 if the check could not be done.
    """
    with failing():
        setup = set_up(task, batch_size)
        from thalweg.doctor.examination import check as look  # noqa: PLC0415 - loads torch

        report = look(
            setup.model,
            setup.optimizer,
            setup.loss_fn,
            setup.loader,
            setup.val_loader,
            step=setup.step,
        )
    if not report.findings and (why := report.skipped.get("step changes nothing")):
        raise ValueError(f"no step can be taken: {why}")
    show(report, json=json)


def set_up(task: str, batch_size: int) -> "Setup":
    """Return the training that a function in a file describes."""
    from thalweg.checks import count  # noqa: PLC0415 - no command needs all
    from thalweg.tasks.source import is_task_file, no_task, returned  # noqa: PLC0415 - loads NumPy

    count("batch_size", batch_size)
    if not is_task_file(task):
        raise ValueError(no_task(task))
    made, place = returned(task)
    from thalweg.doctor.setup import setup  # noqa: PLC0415 - loads torch

    return setup(made, place, batch_size)
