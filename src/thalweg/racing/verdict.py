"""Verdict: from a finished race to a winner, its ties and the files that say so."""

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
from thalweg.racing import export
from thalweg.racing.advice import batch_sizes, by_budget
from thalweg.racing.protocol import RERUNS, Protocol, Rules
from thalweg.racing.search import Found, finalists, second_round
from thalweg.racing.space import Space
from thalweg.racing.statistics import (
    Interval,
    difference,
    epochs_to,
    median_interval,
    sensitivity,
)
from thalweg.racing.store import Store
from thalweg.racing.trial import FINAL, PHASES, RERUN, Result
from thalweg.report import curves
from thalweg.report.record import SCHEMA, Record
from thalweg.rule import Rule
from thalweg.tasks.schedule import CONSTANT, factor
from thalweg.tasks.snippets import torch_class
from thalweg.tasks.task import Target, Task
from thalweg.words import digits, listed

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.optimizer import ParamsT

__all__ = ["Verdict", "conclude"]

_NAMED = 3  # at most, or one more, of a kind in the verdict's sentence; the table has them all


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a race found.

    Attributes:
        record: all of it, typed.
        directory: the folder of the race, None if it kept nothing.
        rules: that were raced, by name.
    """

    record: Record = field(repr=False)
    directory: Path | None
    rules: Mapping[str, Rule] = field(default_factory=Rules, repr=False)

    @property
    def results(self) -> Mapping[str, Any]:
        """All of it, as in results.json."""
        return self.record.plain()

    @property
    def winner(self) -> str:
        """Name of the rule with the lowest median test loss."""
        return self.record.winner

    @property
    def ties(self) -> tuple[str, ...]:
        """Names of the rules whose difference to the winner may be 0."""
        return self.record.ties

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        return self.record.sentence

    @property
    def code(self) -> Mapping[str, str]:
        """Lines to paste that train with the winner: "torch" and "thalweg"."""
        return dict(self.record.code)

    def best_optimizer(self, params: "ParamsT") -> "tuple[Optimizer, LRScheduler | None]":
        """Return the winner's optimizer with its hyperparameters, and its scheduler.

        They are those that the race trained with; a penalty or clipping that the task has is not
        part of them. Call the scheduler's ``step()`` after each of the optimizer's.

        Args:
            params: parameters of a torch model.

        Returns:
            The class of ``thalweg.optim`` that is torch's of that rule, else ``optim.Descent``; and
            the scheduler, None for a constant rate.

        Raises:
            ModuleNotFoundError: PyTorch is not installed.

        Example:
            >>> import torch, thalweg
            >>> found = thalweg.race("iris", rules=["adam", "sgd"], epochs=2, trials=4, seeds=2)
            >>> optimizer, scheduler = found.best_optimizer(torch.nn.Linear(4, 3).parameters())
            >>> optimizer.param_groups[0]["lr"] == found.results["rules"][0]["hyper"]["lr"]
            True
        """
        from thalweg import optim  # noqa: PLC0415 - needs torch, which nothing else here does

        best = self.record.rules[0]
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

    def __str__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(row.rule)}</td>"
            f"<td>{digits(row.test_loss.median, 4)}</td>"
            f"<td>{digits(row.test_score, 4)}</td>"
            f"<td>{digits(row.epochs_to_target)}</td></tr>"
            for row in self.record.rules
        )
        metric = html.escape(self.record.protocol.metric)
        return (
            f"<p><b>{html.escape(self.sentence)}</b></p><table><tr><th>rule</th><th>test loss</th>"
            f"<th>{metric}</th><th>epochs to target</th></tr>{rows}</table>"
            f"<pre>{html.escape(self.code['torch'])}</pre>"
        )


def conclude(
    task: Task,
    protocol: Protocol,
    store: Store,
    found: Mapping[str, Found],
    command: str,
    *,
    rules: Mapping[str, Rule] | None = None,
) -> Verdict:
    """Judge a finished race; write results.json, curves.parquet and report.html into its folder.

    Args:
        task: what was trained.
        protocol: the terms.
        store: with every training finished.
        found: by each rule's search.
        command: that repeats the race.
        rules: that were raced, by name; by default the registered ones.

    Raises:
        ValueError: no rule ended with a finite loss on more than half of the seeds.
    """
    named, target = Rules(rules or {}), task.target()
    entries = _rank(task, protocol, store, found, target)
    for row in entries:
        row["source"] = named[row["rule"]].source
    best = entries[0]
    if store.directory:
        kept = [r for name in protocol.rules for p in PHASES for r in store.of(name, p)]
        curves.write(store.directory, export.curves(kept))
    if not math.isfinite(best["test_loss"]["median"]):
        where = ""
        if store.directory:
            shown = shlex.join(["thalweg", "results", str(store.directory), "--csv"])
            where = f" ({shown} prints them)"
        raise ValueError(
            "no rule ended with a finite test loss on most seeds; look at the losses of all epochs"
            f"{where}, and race with lower rates"
        )
    trials = {name: store.of(name, "trial") for name in protocol.rules}
    counts, name = store.counts(), best["rule"]
    reruns = store.of(name, RERUN)
    several = len(protocol.batch_sizes) > 1
    record = Record.of(
        {
            "schema": SCHEMA,
            "version": metadata.version("thalweg"),
            "command": command,
            "seed": protocol.seed,
            "data": {**task.data, "split": task.parts},
            "protocol": _terms(task, protocol, counts),
            "target": vars(target),
            **_decision(task, protocol, named[name], entries),
            # A trial on a lower rung is no full one, and they cannot be compared.
            "by_budget": [] if protocol.halving else by_budget(trials, min(counts.values())),
            "batch_sizes": batch_sizes(task, best, found[name], reruns, target)
            if several
            else None,
            "rules": entries,
        }
    )
    if store.directory:
        files.write(store.directory / "results.json", record.text())
        report.write(store.directory)
    return Verdict(record, store.directory, named)


def _decision(
    task: Task, protocol: Protocol, rule: Rule, entries: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return who won, who ties, the sentence that says so, and code that trains with the winner."""
    best = entries[0]
    ties = [row["rule"] for row in entries if row["tie"]]
    code = task.code(
        rule,
        best["hyper"],
        batch_size=best["batch_size"],
        epochs=protocol.epochs,
        schedule=best["schedule"],
    )
    sentence = _sentence(entries, ties, protocol.epochs)
    return {"winner": best["rule"], "ties": ties, "sentence": sentence, "code": code}


