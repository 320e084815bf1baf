"""Writers: a race's finished trainings, as they come, in the formats of other tools."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from thalweg import files
from thalweg.racing.store import FINAL, Result, Store

__all__ = ["COLUMNS", "rows", "table", "writing"]

Write = Callable[[Sequence[Result]], None]

COLUMNS = (
    "rule", "phase", "repeat", "number", "round", "seed", "batch_size", "schedule", "epochs",
    "diverged_at", "epoch", "train_loss", "validation_loss", "test_loss", "test_score", "hyper",
)  # fmt: skip


def rows(result: Result) -> Iterator[dict[str, Any]]:
    """Yield a row per evaluation of a training: its settings, the epoch and the losses there."""
    trial = vars(result.trial) | {"phase": result.trial.phase}
    trial |= {"diverged_at": result.diverged_at, "hyper": json.dumps(dict(result.trial.hyper))}
    judged = {"test_loss": result.test_loss, "test_score": result.test_score}
    for epoch, (train, validation) in enumerate(
        zip(result.train_loss.tolist(), result.validation_loss.tolist(), strict=True)
    ):
        losses = {"epoch": epoch, "train_loss": train, "validation_loss": validation}
        yield trial | judged | losses


def table(file: IO[str]) -> Write:
    """Begin a CSV table with its header; return what writes trainings into it."""
    kept = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    kept.writeheader()

    def write(results: Sequence[Result]) -> None:
        for result in results:
            kept.writerows(rows(result))

    return write


@contextmanager
def writing(names: Sequence[str], store: Store) -> Iterator[Write]:
    """Let writers take down what the store has, and then what they are called with.

    Args:
        names: ``"csv"`` for ``evaluations.csv``, ``"tensorboard"`` for the folder ``tensorboard``.
        store: of the race, in a folder.

    Raises:
        ValueError: there is no such writer, or the store is in memory.
        ImportError: TensorBoard is not installed.
    """
    for name in names:
        if name not in _WRITERS:
            raise ValueError(f"writers must be among {', '.join(_WRITERS)}, got {name!r}")
    if names and store.directory is None:
        raise ValueError(f"writers need a folder: give out beside writers={list(names)!r}")
    with ExitStack() as stack:
        writers = [stack.enter_context(_WRITERS[name](store.directory)) for name in names]

        def write(results: Sequence[Result]) -> None:
            for writer in writers:
                writer(results)

        if writers:
            write(list(store.results()))
        yield write


@contextmanager
def _csv(directory: Path) -> Iterator[Write]:
    with files.begin(directory / "evaluations.csv") as file:
        kept = table(file)

        def write(results: Sequence[Result]) -> None:
            kept(results)
            file.flush()

        yield write


@contextmanager
def _tensorboard(directory: Path) -> Iterator[Write]:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - only who asks has it
    except ImportError as error:
        raise ImportError(
            "the tensorboard writer needs the package tensorboard: pip install tensorboard"
        ) from error

    def write(results: Sequence[Result]) -> None:
        for result in results:
            trial = result.trial
            rule = files.folder(files.folder(directory / "tensorboard") / trial.rule)
            folder = files.folder(rule / f"{trial.phase}-{trial.repeat}-{trial.number}")
            for old in folder.glob("events.out.tfevents.*"):  # of a race cut short: once more
                old.unlink()
            with SummaryWriter(str(folder)) as run:
                run.add_text("training", json.dumps(asdict(trial)))
                if trial.phase == FINAL:
                    run.add_scalar("test_loss", result.test_loss, trial.epochs)
                    run.add_scalar("test_score", result.test_score, trial.epochs)
                for row in rows(result):
                    for loss in ("train_loss", "validation_loss"):
                        run.add_scalar(loss, row[loss], row["epoch"])

    yield write


_WRITERS: dict[str, Callable[[Any], Any]] = {"csv": _csv, "tensorboard": _tensorboard}
