"""``thalweg race``."""

import functools
import re
import shlex
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    names,
)  # fmt: skip
from thalweg.cli.folder import show_verdict
from thalweg.cli.terminal import INTERRUPTED, no_interrupt_lost, say
from thalweg.live import View, live
from thalweg.words import option, printable

if TYPE_CHECKING:
    from thalweg.data import Dataset
    from thalweg.progress import Progress

__all__ = ["race"]

_WRITERS = "csv", "tensorboard", "optuna", "mlflow", "wandb"

_Data = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="A named data set (digits, diabetes, breast_cancer, airfoil, …); a table in a CSV, "
        "Excel, JSON or Parquet file or the like, in a folder of such files, or - for standard "
        "input; or FILE.py:function that returns a thalweg.TorchTask, or a dict with model, "
        "loss_fn and loader (:task by default). Left out with --resume.",
    ),
]
_Rules = Annotated[
    str | None,
    typer.Option(
        help="Update rules to race, separated by commas, or all; by default the twenty that are "
        "usual, and those that a task file declares."
    ),
]
_BatchSize = Annotated[
    str | None,
    typer.Option(
        help="Examples per step; 32 by default, or all of a smaller training part. Give several, "
        "such as 32,128, and the race tries each."
    ),
]
_Epochs = Annotated[int, typer.Option(help="Passes over the training part in every training.")]
_Trials = Annotated[
    int | None,
    typer.Option(
        help="Settings tried for each rule in the first round, 4 to 1024, shared by the repeats; "
        "160 by default, 64 for a TorchTask."
    ),
]
_Repeats = Annotated[
    int | None,
    typer.Option(
        help="How often the whole experiment is repeated, each time with new parts of the data, a "
        "new search and new seeds. More repeats tell rules apart better. 5 to 10 by default."
    ),
]
_Seeds = Annotated[
    int,
    typer.Option(help="Fresh seeds on which the best setting of each rule is judged, per repeat."),
]
_Budget = Annotated[
    str | None,
    typer.Option(
        help="Instead of --trials: 60s or 5min for the whole race, or 2000epochs for each rule. It "
        "buys at most 1024 trials of a rule in the first round. Trials that widen a search space "
        "come on top."
    ),
]
_Halving = Annotated[
    bool,
    typer.Option(
        "--halving",
        help="Successive halving: trials start short, and the best third of them go on.",
    ),
]
_Penalty = Annotated[
    float | None, typer.Option(help="Weight of the L2 penalty of a linear model; 1e-4 by default.")
]
_Seed = Annotated[int, typer.Option(help="Seed of the split, the trials and every training.")]
_Margin = Annotated[
    float | None,
    typer.Option(
        help="Up to this price a rule is as good as the best; 0.05 by default, 5 %. With "
        "--resume, a race that has ended is judged anew, without any training."
    ),
]
_Out = Annotated[
    Path | None, typer.Option(help="Folder for results and report; thalweg-race-NAME by default.")
]
_Resume = Annotated[
    Path | None,
    typer.Option(
        help="Continue the race in this folder, with the options that it was started with."
    ),
]
_Trust = Annotated[
    bool, typer.Option("--trust", help="Run the task file that a resumed folder names, unasked.")
]
_Workers = Annotated[
    int | None,
    typer.Option(
        help="How many pieces of work run at the same time; one per processor by default."
    ),
]
_On = Annotated[
    str | None,
    typer.Option(
        help="Where the work runs: threads, processes, ray, dask, or a cluster: ray://HOST:PORT or "
        "dask://HOST:PORT.",
    ),
]
_Csv = Annotated[
    bool, typer.Option("--csv", help="Write evaluations.csv into the folder while the race runs.")
]
_Tensorboard = Annotated[
    bool,
    typer.Option(
        "--tensorboard", help="Write files for TensorBoard into the folder while the race runs."
    ),
]
_Optuna = Annotated[
    bool, typer.Option("--optuna", help="Write optuna.log into the folder: a study for each rule.")
]
_Mlflow = Annotated[
    bool, typer.Option("--mlflow", help="Write mlflow.db into the folder: a run for each final.")
]
_Wandb = Annotated[
    bool,
    typer.Option(
        "--wandb", help="Write files for Weights & Biases into the folder: a run for each final."
    ),
]
_Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]


