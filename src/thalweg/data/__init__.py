"""Data sets: named ones, files in, and the split into training, validation and test parts."""

from pathlib import Path

from thalweg.data import named
from thalweg.data.dataset import Dataset
from thalweg.data.named import names
from thalweg.data.splits import Part, Split, split

__all__ = ["Dataset", "Part", "Split", "load", "names", "split"]


def load(
    source: str | Path,
    *,
    target: str | None = None,
    skip_bad_rows: bool = False,
    kind: str | None = None,
) -> Dataset:
    """Load a data set by name, or from a CSV, Parquet or Feather file.

    In a file, a column of numbers or booleans is one feature. A text column is numbers too where
    more than half of its values are; what is not a number there, such as ``1,5``, is a bad value.
    Every other text column, and every dictionary column, is categorical: a 0/1 feature
    ``column=value`` for each value. Other bad values are missing ones (in CSV also NA, NaN, null
    and their like), infinities, and CSV lines of the wrong length.

    Args:
        source: one of ``names()``, or a path that ends in .csv, .parquet or .feather. A CSV
            file is UTF-8 with a header; its delimiter is the first of ``,`` ``;`` and tab that
            parts the header.
        target: the column to predict; required for a file, refused for a named set.
        skip_bad_rows: drop rows with a bad value and count them in ``Dataset.dropped``, instead
            of an error that names the first. A quote that is left open in a CSV file is an error
            all the same, for it hides whole rows.
        kind: for a file, ``"regression"`` or ``"classification"``; by default as in
            ``Dataset.from_arrays``.

    Returns:
        The data set; ``split`` standardizes it.

    Raises:
        ValueError: the name is unknown, or the file cannot be used; the message names column,
            row (counted from 1, the first data row) and value.
        FileNotFoundError: there is no such file, or a named set cannot be downloaded.

    Example:
        >>> iris = load("iris")
        >>> iris.X.shape, iris.kind, iris.classes
        ((150, 4), 'multiclass', ('setosa', 'versicolor', 'virginica'))
    """
    if str(source) in names():
        if target is not None or kind is not None:
            raise ValueError(
                f"data set {str(source)!r} has its own target and kind; leave out target and kind, "
                "they are for files"
            )
        return named.load(str(source))
    from thalweg.data import files  # noqa: PLC0415 - loads PyArrow, which named sets do not need

    return files.load(Path(source), target=target, skip_bad_rows=skip_bad_rows, kind=kind)
