"""What README, CONTRIBUTING and docs/ show happens, block by block, in one folder for each page."""

import contextlib
import doctest
import io
import re
import shlex
import sqlite3
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer.main
from pyarrow import csv, parquet
from sklearn.datasets import load_breast_cancer, load_diabetes

from thalweg import cli, rules, wrappers
from thalweg.doctor.causes import CAUSES

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_APP: Any = typer.main.get_command(cli.app)
COMMANDS: dict[str, Any] = _APP.commands

# Lines of pages that are not run, by what they begin with, and why.
LEFT_OUT = {
    "make": "it builds an environment; that the target exists is tested below",
    "pip": "it installs packages",
    "ruff": "it is what CI runs",
    "python -m build": "it is what CI runs",
    "python benchmarks/": "it measures for minutes",
    "python docs/": "it draws for minutes",
    "thalweg race sales.csv": "the reader's own table",
}


@dataclass(frozen=True)
class Block:
    """A block of a page: the language that its fence names, or "indented"."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the fenced and the indented blocks of a page, in order."""
    found: list[Block] = []
    fence, taken, start = None, [], 0
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate([*lines, ""], 1):
        if fence is None and line.startswith("```"):
            fence, taken, start = line[3:], [], number + 1
        elif fence is None and line.startswith("    ") and (taken or not lines[number - 2].strip()):
            start = start if taken else number
            taken.append(line[4:])
        elif fence is None and taken:
            found.append(Block("indented", "\n".join(taken) + "\n", start))
            taken = []
        elif fence is not None and line == "```":
            found.append(Block(fence, "\n".join(taken) + "\n", start))
            fence, taken = None, []
        elif fence is not None:
            taken.append(line)
    assert fence is None
    return found


def shortened(words: list[str]) -> list[str]:
    """Return the command; with a few short trainings if it races, a few steps if it animates.

    Threads race, since each process loads torch for itself.

    What would open a browser opens none.

    The last of two equal options counts, so that what a page says is parsed and checked all the
    same. Nothing else is changed.
    """
    if "--animate" in words:
        return [*words, "--steps", "5"]
    if words[0] == "explore":
        return [*words, "--no-open"]
    if words[0] != "race" or "--resume" in words:
        return words
    few = ["--epochs", "2", "--seeds", "2", "--repeats", "2", "--on", "threads"]
    few += ["--budget", "80epochs"] if "--budget" in words else ["--trials", "4"]
    return [*words, *few, *([] if "--rules" in words else ["--rules", "sgd,adam"])]


_PRINTED: dict[str, str] = {}  # by commands that several pages have, that leave no file


@dataclass
class Run:
    """A page that is run in a folder.

    Attributes:
        page: the page.
        capsys: what reads the output.
        names: what its Python has bound so far.
        printed: by its last command.
        command: the last one.
    """

    page: Path
    capsys: pytest.CaptureFixture[str]
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    printed: str = ""
    command: str = ""

    def take(self, block: Block) -> None:
        """Do what a reader of the block would do, or hold it against what was printed."""
        where = f"{self.page.name}:{block.line}"
        if block.kind == "python":
            self.python(block)
        elif block.kind == "pycon":
            test = doctest.DocTestParser().get_doctest(block.text, self.names, where, where, 0)
            assert test.examples
            report = io.StringIO()
            failed = doctest.DocTestRunner().run(test, out=report.write, clear_globs=False).failed
            assert not failed, report.getvalue()
            self.names.update(test.globs)
        elif block.kind == "sql":
            self.query(block)
        elif block.kind == "indented":
            lines = block.text.splitlines()
            typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            for line in typed or lines:  # a session shows what its own file has printed
                self.shell(line, where)
        else:
            assert not block.kind, f"{where}: what is {block.kind}?"
            self.hold(block.text, where)

    def python(self, block: Block) -> None:
        """Run it as a file, for a rule's source is read again; a named one is written for later."""
        named = re.match(r"# (\w+\.py)\n", block.text)
        file = Path(named[1] if named else f"line_{block.line}.py")
        file.write_text(block.text, encoding="utf-8")
        if not named:
            exec(compile(block.text, str(file.absolute()), "exec"), self.names)  # noqa: S102

    def shell(self, line: str, where: str) -> None:
        program, *words = shlex.split(line, comments=True)
        if [program, *words] == ["make", "race"]:  # what it runs in the end
            program, words = "thalweg", ["race", "digits"]
        if program != "thalweg":
            assert any(line.startswith(start) for start in LEFT_OUT), f"{where}: {line}"
            return
        self.capsys.readouterr()
        if line not in _PRINTED:
            assert cli.main(shortened(words)) == 0, f"{where}: {line}"
        self.printed, self.command = self.capsys.readouterr().out, words[0]
        if words[0] == "rates" and "--out" not in words:
            self.printed = _PRINTED.setdefault(line, self.printed)

    def hold(self, text: str, where: str) -> None:
        """Compare with what the last command printed; of a race, the titles of the table alone."""
        shown, printed = (
            [" ".join(x.split()) for x in t.splitlines()] for t in (text, self.printed)
        )
        if self.command == "race":
            titles = next(line for line in shown if line.startswith("rule "))
            assert any(line.startswith(titles) for line in printed), f"{where}: {titles}"
        else:
            assert printed == shown, f"{where}: {self.command}"

    def query(self, block: Block) -> None:
        assert cli.main(shortened(["race", "iris", "--out", "queried"])) == 0
        with contextlib.closing(sqlite3.connect("queried/race.sqlite")) as store:
            rows = store.execute(block.text).fetchall()
        assert 0 < len(rows) <= 10


