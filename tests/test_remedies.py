"""What a message advises is followed word for word, and helps."""

import ast
import inspect
import os
import re
import shlex
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import thalweg
from race_tasks import SMALL
from thalweg import cli, data, rules, schedules
from thalweg.kernels import Step
from thalweg.racing.store import Store
from thalweg.racing.writers import writing
from thalweg.rule import rule

SOURCE = Path(thalweg.__file__).parent
TERMS: dict[str, Any] = {
    "rules": ["sgd"], "epochs": 1, "trials": 4, "repeats": 2, "seeds": 2, "workers": 1,
}  # fmt: skip
WORDS = "--rules sgd --epochs 1 --trials 4 --seeds 2 --workers 1 --quiet"


def said(call: Callable[..., Any], *given: Any, **named: Any) -> str:
    """Return the message of the error that a call raises."""
    with pytest.raises((ValueError, TypeError, OSError, ImportError)) as caught:
        call(*given, **named)
    return str(caught.value)


def refused(capsys: pytest.CaptureFixture[str], line: str) -> str:
    """Return what a command line that fails says."""
    assert cli.main(shlex.split(line)[1:]) in {1, 2}
    return capsys.readouterr().err.removeprefix("error: ").rstrip("\n")


def runs(line: str) -> None:
    assert cli.main(shlex.split(line)[1:]) == 0, line


def commands(message: str) -> list[str]:
    """Return the commands of a message, each up to where its sentence goes on."""
    found = re.findall(
        r"thalweg [a-z]+ .*?(?=, or | prints them|; |, or choose|$)", message, re.MULTILINE
    )
    assert found, message
    return [command.rstrip(",") for command in found]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let commands write into a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a race that has ended, which no test may change."""
    out = tmp_path_factory.mktemp("raced") / "race"
    thalweg.race("iris", out=out, **TERMS)
    return out


@pytest.fixture
def folder(raced: Path, tmp_path: Path) -> Path:
    """Return a copy of it; its name needs quotes."""
    return shutil.copytree(raced, tmp_path / "my race")


# -- every name in every message -----------------------------------------------------------------


@cache
def _texts() -> list[tuple[str, str]]:
    """Return the file and the text of every string in the source but docstrings."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and id(node) not in docs:
                found.append((path.name, text))
    return found


def _options() -> set[str]:
    import typer.main  # noqa: PLC0415

    group: Any = typer.main.get_command(cli.app)
    made = [group, *group.commands.values()]
    taken = [parameter for one in made for parameter in one.params]
    found = {name for each in taken for name in (*each.opts, *each.secondary_opts)}
    hyper = {h for name in rules.names() for h in rules.get(name).hyperparameters}
    made_by = (getattr(schedules, name) for name in schedules.__all__)
    own = {
        name for each in made_by if callable(each) for name in inspect.signature(each).parameters
    }
    known = {f"--{name.replace('_', '-')}" for name in hyper | own}
    return found | known | {"--help", "--nthreads", "--to"}  # the last are Dask's and Jupyter's


def test_messages_name_commands_options_and_functions_that_exist() -> None:
    known = {
        command.callback.__name__ for command in cli.app.registered_commands if command.callback
    }
    options = _options()
    for file, text in _texts():
        for command in re.findall(r"\bthalweg ([a-z]+) (?=-|DIR|\{|$)", text):
            assert command in known, (file, text)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text):
            assert option in options, (file, text)
        for name in re.findall(r"\bthalweg\.([a-z]\w*)\(", text):
            assert hasattr(thalweg, name), (file, text)


# -- commands ------------------------------------------------------------------------------------


def test_a_race_that_did_not_end_is_continued_and_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "results.json").unlink()
    for line in commands(refused(capsys, shlex.join(["thalweg", "results", str(folder)]))):
        runs(line)
    (folder / "results.json").unlink()
    capsys.readouterr()
    assert cli.main(["watch", str(folder)]) == 0
    for line in commands(capsys.readouterr().out):
        runs(line)
    (folder / "curves.parquet").unlink()
    report = shlex.join(["thalweg", "report", str(folder)])
    for line in commands(refused(capsys, report)):
        runs(line)
    runs(report)


