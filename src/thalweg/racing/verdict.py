"""Verdict: which rule to take, which others are as good, and the files that say so."""

import html
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from thalweg import files, report
from thalweg.kind import MATRICES
from thalweg.racing import export
from thalweg.racing.advice import batch_sizes, by_budget
from thalweg.racing.comparison import HUGE, STATES, Comparison, compare
from thalweg.racing.protocol import RERUNS, Protocol, Rules
from thalweg.racing.run import Course, recommended
from thalweg.racing.search import Found, finalists, second_round
from thalweg.racing.sentence import decide, sentence
from thalweg.racing.statistics import Sensitivity, epochs_to, middle, sensitivity
from thalweg.racing.store import Store
from thalweg.racing.trial import FINAL, PHASES, RERUN, Result
from thalweg.report import curves
from thalweg.report.record import SCHEMA, Interval, Record
from thalweg.rule import Rule
from thalweg.tasks.schedule import CONSTANT, factor
from thalweg.tasks.snippets import torch_class
from thalweg.tasks.task import Target, Task
from thalweg.words import digits, worse

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.optimizer import ParamsT

__all__ = ["Verdict", "conclude"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a race found.

    Attributes:
        record: everything, in typed fields.
        directory: the folder of the race; None if it has none.
        rules: the rules that were raced, by name.
    """

    record: Record = field(repr=False)
    directory: Path | None
    rules: Mapping[str, Rule] = field(default_factory=Rules, repr=False)

    @property
    def results(self) -> Mapping[str, Any]:
        """Everything, as in results.json."""
        return self.record.plain()

    @property
    def winner(self) -> str:
        """Name of the rule with the lowest typical test loss."""
        return self.record.winner

    @property
    def take(self) -> str:
        """Name of the rule to take: a familiar one if it costs hardly more, else the winner."""
        return self.record.take

    @property
    def could_be_best(self) -> tuple[str, ...]:
        """Names of the rules that may be the best; one of them is, with 95 % confidence."""
        return tuple(row.rule for row in self.record.rules if row.could_be_best)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        return self.record.sentence

    @property
    def code(self) -> Mapping[str, str]:
        """Lines to paste that train with the rule to take: "torch" and "thalweg".

        A race of a table has lines for "scikit-learn" too.
        """
        return dict(self.record.code)

    def best_optimizer(self, params: "ParamsT") -> "tuple[Optimizer, LRScheduler | None]":
        """Return the optimizer to take, with its hyperparameters, and its scheduler.

        They are those that the race trained with. They do not include a penalty or clipping of the
        task. Call the scheduler's ``step()`` after each of the optimizer's.

        Args:
            params: parameters of a torch model.

        Returns:
            The optimizer: of torch's class for that rule, as ``thalweg.optim`` has it, or
            ``optim.Descent``. And the scheduler; None for a constant rate.

        Raises:
            ModuleNotFoundError: PyTorch is not installed.

        Example:
            >>> import torch, thalweg
            >>> found = thalweg.race("iris", rules=["adam", "sgd"], epochs=2, trials=4, seeds=2)
            >>> optimizer, scheduler = found.best_optimizer(torch.nn.Linear(4, 3).parameters())
            >>> found.take in found.could_be_best, scheduler
            (True, None)
        """
        from thalweg import optim  # noqa: PLC0415 - needs torch, which nothing else here does

        best = self.record.row(self.take)
        rule, hyper = self.rules[best.rule], cast("dict[str, Any]", best.hyper)
        if known := torch_class(rule, hyper):
            name, keywords = known
            optimizer = getattr(optim, name)(params, **keywords)
        else:
            optimizer = optim.Descent(params, rule, **hyper)
        if best.schedule == CONSTANT:
            return optimizer, None
        from torch.optim.lr_scheduler import LambdaLR  # noqa: PLC0415

        return optimizer, LambdaLR(optimizer, factor(best.schedule, best.steps))

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas table with one row for each rule."""
        import pandas as pd  # noqa: PLC0415 - takes a second to load

        rows = [
            {
                "rule": row.rule,
                "state": row.state,
                "test_loss": row.test_loss.typical,
                "test_loss_low": row.test_loss.low,
                "test_loss_high": row.test_loss.high,
                "price_low": row.price.low,
                "price_high": row.price.high,
                "could_be_best": row.could_be_best,
                "probability": row.probability,
                "test_score": row.test_score,
                "epochs_to_target": row.epochs_to_target,
                "seconds_per_epoch": row.seconds_per_epoch,
                "batch_size": row.batch_size,
                "schedule": row.schedule,
                **row.hyper,
            }
            for row in self.record.rules
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        return report.text(self.record)

    def __repr__(self) -> str:
        return f"Verdict(take={self.take!r}, of {len(self.record.rules)} rules)"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(row.rule)}</td><td>{row.state}</td>"
            f"<td>{'–' if row.lost else worse(row.price.low, row.price.high)}</td>"
            f"<td>{'diverged' if row.lost else _interval(row.test_loss)}</td>"
            f"<td>{digits(row.test_score, 4)}</td>"
            f"<td>{digits(row.epochs_to_target)}</td></tr>"
            for row in self.record.rules
        )
        metric = html.escape(self.record.protocol.metric)
        return (
            f"<p><b>{html.escape(self.sentence)}</b></p><table><tr><th>rule</th>"
            f"<th>state</th><th>worse by</th><th>test loss</th><th>{metric}</th>"
            f"<th>epochs to target</th></tr>{rows}</table>"
            f"<pre>{html.escape(self.code['torch'])}</pre>"
        )


