"""Export: a race's finished trainings in the formats of other tools, some as they come."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from thalweg import files
from thalweg.racing.store import Store
from thalweg.racing.trial import FINAL, Result
from thalweg.report.curves import COLUMNS as CURVES

__all__ = ["COLUMNS", "curves", "fields", "line", "rows", "table", "writing"]

Write = Callable[[Sequence[Result]], None]

LOSSES = ("train_loss", "validation_loss")
COLUMNS = (
    "rule", "phase", "repeat", "number", "round", "seed", "batch_size", "schedule", "epochs",
    "diverged_at", "epoch", "train_loss", "validation_loss", "test_loss", "test_score", "hyper",
)  # fmt: skip


def fields(result: Result) -> dict[str, Any]:
    """Return what a training is and what came of it, by name; its losses are lists by epoch."""
    judged = {name: getattr(result, name) for name in ("diverged_at", "test_loss", "test_score")}
    losses = {name: getattr(result, name).tolist() for name in LOSSES}
    return {**asdict(result.trial), "phase": result.trial.phase, **judged, **losses}


def line(result: Result) -> str:
    """Return a training as JSON; a number that is not finite is null."""
    return json.dumps(files.plain(fields(result)), allow_nan=False)


def rows(result: Result) -> Iterator[dict[str, Any]]:
    """Yield a row per evaluation of a training: its settings, the epoch and the losses there."""
    kept = fields(result)
    kept["hyper"] = json.dumps(kept["hyper"])
    for epoch, losses in enumerate(zip(*(kept[name] for name in LOSSES), strict=True)):
        yield {**kept, "epoch": epoch, **dict(zip(LOSSES, losses, strict=True))}


def curves(results: Sequence[Result]) -> pa.Table:
    """Return the table of curves.parquet, a row per evaluation."""
    points = [len(result.validation_loss) for result in results]
    trials = [result.trial for result in results]
    columns = {
        **{n: [getattr(trial, n) for trial in trials] for n in ("rule", "phase", "repeat", "seed")},
        "trial": [trial.number for trial in trials],
        "batch_size": [trial.batch_size for trial in trials],
        "lr": [trial.hyper.get("lr", np.nan) for trial in trials],
        "diverged_at": [result.diverged_at for result in results],
    }
    made = {name: np.repeat(values, points) for name, values in columns.items()}
    made["epoch"] = np.concatenate([np.arange(n) for n in points])
    made |= {name: np.concatenate([getattr(r, name) for r in results]) for name in LOSSES}
    return pa.table({name: made[name] for name in CURVES.names}, schema=CURVES)


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
                    for loss in LOSSES:
                        run.add_scalar(loss, row[loss], row["epoch"])

    yield write


_WRITERS: dict[str, Callable[[Any], Any]] = {"csv": _csv, "tensorboard": _tensorboard}
