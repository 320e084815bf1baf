"""What docs/optim.md says is what happens, and its tables are what was measured."""

import doctest
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "optim.md"


def test_every_example_of_the_page_is_true() -> None:
    blocks = re.findall(r"```pycon\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, str(PAGE), 0)
    assert len(test.examples) > 10
    assert not doctest.DocTestRunner().run(test).failed


@pytest.mark.parametrize("name", ["optim.md", "speed.md", "verdicts.md", "linear.md"])
def test_the_tables_of_a_page_are_those_of_the_results(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script: Any = importlib.import_module("pages")
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == script.renewed(page, name)