def race(
    context: typer.Context, source: _Data = None, *,
    target: TARGET = None, kind: KIND = None, rules: _Rules = None,
    batch_size: _BatchSize = None, epochs: _Epochs = 20, trials: _Trials = None,
    repeats: _Repeats = None, seeds: _Seeds = 2,
    budget: _Budget = None, halving: _Halving = False, l2: _Penalty = None, seed: _Seed = 0,
    margin: _Margin = None,
    drop: DROP = None, keep: KEEP = None, as_: AS = None, missing: MISSING = "impute",
    skip_bad_rows: SKIP_BAD_ROWS = False, na: NA = None, decimal: DECIMAL = None,
    delimiter: DELIMITER = None, encoding: ENCODING = None, comment: COMMENT = None,
    header_row: HEADER_ROW = None, out: _Out = None, resume: _Resume = None,
    trust: _Trust = False, workers: _Workers = None, on: _On = None, csv: _Csv = False,
    tensorboard: _Tensorboard = False, optuna: _Optuna = False, mlflow: _Mlflow = False,
    wandb: _Wandb = False, quiet: _Quiet = False,
) -> None:  # fmt: skip
    """Race update rules on your model or data, and say which one to use.

    Every rule gets the same budget. It is tuned on the validation part. Then it is trained on fresh
    seeds and judged on the test part. All of this is repeated on other parts of the data.

    Ctrl-C keeps every finished training and prints the command that continues the race.
    """
    directory = resume or out
    said = ""
    asked = zip(_WRITERS, (csv, tensorboard, optuna, mlflow, wandb), strict=True)
    writers = [name for name, wanted in asked if wanted]
    try:
        with live(shown=not quiet) as shown, no_interrupt_lost():

            def tell(progress: "Progress") -> None:
                nonlocal said
                said = f" with {progress.done / progress.total:.0%} done"
                shown.show(progress)

            how: dict[str, Any] = {
                "on_data": None if quiet else functools.partial(_told, shown),
                "on_progress": tell,
                "progress": False,  # the view is shown before the data are read
                "margin": margin,
                "workers": workers,
                "on": on,
                "writers": writers,
            }
            from thalweg import racing  # noqa: PLC0415

            if resume is not None:
                _refuse_terms(context)
                ask = functools.partial(_asked, resume, shown=shown)
                verdict = racing.resume(resume, trust=trust or ask, **how)
            elif trust:
                raise ValueError("--trust is for --resume; a task file that you name runs")
            else:
                given = _given(context, source, target=target, kind=kind, drop=drop or (),
                    keep=keep or (), types=column_types(as_ or ()), missing=missing,
                    skip_bad_rows=skip_bad_rows, na=na or (), decimal=decimal,
                    delimiter=delimiter, encoding=encoding, comment=comment,
                    header_row=header_row)  # fmt: skip
                directory = directory or _folder(given)
                verdict = racing.race(
                    given, rules=rules if rules in {None, "all"} else names(rules),
                    batch_size=_batch_sizes(batch_size), epochs=epochs, trials=trials,
                    repeats=repeats, seeds=seeds, budget=budget, halving=halving, l2=l2, seed=seed,
                    out=directory, **how,
                )  # fmt: skip
    except KeyboardInterrupt:
        _say_interrupted(directory, said)
        raise typer.Exit(INTERRUPTED) from None
    if not quiet:
        show_verdict(verdict.record, verdict.directory)


def _given(
    context: typer.Context,
    source: str | None,
    **how: Any,  # noqa: ANN401 - the arguments of data.load
) -> "str | Dataset":
    """Return the data that the words name, or the name of a task file."""
    from thalweg import data  # noqa: PLC0415
    from thalweg.tasks.source import is_task_file, no_task  # noqa: PLC0415

    if source is None:
        raise ValueError("DATA is missing: name a data set or a file")
    if not is_task_file(source):
        if ".ipynb" in source or re.search(r"\w\.\w+:\w+$|\.py:", source):
            raise ValueError(no_task(source))
        return data.load(source, **how)
    for name in how:
        if _typed(context, "as_" if name == "types" else name):
            raise ValueError(f"{option(name)} is for tables; a task has its own data")
    return source


def _typed(context: typer.Context, name: str) -> bool:
    """Return whether an option was given."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _folder(given: "str | Dataset") -> Path:
    """Return the folder of a race for which none was given."""
    name = Path(given.removesuffix(":task")).name if isinstance(given, str) else given.name
    return Path("thalweg-race-" + re.sub(r"[^\w.-]+", "-", name.replace(".py", "")))


_FREE = {"resume", "trust", "margin", "workers", "on", "quiet", *_WRITERS}


def _refuse_terms(context: typer.Context) -> None:
    """Refuse options that a resumed race cannot change."""
    for name in context.params.keys() - _FREE:
        if _typed(context, name):
            word = "DATA" if name == "source" else option(name.rstrip("_"))
            raise ValueError(f"{word} cannot be given with --resume: the race has its own")


def _told(shown: View, line: str) -> None:
    """Print a line above the view of the race."""
    with shown.hidden():
        say(line, err=True)


def _asked(directory: Path, file: str, shown: View) -> bool:
    """Ask whether the task file that a folder names may run.

    Raises:
        ValueError: the answer is no, or there is nobody to ask.
    """
    named = f"{directory} names the task file {file}, which would run"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ValueError(f"{named}. Read it; if you trust it, give --trust")
    with shown.hidden():
        trusted = typer.confirm(printable(f"{named}. Do you trust it?"), err=True)
    if not trusted:
        raise ValueError(f"{file} did not run, and the race was not continued")
    return True


def _say_interrupted(directory: Path | None, said: str) -> None:
    if directory is None or not _begun(directory):
        say("interrupted before the race began; nothing was kept", err=True)
        return
    command = shlex.join(["thalweg", "race", "--resume", str(directory)])
    say(
        f"interrupted{said}; every finished training is kept in {directory}\n"
        f"continue with: {command}",
        err=True,
    )


def _begun(directory: Path) -> bool:
    """Return whether the folder holds the terms of a race: without them it cannot be resumed.

    This asks SQLite alone, because an interrupt may have left the store's modules half loaded.
    """
    try:
        address = f"{(directory / 'race.sqlite').resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as kept:
            return kept.execute("SELECT terms FROM race").fetchone() is not None
    except sqlite3.Error:  # no such file or table
        return False


def _batch_sizes(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(word) for word in names(text)]
    except ValueError:
        raise ValueError(
            f"batch_size must be whole numbers such as 32 or 32,128, got {text!r}"
        ) from None
