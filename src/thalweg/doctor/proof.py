"""Proof: the course of a training as it was and with each cure, on copies from the same start."""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from thalweg.doctor.allowance import Allowance
from thalweg.doctor.baseline import constant_loss
from thalweg.doctor.causes import CAUSES
from thalweg.doctor.cures import cures, like
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import Batch, inputs, rows_of, target, untouched
from thalweg.doctor.subject import Copy, Subject, first_tensor, let_step
from thalweg.doctor.treatment import NOTHING, Treatment
from thalweg.doctor.trials import Course, Trials
from thalweg.errors import TaskError
from thalweg.words import digits, percent

__all__ = ["Cure", "Hard", "Moment", "Proof", "prove"]

_HARDEST = 10
_LOOKED = 2048  # examples whose loss is looked at, at most
_LOOP = {  # causes that lie in the loop: the course as it was repeats them
    "gradients_not_zeroed",
    "gradients_lost_before_step",
    "trained_in_eval_mode",
    "schedule_ends_too_early",
}
_LEARNED = 0.5  # of the constant's loss: a course that leaves less has learned
_GAIN = 0.1  # of the constant's loss that a cure learns more, at least


@dataclass(frozen=True)
class Cure:
    """What a cure did on a copy.

    Args:
        cause: that it treats.
        words: what was changed.
        code: the change as lines of code.
        losses: before each step, with the cure.
        before: the loss that the course with the cure begins with; of a cure of validation data,
            the validation loss without it.
        after: the mean of the last tenth of the losses; inf where one is not finite.
        left: ``after`` over the loss of the best constant output.
        ratio: ``left`` over that of the course as it was: below 1 the cure helps; 0 where only the
            course as it was is not finite.
        worked: whether at least a tenth more of the constant's loss is gone than as it was, and
            twice as much is gone or half as much left.
    """

    cause: str
    words: str
    code: str
    losses: tuple[float, ...] = field(repr=False)
    before: float
    after: float
    left: float
    ratio: float
    worked: bool


@dataclass(frozen=True)
class Hard:
    """An example with a high loss.

    Args:
        batch: its place among the batches that the doctor holds, from 0.
        place: within the batch, from 0.
        loss: of it alone.
        x: what the model gets: a tensor, or such in a tuple or dict.
        y: its target, alike.
    """

    batch: int
    place: int
    loss: float
    x: Any = field(repr=False)
    y: Any = field(repr=False)


@dataclass(frozen=True)
class Proof:
    """Which cures work, and by how much.

    Args:
        onset: the step from which the courses begin.
        losses: before each step, of the course as it was.
        after: the mean of the last tenth of them; inf where one is not finite.
        left: ``after`` over the loss of the best constant output.
        cures: of each cause the change that helped most, the best first.
        look_at: by cause, what to look at where the cure is code or data of the user's own.
        hardest: the ten examples with the highest loss, where there is something to look at.
        seconds: how long it took.
    """

    onset: int
    losses: tuple[float, ...] = field(repr=False)
    after: float
    left: float
    cures: tuple[Cure, ...]
    look_at: Mapping[str, str]
    hardest: tuple[Hard, ...]
    seconds: float

    @property
    def worked(self) -> list[str]:
        """The causes whose cure worked, the best first."""
        return [cure.cause for cure in self.cures if cure.worked]

    def said(self, cure: Cure) -> str:
        """Return what a cure did in words, beside the course as it was.

        Each is told from its own beginning: a cure may change what the loss is.
        """
        if cure.losses:
            ends = f"the loss goes {_course(cure.before, cure.after)}"
            if self.losses:
                ends += f" (as it was, {_course(self.losses[0], self.after)})"
        else:
            ends = f"the validation loss is {digits(cure.after)} instead of {digits(cure.before)}"
        ended = "worked" if cure.worked else "did not help enough"
        if not cure.worked and cure.left < self.left < _LEARNED:
            ended = f"helped, but {percent(1 - self.left)} is learned without it, too"
        return f"with {cure.words}, {ends}; that {ended}"