def _terms(task: Task, protocol: Protocol, counts: Mapping[str, int]) -> dict[str, Any]:
    trials, most = min(counts.values()), max(counts.values())
    rerun = [str(finalists(count, protocol.rungs)) for count in (trials, most)]
    return {
        **task.facts,
        "epochs": protocol.epochs,
        "trials": trials,
        "second_round": second_round(trials),
        "trials_per_rule": counts,  # they differ under a budget in time
        "seeds": protocol.seeds,
        "batch_sizes": protocol.batch_sizes,
        "schedules": task.schedules,
        "budget": protocol.budget,
        "halving": protocol.halving,
        "selection": (
            f"A trial's loss is its validation loss after the last of {protocol.epochs} epochs. "
            f"{' to '.join(dict.fromkeys(rerun))} trials are run again on {RERUNS} other seeds: "
            "the defaults, the best of each batch size, and the best of all others; the one whose "
            "median loss there is the lowest is chosen."
        ),
    }


def _rank(
    task: Task, protocol: Protocol, store: Store, found: Mapping[str, Found], target: Target
) -> list[dict[str, Any]]:
    """Return the rules' rows, best first, each compared with the best."""
    counts = store.counts()
    finals = {name: store.of(name, FINAL) for name in protocol.rules}
    timings = store.timings()
    losses = {name: [r.test_loss for r in runs] for name, runs in finals.items()}
    rows = [
        {
            **_searched(store.of(name, "trial"), found[name], counts[name], protocol),
            **_judged(finals[name], target, timings[name]),
        }
        for name in protocol.rules
    ]
    rows.sort(key=lambda row: row["test_loss"]["median"])
    for row in rows:
        first = row is rows[0]
        name, winner = row["rule"], rows[0]["rule"]
        apart = Interval(0.0, 0.0, 0.0)
        if not first:
            apart = difference(losses[name], losses[winner], len(rows))
        row["difference"] = vars(apart)
        row["steps"] = protocol.epochs * task.steps(row["batch_size"])
        row["tie"] = not first and 0 in apart
    return rows


