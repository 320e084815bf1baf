"""Verdict: from a finished race to a winner, its ties and the files that say so."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from thalweg import files
from thalweg import rule as registry
from thalweg.racing.protocol import RERUNS, Protocol
from thalweg.racing.search import Found, finalists, second_round
from thalweg.racing.space import Space
from thalweg.racing.statistics import difference, epochs_to, median_interval, sensitivity
from thalweg.racing.store import FINAL, PHASES, Result, Store
from thalweg.racing.task import Target, Task
from thalweg.words import digits, listed

__all__ = ["Verdict", "conclude"]

_SCHEMA = 1  # of results.json; it changes when a name there changes its meaning
_TIES_NAMED = 3  # in the verdict's sentence; the table has them all


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a race found.

    Attributes:
        results: all of it, as in results.json: "winner", "ties", "sentence", "code", "target",
            "protocol", "data" and "rules", best first.
        directory: the folder of the race, None if it kept nothing.
    """

    results: Mapping[str, Any] = field(repr=False)
    directory: Path | None

    @property
    def winner(self) -> str:
        """Name of the rule with the lowest median test loss."""
        return str(self.results["winner"])

    @property
    def ties(self) -> tuple[str, ...]:
        """Names of the rules whose difference to the winner may be 0."""
        return tuple(self.results["ties"])

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        return str(self.results["sentence"])

    @property
    def code(self) -> Mapping[str, str]:
        """Lines to paste that train with the winner: "torch" and "thalweg"."""
        return dict(self.results["code"])

    def __str__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(row['rule'])}</td>"
            f"<td>{digits(row['test_loss']['median'], 4)}</td>"
            f"<td>{digits(row['test_score'], 4)}</td>"
            f"<td>{digits(row['epochs_to_target'])}</td></tr>"
            for row in self.results["rules"]
        )
        metric = html.escape(self.results["protocol"]["metric"])
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
) -> Verdict:
    """Judge a finished race; write results.json, curves.parquet and report.html into its folder.

    Args:
        task: what was trained.
        protocol: the terms.
        store: with every training finished.
        found: by each rule's search.
        command: that repeats the race.

    Raises:
        ValueError: no rule ended with a finite loss on at least half of the seeds.
    """
    target = task.target()
    entries = _rank(protocol, store, found, target)
    best = entries[0]
    if not math.isfinite(best["test_loss"]["median"]):
        raise ValueError(
            "no rule ended with a finite test loss on most seeds; look at curves of single rules "
            "with lower rates"
        )
    ties = [row["rule"] for row in entries if row["tie"]]
    results = _plain(
        {
            "schema": _SCHEMA,
            "version": metadata.version("thalweg"),
            "command": command,
            "seed": protocol.seed,
            "data": {**task.data, "split": task.parts},
            "protocol": _terms(task, protocol, store.counts()),
            "target": vars(target),
            "winner": best["rule"],
            "ties": ties,
            "sentence": _sentence(entries, ties, protocol.epochs),
            "code": task.code(
                registry.get(best["rule"]),
                best["hyper"],
                batch_size=best["batch_size"],
                epochs=protocol.epochs,
                schedule=best["schedule"],
            ),
            "rules": entries,
        }
    )
    if store.directory:
        _write(store, protocol, results)
    return Verdict(results, store.directory)


def _terms(task: Task, protocol: Protocol, counts: Mapping[str, int]) -> dict[str, Any]:
    trials = min(counts.values())
    return {
        **task.facts,
        "epochs": protocol.epochs,
        "trials": trials,
        "second_round": second_round(trials),
        "trials_per_rule": counts,  # they differ under a budget in time
        "seeds": protocol.seeds,
        "batch_sizes": protocol.batch_sizes,
        "budget": protocol.budget,
        "selection": (
            f"A trial's loss is its validation loss after the last of {protocol.epochs} epochs. "
            f"The {finalists(trials)} trials of the lowest loss are run again on {RERUNS} other "
            "seeds; the one whose median loss there is the lowest is chosen."
        ),
    }