def _interval(of: Interval) -> str:
    ends = f"{digits(of.low, 3)} to {digits(of.high, 3)}" if of.known else "not known"
    return f"{digits(of.typical, 3)} ({ends})"


def conclude(course: Course, command: str) -> Verdict:
    """Judge a finished race; write results.json, curves.parquet and report.html into its folder.

    Args:
        course: the race that has run.
        command: the command that repeats the race.

    Raises:
        ValueError: no rule ended with a finite loss in any repeat.
    """
    task, protocol, store = course.task, course.protocol, course.store
    if store.directory:
        kept = [r for name in protocol.rules for p in PHASES for r in store.of(name, p)]
        curves.write(store.directory, export.curves(kept))
    losses = _losses(protocol, store)
    if not (np.abs(losses) < HUGE).any():
        where = ""
        if store.directory:
            shown = shlex.join(["thalweg", "results", str(store.directory), "--csv"])
            where = f" ({shown} prints them)"
        raise ValueError(
            "no rule ended with a finite test loss; look at the losses of all epochs"
            f"{where}, and race with lower rates"
        )
    constant = float(np.mean([target.constant for target in course.targets]))
    judged = task.parts["test"] // (1 if task.drawn else protocol.repeats)  # rows of each repeat
    compared = compare(losses, rows=max(1, judged), constant=constant)
    rows = _rows(course, compared)
    winner = protocol.rules[compared.winner]
    take = decide(rows, winner, protocol.margin)
    best = next(row for row in rows if row["rule"] == take)
    counts = store.counts()
    record = Record.of(
        {
            "schema": SCHEMA,
            "version": metadata.version("thalweg"),
            "command": command,
            "seed": protocol.seed,
            "data": {**task.data, "split": task.parts, "drawn": task.drawn},
            "protocol": _terms(course, protocol, counts),
            "target": vars(course.targets[0]),
            "winner": winner,
            "take": take,
            "margin": protocol.margin,
            "sentence": sentence(rows, take, protocol.margin),
            "code": _code(task, protocol, course.rules[take], best),
            "by_budget": _by_budget(protocol, store),
            "batch_sizes": _batch_sizes(course, best),
            "rules": rows,
        }
    )
    if store.directory:
        files.write(store.directory / "results.json", record.text())
        report.write(store.directory)
    return Verdict(record, store.directory, Rules(course.rules))


