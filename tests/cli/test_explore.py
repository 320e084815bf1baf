"""thalweg explore: what it writes, opens and refuses."""

import webbrowser
from pathlib import Path

import pytest

from thalweg import cli

MINE = """
from thalweg.elementwise import sign
from thalweg.rule import rule

@rule("mine")
def signum(g, x, m, *, t, lr=1e-2, beta=0.9):
    m = beta * m + (1 - beta) * g
    return x - lr * sign(m), m

@rule("mine too")
def looping(g, x, *, t, lr=1e-2):
    for _ in range(3):
        x = x - lr * g
    return x
"""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    return addresses


def test_it_writes_the_page_with_a_rule_of_the_users_and_opens_it(
    opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = "explore --rules adam,mine.py:signum --problem rosenbrock"
    assert cli.main(words.split()) == 0
    assert capsys.readouterr().out == "page: explore.html\n"
    assert opened == [Path("explore.html").resolve().as_uri()]
    text = Path("explore.html").read_text("utf-8")
    assert 'chosen = ["adam","signum"]' in text
    assert 'module: "mine"' in text
    assert 'firstProblem = "rosenbrock"' in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--rules adm", "unknown rule 'adm'; did you mean"),
        ("--problem bwl", "unknown problem 'bwl'; did you mean bowl?"),
        ("--rules none.py:signum", "there is no file none.py"),
        (
            "--rules mine.py:other",
            "--rules must name one of mine.py, which declares signum, looping; got mine.py:other",
        ),
        ("--rules mine.py", "which declares signum, looping; got mine.py"),
        ("--rules mine.py:looping", "mine.py, line 12: `for _ in range(3):` cannot be compiled"),
        ("--rules sgd,sgd,sgd,sgd,sgd,sgd,sgd", "rules must name at most 6 rules, got 7"),
        ("--out mine.py", "thalweg did not make it"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    opened: list[str], capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert cli.main(["explore", *words.split()]) > 0
    assert message in capsys.readouterr().err
    assert opened == []
    assert not Path("explore.html").exists()
    assert Path("mine.py").read_text() == MINE
