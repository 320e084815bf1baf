"""Doctor: watches a training, and says why it fails."""

import math
import os
import time
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.doctor.checks.gradients import gradient_not_finite
from thalweg.doctor.diagnosis import compare, treat, unscaled
from thalweg.doctor.dynamics import Dynamics, measure
from thalweg.doctor.examination import TRYING, examine, may_follow, ordered
from thalweg.doctor.finding import Finding, Report
from thalweg.doctor.kept import Kept, KeptCopies
from thalweg.doctor.loaders import Batch, inputs, read, size_of, target, untouched
from thalweg.doctor.loop import (
    kept_at_top,
    look_at_loop,
    schedule_ended,
    too_early,
    undivided,
    unlike_plain,
)
from thalweg.doctor.outcome import look_at_curves, look_at_outcome, noise_floor, scales_doubted
from thalweg.doctor.parted import parted
from thalweg.doctor.proof import Moment, Proof, prove
from thalweg.doctor.replay import first_not_finite
from thalweg.doctor.signals import Memory, Pace, Signals
from thalweg.doctor.signs import Curves
from thalweg.doctor.subject import LossFn, Step, Subject, bare, check_kinds
from thalweg.doctor.terms import lags, terms_unbalanced
from thalweg.doctor.trials import Trials
from thalweg.doctor.watched import Watched
from thalweg.errors import TaskError, blamed, told
from thalweg.live import waiting
from thalweg.words import digits

__all__ = ["Doctor"]

_BYTES = 32_000_000  # of batches that are held, first and last
_BATCHES = 1024
_VALIDATION = 32  # batches
_JUDGED = 64  # training batches in evaluation mode
_APART = 32  # steps between copies of the training that are kept, at least
_SHARE = 0.005  # of the time, for these copies
_LITTLE, _FAILS, _HALF = 0.02, 0.1, 0.5  # of the loss of a constant
_SOME = 0.9  # of the loss of a constant: where less is left, something was learned
_MAY_BE_NOISE = {"ill_conditioned", "noise_floor"}


