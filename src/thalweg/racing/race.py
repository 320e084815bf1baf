"""Race: rules × trials × seeds at equal budget, then a verdict."""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg import data
from thalweg import rule as registry
from thalweg.data import Dataset
from thalweg.racing import verdict
from thalweg.racing.course import Progress, run, trials_per_rule
from thalweg.racing.linear import LinearTask, command
from thalweg.racing.protocol import Protocol, names_of
from thalweg.racing.store import SCHEMA, Store, load_data, save_data
from thalweg.racing.task import Task
from thalweg.racing.verdict import Verdict
from thalweg.rule import Rule

__all__ = ["race", "resume"]


def race(
    X: "ArrayLike | Dataset | str",
    y: ArrayLike | None = None,
    *,
    rules: str | Rule | Sequence[str | Rule] | None = None,
    batch_size: int | Sequence[int] = 32,
    epochs: int = 20,
    trials: int = 32,
    seeds: int = 20,
    budget: str | None = None,
    l2: float = 1e-4,
    seed: int = 0,
    kind: str | None = None,
    name: str = "data",
    out: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    threads: int | None = None,
) -> Verdict:
    """Race update rules on a linear model of your data and say which one to use.

    Every rule searches its own space with the same number of trials, in two rounds (``search``);
    the lowest validation loss after the last epoch is its best. Each best is trained again on fresh
    seeds and judged once on the test part. The winner has the lowest median test loss; a rule ties
    with it when the 95 % bootstrap interval of the median difference, paired by seed, contains 0.

    Args:
        X: features (n, d), finite; or a ``data.Dataset``, or the name of a data set (y is None).
        y: target (n,): numbers for regression, else classes.
        rules: names or rules; all of them by default.
        batch_size: examples per step, from 1 to the training part's rows (60 % of n); several
            are searched among.
        epochs: of every training, >= 1.
        trials: of each rule in the first round, >= 4; half as many follow in the second.
        seeds: on which each best is judged, >= 2.
        budget: instead of trials, what the race may take (``"60s"``, ``"5min"``), shared equally by
            the rules, or what each rule may (``"2000epochs"``).
        l2: weight of 1/2 ||w||² in the training objective, >= 0.
        seed: of the split, the trials and all trainings, in [0, 2^32).
        kind: ``"regression"`` or ``"classification"``; by default guessed from y.
        name: what reports call the data.
        out: folder for race.sqlite, results.json, curves.parquet and report.html; a race that was
            cut short there continues. None keeps nothing.
        on_progress: is called after each piece of work.
        threads: pieces of work at the same time; one per processor by default. No number in the
            verdict depends on it but the time per epoch.

    Returns:
        The verdict.

    Raises:
        ValueError: an argument is out of its bounds, or ``out`` holds another race.
        BlockingIOError: another process is racing in ``out``.
        KeyboardInterrupt: it was interrupted; with ``out``, finished trainings are kept.

    Example:
        >>> found = race("iris", rules=["sgd", "adam"], epochs=2, trials=4, seeds=2)
        >>> found.winner in ("sgd", "adam"), found.results["data"]["split"]["train"]
        (True, 90)
    """
    protocol = Protocol(
        rules=names_of(rules),
        batch_sizes=tuple(np.atleast_1d(batch_size).tolist()),
        epochs=epochs,
        trials=trials,
        seeds=seeds,
        budget=budget,
        l2=l2,
        seed=seed,
    )
    dataset = _dataset(X, y, name, kind)
    task = _task(dataset, protocol)
    terms = _terms(task, protocol)
    workers = _threads(threads)
    directory = None if out is None else Path(out)
    with Store(directory) as store:
        begun = store.terms()
        if begun is None:
            counts = trials_per_rule(task, protocol, workers)
            if directory is not None:
                save_data(dataset, directory)
            store.begin(terms, counts)
        elif begun != terms:
            raise ValueError(
                f"{out} holds another race ({_differences(begun, terms)}); resume that one with "
                f"thalweg race --resume {out}, or choose another --out"
            )
        found = run(task, protocol, store, on_progress, workers)
        return verdict.conclude(task, protocol, store, found, command(dataset, protocol))


