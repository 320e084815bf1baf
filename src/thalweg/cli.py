"""The command line: parse, call, print. Heavy imports wait inside the commands that need them."""

import os
import re
import shlex
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from thalweg.racing import Progress, Verdict
    from thalweg.rule import Rule

__all__ = ["app", "main"]

_INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended

app = typer.Typer(
    help="Write each optimizer once as its paper's equation; run it, predict it, race it.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,  # a bug's traceback is Python's own, to paste into an issue
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 failed, 2 wrongly asked, 130 interrupted.

    What a user can cause ends in a sentence on stderr; a traceback is a bug of ours.

    Args:
        arguments: the words after ``thalweg``; those of the process by default.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr] # ★ on an ASCII terminal
    code = _answer(arguments)
    if code == _INTERRUPTED and arguments is None:
        # Threads in the midst of a compilation can keep Python's own end waiting for ever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _answer(arguments: Sequence[str] | None) -> int:
    try:
        return app(arguments, prog_name="thalweg", standalone_mode=False) or 0
    except typer.Abort:
        return _INTERRUPTED
    except (OSError, sqlite3.Error) as error:
        _complain(error)
        return 1
    except ValueError as error:
        _complain(error)
        return 2
    except Exception as error:
        # Click's usage errors; Typer carries Click inside since 0.22, so their class has no home.
        if not hasattr(error, "format_message"):
            raise
        _complain(error.format_message())
        return 2


