"""Races of PyTorch modules from a user's file, from the call to the files and through a kill."""

import contextlib
import json
import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg
from race_tasks import OWN_RULE, SMALL, WRONG
from thalweg import cli, racing, rule
from thalweg.racing.store import Records, Store
from thalweg.tasks import source
from thalweg.tasks.modules import ModuleTask

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("short_targets")

TERMS: dict[str, Any] = {
    "rules": ["sgd", "adamw"], "trials": 4, "repeats": 2, "seeds": 3, "epochs": 2,
}  # fmt: skip
OPTIONS = "--rules sgd,adamw --trials 4 --repeats 2 --seeds 3 --epochs 2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "small.py").write_text(SMALL, encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:  # a file changes twice in one second
        patch.setattr(sys, "dont_write_bytecode", True)
        yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def raced(folder: Path) -> racing.Verdict:
    return thalweg.race("small.py:task", out="once", on="threads", **TERMS)


def _timeless(results: Any) -> Any:
    """Leave out what a clock measured, wherever it stands."""
    if isinstance(results, dict):
        return {k: _timeless(v) for k, v in results.items() if "seconds" not in k}
    return [_timeless(v) for v in results] if isinstance(results, list) else results


def _kept(directory: Path) -> dict[Any, Any]:
    """Return every number of a race's trainings."""
    with Records(directory) as records:
        return {
            (result.trial.phase, result.trial.rule, result.trial.number): (
                result.trial, result.train_loss.tolist(), result.validation_loss.tolist(),
                result.test_loss, result.test_score,
            )
            for result in records.results()
            if np.isfinite(result.validation_loss).all()
        }  # fmt: skip


def _same(directory: Path, raced: racing.Verdict) -> None:
    assert raced.directory
    found, expected = _kept(directory), _kept(raced.directory)
    finals = [key for key in expected if key[0] == "final"]
    assert finals
    assert {key: found[key] for key in finals} == {key: expected[key] for key in finals}
    assert {k: v[:3] for k, v in found.items()} == {k: v[:3] for k, v in expected.items()}


def test_a_race_of_a_file_ends_in_a_verdict_and_its_files(raced: racing.Verdict) -> None:
    assert raced.directory
    assert raced.winner in TERMS["rules"]
    assert raced.results["command"] == (
        "thalweg race small.py:task --rules sgd,adamw --batch-size 32 --epochs 2 --trials 4 "
        "--repeats 2 --seeds 3 --seed 0 --margin 0.05"
    )
    assert raced.results["data"]["name"] == "small"
    assert (raced.directory / "report.html").exists()
    assert not (raced.directory / "data.npz").exists()
    for name in TERMS["rules"]:
        checkpoint = torch.load(raced.directory / f"checkpoints/{name}.pt", weights_only=True)
        assert checkpoint["rule"] == name
        with Store(raced.directory) as store:
            best = min(store.of(name, "final"), key=lambda result: result.loss)
        assert checkpoint["seed"] == best.trial.seed
        assert checkpoint["hyper"] == dict(best.trial.hyper)


OWN: dict[str, Any] = {**TERMS, "rules": ["signum", "sgd"]}


