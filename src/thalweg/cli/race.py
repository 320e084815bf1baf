"""``thalweg race`` and ``thalweg report``."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli.arguments import names
from thalweg.cli.terminal import INTERRUPTED, bar, console, no_interrupt_lost

if TYPE_CHECKING:
    from thalweg.racing import Progress, Verdict

__all__ = ["race", "report"]

_Data = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="A named data set (digits, diabetes, breast_cancer, airfoil, …) or a .csv, "
        ".parquet or .feather file. Left out with --resume.",
    ),
]
_Target = Annotated[str | None, typer.Option(help="The column of a file to predict.")]
_Kind = Annotated[
    str | None,
    typer.Option(help="regression or classification, where the target column leaves it open."),
]
_Rules = Annotated[
    str, typer.Option(help="Update rules to race, separated by commas; all of them by default.")
]
_BatchSize = Annotated[
    str, typer.Option(help="Examples per step; several, such as 32,128, are searched among.")
]
_Epochs = Annotated[int, typer.Option(help="Length of every training.")]
_Trials = Annotated[int, typer.Option(help="Trials of each rule in the first round.")]
_Seeds = Annotated[int, typer.Option(help="Fresh seeds on which each best is judged.")]
_Budget = Annotated[
    str | None,
    typer.Option(help="Instead of --trials: 60s or 5min for the race, 2000epochs per rule."),
]
_Penalty = Annotated[float, typer.Option(help="Weight of the L2 penalty in training.")]
_Seed = Annotated[int, typer.Option(help="Of the split, the trials and every training.")]
_SkipBadRows = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Drop rows with bad values and count them.")
]
_Out = Annotated[
    Path | None, typer.Option(help="Folder for results and report; thalweg-race-NAME by default.")
]
_Resume = Annotated[
    Path | None, typer.Option(help="Continue the race in this folder, on its own terms.")
]
_Threads = Annotated[
    int | None, typer.Option(help="Trainings at the same time; one per processor by default.")
]
_Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


def race(
    context: typer.Context, source: _Data = None, *,
    target: _Target = None, kind: _Kind = None, rules: _Rules = "all",
    batch_size: _BatchSize = "32", epochs: _Epochs = 20, trials: _Trials = 32, seeds: _Seeds = 20,
    budget: _Budget = None, l2: _Penalty = 1e-4, seed: _Seed = 0,
    skip_bad_rows: _SkipBadRows = False, out: _Out = None, resume: _Resume = None,
    threads: _Threads = None, quiet: _Quiet = False,
) -> None:  # fmt: skip
    """Race update rules on your data, at equal budget, and say which one to use.

    Every rule is tuned on the validation part, then judged on the test part, seed by seed.

    Ctrl-C keeps what was finished and says how to go on.
    """
    directory = resume or out
    said = ""
    try:
        with bar(quiet=quiet) as show, no_interrupt_lost():

            def tell(progress: "Progress") -> None:
                nonlocal said
                said = f" with {progress.done / progress.total:.0%} done"
                show(progress)

            if resume is not None:
                _refuse_terms(context, "resume", "threads", "quiet")
                from thalweg import racing  # noqa: PLC0415

                verdict = racing.resume(resume, on_progress=tell, threads=threads)
            elif source is None:
                raise ValueError("DATA is missing: name a data set or a file")
            else:
                from thalweg import data, racing  # noqa: PLC0415

                dataset = data.load(source, target=target, kind=kind, skip_bad_rows=skip_bad_rows)
                directory = directory or Path(
                    "thalweg-race-" + re.sub(r"[^\w.-]+", "-", dataset.name)
                )
                verdict = racing.race(
                    dataset, rules=None if rules == "all" else names(rules),
                    batch_size=_batch_sizes(batch_size), epochs=epochs, trials=trials, seeds=seeds,
                    budget=budget, l2=l2, seed=seed, out=directory, on_progress=tell,
                    threads=threads,
                )  # fmt: skip
    except KeyboardInterrupt:
        _say_interrupted(directory, said)
        raise typer.Exit(INTERRUPTED) from None
    if not quiet:
        _print_verdict(verdict)


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a race.")],
) -> None:
    """Write report.html again from a race's results."""
    from thalweg import report as pages  # noqa: PLC0415

    typer.echo(f"report: {pages.write(directory)}")


def _refuse_terms(context: typer.Context, *free: str) -> None:
    """Refuse options that a resumed race cannot change."""
    for name in context.params.keys() - {*free}:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            word = "DATA" if name == "source" else f"--{name.replace('_', '-')}"
            raise ValueError(f"{word} cannot be given with --resume: the race has its own")


def _say_interrupted(directory: Path | None, said: str) -> None:
    if directory is None or not (directory / "race.sqlite").exists():
        typer.echo("interrupted before the race began; nothing was kept", err=True)
        return
    command = shlex.join(["thalweg", "race", "--resume", str(directory)])
    typer.echo(
        f"interrupted{said}; every finished training is kept in {directory}\n"
        f"continue with: {command}",
        err=True,
    )


def _print_verdict(verdict: "Verdict") -> None:
    from thalweg import report as pages  # noqa: PLC0415

    terminal = console()
    terminal.print(pages.table(verdict.results, terminal.width))
    for name, lines in verdict.code.items():
        typer.echo(f"\n# {name}\n{lines}")
    if verdict.directory is not None:
        typer.echo(f"\nreport: {verdict.directory / 'report.html'}")


def _batch_sizes(text: str) -> list[int]:
    try:
        return [int(word) for word in names(text)]
    except ValueError:
        raise ValueError(
            f"batch-size must be whole numbers such as 32 or 32,128, got {text!r}"
        ) from None
