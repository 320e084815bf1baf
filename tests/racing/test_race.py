"""Races of linear models on real data, from the call to the files."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error

import thalweg
import thalweg.rule
from thalweg import catalog, cli, data, racing, report, rules
from thalweg.data.kept import fingerprint
from thalweg.linear import Examples
from thalweg.racing.command import command as command_of
from thalweg.racing.protocol import Protocol, rules_of
from thalweg.tasks import linear, snippets
from thalweg.tasks.linear import LinearTask
from thalweg.tasks.task import Lane

WITH_TORCH = [
    name
    for name in rules.names()
    if (known := catalog.of(rules.get(name)).torch) and known.in_torch
]
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


# -- the target ----------------------------------------------------------------------------------


def _task(name: str, l2: float) -> LinearTask:
    return LinearTask(data.load(name), l2=l2, seed=3)


def test_target_of_a_regression_by_scikit_learn() -> None:
    task = _task("diabetes", 0.05)
    train, validation = task.split.train, task.split.validation
    # scikit-learn's Ridge minimizes ||y - Xw||² + alpha ||w||²: ours times 2 n
    ridge = Ridge(alpha=0.05 * len(train.y)).fit(train.X, train.y)
    end = mean_squared_error(validation.y, ridge.predict(validation.X)) / 2
    target = task.target()
    assert target.constant == pytest.approx(np.mean((validation.y - train.y.mean()) ** 2) / 2)
    assert task._reference_path()[-1] == pytest.approx(end, rel=1e-4)
    assert target.reference <= end * (1 + 1e-4)  # the path may have been lower before its end
    assert target.validation_loss == pytest.approx(0.95 * target.reference + 0.05 * target.constant)
    least_squares = LinearRegression().fit(train.X, train.y)
    assert target.reference < mean_squared_error(validation.y, least_squares.predict(validation.X))


def test_a_repeat_draws_its_parts_anew() -> None:
    task = _task("iris", 1e-2)
    again = task.repeated(1)
    assert task.repeated(0) is task
    assert again.parts == task.parts
    for name in ("train", "validation", "test"):
        rows = {*getattr(task.split, name).rows.tolist()}
        other = {*getattr(again.split, name).rows.tolist()}
        assert len(other) == len(rows)
        assert other != rows
    same = _task("iris", 1e-2).repeated(1).split
    np.testing.assert_array_equal(same.test.rows, again.split.test.rows)
    assert task.repeated(2).split.test.rows.tolist() != again.split.test.rows.tolist()


@pytest.mark.parametrize("name", ["breast_cancer", "iris"])
def test_target_of_classes_by_scikit_learn(name: str) -> None:
    task = _task(name, 1e-2)
    train, validation = task.split.train, task.split.validation
    # scikit-learn minimizes C Σ loss + 1/2 ||w||²: ours times 1 / l2
    fit = LogisticRegression(C=1 / (1e-2 * len(train.y)), tol=1e-8, max_iter=1000)
    p = fit.fit(train.X, train.y).predict_proba(validation.X)
    end = log_loss(validation.y, p)
    shares = np.bincount(train.y) / len(train.y)
    target = task.target()
    assert task._reference_path()[-1] == pytest.approx(end, rel=1e-3)
    assert target.reference <= end * (1 + 1e-3)
    assert target.constant == pytest.approx(log_loss(validation.y, [shares] * len(p)))


# -- the code to paste ---------------------------------------------------------------------------


IRIS = "split = data.split(data.load('iris'))"


@pytest.mark.parametrize("name", WITH_TORCH)
def test_torch_code_takes_the_steps_of_the_rule(name: str) -> None:
    torch = pytest.importorskip("torch")
    rule = rules.get(name)
    hyper = {**rule.defaults, "lr": 0.03}
    fit = snippets.LinearFit("softmax", 4, 3, 0.1, 8, 0, IRIS)
    scope: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(snippets.torch(fit, rule, hyper), scope)  # noqa: S102 - it is there to be pasted
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    y = torch.arange(8) % 3
    model = scope["model"].double()
    x = model.weight.detach().clone()
    state = rule.first_state(x, hyper)
    for t in range(1, 8):
        scope["optimizer"].zero_grad()
        scope["objective"](X, y).backward()
        scope["optimizer"].step()
        x, state = rule.advance(model.weight.grad.clone(), x, state, t=t, hyper=hyper)
        torch.testing.assert_close(model.weight.detach(), x, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("loss", "outputs"), [("squared", 1), ("logistic", 1), ("softmax", 3)])
def test_torch_objective_is_the_engine_s(loss: str, outputs: int) -> None:
    torch = pytest.importorskip("torch")
    fit = snippets.LinearFit(loss, 4, outputs, 0.1, 8, 0, IRIS)
    scope: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(snippets.torch(fit, rules.sgd, {"lr": 0.1}), scope)  # noqa: S102
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(9, 4)), np.arange(9) % max(outputs, 2)
    model = scope["model"].double()
    w, b = model.weight.detach().numpy(), model.bias.detach().numpy()
    z = X @ w.T + b
    if loss == "squared":
        expected = np.mean((z[:, 0] - y) ** 2) / 2
    else:
        z = z if outputs > 1 else np.column_stack([0 * z, z])
        expected = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(9), y])
    y = torch.tensor(y if loss != "squared" else y.astype(float))
    assert scope["objective"](torch.tensor(X), y).item() == pytest.approx(
        expected + 0.05 * np.sum(w**2)
    )


def test_rules_that_torch_lacks_are_said_to_be_lacking() -> None:
    fit = snippets.LinearFit("squared", 4, 1, 0.0, 8, 5, IRIS)
    lacking = {*rules.names()} - {*WITH_TORCH}
    assert lacking == {"yogi", "adabelief", "lion", "laprop", "adopt", "adan", "ademamix"}
    for name in lacking:
        text = snippets.torch(fit, rules.get(name), {})
        assert text.startswith(f"# torch.optim has no {name}")


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
        assert again.sum() == 6 * 2 * 5  # trials, seeds, repeats
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
    with pytest.raises(ValueError, match=r"epochs 3 instead of 2.*race --resume.*--out"):
        thalweg.race("iris", out=iris.directory, **{**TERMS, "epochs": 2})
    with pytest.raises(ValueError, match="rules sgd,adam,lion instead of sgd"):
        thalweg.race("iris", out=iris.directory, **{**TERMS, "rules": "sgd"})
    with pytest.raises(ValueError, match=r"holds another race \(data changed\)"):
        thalweg.race("wine", out=iris.directory, **TERMS)


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


_KILLED = """
import os, signal, sys
import thalweg
from racing.test_race import TERMS