def _complain(error: object) -> None:
    if isinstance(error, OSError) and error.filename and error.strerror:
        error = f"{error.filename}: {error.strerror}"
    typer.echo(f"error: {error}", err=True)


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer's callback
    if wanted:
        import thalweg  # noqa: PLC0415

        typer.echo(f"thalweg {thalweg.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _thalweg(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def race(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A named data set (digits, diabetes, breast_cancer, airfoil, …) or a .csv, "
            ".parquet or .feather file. Left out with --resume.",
        ),
    ] = None,
    *,
    target: Annotated[str | None, typer.Option(help="The column of a file to predict.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="regression or classification, where the target column leaves it open."),
    ] = None,
    rules: Annotated[
        str, typer.Option(help="Update rules to race, separated by commas; all of them by default.")
    ] = "all",
    batch_size: Annotated[
        str, typer.Option(help="Examples per step; several, such as 32,128, are searched among.")
    ] = "32",
    epochs: Annotated[int, typer.Option(help="Length of every training.")] = 20,
    trials: Annotated[int, typer.Option(help="Trials of each rule in the first round.")] = 32,
    seeds: Annotated[int, typer.Option(help="Fresh seeds on which each best is judged.")] = 20,
    budget: Annotated[
        str | None,
        typer.Option(help="Instead of --trials: 60s or 5min for the race, 2000epochs per rule."),
    ] = None,
    l2: Annotated[float, typer.Option(help="Weight of the L2 penalty in training.")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Of the split, the trials and every training.")] = 0,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Drop rows with bad values and count them.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for results and report; thalweg-race-NAME by default."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue the race in this folder, on its own terms.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Trainings at the same time; one per processor by default.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Race update rules on your data, at equal budget, and say which one to use.

    Every rule is tuned on the validation part, then judged on the test part, seed by seed.

    Ctrl-C keeps what was finished and says how to go on.
    """
    directory = resume or out
    said = ""
    try:
        with _bar(quiet=quiet) as bar, _no_interrupt_lost():

            def tell(progress: "Progress") -> None:
                nonlocal said
                said = f" with {progress.done / progress.total:.0%} done"
                bar(progress)

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
                    dataset,
                    rules=None if rules == "all" else _words(rules),
                    batch_size=_batch_sizes(batch_size),
                    epochs=epochs,
                    trials=trials,
                    seeds=seeds,
                    budget=budget,
                    l2=l2,
                    seed=seed,
                    out=directory,
                    on_progress=tell,
                    threads=threads,
                )
    except KeyboardInterrupt:
        _say_interrupted(directory, said)
        raise typer.Exit(_INTERRUPTED) from None
    if not quiet:
        _print_verdict(verdict)


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Hyperparameters are options too, such as --lr 0.6 --beta 0.5: see thalweg rules.",
)
def trace(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RULE [--HYPERPARAMETER VALUE]...",
            help="A rule, or several separated by commas, then their hyperparameters.",
            show_default=False,
        ),
    ],
    *,
    problem: Annotated[
        str, typer.Option(help="bowl, stretched_bowl, rotated_bowl or rosenbrock.")
    ] = "bowl",
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 20,
    noise: Annotated[
        float, typer.Option(help="Standard deviation of the noise added to each gradient.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    start: Annotated[
        str | None, typer.Option(help="First point, such as --start=-5,-2; the problem's own.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture: .png, .svg or .pdf.")] = Path("trace.png"),
) -> None:
    """Draw a rule's path over a problem's contours, and print where it ends."""
    from thalweg import descend  # noqa: PLC0415

    first = None if start is None else _point(start)
    traces = [
        descend(problem, rule, first, steps=steps, noise=noise, seed=seed, **hyper)
        for rule, hyper in _rules_and_hyper(words)
    ]
    from thalweg import plots, style  # noqa: PLC0415 - after the checks: matplotlib takes its time

    picture = plots.paths(traces).get_figure(root=True)
    assert picture is not None, "paths draws on a figure of its own"
    written = style.save(picture, out)
    for path in traces:
        typer.echo(_end(path))
    typer.echo(f"picture: {written}")


@app.command()
def kernel(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Name of a rule.")],
) -> None:
    """Print the source that is generated from a rule's equation and compiled."""
    from thalweg import kernels  # noqa: PLC0415

    typer.echo(kernels.source(rule))


@app.command()
def rules() -> None:
    """List the update rules: source, and hyperparameters with defaults and ranges."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from thalweg import rules as known  # noqa: PLC0415

    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="underline")
    shown.add_column("rule", no_wrap=True)
    shown.add_column("hyperparameters: default (range)")
    shown.add_column("source")
    for name in known.names():
        rule = known.get(name)
        ranges = (f"{h.name} {h.default:g} ({h.range})" for h in rule.hyperparameters.values())
        shown.add_row(name, Text("\n".join(ranges)), Text(rule.source))
    _console().print(shown)


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a race.")],
) -> None:
    """Write report.html again from a race's results."""
    from thalweg import report as pages  # noqa: PLC0415

    typer.echo(f"report: {pages.write(directory)}")


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415

    return Console(width=None if sys.stdout.isatty() else 100, highlight=False)


@contextmanager
def _bar(*, quiet: bool) -> "Iterator[Callable[[Progress], object]]":
    """Show a progress bar on a terminal; elsewhere, and when quiet, nothing."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Column  # noqa: PLC0415

    with progress.Progress(
        progress.TextColumn("{task.description}", markup=False, table_column=Column(min_width=28)),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[best]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    ) as shown:
        task = shown.add_task("getting ready", total=None, best="")
        yield lambda now: shown.update(
            task,
            completed=now.done,
            total=now.total,
            description=now.doing if now.done < now.total else "writing the report",
            best=f"best: {now.best}" if now.best else "",
        )


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Raise again a Ctrl-C that came where Python cannot raise it, such as in a destructor."""
    before = sys.unraisablehook

    def again(lost: "sys.UnraisableHookArgs") -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            before(lost)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


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

    console = _console()
    console.print(pages.table(verdict.results, console.width))
    for name, lines in verdict.code.items():
        typer.echo(f"\n# {name}\n{lines}")
    if verdict.directory is not None:
        typer.echo(f"\nreport: {verdict.directory / 'report.html'}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _batch_sizes(text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError:
        raise ValueError(
            f"batch-size must be whole numbers such as 32 or 32,128, got {text!r}"
        ) from None


def _point(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"start must be numbers such as -5,-2, got {text!r}") from None


def _rules_and_hyper(words: Sequence[str]) -> "list[tuple[Rule, dict[str, float]]]":
    """Read ``momentum --lr 0.6 --beta=0.5``: each rule, and those values that are its own."""
    from thalweg import rules as known  # noqa: PLC0415

    names, values = _positional_and_options(words)
    if len(names) != 1:
        raise ValueError(f"give one RULE, or several separated by commas, got {' '.join(names)!r}")
    chosen = [known.get(name) for name in _words(names[0])]
    for name in values:
        if not any(name in rule.hyperparameters for rule in chosen):
            own = dict.fromkeys(h for rule in chosen for h in rule.hyperparameters)
            raise ValueError(
                f"--{name.replace('_', '-')} is neither an option (see thalweg trace --help) nor a "
                f"hyperparameter of {names[0]}, which has: {', '.join(own)}"
            )
    numbers = {name: _number(name, value) for name, value in values.items()}
    return [
        (rule, {name: number for name, number in numbers.items() if name in rule.hyperparameters})
        for rule in chosen
    ]


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None


def _positional_and_options(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    positional, values = [], {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("--"):
            positional.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if not equals and (value := next(rest, "")) == "":
            raise ValueError(f"{word} needs a value, such as {word} 0.5")
        values[name.replace("-", "_")] = value
    return positional, values


def _end(path: Any) -> str:  # noqa: ANN401 - a Trace, whose module must not be imported for a name
    hyper = ", ".join(f"{name} {value:g}" for name, value in path.hyper.items())
    head = f"{path.rule.name} ({hyper}) on {path.problem.name}, {len(path.f) - 1} steps:"
    if path.diverged_at:
        return f"{head} diverged, not finite from step {path.diverged_at} on"
    point = ", ".join(f"{value:.6g}" for value in path.x[-1])
    grew = "; diverging: f grew" if path.f[-1] > path.f[0] else ""
    return (
        f"{head}\n  x = ({point}), f = {path.f[-1]:.6g} (from {path.f[0]:.6g}), "
        f"gradient norm {path.gradient_norm[-1]:.6g}{grew}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
