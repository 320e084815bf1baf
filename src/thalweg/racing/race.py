"""Race: rules × trials × seeds at equal budget, then a verdict."""

import hashlib
import inspect
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import ValidationError
from numpy.typing import ArrayLike

from thalweg import data
from thalweg import rules as registry
from thalweg.data import Dataset, kept
from thalweg.data.kept import kind_word
from thalweg.kind import ELEMENT_WISE
from thalweg.live import live
from thalweg.progress import Progress
from thalweg.racing import verdict
from thalweg.racing.command import call, command
from thalweg.racing.protocol import MARGIN, Protocol, Rules, Terms, rules_of
from thalweg.racing.run import run, trials_per_rule
from thalweg.racing.store import SCHEMA, Records, Store
from thalweg.racing.verdict import Verdict
from thalweg.racing.workers import hired
from thalweg.racing.writers import writing
from thalweg.rule import Rule
from thalweg.tasks.linear import LinearTask, words
from thalweg.tasks.source import (
    absolute_source,
    is_task_file,
    is_torch_task,
    load_task,
    task_file,
)
from thalweg.tasks.task import Task
from thalweg.wrapper import Wrapped

if TYPE_CHECKING:
    from thalweg.stack import TorchTask

__all__ = ["race", "resume"]

_L2 = 1e-4  # penalty of linear models by default
_BATCH = (32,)  # unless others are asked for, or the training part is smaller