def resume(
    directory: str | Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    threads: int | None = None,
) -> Verdict:
    """Continue a race that was cut short, to the verdict that it would have had.

    Args:
        directory: the folder that was given to ``race`` as ``out``. A rule of your own must have
            been declared again, unchanged.
        on_progress: as in ``race``.
        threads: as in ``race``.

    Raises:
        FileNotFoundError: the folder holds no race.
        ValueError: the data, a rule or thalweg itself changed since.
        BlockingIOError: another process is racing there.
    """
    directory, workers = Path(directory), _threads(threads)
    if not (directory / "race.sqlite").exists():
        raise FileNotFoundError(f"{directory} holds no race: there is no file race.sqlite in it")
    with Store(directory) as store:
        begun = store.terms()
        if begun is None:
            raise FileNotFoundError(f"{directory} holds a race that had not begun; start it anew")
        dataset = load_data(directory)
        terms: dict[str, Any] = begun["protocol"]
        lists = {key: tuple(value) for key, value in terms.items() if isinstance(value, list)}
        protocol = Protocol(**{**terms, **lists})
        task = _task(dataset, protocol)
        if (now := _terms(task, protocol)) != begun:
            raise ValueError(
                f"{directory} cannot be resumed: {_differences(begun, now)}; put back what the "
                "race began with, or start a new one with another --out"
            )
        found = run(task, protocol, store, on_progress, workers)
        return verdict.conclude(task, protocol, store, found, command(dataset, protocol))


def _dataset(
    X: "ArrayLike | Dataset | str", y: ArrayLike | None, name: str, kind: str | None
) -> Dataset:
    if isinstance(X, str):
        X = data.load(X)
    if isinstance(X, Dataset):
        if y is not None:
            raise ValueError("y must be None when X is a data set, which has its own target")
        return X
    if y is None:
        raise ValueError("y is missing: give race(X, y), a Dataset or the name of a data set")
    return Dataset.from_arrays(X, y, name=name, kind=kind)


def _task(dataset: Dataset, protocol: Protocol) -> LinearTask:
    task = LinearTask(dataset, l2=protocol.l2, seed=protocol.seed)
    protocol.check_batch_sizes(task.parts["train"])
    return task


def _terms(task: Task, protocol: Protocol) -> dict[str, Any]:
    """Return all that fixes a race's numbers."""
    sources = {name: inspect.getsource(registry.get(name).function) for name in protocol.rules}
    terms = {
        "schema": SCHEMA,
        "version": metadata.version("thalweg"),
        "data": task.fingerprint(),
        "equations": {k: hashlib.sha256(v.encode()).hexdigest() for k, v in sources.items()},
        "protocol": asdict(protocol),
    }
    restored: dict[str, Any] = json.loads(json.dumps(terms))  # as the store gives them back
    return restored


def _differences(begun: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what differs between two races' terms."""
    found = [f"{key} changed" for key in ("schema", "version", "data") if begun[key] != now[key]]
    old, new = begun["equations"], now["equations"]
    found += [f"rule {name} changed" for name in old if old[name] != new.get(name, old[name])]
    old, new = begun["protocol"], now["protocol"]
    found += [
        f"{key} {_listed(old[key])} instead of {_listed(new[key])}"
        for key in old
        if old[key] != new[key]
    ]
    return ", ".join(found)


def _listed(value: Any) -> str:  # noqa: ANN401 - a term
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _threads(threads: int | None) -> int:
    if threads is None:
        import joblib  # noqa: PLC0415 - slow to load, and only a race needs it

        return int(joblib.cpu_count())  # what a container or an affinity leaves of the machine
    if threads < 1:
        raise ValueError(f"threads must be >= 1, got {threads}")
    return threads
