"""``thalweg explore``: a page in which every rule is alive."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.arguments import names
from thalweg.cli.terminal import say

__all__ = ["explore"]

_Rules = Annotated[
    str,
    typer.Option(
        metavar="NAME,...",
        help="The rules that it begins with, up to six. mine.py:signum is the rule signum that is "
        "declared in mine.py.",
    ),
]
_Problem = Annotated[str | None, typer.Option(help="The problem that it begins with.")]
_Out = Annotated[Path, typer.Option(help="File of the page.")]
_Open = Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")]


def explore(
    *, rules: _Rules = "", problem: _Problem = None, out: _Out = Path("explore.html"),
    browser: _Open = True,
) -> None:  # fmt: skip
    """Write a page to explore rules in: descent, stability, schedules, a network, minibatches.

    It is one file, which needs no network. Its address holds what its reader has set.
    """
    from thalweg import explore as explorer  # noqa: PLC0415

    explorer.check(out)  # before a user's file is run
    chosen, homes = explorer.declared(names(rules))
    page = explorer.write(out, chosen, problem, homes)
    say(f"page: {page}")
    if browser:
        webbrowser.open(page.resolve().as_uri())