@pytest.fixture(scope="module")
def own_rule(folder: Path) -> Path:
    file = folder / "own_rule.py"
    file.write_text(OWN_RULE, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def own_raced(own_rule: Path) -> racing.Verdict:
    with pytest.MonkeyPatch.context() as patch:  # other files do not know its rules
        patch.setattr(rule, "_rules", dict(rule._rules))
        return thalweg.race(own_rule.name, out="whole", on="threads", **OWN)


def _stopped(out: Path, kept: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Race until so many trainings are kept, and forget the rules, as another process would."""
    known = dict(rule._rules)
    assert "signum" not in known

    def stop(progress: racing.Progress) -> None:
        if sum(standing.trainings for standing in progress.standings.values()) >= kept:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        thalweg.race("own_rule.py", out=out, on="threads", on_progress=stop, **OWN)
    assert not (out / "results.json").exists()
    monkeypatch.setattr(rule, "_rules", known)
    with Records(out) as records:
        return sum(1 for _ in records.results())


def test_a_stopped_race_goes_on_to_the_same_verdict(
    own_rule: Path, own_raced: racing.Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = own_rule.with_name("stopped")
    kept = _stopped(out, 10, monkeypatch)
    assert kept >= 10
    told: list[racing.Progress] = []
    with contextlib.chdir(own_rule.parents[1]):  # the race knows where its file is
        found = racing.resume(out, on="threads", trust=True, on_progress=told.append)
    assert sum(standing.trainings for standing in told[0].standings.values()) == kept
    _same(out, own_raced)
    assert _timeless(found.results)["rules"] == _timeless(own_raced.results)["rules"]


def test_a_race_goes_on_in_processes_and_in_other_pieces(
    own_rule: Path, own_raced: racing.Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = own_rule.with_name("own-rule")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModuleTask, "lanes", 2)
        assert _stopped(out, 1, monkeypatch) > 0
    monkeypatch.setattr("thalweg.tasks.modules.best_lanes", None)  # it was measured
    with Records(out) as records:
        assert records.lanes() == 2
    assert cli.main(["race", "--resume", str(out), "--trust", "--workers", "1"]) == 0
    _close(out, own_raced)
    found = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert found["sentence"] == own_raced.sentence


_SCRIPT = """
if __name__ == "__main__":
    found = thalweg.race(
        task(), rules=[signum, "sgd"], trials=4, repeats=2, seeds=3, epochs=2, workers=1,
        out="script",
    )
"""


def test_a_rule_of_a_program_races_in_processes(own_rule: Path, own_raced: racing.Verdict) -> None:
    program = own_rule.with_name("program.py")
    program.write_text(OWN_RULE + _SCRIPT, encoding="utf-8")
    found = runpy.run_path(str(program), run_name="__main__")["found"]
    assert found.winner in OWN["rules"]
    _close(Path("script"), own_raced)


def _close(directory: Path, raced: racing.Verdict) -> None:
    """Another process may round a product of matrices otherwise in the last digit."""
    assert raced.directory
    kept, expected = _kept(directory), _kept(raced.directory)
    assert kept.keys() == expected.keys()
    for key, training in expected.items():
        assert kept[key][0] == training[0]
        np.testing.assert_allclose(kept[key][2], training[2], rtol=1e-4)


def test_a_file_that_changed_is_not_resumed(raced: racing.Verdict, folder: Path) -> None:
    assert raced.directory
    copy = shutil.copytree(raced.directory, folder / "changed")
    text = SMALL.replace("nn.Linear(4, 8)", "nn.Linear(4, 9)").replace("(8, 2)", "(9, 2)")
    (folder / "small.py").write_text(text, encoding="utf-8")
    try:
        with pytest.raises(ValueError, match=r"another race \(data, model or settings changed\)"):
            racing.resume(copy, trust=True)
    finally:
        (folder / "small.py").write_text(SMALL, encoding="utf-8")
    assert racing.resume(copy, on="threads", trust=True).sentence == raced.sentence


def test_a_race_that_has_ended_is_judged_anew_without_a_training(
    raced: racing.Verdict, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert raced.directory
    copy = shutil.copytree(raced.directory, folder / "ended")
    monkeypatch.setattr("thalweg.tasks.modules.train", None)
    found = racing.resume(copy, on="threads", trust=True)
    assert found.results["target"] == raced.results["target"]
    assert found.sentence == raced.sentence


def test_a_task_of_a_program_goes_on_by_its_program(folder: Path) -> None:
    scope: dict[str, Any] = {}
    exec(SMALL, scope)  # noqa: S102 - the user's program
    task = scope["task"]()

    def stop(_: racing.Progress) -> None:
        raise KeyboardInterrupt

    how = {"out": "own", "on": "threads", **TERMS}
    with pytest.raises(KeyboardInterrupt):
        thalweg.race(task, on_progress=stop, **how)
    with pytest.raises(ValueError, match=r"only its Python program has; .* out='own'"):
        racing.resume("own")
    found = thalweg.race(task, **how)
    assert found.results["command"].startswith("thalweg.race(task, rules=('sgd', 'adamw'), ")


@pytest.mark.parametrize("given", [{"l2": 0.1}, {"kind": "regression"}, {"name": "x"}, {"y": [1]}])
def test_what_belongs_to_the_task_is_refused(given: dict[str, Any], folder: Path) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))} cannot be given with a TorchTask"):
        thalweg.race("small.py", **given)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_a_sentence(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, sentence = WRONG[case]
    (tmp_path / "wrong.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["race", "wrong.py", *OPTIONS.split()]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"error: {sentence}")
    assert not (tmp_path / "thalweg-race-wrong").exists()


def test_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["race", "none.py:task"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no file none.py; give the Python file of your task\n"
    )
    assert cli.main(["race", "none.py", "--target", "y"]) == 2
    assert "a task has its own data" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["book.ipynb", "book.ipynb:task"])
def test_a_notebook_is_told_to_become_a_file(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["race", text]) == 2
    assert capsys.readouterr().err == (
        f"error: a task must be FILE.py:function, got '{text}'; jupyter nbconvert --to script "
        "book.ipynb makes a file of it\n"
    )


@pytest.mark.parametrize("text", ["nets.train:task", "train.py:Run.task"])
def test_a_module_by_its_name_and_a_method_are_no_file(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["race", text]) == 2
    said = capsys.readouterr().err
    assert said == f"error: a task must be FILE.py:function, got '{text}'\n"


def test_a_task_may_be_a_class_of_ones_own(tmp_path: Path) -> None:
    text = SMALL.replace("def task():", "class task(thalweg.TorchTask):\n  def __init__(self):")
    text = text.replace("return thalweg.TorchTask(", "super().__init__(")
    (tmp_path / "own_class.py").write_text(text, encoding="utf-8")
    found = source.load_task(str(tmp_path / "own_class.py"))
    assert type(found) is thalweg.TorchTask
    assert found.name == "small"


ARGUMENTS = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=8)
width = parser.parse_args().width
"""


def test_a_file_sees_no_arguments_of_ours_and_its_task_may_be_no_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["thalweg", "race", "--trials", "4"])
    file = tmp_path / "parsed.py"
    text = ARGUMENTS + SMALL.replace("def task", "def made") + "\n\ntask = made()\n"
    file.write_text(text, encoding="utf-8")
    assert source.load_task(f"{file}:task").name == "small"
    late = "def task():\n    assert parser.parse_args().width == 8\n"
    file.write_text(ARGUMENTS + SMALL.replace("def task():\n", late), encoding="utf-8")
    assert source.load_task(str(file)).name == "small"
    assert sys.argv[0] == "thalweg"


def test_a_file_of_a_package_imports_relatively(tmp_path: Path) -> None:
    inner = tmp_path / "nets_of_mine" / "small"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").touch()
    (inner.parent / "names.py").write_text("NAME = 'relative'")
    text = SMALL.replace('name="small"', "name=NAME")
    (inner / "train.py").write_text("from ..names import NAME\n" + text)
    assert source.load_task(f"{inner / 'train.py'}:task").name == "relative"