def race(
    X: "ArrayLike | Dataset | TorchTask | str | os.PathLike[str]",
    y: ArrayLike | None = None,
    *,
    rules: str | Rule | Sequence[str | Rule] | None = None,
    batch_size: int | Sequence[int] | None = None,
    epochs: int = 20,
    trials: int | None = None,
    repeats: int | None = None,
    seeds: int = 2,
    budget: str | None = None,
    halving: bool = False,
    l2: float | None = None,
    seed: int = 0,
    margin: float | None = None,
    target: str | None = None,
    kind: str | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    on_data: Callable[[str], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    progress: bool = True,
    workers: int | None = None,
    on: str | None = None,
    writers: Sequence[str] = (),
) -> Verdict:
    """Race update rules on your torch module, or a linear model of your data; say which to use.

    The race answers: if you train anew on data like yours, which rule gives the lowest loss on data
    that it has not seen? And what do you lose if you take another? So the whole experiment is
    repeated. Each repeat draws new training, validation and test parts. It searches each rule's
    space anew, in two rounds with the same number of trials (``search``), and trains what it
    chose on new seeds. The test losses of all repeats tell how much worse than the best rule
    each one is, with 95 % confidence for all rules at once (``comparison``).

    Args:
        X: a ``TorchTask``, or ``"FILE.py:function"`` that returns one; or features (n, d), finite;
            or a ``data.Dataset``, the name of a data set or a file. y is needed with features
            alone; ``data.load`` reads files in further ways.
        y: target (n,): numbers for regression, else classes.
        rules: names or rules, or ``"all"``; by default the twenty that are usual, and those that
            you declared. Of these two a linear model is raced by all that can train it.
        batch_size: examples per step, from 1 to the rows of the training part (60 % of a table). If
            you give several, the search chooses among them. By default 32, or all rows of a smaller
            training part.
        epochs: of every training, >= 1.
        trials: settings tried for each rule in the first round, in [4, 1024], shared by the
            repeats, each of which has at least 4; 160 by default, 64 for a TorchTask. Half as many
            follow in the second round, and a quarter more each time that a space is widened.
        repeats: of the whole experiment, >= 2; by default as many as leave 8 trials to each, from 5
            to 10; 5 with a budget. More of them tell rules apart better.
        seeds: fresh seeds on which the best setting of each repeat is judged, >= 1; 2 by default.
        budget: instead of trials. The time of the race (``"60s"``, ``"5min"``), which the rules
            share equally, or the epochs of each rule (``"2000epochs"``). Trials that widen a space
            come on top. What is left after 1024 first-round trials of each rule is not used.
        halving: begin each round with trainings of a ninth of the epochs. The best third of them
            goes on to a third of the epochs, and the best third of these to all epochs
            (``search``). There must be 9 epochs or more.
        l2: weight of 1/2 ||w||² in a linear model's training objective, >= 0; 1e-4 by default.
        seed: of all parts, trials and trainings, in [0, 2^32).
        margin: a rule whose loss is at most so much higher than the best one's, as a share of it,
            counts as as good, in [0, 1); 0.05 by default. No training depends on it.
        target: the column of a file to predict.
        kind: ``"regression"`` or ``"classification"``; by default guessed from y.
        name: what reports call the arrays; ``"data"`` by default.
        out: folder for race.sqlite, results.json, curves.parquet, report.html and checkpoints. A
            race that was interrupted there continues. None keeps nothing.
        on_data: is called with each sentence about a table, before anything is trained: what the
            race uses, what was assumed, and which columns look wrong.
        on_progress: is called after each piece of work.
        progress: whether a terminal or a notebook shows how far the race is; True by default.
        workers: how many pieces of work run at the same time; one per processor by default. No
            number in the verdict depends on where they run, except the time per epoch. For linear
            models none depends on how many there are. The last digits of a module depend on how
            many trainings share a stack, and so on the number of workers that the race began with.
        on: where they run: ``"threads"``, ``"processes"``, ``"ray[://...]"``, ``"dask[://...]"``
            (``workers.hired``); by default processes for a TorchTask, threads for linear models.
        writers: what writes finished trainings into ``out``: ``"csv"``, ``"tensorboard"``,
            ``"optuna"``, ``"mlflow"``, ``"wandb"`` (``racing.writers``).

    Returns:
        The verdict.

    Raises:
        ValueError: an argument is out of its bounds, or ``out`` holds another race.
        TypeError: a number is not whole, or a rule is neither a name nor a rule.
        TaskError: the task's own code failed; a ValueError whose sentence says where.
        BlockingIOError: another process is racing in ``out``.
        KeyboardInterrupt: it was interrupted; with ``out``, finished trainings are kept.

    Example:
        >>> found = race("iris", rules=["sgd", "adam"], epochs=2, trials=4, seeds=2)
        >>> found.winner in ("sgd", "adam"), found.results["data"]["split"]["train"]
        (True, 90)
    """
    X = os.fspath(X) if isinstance(X, os.PathLike) else X
    source = X if isinstance(X, str) and is_task_file(X) else None
    given: Any = X if source is None else load_task(source)
    if module := is_torch_task(given):
        _refuse("a TorchTask", y=y, l2=l2, target=target, kind=kind, name=name)
    chosen = rules_of(rules) if module else _learnable(rules, on_data)
    protocol = Protocol(
        rules=tuple(rule.name for rule in chosen),
        batch_sizes=_BATCH if batch_size is None else tuple(np.atleast_1d(batch_size).tolist()),
        epochs=epochs,
        trials=trials,
        **({} if repeats is None else {"repeats": repeats}),
        seeds=seeds,
        budget=budget,
        halving=halving,
        l2=None if module else _L2 if l2 is None else l2,
        seed=seed,
        margin=MARGIN if margin is None else margin,
    )
    if repeats is None:
        protocol = protocol.repeated()
    if not module:
        given = _dataset(given, y, name or "data", target=target, kind=kind)
    how = Running(on_data, on_progress, progress, workers, on, writers)
    named = Rules((rule.name, rule) for rule in chosen)
    return _run(given, source, protocol, out, how, rules=named, adapt=batch_size is None)


def resume(
    directory: str | Path,
    *,
    trust: bool | Callable[[str], bool] = False,
    margin: float | None = None,
    on_data: Callable[[str], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    progress: bool = True,
    workers: int | None = None,
    on: str | None = None,
    writers: Sequence[str] = (),
) -> Verdict:
    """Continue a race that was interrupted, to the verdict that it would have had.

    Args:
        directory: the folder that was given to ``race`` as ``out``. A rule of your own must have
            been declared again, unchanged.
        trust: whether a task file that the folder names may run, or a function that is given its
            path and returns whether it may. A folder that somebody else made may name any file. A
            file inside the folder never runs, nor one whose path is not absolute.
        margin: as in ``race``; by default what the race began with. A race that has ended is judged
            anew by another one, without any training.
        on_data: as in ``race``.
        on_progress: as in ``race``.
        progress: as in ``race``.
        workers: as in ``race``.
        on: as in ``race``.
        writers: as in ``race``.

    Raises:
        FileNotFoundError: the folder holds no race, or its data are gone.
        ValueError: the data, a rule or thalweg itself changed since, a rule is not declared, a file
            of the folder is damaged, or its task file may not run.
        BlockingIOError: another process is racing there.
    """
    directory = Path(directory)
    with Records(directory) as records:
        begun, source = records.terms(), records.source()
    if begun is None:
        raise FileNotFoundError(f"{directory} holds a race that had not begun; start it anew")
    protocol = begun.protocol if margin is None else replace(begun.protocol, margin=margin)
    if source is not None:
        _refuse_untrusted(source, protocol, directory, trust)
        given: Dataset | TorchTask = load_task(source)
    elif protocol.l2 is None:
        raise ValueError(
            f"{directory} holds a race of a TorchTask that only its Python program has; continue "
            f"it with thalweg.race(task, ..., out={str(directory)!r}) on the terms it began with"
        )
    else:
        given = kept.restore(directory)
    for name in protocol.rules:
        try:
            declared = name in registry.names() or bool(registry.get(name))
        except (ValueError, TypeError):  # also where a wrapper is not known or does not go with it
            declared = False
        if not declared:
            raise ValueError(
                f"{directory} holds a race of the rule {name!r}, which is not declared here; "
                f"declare it in Python again and call thalweg.resume({str(directory)!r})"
            )
    how = Running(on_data, on_progress, progress, workers, on, writers)
    return _run(given, source, protocol, directory, how, rules=Rules())


def _refuse_untrusted(
    source: str, protocol: Protocol, directory: Path, trust: "bool | Callable[[str], bool]"
) -> None:
    """Raise ValueError unless the task file that a folder names may run."""
    file = task_file(source)
    own = f"{command([source], protocol)} --out {shlex.quote(str(directory))}"
    here = Path(os.path.realpath(directory))
    came_along = file.is_relative_to(directory.absolute()) or Path(
        os.path.realpath(file)
    ).is_relative_to(here)
    if came_along or not file.is_absolute():
        raise ValueError(
            f"{directory} names the task file {file}, which came with the folder; it is not run. "
            f"Read it; if it is yours, name it yourself: {own}"
        )
    if not (trust(str(file)) if callable(trust) else trust):
        raise ValueError(
            f"{directory} names the task file {file}, which would run. Read it; if you trust it, "
            f"continue with thalweg.resume({str(directory)!r}, trust=True)"
        )


@dataclass(frozen=True)
class Running:
    """How a race runs; its numbers do not depend on it. The arguments of ``race``."""

    on_data: Callable[[str], None] | None
    on_progress: Callable[[Progress], None] | None
    progress: bool
    workers: int | None
    on: str | None
    writers: Sequence[str]


def _run(
    given: "Dataset | TorchTask",
    source: str | None,
    protocol: Protocol,
    out: str | Path | None,
    how: Running,
    *,
    rules: Rules,
    adapt: bool = False,
) -> Verdict:
    """Race in memory or in a folder, which may hold the race already."""
    task = _task(given, protocol)
    if adapt:
        protocol = replace(protocol, batch_sizes=(min(*_BATCH, task.parts["train"]),))
    protocol.check_batch_sizes(task.parts["train"])
    terms, raced = _terms(task, protocol, rules), {name: rules[name] for name in protocol.rules}
    directory = None if out is None else Path(out)
    with Store(directory) as store:
        begun = store.terms()
        if begun is not None and begun != terms:
            changed, asked = _differences(begun, terms)
            again = shlex.join(["thalweg", "race", "--resume", str(out)])
            go_on = "" if changed else f", continue it as it is with {again}"
            raise ValueError(
                f"{out} holds another race ({', '.join(changed + asked)}); put back what it began "
                f"with{go_on}, or choose another folder"
            )
        if how.on_data:
            for line in task.said:
                how.on_data(line)
        if begun is not None:
            known = {*protocol.rules}
            trained = {result.trial.rule for result in store.results()} | store.timings().keys()
            if store.counts().keys() != known or not trained <= known:
                raise ValidationError("its trials are not those of its rules")
            task.lanes = store.lanes()  # measured once
        with (
            hired(task, how.on, how.workers, rules) as workers,
            writing(how.writers, store, raced, task.data["name"]) as write,
            live(shown=how.progress) as view,
        ):
            if begun is None:
                counts = trials_per_rule(task, protocol, workers)
                if directory is not None and isinstance(given, Dataset):
                    kept.save(given, directory)
                where = None if source is None else absolute_source(source)
                store.begin(terms, counts, where, task.lanes, workers.count)
            tell = _both(view.show, how.on_progress)
            course = run(task, protocol, store, workers, tell=tell, write=write)
        return verdict.conclude(course, _again(given, source, protocol))


def _learnable(
    rules: str | Rule | Sequence[str | Rule] | None, on_data: Callable[[str], None] | None
) -> tuple[Rule, ...]:
    """Return those of the rules that are meant by which linear models can be trained.

    Raises:
        ValueError: there is another, and it was named.
    """
    from thalweg.linear.learnable import check_learnable  # noqa: PLC0415 - loads Numba

    named = not (rules is None or rules == "all")
    left, whole, said = [], [], []
    for rule in rules_of(rules):
        try:
            check_learnable(rule)
            left.append(rule)
        except ValueError as error:
            if named:
                raise
            if rule.kind == ELEMENT_WISE:
                said.append(f"left out: {error}")
            else:
                whole.append(rule.name)
    if whole:
        said.append(
            f"left out: {', '.join(whole)}; linear models are trained by rules of single elements"
        )
    if on_data:
        for line in said:
            on_data(line)
    return tuple(left)


def _both(
    show: Callable[[Progress], None], also: Callable[[Progress], None] | None
) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        show(progress)
        if also:
            also(progress)

    return tell


def _refuse(what: str, **given: object) -> None:
    """Refuse arguments that were given with what has its own."""
    for name, value in given.items():
        if value is not None:
            own = "y is theirs" if what == "arrays" else "it has its own"
            raise ValueError(f"{name} cannot be given with {what}: {own}")


def _dataset(
    X: "ArrayLike | Dataset | str",
    y: ArrayLike | None,
    name: str,
    *,
    target: str | None,
    kind: str | None,
) -> Dataset:
    if isinstance(X, str | Dataset) and y is not None:
        raise ValueError(
            "y must be None where X is a data set, which has its own target, or a file: "
            "target='COL' names its column"
        )
    if isinstance(X, str):
        return data.load(X, target=target, kind=kind)
    if isinstance(X, Dataset):
        _refuse("a Dataset", target=target, kind=kind)
        return X
    if callable(getattr(X, "parameters", None)):
        raise ValueError(  # noqa: TRY004 - as of other arrays
            f"X must be a table or a TorchTask, got the module {type(X).__name__}; give "
            "race(thalweg.TorchTask(model=..., loss=..., train=(X, y)))"
        )
    if target is not None and hasattr(X, "columns"):
        raise ValueError(
            f"target names a column of a file; of a data frame give race(X without it, "
            f"X[{target!r}])"
        )
    _refuse("arrays", target=target)
    if not isinstance(name, str):
        raise ValueError(f"name must be a text, got {name!r}")  # noqa: TRY004 - as of arrays
    if y is None:
        raise ValueError(
            "y is missing: give race(X, y), a Dataset, a TorchTask or a data set's name"
        )
    return Dataset.from_arrays(X, y, name=name, kind=kind)


def _task(given: "Dataset | TorchTask", protocol: Protocol) -> Task:
    if isinstance(given, Dataset):
        assert protocol.l2 is not None
        return LinearTask(given, l2=protocol.l2, seed=protocol.seed)
    from thalweg.tasks.modules import ModuleTask  # noqa: PLC0415 - loads torch

    return ModuleTask(
        given, protocol.seed, batch_size=max(protocol.batch_sizes), repeats=protocol.repeats
    )


def _again(given: "Dataset | TorchTask", source: str | None, protocol: Protocol) -> str:
    """Return the command that races again."""
    if isinstance(given, Dataset):
        if named := words(given):
            return command(named, protocol)
        return call("X, y", protocol, kind=kind_word(given), name=given.name)
    return call("task", protocol) if source is None else command([source], protocol)


def _equation(rule: Rule) -> str:
    """Return the source of a rule, and those of its answer and of the rule inside of a wrapper."""
    try:
        parts = [rule.function, *filter(None, [rule.judged])]
        inside = [_equation(rule.inner)] if isinstance(rule, Wrapped) else []
        return "\n".join([*map(inspect.getsource, parts), *inside])
    except OSError as error:
        raise ValueError(
            f"the source of rule {rule.name!r} cannot be read; define it in a file or in a "
            "notebook cell"
        ) from error


def _terms(task: Task, protocol: Protocol, rules: Rules) -> Terms:
    sources = {name: _equation(rules[name]) for name in protocol.rules}
    hashes = {k: hashlib.sha256(v.encode()).hexdigest() for k, v in sources.items()}
    return Terms(SCHEMA, metadata.version("thalweg"), task.fingerprint(), hashes, protocol)


def _differences(begun: Terms, now: Terms) -> tuple[list[str], list[str]]:
    """Say how the terms of two races differ: what changed, and what is asked for."""
    data = "data" if begun.protocol.l2 is not None else "data, model or settings"
    words = {"schema": "schema", "version": "version", "data": data}
    changed = [
        f"{word} changed" for key, word in words.items() if getattr(begun, key) != getattr(now, key)
    ]
    old, new = begun.equations, now.equations
    changed += [f"rule {name} changed" for name in old if old[name] != new.get(name, old[name])]
    asked = [
        f"{key} {_listed(was)} instead of {_listed(getattr(now.protocol, key))}"
        for key, was in vars(begun.protocol).items()
        if key != "margin" and was != getattr(now.protocol, key)
    ]
    return changed, asked


def _listed(value: Any) -> str:  # noqa: ANN401 - a term
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
