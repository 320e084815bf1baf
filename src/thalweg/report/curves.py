"""Curves: the table of every training's losses by epoch, curves.parquet."""

import os
from pathlib import Path
from shlex import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from thalweg import files
from thalweg.report.record import Record

__all__ = ["COLUMNS", "read", "write"]

COLUMNS = pa.schema(
    {
        "rule": pa.string(),
        "phase": pa.string(),
        "repeat": pa.int32(),
        "trial": pa.int32(),
        "seed": pa.int32(),
        "batch_size": pa.int32(),
        "lr": pa.float64(),
        "epoch": pa.int32(),
        "train_loss": pa.float64(),
        "validation_loss": pa.float64(),
        "diverged_at": pa.int64(),
    }
)


def write(directory: Path, curves: pa.Table) -> None:
    """Write curves.parquet into a folder."""
    buffer = pa.BufferOutputStream()
    pq.write_table(curves, buffer)
    files.write(directory / "curves.parquet", buffer.getvalue().to_pybytes())


def read(directory: str | os.PathLike[str], results: Record) -> pa.Table:
    """Return the table of a folder's ``curves.parquet``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is not what a race writes, or not of these results.
    """
    path = Path(directory) / "curves.parquet"
    again = f"thalweg race --resume {quote(str(directory))}"
    remedy = f"write it again from the kept trainings with {again}"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; {remedy}")
    try:
        curves = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        why = " ".join(str(error).split())  # Arrow's messages have lines
        raise ValueError(f"{path} is damaged ({why}); {remedy}") from None
    if wrong := _wrong(curves, results):
        raise ValueError(f"{path} is not of this race ({wrong}); {remedy}")
    return curves


def _wrong(curves: pa.Table, results: Record) -> str:
    if not curves.schema.equals(COLUMNS) or any(column.null_count for column in curves.columns):
        return f"its columns must be {', '.join(COLUMNS.names)}, without gaps"
    rates = curves["lr"].to_numpy()
    if not ((rates > 0) & np.isfinite(rates) | np.isnan(rates)).all():
        return "a rate is not above 0"
    if not {*curves["phase"].unique().to_pylist()} <= {"trial", "rerun", "final"}:
        return "a phase is unknown"
    epochs = results.protocol.epochs
    return next(filter(None, (_missing(curves, row.rule, epochs) for row in results.rules)), "")


def _missing(curves: pa.Table, rule: str, epochs: int) -> str:
    own = curves.filter(pc.field("rule") == rule)
    finals = own.filter(pc.field("phase") == "final")
    found = finals.sort_by([("seed", "ascending"), ("epoch", "ascending")])["epoch"].to_numpy()
    seeds = len(found) // (epochs + 1)
    if not seeds or not np.array_equal(found, np.tile(np.arange(epochs + 1), seeds)):
        return f"{rule} does not have every epoch of its finals"
    return "" if own.filter(pc.field("phase") == "trial").num_rows else f"{rule} has no trials"
