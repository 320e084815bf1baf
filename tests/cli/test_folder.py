"""Commands on the folder of a race."""

from pathlib import Path

import pytest

import race_folder
from thalweg import cli


def test_report_writes_the_page_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    race_folder.write(tmp_path, *race_folder.make(("sgd", "adam"), trials=8, seeds=4))
    assert cli.main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").stat().st_size > 10_000
