"""What a command prints."""

import pytest

from thalweg import cli


def said(capsys: pytest.CaptureFixture[str], words: str) -> str:
    """Return what a command prints; it must succeed, without a word of complaint."""
    code = cli.main(words.split())
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out
