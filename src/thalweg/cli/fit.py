"""``thalweg fit`` and ``thalweg predict``: a linear model of a table, in a file."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.cli.arguments import (
    AS,
    COMMENT,
    DECIMAL,
    DELIMITER,
    DROP,
    ENCODING,
    HEADER_ROW,
    KEEP,
    KIND,
    MISSING,
    NA,
    SKIP_BAD_ROWS,
    TARGET,
    column_types,
)  # fmt: skip
from thalweg.cli.terminal import say
from thalweg.words import listed

__all__ = ["fit", "predict"]

_Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A table in a CSV, Excel, JSON or Parquet file or the like, in a folder of such "
        "files, or - for standard input; or a named data set (digits, diabetes, breast_cancer, …).",
    ),
]
_Loss = Annotated[
    str | None,
    typer.Option(
        help="Of classes logistic (default), hinge, squared_hinge or modified_huber; of numbers "
        "squared (default), huber, epsilon_insensitive, quantile, poisson, gamma or tweedie."
    ),
]
_Alpha = Annotated[
    float | None, typer.Option(help="Weight of the penalty; 1 / the number of rows by default.")
]
_L1Ratio = Annotated[float, typer.Option(help="Share of the sum of |w| in the penalty, 0 to 1.")]
_Seed = Annotated[int, typer.Option(help="Seed of the order of rows and of the held-out fifth.")]
_Out = Annotated[
    Path | None,
    typer.Option(
        help="Model file to write; thalweg-fit-NAME.model by default. The page lies beside it."
    ),
]
_Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A file that thalweg fit wrote.")]
_Rows = Annotated[
    str, typer.Argument(metavar="FILE", help="New rows, as thalweg fit reads them; - for stdin.")
]
_Predictions = Annotated[
    Path | None,
    typer.Option(
        help="CSV file to write, which must not be there yet; standard output by default."
    ),
]


def fit(
    source: _Data, *, target: TARGET = None, kind: KIND = None, loss: _Loss = None,
    alpha: _Alpha = None, l1_ratio: _L1Ratio = 0.0, seed: _Seed = 0, drop: DROP = None,
    keep: KEEP = None, as_: AS = None, missing: MISSING = "impute",
    skip_bad_rows: SKIP_BAD_ROWS = False, na: NA = None, decimal: DECIMAL = None,
    delimiter: DELIMITER = None, encoding: ENCODING = None, comment: COMMENT = None,
    header_row: HEADER_ROW = None, out: _Out = None,
) -> None:  # fmt: skip
    """Train a linear model of a table: write it into a file, and a page about it.

    Nothing needs to be tuned. A fifth of the rows judges a model of the others; the model in the
    file is of all rows. The file is a pickle: let thalweg predict read your own alone.
    """
    from thalweg import data, files  # noqa: PLC0415 - no command needs all
    from thalweg.tasks.source import is_task_file  # noqa: PLC0415 - loads NumPy

    if is_task_file(source):
        raise ValueError(f"DATA must be a table, and {source} is Python; thalweg race {source}")
    dataset = data.load(
        source, target=target, kind=kind, drop=drop or (), keep=keep or (),
        types=column_types(as_ or ()), missing=missing, skip_bad_rows=skip_bad_rows, na=na or (),
        decimal=decimal, delimiter=delimiter, encoding=encoding, comment=comment,
        header_row=header_row,
    )  # fmt: skip
    for note in dataset.notes:
        say(note, err=True)
    name = re.sub(r"[^\w.-]+", "-", dataset.name)
    model = out or Path(f"thalweg-fit-{name}.model")
    files.check_place(model)
    place = model.with_suffix(".html")
    if place == model:
        raise ValueError(f"out is the model's file, and its page is beside it as .html, got {out}")
    from thalweg.linear import fitted, page, saved  # noqa: PLC0415 - loads scikit-learn

    files.check_replaceable(model, saved.MARK)
    files.check_replaceable(place, page.MARK)
    given: dict[str, Any] = {"l1_ratio": l1_ratio} | ({} if alpha is None else {"alpha": alpha})
    found = fitted.fit(dataset, loss=loss, seed=seed, **given)
    say(dataset.summary(len(found.saved.encoder.features)))
    say(found.sentence)
    say(f"model: {found.saved.write(model)}")
    say(f"page:  {page.write(place, found)}")


def predict(model: _Model, source: _Rows, *, out: _Predictions = None) -> None:
    """Predict the target of new rows with a model of thalweg fit, as CSV.

    The file needs the model's columns; others, the target among them, are left alone. A word that
    the model has not seen counts as none of those that it has. A model is a pickle, which can run
    code: give only a file of your own.
    """
    from thalweg import data, files  # noqa: PLC0415 - no command needs all
    from thalweg.data import formats  # noqa: PLC0415 - loads PyArrow
    from thalweg.data.delimited import Dialect  # noqa: PLC0415 - the same
    from thalweg.linear import saved  # noqa: PLC0415 - loads scikit-learn

    if source in data.names():
        raise ValueError(f"FILE must be a table of new rows, got the data set {source!r}")
    if out is not None and out.exists():
        raise ValueError(f"out must name a file that is not there yet, got {out}")
    if out is not None:
        files.check_place(out)
    own = saved.load(model)
    dialect = Dialect(
        own.options.delimiter, own.options.encoding, own.options.comment, own.options.header_row,
        columns=tuple(own.kinds),
    )  # fmt: skip
    # a column that the table has shows its header
    known = next((name for name in own.kinds if f"{name}.1" not in own.kinds), None)
    table = formats.read(source, dialect, target=known, skip_bad_rows=False)
    if table.assumed:
        say(f"assumed: {'; '.join(table.assumed)}", err=True)
    try:
        answers = own.predict(table.columns, comma=table.comma)
        new = own.unseen(table.columns)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    for column, words in new.items():
        say(f"{column}: the model has not seen {listed(words, 3)}", err=True)
    text = answers.to_csv(index=False)
    if out is None:
        say(text.removesuffix("\n"))
        return
    say(f"predictions: {files.write(out, text.encode())}")
