"""Rates that schedules give: what a parameter group follows, step by step and over checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from thalweg.checks import NOT_NEGATIVE, number

__all__ = ["Schedule", "rate", "resume", "scheduled", "take"]

Schedule = Callable[[int], float]


def rate(schedule: Schedule, t: int) -> float:
    """Return the rate after t steps.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative or not finite.
    """
    return number("lr", schedule(t), NOT_NEGATIVE)


def scheduled(schedule: Schedule, t: int = 0) -> dict[str, Any]:
    """Return the options of a group that has followed a schedule for t steps."""
    return {"lr": _last(schedule, t), "schedule": schedule, "schedule_step": t}


def take(groups: Sequence[dict[str, Any]], step: Callable[[], bool]) -> None:
    """Take a step at the rates of the groups' schedules; one that is not taken moves none.

    Args:
        groups: those that have a schedule.
        step: takes it, and returns False where it did not.
    """
    coming = []
    for group in groups:
        schedule, t = group["schedule"], group["schedule_step"]
        # Who sets a rate to 0 wants nothing to move: torch does so to make a state.
        if group["lr"] != 0 or _last(schedule, t) == 0:
            coming.append((group, group["lr"], rate(schedule, t)))
    for group, _, new in coming:
        group["lr"] = new
    taken = False
    try:
        taken = step()
    finally:
        for group, before, _ in coming:
            if taken:
                group["schedule_step"] += 1
            else:
                group["lr"] = before


def resume(
    group: dict[str, Any], schedule: Schedule | None, state: Mapping[Tensor, dict[str, Any]]
) -> None:
    """Let a loaded group follow the schedule that it had before, if any, from the loaded step on.

    Args:
        group: as it was loaded.
        schedule: what it followed before.
        state: of the optimizer; torch counts steps there.
    """
    t = group.pop("schedule_step", None)
    if schedule is None:
        return
    if t is None:  # a checkpoint of torch's
        t = max((int(state[p].get("step", 0)) for p in group["params"] if p in state), default=0)
    group.update(scheduled(schedule, t))


def _last(schedule: Schedule, t: int) -> float:
    """Return the rate of the last of t steps; before the first it is the first's."""
    return rate(schedule, max(t - 1, 0))
