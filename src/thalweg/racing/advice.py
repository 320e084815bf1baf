"""Advice: which rule at which budget, and which batch size."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.racing.search import Found
from thalweg.racing.statistics import epochs_to
from thalweg.racing.trial import Result
from thalweg.tasks.task import Target, Task
from thalweg.words import duration, listed, memory

__all__ = ["batch_sizes", "by_budget"]

_BUDGETS = (1, 4, 16, 64)  # numbers of trials: from the defaults alone to a whole race
_WASTE = 1.1  # up to so many times the least time or the fewest epochs counts as equal


def by_budget(trials: Mapping[str, Sequence[Sequence[Result]]], most: int) -> list[dict[str, Any]]:
    """Return which rule is best after a few trials and after many, by its lowest validation loss.

    Args:
        trials: of each rule and repeat, in order: the defaults first, then trials that spread
            evenly over the space.
        most: how many of them belong to the first round.

    Returns:
        For 1, 4, 16, 64 and ``most`` trials, as far as there are so many: "trials"; "val_loss" of
            each rule, the median over repeats; and "best", None if no rule has a finite loss.
    """
    found = []
    for count in sorted({k for k in _BUDGETS if k < most} | {most}):
        losses = {
            rule: float(np.median([min(r.loss for r in results[:count]) for results in repeats]))
            for rule, repeats in trials.items()
        }
        best = min(losses, key=losses.__getitem__)
        known = best if math.isfinite(losses[best]) else None
        found.append({"trials": count, "best": known, "val_loss": losses})
    return found


def batch_sizes(
    task: Task, row: Mapping[str, Any], found: Found, reruns: Sequence[Result], target: Target
) -> dict[str, Any]:
    """Compare the batch sizes, each at the best setting that the winner's search found for it.

    The prediction is that of McCandlish et al. 2018, section 2.3. To reach a given loss, batches of
    B need (1 + B / B_noise) times as many examples as the smallest batches, where B_noise is
    the gradient noise scale.

    Args:
        task: measures the cost of a step at each batch size.
        row: the winner's, of the results.
        found: by its search.
        reruns: of its best trials, by number.
        target: of the race.

    Returns:
        "rows" by batch size, "noise_scale" in examples (NaN if it cannot be told) and "advice".
    """
    numbers = list(found.again)
    settings = [result.trial for result in reruns[: len(numbers)]]
    best: dict[int, int] = {}  # by batch size: the index of its best among those run again
    for i in sorted(range(len(numbers)), key=lambda i: found.again[numbers[i]]):
        best.setdefault(settings[i].batch_size, i)
    costs = {size: task.measure(size) for size in sorted(best)}
    noise = float(next(iter(costs.values()))["noise_scale"])
    epoch = {size: task.steps(size) * cost["seconds_per_step"] for size, cost in costs.items()}
    rows = []
    for size, cost in costs.items():
        trial = settings[best[size]]
        curves = [result.validation_loss for result in reruns[best[size] :: len(numbers)]]
        epochs = epochs_to(target.validation_loss, np.column_stack(curves))
        # A step of Adam was measured; the winner's own epoch tells how much longer its steps take.
        seconds = row["seconds_per_epoch"] * epoch[size] / epoch[row["batch_size"]]
        rows.append(
            {
                "batch_size": size,
                "hyper": trial.hyper,
                "schedule": trial.schedule,
                "val_loss": found.again[numbers[best[size]]],
                "epochs_to_target": epochs,
                "seconds_per_epoch": seconds,
                "seconds_to_target": None if epochs is None else epochs * seconds,
                "bytes": cost["bytes"],
            }
        )
    _predict(rows, noise)
    return {"rows": rows, "noise_scale": noise, "advice": _advice(rows)}


def _predict(rows: Sequence[dict[str, Any]], noise: float) -> None:
    """Add the epochs that the noise scale predicts from those of the smallest batch size."""
    first = next((row for row in rows if row["epochs_to_target"]), None)
    for row in rows:
        row["predicted_epochs"] = None
        if first is not None and noise > 0:
            more = (1 + row["batch_size"] / noise) / (1 + first["batch_size"] / noise)
            row["predicted_epochs"] = first["epochs_to_target"] * more


def _advice(rows: Sequence[Mapping[str, Any]]) -> str:
    came = [row for row in rows if row["epochs_to_target"] is not None]
    if not came:
        return "In one repeat, no batch size reaches the target."

    def called(row: Mapping[str, Any]) -> str:
        epochs = row["epochs_to_target"]
        return (
            f"{duration(row['seconds_to_target'])}, {epochs} epoch{'s' * (epochs != 1)}, "
            f"{memory(row['bytes'])}"
        )

    first = min(came, key=lambda row: row["seconds_to_target"])
    said = f"In one repeat, batch {first['batch_size']} reaches the target first ({called(first)})."
    enough = _WASTE * first["seconds_to_target"]
    others = [row for row in came if row is not first and row["seconds_to_target"] <= enough]
    if others:
        sizes = listed([str(row["batch_size"]) for row in others], 4)
        said = said.replace("first (", "as soon as any (")
        said += f" {sizes} {'takes' if len(others) == 1 else 'take'} about as long."
    least = min(row["epochs_to_target"] for row in came)
    frugal = max(
        (row for row in came if row["epochs_to_target"] <= _WASTE * least),
        key=lambda row: row["batch_size"],
    )
    if frugal is not first:
        said += (
            f" {frugal['batch_size']} is the largest that needs at most 10 % more epochs than the "
            f"fewest ({called(frugal)})."
        )
    return said
