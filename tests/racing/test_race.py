"""Races of linear models on real data, from the call to the files."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from torch import nn

import thalweg
import thalweg.rule
from thalweg import data, racing, report, rules
from thalweg.tasks.linear import LinearTask
from thalweg.tasks.task import Lane

TERMS: dict[str, Any] = {
    "rules": ["sgd", "adam", "lion"],
    "epochs": 3,
    "trials": 20,
    "seeds": 4,
}


def _timeless(found: racing.Verdict) -> dict[str, Any]:
    times = ("seconds_to_target", "seconds_per_epoch", "seconds_spread")
    rows = [{k: v for k, v in row.items() if k not in times} for row in found.results["rules"]]
    return {**found.results, "rules": rows}


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> racing.Verdict:
    return thalweg.race("iris", out=tmp_path_factory.mktemp("race") / "iris", **TERMS)


def test_thalweg_code_trains_the_rule_to_take_as_the_race_would(iris: racing.Verdict) -> None:
    code = iris.code["thalweg"].replace("epochs=", "seed=5, epochs=")
    scope: dict[str, Any] = {}
    exec(code, scope)  # noqa: S102 - it is there to be pasted
    best = iris.record.row(iris.take)
    lane = Lane(rules.get(iris.take), best.hyper, 5, best.batch_size, TERMS["epochs"])
    task = LinearTask(data.load("iris"), l2=1e-4, seed=0)
    raced = task.run([lane], should_stop=lambda: False)
    np.testing.assert_array_equal(scope["training"].validation_loss, raced.validation_loss)


# -- the race ------------------------------------------------------------------------------------
def test_verdict_says_what_to_take(iris: racing.Verdict) -> None:
    rows = iris.results["rules"]
    assert {row["rule"] for row in rows} == set(TERMS["rules"])
    lowest = min(rows, key=lambda row: row["test_loss"]["typical"])
    assert lowest["rule"] == iris.winner
    assert iris.could_be_best == tuple(row["rule"] for row in rows if row["could_be_best"])
    assert {iris.winner, iris.take} <= {*iris.could_be_best}
    taken = iris.record.row(iris.take)
    assert f"Take {iris.take}, lr {taken.hyper['lr']:g}, batch 32" in iris.sentence
    assert repr(iris) == f"Verdict(take={iris.take!r}, of 3 rules)"
    assert " ".join(str(iris).split()).startswith(iris.sentence)
    assert iris.sentence in iris._repr_html_()
    frame = iris.to_frame()
    assert frame["rule"].tolist() == [row["rule"] for row in rows]
    assert frame["price_high"].tolist() == [row["price"]["high"] for row in rows]
    for row in rows:
        assert 0 < row["test_loss"]["low"] <= row["test_loss"]["typical"]
        assert row["test_loss"]["typical"] <= row["test_loss"]["high"]
        assert 0 <= row["price"]["low"] <= row["price"]["high"]
        assert 0 <= row["test_score"] <= 1
        assert row["seconds_per_epoch"] > 0
        assert row["seconds_spread"] >= 0
    assert taken.test_score is not None
    assert taken.test_score > 0.8


def test_files_hold_the_race(iris: racing.Verdict) -> None:
    assert iris.directory
    assert {p.name for p in iris.directory.iterdir()} == {
        "race.sqlite", "race.lock", "data.json", "results.json", "curves.parquet", "report.html",
    }  # fmt: skip
    written = json.loads((iris.directory / "results.json").read_text(encoding="utf-8"))
    assert written == iris.results
    table = pq.read_table(iris.directory / "curves.parquet")
    assert table.column_names == [
        "rule", "phase", "repeat", "trial", "seed", "batch_size", "lr", "epoch", "train_loss",
        "validation_loss", "diverged_at",
    ]  # fmt: skip
    curves = {name: table[name].to_numpy() for name in table.column_names}
    final = curves["phase"] == "final"
    assert final.sum() == 3 * 5 * 4 * 4  # rules, repeats, seeds, epochs and the start
    for row in written["rules"]:
        own = curves["rule"] == row["rule"]
        assert (own & (curves["phase"] == "trial")).sum() == row["trials"] * 4
        again = own & (curves["phase"] == "rerun") & (curves["epoch"] == 3)
        assert again.sum() == 5 * 2 * 5  # trials, seeds, repeats
        assert (curves["lr"][again] == row["hyper"]["lr"]).any()


def test_race_is_the_same_on_any_number_of_workers(iris: racing.Verdict) -> None:
    assert _timeless(thalweg.race("iris", workers=1, **TERMS)) == _timeless(iris)


def test_selection_does_not_see_the_test_part(
    iris: racing.Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = data.split

    def poisoned(*args: Any, **kwargs: Any) -> data.Split:
        parts = split(*args, **kwargs)
        parts.test.X[:] *= -1
        return parts

    monkeypatch.setattr(data, "split", poisoned)
    found = thalweg.race("iris", **TERMS)
    chosen = {row["rule"]: (row["hyper"], row["val_loss"]) for row in iris.results["rules"]}
    for row in found.results["rules"]:
        assert (row["hyper"], row["val_loss"]) == chosen[row["rule"]]
        assert row["test_score"] < 0.5


def test_a_finished_race_gives_its_verdict_again(iris: racing.Verdict) -> None:
    assert iris.directory
    told: list[racing.Progress] = []
    again = racing.resume(iris.directory, on_progress=told.append)
    assert again.results == iris.results  # the timings, too, are those of the store
    assert all(progress.doing.endswith("time per epoch") for progress in told)
    assert thalweg.race("iris", out=iris.directory, **TERMS).results == iris.results


def test_another_race_is_kept_out_of_the_folder(iris: racing.Verdict) -> None:
    with pytest.raises(ValueError, match=r"epochs 3 instead of 2.*race --resume.* another folder"):
        thalweg.race("iris", out=iris.directory, **{**TERMS, "epochs": 2})
    with pytest.raises(ValueError, match="rules sgd,adam,lion instead of sgd"):
        thalweg.race("iris", out=iris.directory, **{**TERMS, "rules": "sgd"})
    with pytest.raises(ValueError, match=r"holds another race \(data changed\)"):
        thalweg.race("wine", out=iris.directory, **TERMS)


def test_a_file_is_raced_by_the_column_that_target_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("size,price\n" + "".join(f"{i % 7},{i % 7 + i % 3}\n" for i in range(40)))
    found = thalweg.race(path, target="price", kind="regression", **{**TERMS, "rules": "sgd"})
    assert found.results["data"]["kind"] == "regression"
    for how, message in {
        (): r"t\.csv: it needs a target \(target='COL'\); its columns are: size, price",
        ("price",): "y must be None .* target='COL' names its column",
    }.items():
        with pytest.raises(ValueError, match=message):
            thalweg.race(path, *how)  # type: ignore[arg-type] # y is no name
    with pytest.raises(ValueError, match="target cannot be given with arrays: y is theirs"):
        thalweg.race(np.ones((9, 1)), np.arange(9.0), target="a")
    with pytest.raises(ValueError, match="kind cannot be given with a Dataset: it has its own"):
        thalweg.race(data.load("iris"), kind="regression")


def test_the_remedy_for_lost_curves_gives_them_back(iris: racing.Verdict) -> None:
    assert iris.directory
    curves = iris.directory / "curves.parquet"
    before = curves.read_bytes()
    curves.unlink()
    with pytest.raises(FileNotFoundError, match=f"thalweg race --resume {iris.directory}"):
        report.write(iris.directory)
    racing.resume(iris.directory)
    assert curves.read_bytes() == before


def test_the_batch_size_adapts_to_few_rows() -> None:
    X, y = np.random.default_rng(0).normal(size=(2, 12, 3))
    terms: dict[str, Any] = {"rules": "sgd", "epochs": 1, "trials": 4, "seeds": 2}
    found = thalweg.race(X, y[:, 0], **terms)
    assert "batch_size=(8,)" in found.results["command"]
    assert tuple(found.results["protocol"]["batch_sizes"]) == (8,)
    with pytest.raises(ValueError, match=r"batch_size must be an integer in \[1, 8\]"):
        thalweg.race(X, y[:, 0], batch_size=32, **terms)


def test_resume_where_there_is_no_race(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no race"):
        racing.resume(tmp_path)
    assert list(tmp_path.iterdir()) == []


_OWN = """
@rule("a notebook")
def homemade(g, x, *, t, lr=1e-2):
    return x - {factor} * lr * g