@pytest.fixture
def _reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with the files that the pages take for granted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")  # wide enough for a race's table
    X, y = load_diabetes(return_X_y=True)
    towns = np.array(["Ulm", "Bern"])[(X[:, 1] > 0).astype(int)]
    csv.write_csv(
        pa.table({"age": X[:, 0], "bmi": X[:, 2], "town": towns, "price": y}), "prices.csv"
    )
    X, y = load_breast_cancer(return_X_y=True)
    rows = [f"{i};{100 + i % 7},5;{i % 9},25;{5 * (i % 4)}%" for i in range(60)]
    sales = "\n".join(["order;price;weight;discount", *rows])
    Path("sales.csv").write_text(sales, encoding="utf-8")
    n = np.arange(60)
    held = np.exp(-n / 9) + 0.1 + 0.0015 * np.maximum(0, n - 30)
    losses = zip(n, np.exp(-n / 9) + 0.01, held, strict=True)
    log = "".join("{},{:.5f},{:.5f}\n".format(*row) for row in losses)
    Path("curves.csv").write_text("epoch,loss,val_loss\n" + log, encoding="utf-8")
    clicks = pa.table({"radius": X[:, 0], "texture": X[:, 1], "clicked": y})
    parquet.write_table(clicks, "clicks.parquet")


@pytest.mark.usefixtures("_reader", "one_thread", "short_targets")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_works_in_order(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(page, capsys)
    for block in blocks(page):
        directive = block.kind.startswith("{")  # of the site
        if page.name != "design.md" and not directive:  # its rule and layout are tested below
            run.take(block)


def test_no_block_is_missed() -> None:
    kinds = [block.kind for block in blocks(README)]
    assert len(kinds) == README.read_text(encoding="utf-8").count("\n```") // 2 + kinds.count(
        "indented"
    )
    assert kinds.count("python") == 2
    assert kinds.count("indented") == 3


def test_a_wrong_block_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, text in (
        ("python", "undefined\n"),
        ("pycon", ">>> 1 + 1\n3\n"),
        ("indented", "thalweg schedule nonsense\n"),
        ("indented", "rm -rf /\n"),
        ("unknown", "\n"),
        ("", "not printed\n"),
    ):
        with pytest.raises((AssertionError, NameError)):
            Run(README, capsys).take(Block(kind, text, 1))


def test_the_rule_of_the_design_is_adam() -> None:
    (block,) = (b for b in blocks(ROOT / "docs" / "design.md") if b.kind == "python")
    names: dict[str, Any] = {"rule": lambda _: lambda function: function, "sqrt": np.sqrt}
    exec(block.text, names)  # noqa: S102
    g, x, m, v = np.random.default_rng(0).random((4, 5))
    np.testing.assert_array_equal(names["adam"](g, x, m, v, t=3), rules.adam(g, x, m, v, t=3))


def test_what_pages_name_is_there() -> None:
    """Links, files and targets of make: a page must not send its reader nowhere."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#]+?)(?:#[\w-]+)?\)", text):
            assert link.startswith("https://") or (page.parent / link).exists(), (page, link)
        for file in re.findall(r"\b((?:benchmarks|examples|tests|docs)/[\w/]+\.\w+)", text):
            assert (ROOT / file).exists(), (page, file)
        for target in re.findall(r"^    make ([a-z]+)", text, re.MULTILINE):
            assert target in targets, (page, target)


def test_the_reference_has_every_rule() -> None:
    page = (ROOT / "docs" / "reference" / "rules.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"autofunction:: (\w+)", page)) == sorted(rules.__all__)


def test_every_name_of_the_layout_is_there() -> None:
    (layout,) = (
        b for b in blocks(ROOT / "docs" / "design.md") if b.text.startswith("src/thalweg/")
    )
    folder = ROOT / "src" / "thalweg"
    for line in layout.text.splitlines():
        name, _, said = line.strip().partition(" ")
        at = ROOT if not line.startswith(" ") else folder
        assert (at / name).exists(), line
        for other in re.findall(r"(\w+\.py): ", said):
            assert (at / other).exists() or (at / name / other).exists(), line


def test_the_page_of_the_doctor_has_a_row_for_each_cause() -> None:
    text = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(name, cause.sentence, cause.cure) for name, cause in CAUSES.items()]


def test_the_page_of_rules_has_a_row_for_each() -> None:
    text = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    declared = [*map(rules.get, rules.names())]
    around = [getattr(wrappers, name) for name in wrappers.__all__]
    declared += [replace(one(rules.sgd), name=one.name, source=one.source) for one in around]
    assert rows == [
        (
            rule.name,
            ", ".join(f"`{state}`" for state in (*rule.state, *rule.uniform_state)) or "–",
            rule.source,
        )
        for rule in declared
    ]


def test_every_picture_is_made_by_the_script() -> None:
    """Those of docs/theory.md; what a race draws is in docs/race.md."""
    script = (ROOT / "docs" / "pictures.py").read_text(encoding="utf-8")
    text = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]+\]\((.+?)\)", text)
    assert len(pictures) > 5
    assert all(f'"{picture}"' in script for picture in pictures)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help, name
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name}"
        assert parameter.help.endswith("."), f"{name} {parameter.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_readme_mentions_every_command(name: str) -> None:
    assert re.search(rf"thalweg {name}\b", README.read_text(encoding="utf-8"))
