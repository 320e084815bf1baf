"""Writers: what other tools read of a race's trainings, each by its own reader."""

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thalweg import cli, rules
from thalweg.racing.export import COLUMNS
from thalweg.racing.store import Store
from thalweg.racing.trial import Result, Trial
from thalweg.racing.writers import WRITERS, writing

RULES = {"adam": rules.get("adam")}
CURVE = np.array([2.0, 1.0, 0.5, 0.25])


def trained(number: int = 0, phase: str = "final", lr: float = 0.1, loss: float = 0.5) -> Result:
    trial = Trial("adam", phase, number, 7, 32, {"lr": lr}, 3)
    judged = (0.25, 0.75) if phase == "final" else (np.nan, np.nan)
    return Result(trial, 0, CURVE, np.array([3.0, 2.0, 1.0, loss]), *judged)


def written(folder: Path, name: str, *results: Result) -> None:
    """Write twice, as a race does that is resumed."""
    with Store(folder) as store:
        store.add(results[:1])
        for again in (results, results[1:]):
            with writing([name], store, RULES, "digits, MLP") as write:
                write(again)


def test_csv_has_every_evaluation_also_of_what_was_finished_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(tmp_path) as store:
        store.add([trained()])
        with writing(["csv"], store, RULES) as write:
            store.add([trained(1)])
            write([trained(1)])
    with (tmp_path / "evaluations.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["number"], row["epoch"]) for row in rows] == [
        (number, epoch) for number in "01" for epoch in "0123"
    ]
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["train_loss"]) for row in rows[:2]] == [2.0, 1.0]
    assert json.loads(rows[0]["hyper"]) == {"lr": 0.1}
    assert float(rows[0]["test_score"]) == 0.75
    kept = (tmp_path / "evaluations.csv").read_bytes()
    assert cli.main(["results", str(tmp_path), "--csv"]) == 0
    assert kept.decode() == capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_tensorboard_has_the_curves(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is not installed",
    )
    written(tmp_path, "tensorboard", trained(4))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "adam" / "final-0-4"))
    events.Reload()
    curve = [(event.step, event.value) for event in events.Scalars("validation_loss")]
    assert curve == [(0, 3.0), (1, 2.0), (2, 1.0), (3, 0.5)]
    judged = [(event.step, event.value) for event in events.Scalars("test_loss")]
    assert judged == [(3, 0.25)]
    (text,) = events.Tensors("training/text_summary")
    assert json.loads(text.tensor_proto.string_val[0])["hyper"] == {"lr": 0.1}


@pytest.mark.filterwarnings("ignore:.*experimental")
def test_optuna_has_a_study_of_each_rule_with_its_trials(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
    trials = [trained(i, "round 1", lr) for i, lr in enumerate((0.1, 0.2, 1e9))]
    lost = replace(trials[2], validation_loss=np.array([3.0, np.inf, np.nan, np.nan]))
    written(tmp_path, "optuna", *trials[:2], lost, trained(5))
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna.log"))
    study = optuna.load_study(study_name="adam", storage=optuna.storages.JournalStorage(backend))
    assert [trial.params["lr"] for trial in study.trials] == [0.1, 0.2, 1e9]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert study.best_value == 0.5
    assert study.trials[0].intermediate_values == {0: 3.0, 1: 2.0, 2: 1.0, 3: 0.5}
    assert study.trials[2].intermediate_values == {0: 3.0}
    space = study.trials[0].distributions
    assert space["lr"].log
    assert space["lr"].low < 0.1 < space["lr"].high < 1e9
    assert study.trials[0].params["batch_size"] == 32


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy's, of MLflow
def test_mlflow_has_a_run_of_each_final(tmp_path: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking", reason="MLflow is not installed")
    written(tmp_path, "mlflow", trained(), trained(1), trained(0, "round 1"))
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("digits, MLP").experiment_id
    runs = sorted(client.search_runs([experiment]), key=lambda run: str(run.info.run_name))
    assert [run.info.run_name for run in runs] == ["adam-final-0-0", "adam-final-0-1"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert runs[0].data.params["lr"] == "0.1"
    assert runs[0].data.metrics["test_loss"] == 0.25
    curve = client.get_metric_history(runs[0].info.run_id, "validation_loss")
    assert [(point.step, point.value) for point in curve] == [(0, 3), (1, 2), (2, 1), (3, 0.5)]


def test_weights_and_biases_has_a_run_of_each_final(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    written(tmp_path, "wandb", trained(), trained(1), trained(0, "round 1"))
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert [run.name.split("-", 3)[3] for run in runs] == ["adam-final-0-0", "adam-final-0-1"]
    (kept,) = runs[0].glob("*.wandb")
    for word in (b"test_loss", b"validation_loss", b"batch_size"):
        assert word in kept.read_bytes()


@pytest.fixture(params=["optuna.log", "mlflow.db", "wandb"])
def link(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A link out of the folder, where a writer would write."""
    name = str(request.param).partition(".")[0]
    pytest.importorskip(name, reason=f"{name} is not installed")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with Store(tmp_path / "race"):
        pass
    (tmp_path / "race" / request.param).symlink_to(elsewhere / "theirs")
    yield name, tmp_path / "race"
    assert not list(elsewhere.iterdir())


def test_writers_go_through_no_link(link: tuple[str, Path]) -> None:
    name, folder = link
    with (
        Store(folder) as store,
        pytest.raises(FileExistsError, match="is a link; remove it"),
        writing([name], store, RULES),
    ):
        pass


def test_writers_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(None) as store:
        with (
            pytest.raises(ValueError, match=r"among csv, tensorboard, .*, wandb, got 'xls'"),
            writing(["xls"], store, RULES),
        ):
            pass
        with (
            pytest.raises(ValueError, match="writers need a folder"),
            writing(["csv"], store, RULES),
        ):
            pass
    for module in ("torch.utils.tensorboard", "optuna", "mlflow.tracking", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in WRITERS.keys() - {"csv"}:
        with (
            Store(tmp_path) as store,
            pytest.raises(ImportError, match=f"pip install {name}"),
            writing([name], store, RULES),
        ):
            pass