"""


def test_own_rule_must_be_the_same_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = dict(thalweg.rule._rules)

    def declare(factor: int) -> None:
        file = tmp_path / f"own{factor}.py"
        file.write_text(f"from thalweg.rules import rule\n{_OWN.format(factor=factor)}")
        monkeypatch.setattr(thalweg.rule, "_rules", dict(declared))
        monkeypatch.syspath_prepend(tmp_path)
        __import__(f"own{factor}")

    declare(1)
    terms = {**TERMS, "rules": ["homemade", "sgd"]}
    out = tmp_path / "race"
    found = thalweg.race("iris", out=out, **terms)
    assert racing.resume(out).results == found.results
    declare(2)
    with pytest.raises(ValueError, match=r"another race \(rule homemade changed\); put back"):
        racing.resume(out)
    monkeypatch.setattr(thalweg.rule, "_rules", declared)
    with pytest.raises(ValueError, match="rule 'homemade', which is not declared here"):
        racing.resume(out)


def test_a_stopped_race_is_resumed_to_the_same_verdict(
    tmp_path: Path, iris: racing.Verdict
) -> None:
    def stop(progress: racing.Progress) -> None:
        if progress.done > 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        thalweg.race("iris", out=tmp_path, on_progress=stop, **TERMS)
    assert not (tmp_path / "results.json").exists()
    told: list[racing.Progress] = []
    assert _timeless(racing.resume(tmp_path, on_progress=told.append)) == _timeless(iris)
    assert told[0].done > 60


def test_an_interrupt_ends_a_race_of_long_trainings(tmp_path: Path) -> None:
    def press(_: racing.Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    terms = {**TERMS, "epochs": 400, "workers": 2, "rules": ["sgd", "momentum", "adam"]}
    with pytest.raises(KeyboardInterrupt):
        thalweg.race("iris", out=tmp_path, on_progress=press, **terms)
    assert not (tmp_path / "results.json").exists()
    assert (tmp_path / "race.sqlite").exists()


def test_a_budget_that_was_too_small_does_not_take_the_folder(tmp_path: Path) -> None:
    terms = {**TERMS, "rules": "sgd", "trials": None, "out": tmp_path}
    with pytest.raises(ValueError, match=r"budget must be >= 300epochs .* got 5epochs"):
        thalweg.race("iris", budget="5epochs", **terms)
    assert thalweg.race("iris", budget="300epochs", **terms).results["protocol"]["trials"] == 4


# -- arguments -----------------------------------------------------------------------------------
def test_arrays_race_too() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    found = thalweg.race(
        X, X @ [1.0, 2.0, 3.0], rules=["sgd"], epochs=3, trials=4, seeds=2, name="<made up>"
    )
    assert found.results["data"]["name"] == "<made up>"
    assert found.results["protocol"]["loss"] == "squared"
    assert found.results["protocol"]["metric"] == "R²"
    assert found.results["command"].startswith("thalweg.race(X, y, rules=('sgd',), ")
    assert found.directory is None
    assert found.sentence.endswith("is the best setting of the only rule that raced.")


def test_a_race_that_has_ended_is_judged_by_another_margin_without_training(
    tmp_path: Path, iris: racing.Verdict
) -> None:
    assert iris.directory
    copy = shutil.copytree(iris.directory, tmp_path / "copy")
    wide = thalweg.resume(copy, margin=0.999)
    assert {row.rule for row in wide.record.rules if row.state == "as good"} == {
        row.rule for row in iris.record.rules if row.price.high <= 0.999
    }
    assert wide.record.margin == 0.999
    assert "--margin 0.999" in wide.results["command"]
    assert thalweg.race("iris", out=copy, margin=0.999, **TERMS).results == wide.results
    assert thalweg.resume(copy).results == iris.results


def test_command_line_that_repeats_a_race(tmp_path: Path, iris: racing.Verdict) -> None:
    assert iris.results["command"] == (
        "thalweg race iris --rules sgd,adam,lion --batch-size 32 --epochs 3 --trials 20 "
        "--repeats 5 --seeds 4 --l2 0.0001 --seed 0 --margin 0.05"
    )
    rows = [f"{a},{b},{a + 2 * b}.5" for a in range(6) for b in range(5)]
    file = tmp_path / "my data.csv"
    file.write_text("\n".join(["a,b,price", *rows]))
    dataset = data.load(file, target="price")
    found = thalweg.race(dataset, rules="sgd", epochs=1, trials=4, seeds=2, batch_size=[4, 8])
    assert found.results["command"].startswith(
        f"thalweg race '{file}' --target price --kind regression --rules sgd --batch-size 4,8 "
    )
    assert f"data.load({str(file)!r}, target='price', kind='regression')" in found.code["thalweg"]


def test_a_linear_model_is_raced_by_all_rules_that_can_train_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules of whole tensors are left out with a word, and refused where they are named."""
    asked: list[Any] = []
    monkeypatch.setattr(
        sys.modules["thalweg.racing.race"], "_run", lambda *given, **_: asked.append(given[2].rules)
    )
    said: list[str] = []
    thalweg.race("iris", rules="all", on_data=said.append)
    single = [name for name in rules.names() if rules.get(name).kind == "element-wise"]
    assert list(asked[0]) == single
    assert {"adan", "asgd"} < {*single}
    assert "left out: muon, " in said[0]
    assert "lamb" in said[0]
    with pytest.raises(ValueError, match="rule 'lamb' looks at whole tensors, but linear models"):
        thalweg.race("iris", rules=["adam", "lamb"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": "iris", "y": [1]}, "y must be None where X is a data set"),
        ({"X": [[1.0]]}, "y is missing: give race"),
        ({"X": [[1.0]], "y": [1], "name": 3}, "name must be a text, got 3"),
        ({"X": "iris", "batch_size": 91}, r"batch_size must be an integer in \[1, 90\].* got 91"),
        ({"X": "iris", "batch_size": 4.5}, r"batch_size must be an integer .* got 4.5"),
        ({"X": "iris", "rules": ["sdg"]}, "unknown rule 'sdg'; did you mean"),
        ({"X": "iris", "workers": 0}, "workers must be an integer >= 1, got 0"),
        ({"X": "iris", "rules": "sgd, lion"}, r"a sequence of names, such as \['sgd', 'lion'\]"),
        (
            {"X": "iris", "rules": ["adam(lr=0.1)"]},
            "rule 'adam' takes no parentheses.* name it alo",
        ),
        ({"X": nn.Linear(1, 1), "y": [1]}, r"got the module Linear; give race\(thalweg.TorchTask"),
        ({"X": pd.DataFrame({"a": [1]}), "target": "a"}, r"give race\(X without it, X\['a'\]\)"),
        ({"X": "irsi"}, "unknown data set 'irsi'"),
    ],
)
def test_arguments_out_of_bounds(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        thalweg.race(**arguments)