def test_another_race_is_continued_as_it_is(folder: Path) -> None:
    message = said(thalweg.race, "iris", out=folder, **{**TERMS, "epochs": 2})
    (line,) = commands(message)
    runs(line)


def test_bad_rows_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{a},{b},{a + 2 * b}" for a in range(6) for b in range(5)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,price", "1,abc,3", *rows]))
    line = f"thalweg race {tmp_path}/a.csv --target price --out {tmp_path}/out {WORDS}"
    assert "--skip-bad-rows drops" in refused(capsys, line)
    runs(f"{line} --skip-bad-rows")


@pytest.mark.parametrize(
    ("line", "advice", "better"),
    [
        ("thalweg trace amda", "did you mean adan, adam", "thalweg trace adam"),
        ("thalweg race irsi", "did you mean iris", f"thalweg race iris {WORDS}"),
        ("thalweg trace sgd --lr", "a value, such as --lr 0.5", "thalweg trace sgd --lr 0.5"),
        ("thalweg trace sgd --start x,y", "such as -5,-2", "thalweg trace sgd --start=-5,-2"),
        ("thalweg trace sgd --foo 1", "see thalweg trace --help", "thalweg trace --help"),
        ("thalweg schedule cosine --x 1", "see thalweg schedule --help", "thalweg schedule --help"),
        ("thalweg rates sgd", "--spectrum, such as 0.2,4", "thalweg rates sgd --spectrum 0.2,4"),
        (
            "thalweg rates momentum",
            "or --kappa, such as 1e4",
            "thalweg rates momentum --kappa 1e4",
        ),
        (
            f"thalweg race iris --budget 900epochs {WORDS}",
            "give either --trials 4 or --budget 900epochs",
            f"thalweg race iris --budget 900epochs {WORDS.replace('--trials 4', '')}",
        ),
        ("thalweg race iris --trust", "--trust is for --resume", f"thalweg race iris {WORDS}"),
    ],
)  # fmt: skip
def test_the_command_line_s_advice(
    line: str, advice: str, better: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here.is_dir()
    assert advice in refused(capsys, line)
    runs(better)


# -- races of one's own rules and modules --------------------------------------------------------

OWN = """
from thalweg.rule import rule

@rule("a notebook")
def homemade(g, x, *, t, lr=1e-2):
    return x - lr * g
"""


def test_a_race_of_an_own_rule_is_continued_where_it_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built_in = dict(thalweg.rule._rules)
    (tmp_path / "homemade_file.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("homemade_file")
    declared = dict(thalweg.rule._rules)
    out = tmp_path / "my race"
    found = thalweg.race("iris", out=out, **{**TERMS, "rules": ["homemade"]})
    monkeypatch.setattr(thalweg.rule, "_rules", built_in)
    message = refused(capsys, shlex.join(["thalweg", "race", "--resume", str(out)]))
    assert "declare it in Python again and call thalweg.resume(" in message
    monkeypatch.setattr(thalweg.rule, "_rules", declared)
    again = eval(message[message.index("thalweg.resume(") :], {"thalweg": thalweg})  # noqa: S307
    assert again.winner == found.winner


@pytest.mark.usefixtures("short_targets")
def test_a_race_of_a_task_file_is_continued_by_who_trusts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    out, file = tmp_path / "my race", tmp_path / "my tasks" / "train.py"
    file.parent.mkdir()
    file.write_text(SMALL)
    terms = {**TERMS, "seeds": 2, "on": "threads"}
    found = thalweg.race(str(file), out=out, **terms)
    message = said(thalweg.resume, out)
    call = message[message.index("thalweg.resume(") : -1]
    again = eval(f"{call}, on='threads')", {"thalweg": thalweg})  # noqa: S307
    assert again.winner == found.winner
    line = shlex.join(["thalweg", "race", "--resume", str(out)])
    assert refused(capsys, line).endswith("give --trust")
    runs(f"{line} --trust --on threads --quiet")
    inside = out / "train.py"
    inside.write_text(SMALL)
    with Store(out) as store, store._connection:
        store._connection.execute("UPDATE race SET source = ?", (f"{inside}:task",))
    (named,) = commands(refused(capsys, f"{line} --trust"))
    runs(f"{named} --on threads --quiet")


@pytest.mark.usefixtures("short_targets")
def test_a_race_of_an_object_is_continued_by_the_program_that_has_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    scope: dict[str, Any] = {}
    exec(SMALL, scope)  # noqa: S102 - our own
    task, terms = scope["task"](), {**TERMS, "on": "threads"}
    found = thalweg.race(task, out=tmp_path, **terms)
    message = said(thalweg.resume, tmp_path)
    call = re.search(r"thalweg\.race\(.*?\)", message)
    assert call
    again = eval(  # noqa: S307
        call[0].replace("...", "**terms"), {"thalweg": thalweg, "task": task, "terms": terms}
    )
    assert again.winner == found.winner


# -- arguments in Python -------------------------------------------------------------------------


def _follow(message: str, expression: str, **names: Any) -> Any:
    """Return the value of what a message advises, which must stand in it."""
    assert expression in message
    return eval(expression, {"np": np}, names)  # noqa: S307 - our own


def test_data_are_made_what_messages_say() -> None:
    y = np.arange(20.0)
    X = sparse.csr_array(np.eye(20))
    message = said(data.Dataset.from_arrays, X, y)
    data.Dataset.from_arrays(_follow(message, "X.toarray()", X=X), y)
    X = np.arange(20.0)
    message = said(data.Dataset.from_arrays, X, y)
    data.Dataset.from_arrays(_follow(message, "X.reshape(-1, 1)", X=X), y)
    X, y = np.eye(20), y[:, None]
    message = said(data.Dataset.from_arrays, X, y)
    data.Dataset.from_arrays(X, _follow(message, "y.ravel()", y=y))


def test_gradients_are_made_what_messages_say() -> None:
    x, g = np.zeros((3, 4)), np.ones((4, 3)).T
    step = Step("sgd", [x])
    step([_follow(said(step, [g]), "np.ascontiguousarray(g)", g=g)])
    assert (x < 0).all()


def test_writers_are_given_a_folder(tmp_path: Path) -> None:
    message = said(thalweg.race, "iris", writers=["csv"], **TERMS)
    assert "give out beside writers=['csv']" in message
    thalweg.race("iris", writers=["csv"], out=tmp_path, **TERMS)
    assert (tmp_path / "evaluations.csv").exists()
    with (
        Store(None) as store,
        pytest.raises(ValueError, match="give out"),
        writing(["csv"], store, {}),
    ):
        pass


def test_arrays_are_raced_with_their_target() -> None:
    X, y = np.eye(20), np.arange(20.0)
    assert "give race(X, y), a Dataset, a TorchTask or a data set's name" in said(
        thalweg.race, X, **TERMS
    )
    race = thalweg.race
    race(X, y, **TERMS)
    race(data.Dataset.from_arrays(X, y), **TERMS)
    race("iris", **TERMS)


def test_a_rule_with_a_test_is_written_as_the_message_says() -> None:
    @rule("test")
    def branches(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return x - lr * g if g > 0 else x

    message = said(Step, branches, [np.zeros(3)])
    assert "write where(test, a, b)" in message
    from thalweg.elementwise import where  # noqa: PLC0415

    @rule("test")
    def selects(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return where(g > 0, x - lr * g, x)

    x = np.zeros(2)
    Step(selects, [x])([np.array([1.0, -1.0])])
    np.testing.assert_allclose(x, [-0.1, 0.0])


def test_a_model_is_given_as_the_message_says() -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Linear):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(4, 2)

    given: dict[str, Any] = {
        "loss": torch.nn.functional.cross_entropy,
        "train": (torch.randn(60, 4), torch.arange(60) % 2),
    }
    message = said(thalweg.TorchTask, model=Net(), **given)
    assert "write model=lambda: Net()" in message
    thalweg.TorchTask(model=lambda: Net(), **given)  # noqa: PLW0108 - word for word
    assert "give either loss(outputs, targets) or step(model, batch)" in said(
        thalweg.TorchTask, model=Net, train=given["train"]
    )
    thalweg.TorchTask(model=Net, **given)


@pytest.mark.skipif(os.name == "nt", reason="the extras are those of pyproject.toml")
def test_what_is_to_be_installed_exists() -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.findall(r"^(\w+) = \[", project.split("optional-dependencies]")[1], re.MULTILINE)
    for file, text in _texts():
        for extra in re.findall(r"thalweg\[(\w+)\]", text):
            assert extra in extras, (file, text)