def _searched(
    trials: Sequence[Result], found: Found, spread: int, protocol: Protocol
) -> dict[str, Any]:
    """Return what a rule's trials say."""
    best = trials[found.number].trial
    full = [result.trial.epochs == protocol.epochs for result in trials]
    measured = sensitivity(
        [r.loss if ended else np.inf for r, ended in zip(trials, full, strict=True)],
        [result.diverged for result in trials],
        [result.trial.hyper.get("lr", np.nan) for result in trials],
        found.number,
        spread,
    )
    untuned = found.again[found.defaults]
    return {
        "rule": best.rule,
        "hyper": best.hyper,
        "batch_size": best.batch_size,
        "schedule": best.schedule,
        "val_loss": found.loss,
        "sensitivity": {
            "within_5_percent": measured.within_5_percent if all(full) else None,
            "good_lr": measured.good_lr,
            "good_lr_decades": measured.good_lr_decades,
        },
        "diverged": measured.diverged,
        "trials": len(trials),
        "widened": found.widened,
        "space": _intervals(found.space),
        "defaults": {
            "hyper": trials[found.defaults].trial.hyper,
            "val_loss": untuned,
            "excess": (untuned - found.loss) / abs(found.loss) if found.loss else math.nan,
        },
    }


def _intervals(space: Space) -> dict[str, tuple[float, float, str]]:
    return {d.name: (d.low, d.high, d.scale) for d in space.dimensions}


def _judged(finals: Sequence[Result], target: Target, seconds_per_epoch: float) -> dict[str, Any]:
    """Return what a rule's fresh seeds say."""
    curves = np.column_stack([result.validation_loss for result in finals])
    epochs = epochs_to(target.validation_loss, curves)
    scores = [result.test_score for result in finals]
    return {
        "test_loss": vars(median_interval([result.test_loss for result in finals])),
        "test_score": float(np.median(np.nan_to_num(scores, nan=-np.inf))),
        "epochs_to_target": epochs,
        "seconds_to_target": None if epochs is None else epochs * seconds_per_epoch,
        "seconds_per_epoch": seconds_per_epoch,
    }


def _sentence(entries: Sequence[Mapping[str, Any]], ties: Sequence[str], epochs: int) -> str:
    """Say who won, with what, who ties, and what SGD (else Adam, else the last) would cost.

    Where the winner does not reach the target, say who does.
    """
    best = entries[0]
    rate = f", lr {best['hyper']['lr']:g}" if "lr" in best["hyper"] else ""
    schedule = f", {best['schedule']}" if best["schedule"] != CONSTANT else ""
    parts = [f"{best['rule']}{rate}{schedule}, batch {best['batch_size']}"]
    if ties:
        parts.append(f"tied with {listed(ties, _NAMED)}")
    others = {row["rule"]: row for row in entries[1:]}
    other = others.get("sgd") or others.get("adam") or entries[-1]
    if best["epochs_to_target"] is None:
        arrived = [row["rule"] for row in entries if row["epochs_to_target"] is not None]
        others_do = f", {listed(arrived, _NAMED)} {'does' if len(arrived) == 1 else 'do'}"
        said = f"{best['rule']} does not reach the target in {epochs} epochs"
        parts.append(said + others_do if arrived else said)
    elif other is not best and other["epochs_to_target"] is None:
        parts.append(f"{other['rule']} does not reach the target in {epochs} epochs")
    elif other is not best and best["epochs_to_target"] > 0:
        parts.append(_compared(other["rule"], other["epochs_to_target"], best["epochs_to_target"]))
    return "; ".join(parts)


def _compared(rule: str, epochs: int, least: int) -> str:
    """Say how many epochs a rule takes to the target, against the winner's."""
    times = f"{digits(epochs / least, 2)}× the epochs"
    if epochs > least:
        return f"{rule} needs {times}"
    if epochs == least:
        return f"{rule} reaches the target in as many epochs"
    return f"{rule} reaches the target in {times}"