def _losses(protocol: Protocol, store: Store) -> "NDArray[np.float64]":
    """Return each rule's mean test loss in each repeat, (rules, repeats)."""
    repeats = range(protocol.repeats)
    every = [
        [_mean([result.test_loss for result in store.of(name, FINAL, k)]) for k in repeats]
        for name in protocol.rules
    ]
    return np.asarray(every, dtype=np.float64)


def _mean(values: Sequence[float]) -> float:
    with np.errstate(over="ignore"):  # of trainings that all but diverged
        return float(np.mean(values))


def _code(task: Task, protocol: Protocol, rule: Rule, row: Mapping[str, Any]) -> dict[str, str]:
    return task.code(
        rule,
        row["hyper"],
        batch_size=row["batch_size"],
        epochs=protocol.epochs,
        schedule=row["schedule"],
    )


def _by_budget(protocol: Protocol, store: Store) -> list[dict[str, Any]]:
    if protocol.halving:  # trials on lower rungs are shorter, and cannot be compared
        return []
    trials = {
        name: [store.of(name, "trial", k) for k in range(protocol.repeats)]
        for name in protocol.rules
    }
    return by_budget(trials, min(store.counts().values()))


def _batch_sizes(course: Course, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Compare the batch sizes in the repeat that found the setting to take."""
    if len(course.protocol.batch_sizes) == 1:
        return None
    found = course.found[row["rule"]]
    point = recommended(found)
    repeat = next(k for k, one in enumerate(found) if one.point == point)
    reruns = course.store.of(row["rule"], RERUN, repeat)
    return batch_sizes(course.task, row, found[repeat], reruns, course.targets[repeat])


def _terms(course: Course, protocol: Protocol, counts: Mapping[str, int]) -> dict[str, Any]:
    facts = dict(course.task.facts)
    hidden = facts.pop("hidden", None)
    matrices = [name for name in protocol.rules if course.rules[name].kind == MATRICES]
    if hidden and matrices:
        facts["roles"] = f"{', '.join(matrices)}: {hidden}, adamw the rest"
    trials, most = min(counts.values()), max(counts.values())
    rerun = [str(finalists(count, protocol.rungs)) for count in (trials, most)]
    return {
        **facts,
        "epochs": protocol.epochs,
        "trials": trials,
        "second_round": second_round(trials),
        "trials_per_rule": counts,  # they differ under a budget in time
        "repeats": protocol.repeats,
        "seeds": protocol.seeds,
        "batch_sizes": protocol.batch_sizes,
        "schedules": course.task.schedules,
        "budget": protocol.budget,
        "halving": protocol.halving,
        "selection": (
            f"A trial's loss is its validation loss after the last of {protocol.epochs} epochs. "
            f"{' to '.join(dict.fromkeys(rerun))} trials are run again on {RERUNS} other seeds: "
            "the defaults, the best of each batch size, and the best of all others. The one whose "
            "median loss there is the lowest is chosen."
            + "".join(map(_asking, (course.rules[name] for name in protocol.rules)))
        ),
    }


def _asking(rule: Rule) -> str:
    """Return a sentence on what a rule's epochs are, if it takes more than one gradient a step."""
    if not rule.inputs:
        return ""
    return f" {rule.name} takes {rule.gradients:g} gradients a step, and so fewer steps an epoch."


def _rows(course: Course, compared: Comparison) -> list[dict[str, Any]]:
    """Return the rows of the rules: first as good as the best, then undecided, then worse."""
    protocol, store = course.protocol, course.store
    states, needed = compared.states(protocol.margin), compared.repeats_needed(protocol.margin)
    rows = []
    for index, name in enumerate(protocol.rules):
        row = {
            "source": course.rules[name].source,
            **_searched(name, store, course.found[name], protocol),
            **_judged(name, store, course.targets, protocol),
            "test_loss": {
                "typical": compared.loss[index],
                "low": compared.loss_low[index],
                "high": compared.loss_high[index],
            },
            "price": {
                "typical": compared.price[index],
                "low": compared.low[index],
                "high": compared.high[index],
            },
            "state": states[index],
            "could_be_best": bool(compared.could_be_best[index]),
            "probability": compared.probability[index],
            "repeats_needed": needed[index],
        }
        row["steps"] = protocol.epochs * course.task.steps(row["batch_size"], course.rules[name])
        rows.append(row)
    rows.sort(key=lambda row: (STATES.index(row["state"]), row["test_loss"]["typical"]))
    return rows


def _searched(
    name: str, store: Store, found: Sequence[Found], protocol: Protocol
) -> dict[str, Any]:
    """Return what the trials of a rule show: the median over repeats."""
    point, counts = recommended(found), store.counts()
    every = [store.of(name, "trial", k) for k in range(protocol.repeats)]
    measured = [
        _sensitivity(trials, one.number, counts[name], protocol)
        for trials, one in zip(every, found, strict=True)
    ]
    good = [one.good_lr for one in measured if one.good_lr]
    whole = not protocol.halving
    untuned = [one.again[one.defaults] for one in found]
    excess = [
        (loss - one.loss) / abs(one.loss) if one.loss else math.nan
        for loss, one in zip(untuned, found, strict=True)
    ]
    widened = [f"in repeat {k + 1}, {said}" for k, one in enumerate(found) for said in one.widened]
    widest = max(found, key=lambda one: len(one.widened)).space
    defaults = every[0][found[0].defaults].trial.hyper
    return {
        "rule": name,
        "hyper": point.hyper,
        "batch_size": point.batch_size,
        "schedule": point.schedule,
        "val_loss": _median([one.loss for one in found]),
        "sensitivity": {
            "within_5_percent": _median([m.within_5_percent for m in measured]) if whole else None,
            "good_lr": tuple(np.exp(np.median(np.log(good), axis=0)).tolist()) if good else None,
            "good_lr_decades": _median([one.good_lr_decades for one in measured]),
        },
        "diverged": float(np.mean([one.diverged for one in measured])),
        "trials": sum(map(len, every)),
        "widened": widened,
        "space": {d.name: (d.low, d.high, d.scale) for d in widest.dimensions},
        "defaults": {"hyper": defaults, "val_loss": _median(untuned), "excess": _median(excess)},
    }


def _sensitivity(
    trials: Sequence[Result], chosen: int, spread: int, protocol: Protocol
) -> Sensitivity:
    full = [result.trial.epochs == protocol.epochs for result in trials]
    return sensitivity(
        [r.loss if ended else np.inf for r, ended in zip(trials, full, strict=True)],
        [result.diverged for result in trials],
        [result.trial.hyper.get("lr", np.nan) for result in trials],
        chosen,
        spread,
    )


def _median(values: Sequence[float]) -> float:
    with np.errstate(over="ignore"):  # of trainings that all but diverged
        return float(np.median(np.where(np.isnan(values), np.inf, values)))


def _judged(
    name: str, store: Store, targets: Sequence[Target], protocol: Protocol
) -> dict[str, Any]:
    """Return what the finals of a rule show."""
    epochs = middle(
        [
            epochs_to(
                target.validation_loss,
                np.column_stack([result.validation_loss for result in store.of(name, FINAL, k)]),
            )
            for k, target in enumerate(targets)
        ]
    )
    seconds = store.timings()[name]
    least = min(seconds)
    finals = [store.of(name, FINAL, k) for k in range(protocol.repeats)]
    scores = [_mean([result.test_score for result in own]) for own in finals]
    return {
        "test_losses": [_mean([result.test_loss for result in own]) for own in finals],
        "test_score": float(np.median(np.nan_to_num(scores, nan=-np.inf))),
        "test_scores": scores,
        "epochs_to_target": epochs,
        "seconds_to_target": None if epochs is None else epochs * least,
        "seconds_per_epoch": least,
        "seconds_spread": max(seconds) / least - 1,
    }