def kill(progress):
    if progress.done > 60:
        os.kill(os.getpid(), signal.SIGKILL)

thalweg.race("iris", out=sys.argv[1], on_progress=kill, **TERMS)
"""


def test_a_killed_race_is_resumed_to_the_same_verdict(tmp_path: Path, iris: racing.Verdict) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)], cwd=Path(__file__).parents[1], check=False
    )
    assert killed.returncode == -signal.SIGKILL
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
    with pytest.raises(ValueError, match=r"budget must be >= 330epochs .* got 5epochs"):
        thalweg.race("iris", budget="5epochs", **terms)
    assert thalweg.race("iris", budget="330epochs", **terms).results["protocol"]["trials"] == 4


def test_the_data_of_a_race_are_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    of = Examples.of

    def noted(*given: Any, **named: Any) -> Examples:
        prepared.append(threading.get_ident())
        return of(*given, **named)

    monkeypatch.setattr(Examples, "of", noted)
    thalweg.race("iris", rules=["sgd", "adam"], epochs=1, trials=8, repeats=2, workers=4)
    assert len(prepared) == 2 * 2  # the training and the validation part of each repeat


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


def test_command_line_that_repeats_a_race(tmp_path: Path, iris: racing.Verdict) -> None:
    assert iris.results["command"] == (
        "thalweg race iris --rules sgd,adam,lion --batch-size 32 --epochs 3 --trials 20 "
        "--repeats 5 --seeds 4 --l2 0.0001 --seed 0"
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


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("iris", "--rules sgd"),
        (
            "iris",
            "--rules sgd,lion --batch-size 8,16 --epochs 2 --trials 5 --l2 1e-07 --seed 4294967295",
        ),
        ("my data.csv", "--target 'a price' --kind regression --seeds 3 --budget 900epochs"),
        ("my data.csv", "--target=-b --kind classification --skip-bad-rows --seed 3"),
        ("iris.csv", "--target -b --skip-bad-rows --budget 2.5min"),  # has a named set's name
        (
            "my data.csv",
            "--target 'a price' --drop a --missing drop --na 3 --na x,y --decimal .",
        ),
        ("my data.csv", "--target -b --keep a --as 'a:category' --delimiter , --header-row 1"),
        ("my data.csv", "--target -b --as 'a:text,a price:number' --comment '#'"),
    ],
)
def test_the_command_of_a_race_asks_for_the_same_race(
    source: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{a},{b},{a + 2 * b}" for a in range(6) for b in range(5)]
    bad = ["1,?,2"] * ("--skip-bad-rows" in options)
    for file in ("my data.csv", "iris.csv"):
        (tmp_path / file).write_text("\n".join(["a,-b,a price", *rows, *bad]))
    monkeypatch.chdir(tmp_path)

    def asked(command: str) -> tuple[data.Dataset, Protocol]:
        told: dict[str, Any] = {}

        def stop(dataset: data.Dataset, **terms: Any) -> None:
            told.update(terms, dataset=dataset)
            raise KeyboardInterrupt

        monkeypatch.setattr(racing, "race", stop)
        assert cli.main(shlex.split(command)[1:]) == 130
        told["rules"] = tuple(r.name for r in rules_of(told["rules"]))
        told["batch_sizes"] = tuple(told.pop("batch_size") or (32,))
        dataset = told.pop("dataset")
        told["l2"] = 1e-4 if told["l2"] is None else told["l2"]
        given = {k: told[k] for k in vars(Protocol(("sgd",))) if told[k] is not None}
        terms = Protocol(**given)
        return dataset, terms if "repeats" in given else terms.repeated()

    dataset, protocol = asked(f"thalweg race {shlex.quote(source)} {options}")
    words = linear.words(dataset)
    assert words
    again, terms = asked(command_of(words, protocol))
    assert terms == protocol
    assert fingerprint(again) == fingerprint(dataset)
    assert {**vars(again), "X": 0, "y": 0} == {**vars(dataset), "X": 0, "y": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": "iris", "y": [1]}, "y must be None when X is a data set"),
        ({"X": [[1.0]]}, "y is missing: give race"),
        ({"X": "iris", "batch_size": 91}, r"batch_size must be an integer in \[1, 90\].* got 91"),
        ({"X": "iris", "batch_size": 4.5}, r"batch_size must be an integer .* got 4.5"),
        ({"X": "iris", "rules": ["sdg"]}, "unknown rule 'sdg'; did you mean"),
        ({"X": "iris", "workers": 0}, "workers must be an integer >= 1, got 0"),
        ({"X": "irsi"}, "unknown data set 'irsi'"),
    ],
)
def test_arguments_out_of_bounds(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        thalweg.race(**arguments)