def _rank(
    protocol: Protocol, store: Store, found: Mapping[str, Found], target: Target
) -> list[dict[str, Any]]:
    """Return the rules' rows, best first, each compared with the best."""
    counts = store.counts()
    finals = {name: store.of(name, FINAL) for name in protocol.rules}
    timings = store.timings()
    losses = {name: [r.test_loss for r in runs] for name, runs in finals.items()}
    rows = [
        {
            **_searched(name, store.of(name, "trial"), found[name], counts[name]),
            **_judged(finals[name], target, timings[name]),
        }
        for name in protocol.rules
    ]
    rows.sort(key=lambda row: row["test_loss"]["median"])
    winner = rows[0]["rule"]
    for row in rows:
        apart = difference(losses[row["rule"]], losses[winner])
        row["difference"] = vars(apart)
        row["tie"] = row["rule"] != winner and 0 in apart
    return rows


def _searched(name: str, trials: Sequence[Result], found: Found, spread: int) -> dict[str, Any]:
    """Return what a rule's trials say."""
    best = trials[found.number]
    losses = [result.loss for result in trials]
    rates = [result.trial.hyper.get("lr", np.nan) for result in trials]
    measured = sensitivity(
        losses, [result.diverged for result in trials], rates, found.number, spread
    )
    return {
        "rule": name,
        "source": registry.get(name).source,
        "hyper": best.trial.hyper,
        "batch_size": best.trial.batch_size,
        "schedule": best.trial.schedule,
        "val_loss": found.loss,
        "sensitivity": {
            "within_5_percent": measured.within_5_percent,
            "good_lr": measured.good_lr,
            "good_lr_decades": measured.good_lr_decades,
        },
        "diverged": measured.diverged,
        "trials": len(trials),
        "widened": found.widened,
        "space": _intervals(found.space),
        "defaults": {"hyper": trials[0].trial.hyper, "val_loss": trials[0].loss},
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
    """Say who won, with what, who ties, and what SGD (else Adam, else the last) would cost."""
    best = entries[0]
    rate = f", lr {best['hyper']['lr']:g}" if "lr" in best["hyper"] else ""
    parts = [f"{best['rule']}{rate}, batch {best['batch_size']}"]
    if ties:
        parts.append(f"tied with {listed(ties, _TIES_NAMED)}")
    others = {row["rule"]: row for row in entries[1:]}
    other = others.get("sgd") or others.get("adam") or entries[-1]
    if best["epochs_to_target"] is None:
        parts.append(f"it does not reach the target in {epochs} epochs")
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


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the value as JSON has it: a number that is not finite is null."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(store: Store, protocol: Protocol, results: Mapping[str, Any]) -> None:
    from thalweg import report  # noqa: PLC0415 - loads matplotlib

    assert store.directory
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
    files.write(store.directory / "results.json", text.encode())
    buffer = pa.BufferOutputStream()
    parquet.write_table(_curves(store, protocol), buffer)
    files.write(store.directory / "curves.parquet", buffer.getvalue().to_pybytes())
    report.write(store.directory)


def _curves(store: Store, protocol: Protocol) -> pa.Table:
    """Return every training's curve, a row per epoch."""
    results = [r for name in protocol.rules for p in PHASES for r in store.of(name, p)]
    points = protocol.epochs + 1

    def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(np.repeat(values, points), kind)

    return pa.table(
        {
            "rule": column([r.trial.rule for r in results], pa.string()),
            "phase": column([r.trial.phase for r in results], pa.string()),
            "trial": column([r.trial.number for r in results], pa.int32()),
            "seed": column([r.trial.seed for r in results], pa.int32()),
            "batch_size": column([r.trial.batch_size for r in results], pa.int32()),
            "lr": column([r.trial.hyper.get("lr", np.nan) for r in results], pa.float64()),
            "epoch": pa.array(np.tile(np.arange(points), len(results)), pa.int32()),
            "train_loss": np.concatenate([r.train_loss for r in results]),
            "validation_loss": np.concatenate([r.validation_loss for r in results]),
            "diverged_at": column([r.diverged_at for r in results], pa.int64()),
        }
    )
