"""The command line: parse, call, print. The commands make slow imports when they are called."""

import inspect
import io
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli import check, doctor, explore, fit, folder, race, rates, rules, schedule, trace
from thalweg.cli.mistakes import complain, sentence
from thalweg.cli.terminal import INTERRUPTED, STDOUT, say
from thalweg.words import on_the_command_line, option

__all__ = ["app", "main"]

app = typer.Typer(
    help="Find the best optimizer for your data: race update rules, predict their rates, draw "
    "their paths.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,  # a bug's traceback is Python's own, to paste into an issue
)
_OWN_OPTIONS = {"ignore_unknown_options": True, "allow_extra_args": True}

app.command()(race.race)
app.command()(fit.fit)
app.command()(fit.predict)
app.command()(check.check)
app.command()(doctor.doctor)
app.command(context_settings=_OWN_OPTIONS, epilog=trace.EPILOG)(trace.trace)
app.command(context_settings=_OWN_OPTIONS, epilog=rates.EPILOG)(rates.rates)
app.command(context_settings=_OWN_OPTIONS, epilog=schedule.EPILOG)(schedule.schedule)
app.command()(explore.explore)
app.command()(rules.kernel)
app.command()(rules.rules)
app.command()(folder.report)
app.command()(folder.results)
app.command()(folder.watch)


def _paragraphs(text: str) -> str:
    """Return a docstring with a line for each paragraph: typer keeps the ends of its lines."""
    return "\n\n".join(" ".join(lines.split()) for lines in inspect.cleandoc(text).split("\n\n"))


for command in app.registered_commands:
    command.help = _paragraphs(getattr(command.callback, "__doc__", None) or "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.

    A file that is not there is a wrong argument. Every mistake of a user ends in a sentence on
    stderr. A traceback is a bug of ours.

    Args:
        arguments: the words after ``thalweg``; by default those that the process was started with.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell closed it, as >&- does
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is none
            stream.reconfigure(errors="replace")  # ★ on an ASCII terminal
    code = _flushed(_answer(arguments))
    if code == INTERRUPTED and arguments is None:
        # Python's own end can wait for ever for threads that are compiling.
        sys.stderr.flush()
        os._exit(code)
    return code


def _answer(arguments: Sequence[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with on_the_command_line():
            return app(arguments, prog_name="thalweg", standalone_mode=False) or 0
    except typer.Abort:
        return INTERRUPTED
    except (OSError, ImportError, sqlite3.Error) as error:
        complain(error)
        return 2 if isinstance(error, FileNotFoundError) else 1
    except ValueError as error:
        complain(_as_typed(str(error), words))
        return 2
    except Exception as error:
        # Click's usage errors; Typer carries Click inside since 0.22, so their class has no home.
        if not hasattr(error, "format_message"):
            raise
        complain(sentence(error, words))
        return 2


def _as_typed(message: str, arguments: Sequence[str]) -> str:
    """Return a message with an option at its beginning, if it begins with that argument's name.

    The name of a file may stand before it.
    """
    typed = {word.partition("=")[0] for word in arguments}
    for start in (0, message.find(": ") + 2):
        name, space, _ = message[start:].partition(" ")  # a list may end in its name
        if space and option(name) in typed:
            return message[:start] + option(name) + message[start:].removeprefix(name)
    return message


def _flushed(code: int) -> int:
    """Return the exit code of a command after writing the rest of what it printed."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at its end, and fail with a message of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        gone = isinstance(error, BrokenPipeError)  # a reader such as head has all that it wanted
        if not gone and code == 0:
            error.filename = STDOUT
            complain(error)
        return code or 1
    return code


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer's callback
    if wanted:
        import thalweg  # noqa: PLC0415

        say(f"thalweg {thalweg.__version__}")
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