def _course(first: float, last: float) -> str:
    return f"from {digits(first)} to {digits(last) if math.isfinite(last) else 'no number'}"


@dataclass(frozen=True)
class Moment:
    """Where a training stood, and how its loop went on.

    Args:
        step: how many steps had been taken.
        random: torch's random state then; None: that of the seed 0.
        rates: the rate at each following step; empty: as the optimizer's groups have it.
        highest: rate of all steps, over the first of these; the cure of a schedule takes it.
    """

    step: int = 0
    random: Tensor | None = None
    rates: Sequence[float] = ()
    highest: float = 1.0


@dataclass
class _Rerun(Copy):
    """A copy whose loop has the faults of the user's.

    Args:
        faults: causes that lie in the loop.
        rates: at each step.
    """

    faults: frozenset[str] = frozenset()
    rates: Sequence[float] = ()
    taken: int = 0

    def take_step(self, batch: Batch) -> float:
        """Take one step as the user's loop does, and return the loss before it."""
        self._set_rate()
        self.model.train("trained_in_eval_mode" not in self.faults)
        if "gradients_not_zeroed" not in self.faults:
            self.optimizer.zero_grad()
        loss = self.loss(batch)
        value = float(loss.detach())
        loss.backward()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if "gradients_lost_before_step" in self.faults:
            self.optimizer.zero_grad()
        let_step(self.optimizer, partial(self.gradients, batch))
        self.taken += 1
        return value

    def _set_rate(self) -> None:
        """Move the rates of all groups as the user's schedule moved that of the first."""
        number = min(self.taken, len(self.rates) - 1)
        if number > 0 and self.rates[number - 1] > 0:
            for group in self.optimizer.param_groups:
                group["lr"] *= self.rates[number] / self.rates[number - 1]


