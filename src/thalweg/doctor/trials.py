"""Trials: courses of a training on copies, as it is and treated, from the same start."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch

from thalweg.doctor.allowance import Allowance
from thalweg.doctor.baseline import constant_loss
from thalweg.doctor.loaders import Batch
from thalweg.doctor.subject import Subject
from thalweg.doctor.treatment import NOTHING, Treatment

__all__ = ["Course", "Trials", "tail"]

_RATES = {"lr_too_high", "lr_too_low"}
_HURRIED = {*_RATES, "weight_decay_too_high", "ill_conditioned"}
_NOTHING, _FALLING = 0.97, 0.98  # of the loss of a constant; of what it was before
_FAR = 1.5  # times the loss of a constant
_HUGE = 1e6  # a loss
_TELLING = 100  # steps, of fewer of which the last tenth is mostly noise


@dataclass(frozen=True)
class Course:
    """One course.

    Args:
        treatment: what was changed.
        losses: before each step.
        left: the loss at the end over that of the best constant output: 1 where nothing was
            learned, inf where a loss was not finite.
    """

    treatment: Treatment
    losses: list[float] = field(repr=False)
    left: float

    @property
    def learned(self) -> float:
        """The share of the constant's loss that is gone, from 0 to 1."""
        return min(1.0, max(0.0, 1 - self.left)) if self.left == self.left else 0.0


def tail(losses: Sequence[float]) -> float:
    """Return the mean of the last tenth of losses; inf if the last one is not finite.

    Example:
        >>> tail([4.0] * 10 + [2.0] * 10)
        2.0
    """
    if not losses or not math.isfinite(losses[-1]):
        return math.inf
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


class Trials:
    """Courses of one training.

    Args:
        subject: the training.
        steps: of each course, fewer where its allowance does not suffice.
        seconds: of work for each course; see Allowance.

    Attributes:
        used: seconds of work of all courses so far.
        hurried: whether courses with another rate, rule or decay end halfway where they are behind
            the plain one by then. What leaves less than half of the loss in the end is ahead
            before.
    """

    def __init__(self, subject: Subject, steps: int, seconds: float) -> None:
        self.subject = subject
        self.seconds = seconds
        self.used = 0.0
        self.hurried = False
        self.plain = Course(NOTHING, [], math.inf)
        self.plain = self._run(NOTHING, steps)
        short = not math.isfinite(self.plain.left)
        self.steps = steps if short else len(self.plain.losses)

    def run(self, treatment: Treatment) -> Course:
        """Return the course with a treatment, as long as the plain one."""
        return self._run(treatment, self.steps)

    def longer(self, times: int) -> Course:
        """Return the plain course with more steps."""
        return self._run(NOTHING, times * self.steps, times * self.seconds)

    def all(self, treatments: Iterable[Treatment], most: float) -> list[Course]:
        """Return the courses of treatments; none is begun once so many seconds of work are used."""
        return [self.run(one) for one in treatments if self.used < most]

    def _run(self, treatment: Treatment, steps: int, seconds: float | None = None) -> Course:
        torch.manual_seed(0)
        twin = self.subject.copy()
        allowance = Allowance(seconds or self.seconds)
        try:
            batches = treatment.data(self.subject.batches)
            treatment.prepare(twin)
            with treatment.around():
                losses = twin.train(batches, steps, allowance, partial(self._hopeless, treatment))
            # What is bounded by force, and makes the loss huge all the same, is no cure.
            forced = treatment.cause == "loss_not_finite" and not max(losses) < _HUGE
            return Course(treatment, losses, math.inf if forced else self.left(losses, batches))
        except Exception:  # noqa: BLE001 - a treatment that the model or its loss refuses cures nothing
            return Course(treatment, [], math.inf)
        finally:
            self.used += allowance.used

    def _hopeless(self, treatment: Treatment, losses: Sequence[float]) -> bool:
        """Return whether a course is behind the plain one halfway, or a rate teaches nothing.

        That is so of a loss that halfway is no less than a constant's, or after a quarter far more,
        and has not fallen meanwhile.
        """
        done = len(losses)
        if treatment.cause not in (_HURRIED if self.hurried else _RATES) or done < 2:
            return False
        half = done == self.steps // 2
        if self.hurried:
            return half and tail(losses) >= tail(self.plain.losses[:done])
        if done < _TELLING or not (half or done == self.steps // 4):
            return False
        left = self.left(losses)
        falling = tail(losses) < _FALLING * tail(losses[: done // 2])
        return not falling and left > (_NOTHING if half else _FAR)

    @cached_property
    def _constant(self) -> float | None:
        return constant_loss(self.subject)

    @property
    def known(self) -> bool:
        """Whether the loss of the best constant is known."""
        return self._constant is not None

    def left(self, losses: Sequence[float], batches: Sequence[Batch] | None = None) -> float:
        """Return the share of the constant's loss that is left at the end."""
        end = tail(losses)
        same = batches is None or batches is self.subject.batches
        best = self._constant if same else constant_loss(self.subject, batches)
        if best is None or best <= 0:
            best = losses[0] if losses and losses[0] > 0 else 1.0
        return end / best if math.isfinite(end) else math.inf
