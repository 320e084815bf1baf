"""Writers: they write finished trainings into the files of other tools, as they finish.

Each writes into the folder of the race, and nothing goes over a network. A race that is resumed
adds what is missing.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from thalweg import files
from thalweg.racing import space
from thalweg.racing.export import LOSSES, Write, rows, table
from thalweg.racing.space import LOG
from thalweg.racing.store import Store
from thalweg.racing.trial import FINAL, Result, Trial
from thalweg.rule import Rule
from thalweg.tasks.schedule import NAMES

__all__ = ["WRITERS", "writing"]

_MOST = 1000  # metrics that MLflow takes in one call


@contextmanager
def writing(
    names: Sequence[str], store: Store, rules: Mapping[str, Rule], title: str = "race"
) -> Iterator[Write]:
    """Let writers write what the store has, and then the trainings that they are called with.

    Args:
        names: ``"csv"`` for ``evaluations.csv``; ``"tensorboard"`` for the folder ``tensorboard``;
            ``"optuna"`` for ``optuna.log``, with a study of each rule's trials; ``"mlflow"`` for
            ``mlflow.db`` and ``"wandb"`` for the folder ``wandb``, each with the finals.
        store: of the race, in a folder.
        rules: of the race, by name.
        title: what MLflow and Weights & Biases call the race.

    Raises:
        ValueError: there is no such writer, or the store is in memory.
        ImportError: the package that a writer needs is not installed.
    """
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name not in WRITERS:
            raise ValueError(f"writers must be among {', '.join(WRITERS)}, got {name!r}")
    if names and store.directory is None:
        raise ValueError(f"writers need a folder: give out beside writers={list(names)!r}")
    with ExitStack() as stack:
        assert store.directory or not names
        writers = [
            stack.enter_context(WRITERS[name](store.directory or Path(), rules, title))
            for name in names
        ]

        def write(results: Sequence[Result]) -> None:
            for writer in writers:
                writer(results)

        if writers:
            write(list(store.results()))
        yield write


def _needed(module: str, writer: str, install: str | None = None) -> Any:  # noqa: ANN401 - any module
    """Return a module that only one writer needs."""
    try:
        return import_module(module)
    except ImportError as error:
        package = install or writer
        raise ImportError(
            f"the {writer} writer needs the package {package}: pip install {package}"
        ) from error


def _name(trial: Trial) -> str:
    return f"{trial.rule}-{trial.phase}-{trial.repeat}-{trial.number}"


def _own(path: Path) -> Path:
    """Return the path of a file to write; a link could lead out of the folder."""
    if path.is_symlink():
        raise FileExistsError(f"{path} is a link; remove it")
    return path


@contextmanager
def _csv(directory: Path, rules: Mapping[str, Rule], title: str) -> Iterator[Write]:
    del rules, title
    with files.begin(directory / "evaluations.csv") as file:
        kept = table(file)

        def write(results: Sequence[Result]) -> None:
            kept(results)
            file.flush()

        yield write


@contextmanager
def _tensorboard(directory: Path, rules: Mapping[str, Rule], title: str) -> Iterator[Write]:
    del rules, title
    summary = _needed("torch.utils.tensorboard", "tensorboard").SummaryWriter

    def write(results: Sequence[Result]) -> None:
        for result in results:
            trial = result.trial
            rule = files.folder(files.folder(directory / "tensorboard") / trial.rule)
            folder = files.folder(rule / f"{trial.phase}-{trial.repeat}-{trial.number}")
            for old in folder.glob("events.out.tfevents.*"):  # of a race cut short: once more
                old.unlink()
            with summary(str(folder)) as run:
                run.add_text("training", json.dumps(asdict(trial)))
                if trial.phase == FINAL:
                    run.add_scalar("test_loss", result.test_loss, trial.epochs)
                    run.add_scalar("test_score", result.test_score, trial.epochs)
                for row in rows(result):
                    for loss in LOSSES:
                        run.add_scalar(loss, row[loss], row["epoch"])

    yield write


@contextmanager
def _optuna(directory: Path, rules: Mapping[str, Rule], title: str) -> Iterator[Write]:
    del title
    optuna = _needed("optuna", "optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of each study
    # SQLite, Optuna's usual storage, takes twenty times as long for each trial.
    file = _needed("optuna.storages.journal", "optuna").JournalFileBackend
    storage = optuna.storages.JournalStorage(file(str(_own(directory / "optuna.log"))))
    studies = {
        name: optuna.create_study(
            storage=storage, study_name=name, direction="minimize", load_if_exists=True
        )
        for name in rules
    }
    known = {t.user_attrs["training"] for study in studies.values() for t in study.trials}

    def write(results: Sequence[Result]) -> None:
        for result in results:
            trial = result.trial
            if trial.phase == "trial" and _name(trial) not in known:
                studies[trial.rule].add_trial(_optuna_trial(optuna, result, rules[trial.rule]))
                known.add(_name(trial))

    yield write


def _optuna_trial(optuna: Any, result: Result, rule: Rule) -> Any:  # noqa: ANN401 - Optuna's
    """Return a trial with the distributions from which its settings were drawn."""
    trial, drawn = result.trial, optuna.distributions
    searched = {dimension.name: dimension for dimension in space.of(rule).dimensions}
    distributions = {
        "batch_size": drawn.IntDistribution(1, 2**30, log=True),
        "schedule": drawn.CategoricalDistribution(NAMES),
    }
    for name, value in trial.hyper.items():
        known = searched.get(name)
        low, high = (known.low, known.high) if known else (value, value)
        distributions[name] = drawn.FloatDistribution(
            min(low, value), max(high, value), log=known is not None and known.scale == LOG
        )
    lost = not math.isfinite(result.loss)
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.FAIL if lost else optuna.trial.TrialState.COMPLETE,
        value=None if lost else result.loss,
        params={"batch_size": trial.batch_size, "schedule": trial.schedule, **trial.hyper},
        distributions=distributions,
        user_attrs={"training": _name(trial), "repeat": trial.repeat, "seed": trial.seed},
        intermediate_values={
            epoch: loss
            for epoch, loss in enumerate(result.validation_loss.tolist())
            if math.isfinite(loss)
        },
    )


@contextmanager
def _mlflow(directory: Path, rules: Mapping[str, Rule], title: str) -> Iterator[Write]:
    del rules
    client = _needed("mlflow.tracking", "mlflow").MlflowClient
    entities = _needed("mlflow.entities", "mlflow")
    kept = client(tracking_uri=f"sqlite:///{_own(directory / 'mlflow.db').resolve()}")
    found = kept.get_experiment_by_name(title)
    experiment = found.experiment_id if found else kept.create_experiment(title)

    def write(results: Sequence[Result]) -> None:
        for result in results:
            name = _name(result.trial)
            if result.trial.phase != FINAL or kept.search_runs(
                [experiment], f"tags.training = '{name}' and status = 'FINISHED'", max_results=1
            ):
                continue
            tags = {"training": name, "rule": result.trial.rule}
            run = kept.create_run(experiment, tags=tags, run_name=name).info.run_id
            metrics = [
                entities.Metric(loss, row[loss], 0, row["epoch"])
                for row in rows(result)
                for loss in LOSSES
            ]
            judged = {"test_loss": result.test_loss, "test_score": result.test_score}
            metrics += [
                entities.Metric(n, value, 0, result.trial.epochs) for n, value in judged.items()
            ]
            settings = [entities.Param(n, str(v)) for n, v in _settings(result.trial).items()]
            for start in range(0, len(metrics), _MOST):
                kept.log_batch(run, metrics=metrics[start : start + _MOST])
            kept.log_batch(run, params=settings)
            kept.set_terminated(run)

    yield write


@contextmanager
def _wandb(directory: Path, rules: Mapping[str, Rule], title: str) -> Iterator[Write]:
    del rules
    wandb = _needed("wandb", "wandb")
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    folder = files.folder(directory / "wandb")

    def write(results: Sequence[Result]) -> None:
        for result in results:
            trial, name = result.trial, _name(result.trial)
            if trial.phase != FINAL or any(folder.glob(f"offline-run-*-{name}")):
                continue
            run = wandb.init(
                mode="offline", dir=str(directory), project=re.sub(r"[^\w.-]+", "-", title),
                group=trial.rule, name=name, id=name, config=_settings(trial),
                reinit="create_new", settings=settings,
            )  # fmt: skip
            for row in rows(result):
                run.log({loss: row[loss] for loss in LOSSES}, step=row["epoch"])
            run.summary.update({"test_loss": result.test_loss, "test_score": result.test_score})
            run.finish()

    yield write


def _settings(trial: Trial) -> dict[str, Any]:
    """Return the setting of a training as one flat dict."""
    kept = asdict(trial)
    return {**kept.pop("hyper"), **kept}


Writer = Callable[[Path, Mapping[str, Rule], str], AbstractContextManager[Write]]
WRITERS: Mapping[str, Writer] = {
    "csv": _csv, "tensorboard": _tensorboard, "optuna": _optuna, "mlflow": _mlflow,
    "wandb": _wandb,
}  # fmt: skip
