"""Export: a race's finished trainings as JSON, CSV and the table of curves."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import IO, Any

import numpy as np
import pyarrow as pa

from thalweg import files
from thalweg.racing.trial import Result
from thalweg.report.curves import COLUMNS as CURVES

__all__ = ["COLUMNS", "LOSSES", "Write", "curves", "fields", "line", "rows", "table"]

Write = Callable[[Sequence[Result]], None]

LOSSES = ("train_loss", "validation_loss")
COLUMNS = (
    "rule", "phase", "repeat", "number", "round", "seed", "batch_size", "schedule", "epochs",
    "diverged_at", "epoch", "train_loss", "validation_loss", "test_loss", "test_score", "hyper",
)  # fmt: skip


def fields(result: Result) -> dict[str, Any]:
    """Return the setting and the results of a training, by name; losses are lists by epoch."""
    judged = {name: getattr(result, name) for name in ("diverged_at", "test_loss", "test_score")}
    losses = {name: getattr(result, name).tolist() for name in LOSSES}
    return {**asdict(result.trial), "phase": result.trial.phase, **judged, **losses}


def line(result: Result) -> str:
    """Return a training as JSON; a number that is not finite is null."""
    return json.dumps(files.plain(fields(result)), allow_nan=False)


def rows(result: Result) -> Iterator[dict[str, Any]]:
    """Yield one row for each evaluation of a training: its setting, the epoch and the losses."""
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