def prove(
    findings: Sequence[Finding],
    subject: Subject,
    moment: Moment | None = None,
    *,
    steps: int = 200,
    seconds: float = 5.0,
) -> Proof:
    """Run a training as it was and with the cure of each finding, on copies, and compare.

    Both courses have the same model, optimizer with its state, batches and random draws.

    Args:
        findings: whose cures are tried.
        subject: the training as it stood at the moment, with the batches that followed.
        moment: its step, random state and rates.
        steps: of each course, > 0.
        seconds: of work for each course; see Allowance.

    Returns:
        What each cure did. What the subject was made of is left as it was.
    """
    if steps < 1:
        raise TaskError(f"steps must be 1 or more, got {steps}")
    began, moment = time.monotonic(), moment or Moment()
    with untouched([subject.model]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a loss says of shapes may be what is tried
        courses = _Courses(subject, moment, frozenset(f.cause for f in findings) & _LOOP, seconds)
        plain = courses.run(NOTHING, steps)
        if math.isfinite(plain.left):
            steps = len(plain.losses)  # where the time was too short, for all alike
        tried, look_at = [], {}
        for finding in findings:
            cure = _best(finding.cause, courses, plain, steps)
            if cure is not None:
                tried.append(cure)
            elif finding.cause in CAUSES:
                look_at[finding.cause] = CAUSES[finding.cause].cure
        hard = _hardest(subject) if look_at else ()
    return Proof(
        moment.step,
        tuple(plain.losses),
        _end(plain),
        plain.left,
        tuple(sorted(tried, key=lambda cure: cure.left)),
        look_at,
        hard,
        time.monotonic() - began,
    )


def _best(cause: str, courses: "_Courses", plain: Course, steps: int) -> Cure | None:
    """Return what helped most of the cures of a cause; None where none can be tried."""
    subject = courses.subject
    if cause == "validation_preprocessed_differently":
        return _validated(subject) if subject.pairs and subject.validation else None
    runs = [courses.run(one, steps, cause) for one in cures(cause, subject)]
    return _cure(cause, min(runs, key=lambda course: course.left), plain) if runs else None


class _Courses:
    """Courses of a training from one moment."""

    def __init__(
        self, subject: Subject, moment: Moment, faults: frozenset[str], seconds: float
    ) -> None:
        self.subject, self._moment = subject, moment
        self._faults, self._seconds = faults, seconds
        self._trials = Trials(subject, 1, seconds)

    def run(self, treatment: Treatment, steps: int, cause: str = "") -> Course:
        """Return a course without the fault of the loop that is the cause."""
        twin = self.subject.copy()
        rates = self._moment.rates
        if cause == "schedule_ends_too_early":
            rates = ()
            for group in twin.optimizer.param_groups:
                group["lr"] *= self._moment.highest
        rerun = _Rerun(**vars(twin), faults=self._faults - {cause}, rates=rates)
        try:
            treatment.prepare(rerun)
            batches = treatment.data(self.subject.batches)
            if self._moment.random is None:
                torch.manual_seed(0)
            else:
                torch.set_rng_state(self._moment.random)
            with treatment.around():
                losses = rerun.train(batches, steps, Allowance(self._seconds))
            return Course(treatment, losses, self._trials.left(losses, batches))
        except Exception:  # noqa: BLE001 - a treatment that the model or its loss refuses cures nothing
            return Course(treatment, [], math.inf)


def _end(course: Course) -> float:
    if not course.losses or not math.isfinite(course.left):
        return math.inf
    last = course.losses[-max(1, len(course.losses) // 10) :]
    return sum(last) / len(last)


def _cure(cause: str, course: Course, plain: Course) -> Cure:
    if not math.isfinite(course.left):
        ratio = math.inf if math.isfinite(plain.left) else 1.0
    else:
        ratio = course.left / plain.left if plain.left else 1.0
    more = course.learned - plain.learned
    return Cure(
        cause,
        course.treatment.words,
        CAUSES[cause].code if cause in CAUSES else "",
        tuple(course.losses),
        course.losses[0] if course.losses else math.nan,
        _end(course),
        course.left,
        ratio,
        worked=more >= _GAIN and (ratio <= 0.5 or course.learned > 2 * plain.learned),
    )


def _validated(subject: Subject) -> Cure:
    """Return what the model, as it is now, makes of validation inputs scaled as training's."""
    cause, now = "validation_preprocessed_differently", subject.now().copy()
    now.model.eval()
    treated = like(subject.validation, subject.batches)
    with torch.no_grad():
        before, after = (
            [float(now.loss(batch)) for batch in batches]
            for batches in (subject.validation, treated)
        )
    best = constant_loss(subject, subject.validation) or before[0]
    nothing = Treatment("", 0, "validation inputs with the mean and deviation of training's", "")
    plain, cured = (Course(nothing, x, sum(x) / len(x) / best) for x in (before, after))
    return replace(_cure(cause, cured, plain), before=sum(before) / len(before), losses=())


def _hardest(subject: Subject) -> tuple[Hard, ...]:
    """Return the examples that the user's model, as it is now, has the highest loss on."""
    if not subject.pairs or subject.loss_fn is None:
        return ()
    model = subject.now().copy().model.eval()
    found: list[Hard] = []
    for number, batch in enumerate(subject.batches):
        if len(found) >= _LOOKED:
            break
        try:
            with torch.no_grad():
                out, y = model(*inputs(batch)), target(batch)
                first = first_tensor(y)
                for i in range(0 if first is None else len(first)):
                    one, goal = (rows_of(tree, slice(i, i + 1)) for tree in (out, y))
                    loss = float(subject.loss_fn(one, goal))
                    if math.isfinite(loss):
                        x = rows_of(inputs(batch), i)
                        found.append(
                            Hard(number, i, loss, x[0] if len(x) == 1 else x, rows_of(y, i))
                        )
        except Exception:  # noqa: BLE001 - what is not made of single examples has none
            return ()
    return tuple(sorted(found, key=lambda each: -each.loss)[:_HARDEST])
