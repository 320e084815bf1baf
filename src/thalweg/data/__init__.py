"""Data sets: named ones, files in, and the split into training, validation and test parts."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from thalweg.data import named
from thalweg.data.dataset import Dataset
from thalweg.data.encoder import Encoder
from thalweg.data.named import names
from thalweg.data.options import Options
from thalweg.data.splits import Part, Split, split
from thalweg.words import argument

__all__ = ["Dataset", "Encoder", "Options", "Part", "Split", "load", "names", "split"]


def load(
    source: str | Path,
    *,
    target: str | None = None,
    kind: str | None = None,
    drop: str | Sequence[str] = (),
    keep: str | Sequence[str] = (),
    types: Mapping[str, str] | None = None,
    missing: str = "impute",
    skip_bad_rows: bool = False,
    na: str | Sequence[str] = (),
    decimal: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    comment: str | None = None,
    header_row: int | None = None,
) -> Dataset:
    """Load a data set by name, or from a file, a folder of its parts or standard input.

    The format is found by the content of the file: delimited text (CSV, TSV and the like), Excel,
    JSON, Parquet, ORC, Feather or Arrow, libsvm, Stata, SAS, SQLite, ARFF, arrays of NumPy or
    MATLAB; also compressed by gzip, bzip2, xz, zip or Zstandard. How a text
    is written is found too, and ``Dataset.notes`` says it: encoding, delimiter, quotes,
    comments, titles above the header and sums below the rows; and for each column a decimal
    comma, thousands, a currency, a percent sign or a unit. A column has numbers if more than
    half of its values are numbers. Another value there, such as ``abc``, is a bad value and
    never a category. The same is true of dates. All other texts are words. The project's
    docs/data.md has the rules.

    Args:
        source: one of ``names()``, a path, or ``"-"``.
        target: the column to predict; required for a file, refused for a named set.
        kind: for a file, ``"regression"`` or ``"classification"``; by default as in
            ``Dataset.from_arrays``.
        drop: columns to leave out.
        keep: the only columns to use beside the target; all by default.
        types: what columns are, by name: ``"number"``, ``"category"``, ``"date"`` or ``"text"``.
        missing: ``"impute"`` missing values, ``"drop"`` their rows and count them, or ``"error"``.
        skip_bad_rows: drop rows with a bad value and lines of the wrong length and count them in
            ``Dataset.dropped``, instead of an error that names the first. An open quote is always
            an error, because it hides whole rows.
        na: further texts that stand for a missing value, beside ``NA``, ``?``, ``null`` and the
            like.
        decimal: the decimal mark of all columns, ``"."`` or ``","``.
        delimiter: one character, ``"tab"``, or ``"space"`` for any run of spaces.
        encoding: by its name in Python.
        comment: the beginning of lines that do not belong to the table.
        header_row: the line of the column names, counted from 1; 0 if there is none.

    Returns:
        The data set; ``split`` encodes and standardizes it.

    Raises:
        ValueError: the name is unknown, or the file cannot be used; the message names column,
            row (counted from 1, the first data row) and value, and a remedy.
        FileNotFoundError: there is no such file, or a named set cannot be downloaded.

    Example:
        >>> iris = load("iris")
        >>> iris.X.shape, iris.kind, iris.classes
        ((150, 4), 'multiclass', ('setosa', 'versicolor', 'virginica'))
    """
    options = Options(
        drop, keep, types or {}, missing, skip_bad_rows, na, decimal, delimiter, encoding, comment,
        header_row,
    )  # fmt: skip
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"source must be a path or the name of a data set, got {type(source).__name__}; "
            "data.Dataset.from_arrays takes arrays and frames"
        )
    source = os.fspath(source)
    if source in names():
        own = {"target": target, "kind": kind}
        given = [name for name, value in own.items() if value is not None] + [*options.given]
        if given:
            raise ValueError(
                f"data set {source!r} has a target and a form of its own; leave out "
                f"{', '.join(map(argument, given))}: for files alone"
            )
        return named.load(source)
    from thalweg.data import delimited, formats  # noqa: PLC0415 - load PyArrow

    dialect = delimited.Dialect(delimiter, encoding, comment, header_row)
    table = formats.read(source, dialect, target=target, skip_bad_rows=skip_bad_rows)
    called = "stdin" if source == formats.STDIN else Path(source).name.partition(".")[0]
    try:
        return Dataset.from_table(
            table.columns, table.target if target is None else target,
            called or Path(source).name, kind, source=source, options=options,
            loaded=source, dropped=+Counter({"of the wrong length": table.dropped}),
            assumed=table.assumed, comma=table.comma,
        )  # fmt: skip
    except ValueError as error:
        said = ""
        unread = isinstance(error, delimited.EmptyError)
        if table.assumed and (unread or target not in table.columns.column_names):
            said = f" (assumed: {'; '.join(table.assumed)})"
        raise ValueError(f"{source}: {error}{said}") from None
