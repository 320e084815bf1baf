"""Schedules as rates: parameter groups follow them step by step, and across checkpoints."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from thalweg.checks import NOT_NEGATIVE, number

__all__ = ["Schedule", "rate", "resume", "scheduled", "take"]

Schedule = Callable[[int], float]


def rate(schedule: Schedule, t: int) -> float:
    """Return the rate after t steps.

    Raises:
        TypeError: it is not a number, or the schedule takes no count of steps.
        ValueError: it is negative or not finite.
    """
    try:
        found = schedule(t)
    except TypeError as error:
        if _takes_one(schedule):
            raise
        raise TypeError(
            "a schedule as lr must be a function of the steps taken, such as lambda t: 0.1 / "
            f"(1 + t), got {schedule!r}"
        ) from error
    return number("lr", found, NOT_NEGATIVE)


def _takes_one(function: Schedule) -> bool:
    try:
        inspect.signature(function).bind(0)
    except TypeError:
        return False
    return True


def scheduled(schedule: Schedule, t: int = 0) -> dict[str, Any]:
    """Return the options of a group that has followed a schedule for t steps."""
    lr = _last(schedule, t)
    return {"lr": lr, "schedule": schedule, "schedule_step": t, "schedule_lr": lr}


def take(groups: Sequence[dict[str, Any]], step: Callable[[], bool]) -> None:
    """Take a step at the rates of the groups' schedules. A skipped step moves no schedule.

    Args:
        groups: those that have a schedule.
        step: takes the step; returns False if it was skipped.
    """
    coming = []
    for group in groups:
        schedule, t = group["schedule"], group["schedule_step"]
        # A rate of 0 means that nothing should move: torch makes a state in this way.
        if group["lr"] != 0 or _last(schedule, t) == 0:
            _check_own(group)
            coming.append((group, group["lr"], rate(schedule, t)))
    for group, _, new in coming:
        group["lr"] = group["schedule_lr"] = new
    taken = False
    try:
        taken = step()
    finally:
        for group, before, _ in coming:
            if taken:
                group["schedule_step"] += 1
            else:
                group["lr"] = group["schedule_lr"] = before


def _check_own(group: dict[str, Any]) -> None:
    """Warn if a scheduler of torch, or the training itself, sets the rate of a schedule, too.

    A scheduler leaves ``initial_lr`` in each group.
    """
    if "initial_lr" in group or group["lr"] != group["schedule_lr"]:
        warnings.warn(
            f"lr follows the schedule {group['schedule']!r}: what a scheduler of torch or your own "
            "code writes into the group's lr is not used; to let it, give lr a number",
            stacklevel=6,
        )


def resume(
    group: dict[str, Any], schedule: Schedule | None, state: Mapping[Tensor, dict[str, Any]]
) -> None:
    """Let a loaded group follow its old schedule, if it had one, from the loaded step on.

    Args:
        group: the loaded one.
        schedule: that the group followed before.
        state: of the optimizer. It has the count of steps.
    """
    t = group.pop("schedule_step", None)
    if schedule is None:
        return
    group.pop("initial_lr", None)  # of a scheduler that the checkpoint's training had
    if t is None:  # a checkpoint of torch's
        t = max((int(state[p].get("step", 0)) for p in group["params"] if p in state), default=0)
    group.update(scheduled(schedule, t))


def _last(schedule: Schedule, t: int) -> float:
    """Return the rate of the last of t steps; of the first one if t is 0."""
    return rate(schedule, max(t - 1, 0))
