"""A race of iris, and its table as text."""

import io
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

import race_folder
from thalweg import report


@pytest.fixture(scope="module")
def race() -> tuple[dict[str, Any], pa.Table]:
    return race_folder.make(("sgd", "momentum", "adam", "asgd", "lion"), trials=16, seeds=6)


def printed(results: dict[str, Any], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(report.table(report.Record.of(results)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
