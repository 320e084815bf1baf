"""What a user can call is explained where they look."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from thalweg import cli

README = Path(__file__).parents[1] / "README.md"
_APP: Any = typer.main.get_command(cli.app)
COMMANDS: dict[str, Any] = _APP.commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help, name
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name}"
        assert parameter.help.endswith("."), f"{name} {parameter.name}"


def test_readme_shows_what_rates_prints(capsys: pytest.CaptureFixture[str]) -> None:
    command, table = re.search(
        r"    thalweg (rates [^\n]*?) --out \S+\n\n```\n(.*?)```",
        README.read_text(encoding="utf-8"),
        re.DOTALL,
    ).groups()  # type: ignore[union-attr] # it is there
    assert cli.main(command.split()) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in printed] == table.splitlines()


@pytest.mark.parametrize("name", COMMANDS)
def test_readme_mentions_every_command(name: str) -> None:
    assert re.search(rf"thalweg {name}\b", README.read_text(encoding="utf-8"))