class Doctor:
    """Watches a training by hooks of its optimizer, and says why it fails.

    Args:
        model: the module that is trained.
        optimizer: of torch.optim, thalweg.optim, or any subclass.
        loss_fn: of outputs and targets; None where ``step`` has it.
        step: the user's own (model, batch) -> loss; experiments use it.
        seconds: how much work experiments may be when findings are asked for, in seconds of a
            usual machine; see Allowance.

    Example:
        >>> import torch, thalweg
        >>> x = torch.randn(32, 2)
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> doctor = thalweg.Doctor(model, optimizer, torch.nn.functional.mse_loss)
        >>> for _ in range(5):
        ...     loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
        ...     loss.backward()
        ...     optimizer.step()  # and zero_grad() is missing
        ...     doctor.step(loss, batch=(x, x.sum(1, keepdim=True)))
        >>> doctor.findings[0].cause
        'gradients_not_zeroed'
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss_fn: LossFn | None,
        *,
        step: Step | None = None,
        seconds: float = 20.0,
    ) -> None:
        check_kinds(model, optimizer)
        self.model, self.optimizer, self.loss_fn = bare(model), optimizer, loss_fn
        self._step, self._seconds = step, seconds
        self._pace = Pace(_SHARE, _APART)
        began = time.thread_time()
        self._kept = KeptCopies(self.model, optimizer)
        self._pace.charge(began, 0)
        self.signals = Signals(self.model, optimizer)
        self._memory = Memory(_BYTES, _BATCHES)
        self._small = size_of(list(self.model.parameters())) < _BYTES
        self._keeps = self._small  # and so far all losses were finite
        self._validation: list[Batch] = []
        self.validated: list[tuple[int, float]] = []
        self._measured: dict[int, Dynamics] = {}
        self._report: Report | None = None

    def step(self, loss: Tensor | float, batch: Batch | None = None) -> None:
        """Note a step of the training, after the optimizer's.

        Where gradients are accumulated, note each loss that is added, before it is divided.

        Args:
            loss: of this step.
            batch: what it was computed of, (x, y) or what ``step`` takes; None: unknown, and then
                nothing can be tried on copies.
        """
        value = _number("loss", loss)
        signals = self.signals
        signals.losses.append(value)
        if isinstance(loss, Tensor):
            signals.rootless += loss.is_leaf and loss.requires_grad
            signals.trace(loss)
        self._report = None
        if batch is not None:
            self._memory.add(batch)
            self._keeps = self._keeps and math.isfinite(value)
            count = self._memory.count
            if self._keeps and count >= self._pace.next and self._pace.due(count):
                self._keep(value)

    def _keep(self, loss: float) -> None:
        """Keep a copy of the training now and then, while it is sound: experiments begin there."""
        recent = self.signals.losses[-_APART:]
        if loss <= 2 * sorted(recent)[len(recent) // 2]:
            began, count = time.thread_time(), self._memory.count
            self._kept.add(count, self.model, self.optimizer)
            self._pace.charge(began, count)

    def validate(self, loss_or_loader: float | Tensor | Iterable[Batch]) -> None:
        """Note the validation loss, or compute it from a loader.

        Args:
            loss_or_loader: the mean loss, or what gives validation batches.
        """
        self._report = None
        if isinstance(loss_or_loader, int | float | Tensor):
            value = _number("loss_or_loader", loss_or_loader)
        else:
            with untouched([self.model], [loss_or_loader]), blamed("the validation loss"):
                part = read(loss_or_loader, "loss_or_loader", 1.0, _BYTES, _VALIDATION)
                self._validation = part.batches
                value = self._evaluate(part.batches)
        self.validated.append((self.signals.steps, value))

    def _evaluate(self, batches: list[Batch]) -> float:
        """Return the mean loss of batches in evaluation mode, the modes left as they were."""
        modes = [(m, m.training) for m in self.model.modules()]
        self.model.eval()
        try:  # with a graph, for a model may take derivatives in its forward pass
            losses = [float(self._loss(batch).detach()) for batch in batches]
        finally:
            for module, mode in modes:
                module.training = mode
        return sum(losses) / len(losses)

    def _loss(self, batch: Batch) -> Tensor:
        if self._step is not None:
            return self._step(self.model, batch)
        assert self.loss_fn is not None
        return self.loss_fn(self.model(*inputs(batch)), target(batch))

    @property
    def findings(self) -> list[Finding]:
        """What was found, the most likely cause first; experiments on copies may take a while."""
        return list(self.report().findings)

    def report(self) -> Report:
        """Return what was found, what was looked at, and what was ruled out.

        Of several processes of ``torch.distributed`` the first reports; others say that it does.
        """
        if not _first_process():
            return Report((), (), {}, {"the training": "the first process reports"})
        if self._report is None:
            with waiting(TRYING), untouched([self.model]), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._report = self._examine()
        return self._report

    def prove(self, steps: int = 200) -> Proof:
        """Run the course as it was and with the cure of each finding, on copies, and compare.

        They begin at the last sound copy before the onset of the first finding, else at the start.

        Args:
            steps: of each course; time may make them fewer.
        """
        findings = self.findings
        if not self._memory.first:
            raise TaskError("nothing can be tried: give batches to step(loss, batch=...)")
        onset = findings[0].onset if findings else None
        sound = [k for k in self._kept.all if k.step <= (onset or 0) and self._memory.since(k.step)]
        begin = sound[-1] if sound else self._kept.start
        rates = self.signals.rates[begin.step :]
        highest = max(self.signals.rates) / rates[0] if rates and rates[0] > 0 else 1.0
        moment = Moment(begin.step, begin.random, rates, highest)
        with waiting("proving cures"):
            return prove(findings, self._subject(begin), moment, steps=steps)

    def dynamics(self) -> list[Dynamics]:
        """Measure the training on the copies that were kept along its way.

        Returns:
            For each copy, in the order of steps: the rate beside its limit, the gradient's noise,
            the floor that this noise gives the loss by theory, and dead and saturated units. Empty
            without batches, and for models of more than 32 MB, of which no copies are kept.
        """
        if not self._small or not self._memory.first or self._subject().refusal:
            return []
        end = time.thread_time() + self._seconds / 4
        first, *rest = self._kept.all
        for one in [first, *rest[::-1]]:
            if one.step not in self._measured and time.thread_time() < end:
                with untouched([self.model]), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._measured[one.step] = measure(self._subject(one), one.step)
        return [self._measured[step] for step in sorted(self._measured)]

    def to_html(self, path: str | os.PathLike[str], proof: Proof | None = None) -> Path:
        """Write a page of what was seen and found: complete in itself, light and dark.

        Args:
            path: of the page, such as ``"doctor.html"``; a page of the doctor's is replaced.
            proof: of ``prove``; None leaves the courses with the cures out.

        Returns:
            The path. Of several processes the first writes.

        Raises:
            FileExistsError: a file that is no page of the doctor's is in its place; it stays.
        """
        from thalweg.doctor import page  # noqa: PLC0415 - loads matplotlib

        if not _first_process():
            return Path(path)
        page.check(path)
        signals = self.signals
        names = {id(p): name for name, p in self.model.named_parameters()}
        report = self.report()
        with waiting("measuring what the page shows"):
            watched = Watched(
                self._curves(),
                report,
                (signals.norm_steps, signals.norms),
                signals.rates,
                [names.get(id(p), "not in the model") for p in signals.noted],
                signals.notes,
                self.dynamics(),
                proof,
            )
            return page.write(path, watched)

    def _curves(self) -> Curves:
        """Return both losses, as a log would have them."""
        noted = np.array(self.validated, float).reshape(-1, 2).T
        losses = np.array(self.signals.losses, float)
        steps = np.arange(len(losses), dtype=float)
        return Curves(type(self.model).__name__, steps, losses, *noted)

    def _examine(self) -> Report:
        began = time.monotonic()
        if not self._memory.first:
            why = "no batch was given to step(loss, batch=...), so nothing could be tried on a copy"
            return Report((), ("the loop",), {}, {"experiments": why}, 0.0)
        subject = self._subject()
        if subject.refusal:
            return Report((), ("the loop",), {}, {"experiments": subject.refusal}, 0.0)
        onset, last = self._onset(), self._kept.last
        further = [*look_at_loop(self.signals, subject)]
        if onset is not None:
            further.append(("gradient at the onset", partial(self._broken, last, onset)))
        findings, looked_at, skipped = examine(subject, further)
        ruled_out: dict[str, str] = {}
        blocking = [f for f in findings if f.severity == "problem" and _stops(f)]
        if blocking:
            skipped["rate and dynamics"] = f"{blocking[0].cause} explains the training"
        else:
            try:
                dynamic, ruled_out = self._dynamics(subject, skipped)
                findings += dynamic
                looked_at += ["rate", "weight decay", "scales", "initial weights", "validation"]
            except Exception as error:  # noqa: BLE001 - what was found before is told all the same
                skipped["rate and dynamics"] = told(error)
        if onset is not None and not any(f.severity == "problem" for f in findings):
            findings.append(_unexplained(self.signals.losses, onset))
        findings = ordered(findings)
        if onset is not None:
            with suppress(Exception):  # of evidence beside a finding
                findings = self._placed(findings, onset)
        if self.signals.failed:
            skipped["gradients and updates by layer"] = self.signals.failed
        seconds = time.monotonic() - began
        return Report(tuple(findings), tuple(looked_at), ruled_out, skipped, seconds)

    def _broken(self, last: Kept, onset: int) -> Finding | None:
        """Look for a derivative that is not finite in the steps up to the onset."""
        found = gradient_not_finite(self._subject(last), onset + 1 - last.step)
        return replace(found, onset=max(0, onset - 1)) if found else None

    def _placed(self, findings: list[Finding], onset: int) -> list[Finding]:
        """Add to the evidence where numbers first stop being finite, by steps on a copy."""
        last = self._kept.last
        subject = self._subject(last)
        if not last.step and onset >= len(subject.batches):
            return findings  # the steps before are not known any more
        torch.set_rng_state(last.random)
        place = first_not_finite(subject.copy(), subject.batches, self._seconds / 10)
        if place is None:
            return findings
        step, where = place
        words = f"{where}, at step {last.step + step}"
        return [
            replace(f, evidence={**f.evidence, "first not finite": words})
            if f.severity == "problem" else f
            for f in findings
        ]  # fmt: skip

    def _subject(self, begin: Kept | None = None, *, now: bool = False) -> Subject:
        """Return the training from a copy that was kept, its start by default, or as it is now."""
        begin = begin or self._kept.start
        subject = Subject(
            self.model,
            self.optimizer,
            self.loss_fn,
            (begin.step and self._memory.since(begin.step)) or self._memory.first,
            self._validation,
            step=self._step,
            start=None if now else begin.pair,
            clip=self.signals.clip,
        )
        return parted(subject)

    def _dynamics(
        self, subject: Subject, skipped: dict[str, str]
    ) -> tuple[list[Finding], dict[str, str]]:
        signals = self.signals
        trials = Trials(subject, len(signals.losses), self._seconds / 8)
        left = trials.left(signals.losses)
        findings: list[Finding] = []
        rivals: list[Finding] = []
        ruled_out: dict[str, str] = {}
        early = self._ended_early(trials, left)
        findings += [early] if early else []
        if early is None and compare(trials.plain, left) is not None:
            findings += unlike_plain(signals, trials, left)
        elif early is None and not left < _HALF:  # single batches may fail by their noise alone
            summed = undivided(signals, trials, left)
            findings += [summed] if summed else []
        fails = not findings and (not math.isfinite(left) or left > _FAILS)
        behind = not fails and not findings and trials.known and lags(subject)
        if fails or behind or (not findings and not trials.known):
            unbalanced = terms_unbalanced(subject, len(trials.plain.losses), self._seconds / 10)
            if unbalanced is not None:  # a term that is let lie may be meant to count for little
                findings.append(replace(unbalanced, severity="warning") if behind else unbalanced)
        if fails:
            tried = trials
            last = self._kept.last
            broke = not math.isfinite(left) or left > 1
            if broke and last.step and trials.plain.learned > 0.1 and self._memory.since(last.step):
                # It learned for a while; experiments begin shortly before it broke.
                tried = Trials(self._subject(last), 200, self._seconds / 10)
            verdict = treat(tried, left, signals.norms, self._seconds, self._onset())
            findings += scales_doubted(trials, verdict.findings)
            ruled_out, rivals = verdict.ruled_out, verdict.rivals
            if not verdict.findings and not math.isfinite(trials.plain.left):
                steps, most = len(signals.losses), self._seconds / 10
                stifled = terms_unbalanced(subject, steps, most, broken=True)
                findings += [stifled] if stifled else []
        # An adaptive rule mends noise too; that a lower rate does so by itself, noise alone.
        vague = all(f.cause in _MAY_BE_NOISE and f.severity == "warning" for f in findings)
        if vague and _LITTLE < left < _SOME and self._flat():
            now = self._subject(now=True)
            floor = noise_floor(now, len(signals.losses), self._seconds / 20)
            scale = unscaled(trials, left) if floor else None  # it makes the rate too high, too
            findings = [one for one in (scale, floor) if one] or findings
        try:
            findings += look_at_outcome(trials, subject.model, left, self.validated, findings)
            numbers = not self._validation
            findings += look_at_curves(self._curves(), findings, self._judged, numbers=numbers)
        except Exception as error:  # noqa: BLE001 - what was found before is told all the same
            skipped["outcome"] = told(error)
        return findings + rivals, ruled_out

    def _judged(self) -> float:
        """Return the mean loss of some training batches in evaluation mode, evenly chosen."""
        held = self._memory.first
        with untouched([self.model], []):
            return self._evaluate(held[:: -(-len(held) // _JUDGED)])

    def _ended_early(self, trials: Trials, left: float) -> Finding | None:
        """Look for a schedule that ended before the loss had fallen."""
        ended = schedule_ended(self.signals)
        if ended is None:
            return None
        fails = left > _FAILS
        # A schedule that raises the rate first, as one cycle does, began far below it.
        for course in (trials.plain, *([kept_at_top(self.signals, trials)] if fails else [])):
            if compare(course, left) is not None:
                return too_early(ended, left, course.left)
            if fails and course.left < 0.5 * left:
                return replace(too_early(ended, left, course.left), severity="warning")
        return None

    def _flat(self) -> bool:
        """Return whether the loss has all but stopped falling, or falls no more than by chance."""
        losses, fifth = np.array(self.signals.losses), len(self.signals.losses) // 5
        last, before = losses[len(losses) - fifth :], losses[len(losses) - 2 * fifth :][:fifth]
        if fifth < 2:
            return False
        chance = math.hypot(last.std(), before.std()) / math.sqrt(fifth)
        return bool(last.mean() > 0.7 * before.mean() - 2 * chance)

    def _onset(self) -> int | None:
        """Return the step of the first loss that is not finite."""
        return next((i for i, v in enumerate(self.signals.losses) if not math.isfinite(v)), None)


def _number(name: str, value: Tensor | float) -> float:
    try:
        return float(value.item() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f" {value!r}"
        kind = type(value).__name__
        raise TypeError(f"{name} must be one number, got {kind}{shape}") from None


def _first_process() -> bool:
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    return alone or torch.distributed.get_rank() == 0


def _unexplained(losses: Sequence[float], onset: int) -> Finding:
    """Return the finding of a loss that is not finite, where no experiment told why."""
    before = f"; it was {digits(losses[onset - 1])} before" if onset else ""
    return Finding(
        "loss_not_finite",
        "warning" if math.isfinite(losses[-1]) else "problem",
        f"The loss is {losses[onset]} at step {onset}{before}. Steps on copies did not tell why.",
        {"loss": str(losses[onset]), "last loss": str(losses[-1])},
        "a loss is a finite number",
        "the losses that were noted",
        onset=onset,
        sure=0.5,
    )


def _stops(finding: Finding) -> bool:
    """Return whether a finding explains a training that does not learn."""
    return not may_follow(finding) and finding.cause not in {
        "validation_preprocessed_differently",
        "validation_of_other_distribution",
        "target_leaks_into_input",
    }
