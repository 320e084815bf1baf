"""Trainings in lanes: many rules and settings on one module, side by side."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.kind import MATRICES
from thalweg.linear.stream import stream
from thalweg.optim import roles
from thalweg.rule import Rule
from thalweg.schedules import Hyper
from thalweg.stack.batch import Batch, each
from thalweg.stack.elsewhere import Elsewhere, clip
from thalweg.stack.lanes import COMPILED_SIZES, Stack
from thalweg.stack.mixed_step import MixedStep
from thalweg.stack.model import Model
from thalweg.stack.objective import seeded
from thalweg.stack.observer import Observer
from thalweg.stack.parts import Parts
from thalweg.stack.renew import normalized, renewed

__all__ = ["Final", "Outcome", "steps_per_epoch", "train"]

_CHECKED = 16  # steps after which losses are looked at: a lane that diverged costs so many at most


@dataclass(frozen=True, eq=False)
class Final:
    """What a stack ended with.

    Attributes:
        stack: the modules.
        step: the rules with their state.
        lanes: the number of each lane of the stack.
        examples: of the training part.
    """

    stack: Stack
    step: MixedStep
    lanes: list[int]
    examples: Batch

    @contextmanager
    def judged(self) -> Iterator[Stack]:
        """Give the stack where its rules' answers are, with running statistics of there."""
        stack = self.stack
        training_point, state = stack.parameters, stack.state
        answers = self.step.answers(list(training_point.values()))
        stack.parameters = dict(zip(training_point, answers, strict=True))
        try:
            if self.step.taken and (own := self.step.judged) and (names := normalized(stack)):
                found = renewed(stack, self.examples)
                stack.state = dict(state)
                for name in names:
                    stack.state[name] = state[name].clone()
                    stack.state[name][own] = found[name][own]
            yield stack
        finally:
            stack.parameters, stack.state = training_point, state


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a training in lanes ended with.

    Attributes:
        train_loss: (epochs + 1, lanes): the mean loss of the minibatches of each epoch as they were
            met, in training mode; row 0 is the first minibatch's, before the first step. NaN from
            the epoch on in which a lane diverged.
        validation_loss: (epochs + 1, lanes), in evaluation mode, after each epoch.
        diverged_at: (lanes,): the step, from 1, whose loss or new parameters were not finite; 0 for
            never.
        finals: what the stacks ended with, lanes that diverged left out.
    """

    train_loss: NDArray[np.float64]
    validation_loss: NDArray[np.float64]
    diverged_at: NDArray[np.int64]
    finals: Sequence[Final] = field(repr=False)


def steps_per_epoch(examples: int, batch_size: int, gradients: float = 1.0) -> int:
    """Return how many steps an epoch has: as many as it has minibatches, fewer for rules that ask.

    The last minibatch is smaller where ``batch_size`` does not divide the examples. One of a single
    example, which batch normalization cannot take, is left out.

    Args:
        examples: how many there are.
        batch_size: of a step.
        gradients: that a step takes: an epoch has so many for each rule. Those that ask for some at
            other points take fewer steps.

    Example:
        >>> steps_per_epoch(10, 4), steps_per_epoch(9, 4), steps_per_epoch(3, 1)
        (3, 2, 3)
        >>> steps_per_epoch(10, 1, gradients=2)
        5
    """
    minibatches = -(-examples // batch_size) - (
        batch_size > 1 and examples % batch_size == 1 < examples
    )
    return max(1, int(minibatches / gradients))


def train(
    model: Model,
    parts: Parts,
    rules: Sequence[Rule],
    hyper: Sequence[Mapping[str, Hyper]],
    *,
    seeds: Sequence[int],
    batch_size: int,
    epochs: int,
    shared: bool,
    stacked: bool,
    observers: Sequence[Observer] = (),
) -> Outcome:
    """Train a module in lanes that differ in rules, settings or seeds.

    A lane's numbers depend on its rule, its settings and its seed. With another number of
    lanes, or at another position among them, its last digits differ, as torch rounds otherwise.
    What the other lanes are changes nothing. A lane that is not finite leaves the stack.

    Args:
        model: the module.
        parts: the data, on the model's device.
        rules: each lane's, all of as many gradients a step.
        hyper: each lane's hyperparameters, numbers or schedules, all of them.
        seeds: each lane's: of its start, its minibatches and what it draws.
        batch_size: examples per step, from 1 to those of the training part.
        epochs: >= 1.
        shared: whether all lanes see the same minibatches; then their seeds must be equal.
        stacked: whether lanes are trained in one pass, which the model must allow; else one by one.
        observers: are told of each step and epoch; what they raise ends the training.
    """
    lanes = len(hyper)
    (gradients,) = {rule.gradients for rule in rules}
    length = steps_per_epoch(parts.sizes["train"], batch_size, gradients)
    curves = np.full((2, epochs + 1, lanes), np.nan)
    results = Outcome(curves[0], curves[1], np.zeros(lanes, np.int64), [])
    everyone = sorted(range(lanes), key=lambda lane: rules[lane].name)  # one call per rule
    groups = [_seated(everyone, model)] if stacked else [[i] for i in everyone]
    finals = []
    matrices = any(rule.kind == MATRICES for rule in rules)
    counts = roles.blocks(model.module) if matrices else {}
    for group in groups:
        own = [seeds[i] for i in group]
        orders = _orders(parts.sizes["train"], batch_size, own, shared=shared)
        stack = Stack(model, own, shared=shared, stacked=stacked)
        step = MixedStep(
            [rules[i] for i in group],
            [hyper[i] for i in group],
            list(stack.parameters.values()),
            length * epochs,
            [counts.get(name.removeprefix("module."), 0) for name in stack.parameters],
        )
        run = _Run(Final(stack, step, group, parts.train), parts, results, observers)
        with seeded(seeds[group[0]]):  # for what a module draws unseen; no stack does
            finals.append(run.all(orders, epochs, length, batch_size))
    return Outcome(results.train_loss, results.validation_loss, results.diverged_at, finals)


def _orders(
    examples: int, batch_size: int, seeds: Sequence[int], *, shared: bool
) -> Iterator[Tensor]:
    """Yield the rows of each epoch, (examples,), or one order per lane, (lanes, examples)."""
    own = seeds[:1] if shared else sorted(set(seeds))
    streams = [
        stream(
            examples,
            batch_size,
            itertools.repeat(1),
            "shuffle",
            np.random.SeedSequence(s).spawn(2)[1],
        )
        for s in own
    ]
    number = {seed: i for i, seed in enumerate(own)}
    for stretches in zip(*streams, strict=True):
        orders = [torch.from_numpy(stretch.order) for stretch in stretches]
        yield orders[0] if shared else torch.stack([orders[number[seed]] for seed in seeds])


def _seated(lanes: Sequence[int], model: Model) -> list[int]:
    """Return who is in a stack of these lanes; the last as often as there is room.

    Where steps are compiled, which takes seconds for each size, there are few sizes.
    """
    size = len(lanes)
    if model.task.compile:
        size = next((allowed for allowed in COMPILED_SIZES if allowed >= size), size)
    return [*lanes, *[lanes[-1]] * (size - len(lanes))]


class _Run:
    """A stack in training: takes its steps, notes its losses, lets go of lanes that diverge."""

    def __init__(
        self, final: Final, parts: Parts, results: Outcome, observers: Sequence[Observer]
    ) -> None:
        self.stack, self.step, self.lanes = final.stack, final.step, final.lanes
        self.compiled = final.stack.model.task.compile
        self.parts = parts
        self.results = results
        self.observers = observers
        self.met: list[Tensor] = []  # losses since the last look
        self.sizes: list[int] = []
        self.total = np.zeros(len(self.lanes))

    def all(self, orders: Iterator[Tensor], epochs: int, length: int, batch_size: int) -> Final:
        everyone = list(self.lanes)
        self.validate(0)
        for epoch in range(1, epochs + 1):
            order = next(orders).to(self.stack.model.device)
            if not self.stack.shared:  # of those that are still there
                order = order[[everyone.index(lane) for lane in self.lanes]]
            self.epoch(epoch, order, length, batch_size)
            if not self.lanes:
                break
        return Final(self.stack, self.step, self.lanes, self.parts.train)

    def epoch(self, epoch: int, order: Tensor, length: int, batch_size: int) -> None:
        self.total = np.zeros(len(self.lanes))
        trained = 0
        with self.stack.model.mode(training=True):
            for i in range(length):
                rows = order[..., i * batch_size : (i + 1) * batch_size]
                self.one(rows, compiled=self.compiled and rows.shape[-1] == batch_size)
                trained += rows.shape[-1]
                if epoch == 1 and i == 0:
                    self.results.train_loss[0, self.lanes] = self.met[0].double().cpu().numpy()
                if (i + 1) % _CHECKED == 0 or i + 1 == length:
                    order = self.look(order)
                    if not self.lanes:
                        return
        self.results.train_loss[epoch, self.lanes] = self.total / trained
        self.drop(~self.stack.finite().numpy(), np.full(len(self.lanes), self.step.taken))
        if not self.lanes:
            return
        self.validate(epoch)
        for observer in self.observers:
            train_loss = self.results.train_loss[epoch, self.lanes]
            validation_loss = self.results.validation_loss[epoch, self.lanes]
            observer.epoch_ended(epoch, self.lanes, train_loss, validation_loss, self.stack)

    def one(self, rows: Tensor, *, compiled: bool) -> None:
        """Take one step. A smaller last minibatch is not worth the time of a compiler."""
        batch = each(lambda tensor: tensor[rows], self.parts.train)
        losses, gradients = self.stack.gradients(batch, self.step.taken + 1, compiled=compiled)
        elsewhere = Elsewhere(self.stack, batch, self.step.taken + 1, compiled)
        self.step(gradients, clip(gradients, self.stack.model.task.clip_norm), elsewhere)
        self.met.append(losses)
        self.sizes.append(rows.shape[-1])
        for observer in self.observers:
            observer.stepped(self.step.taken, self.lanes, losses, gradients, self.stack)

    def look(self, order: Tensor) -> Tensor:
        """Look at the losses met; let go of lanes where one was not finite."""
        losses = torch.stack(self.met).double().cpu().numpy()
        with np.errstate(all="ignore"):  # of lanes that diverged
            # Row by row: a product of matrices would round by the number of lanes.
            self.total += (np.array(self.sizes)[:, None] * losses).sum(axis=0)
        bad = ~np.isfinite(losses)
        first = self.step.taken - len(losses) + 1
        self.met, self.sizes = [], []
        kept = self.drop(bad.any(0), first + bad.argmax(0))
        return order if self.stack.shared or kept is None else order[kept]

    def drop(self, bad: NDArray[np.bool_], steps: NDArray[np.int64]) -> list[int] | None:
        """Let go of lanes; return the indices of those that stay, None if all do."""
        if not bad.any():
            return None
        self.results.diverged_at[np.array(self.lanes)[bad]] = steps[bad]
        first = {lane: i for i, lane in enumerate(self.lanes) if not bad[i]}  # one of copies
        kept = list(first.values())
        if kept and self.stack.stacked:
            kept = _seated(kept, self.stack.model)
        self.lanes = [self.lanes[i] for i in kept]
        self.total = self.total[kept]
        if kept:
            self.stack.select(kept)
            self.step.select(kept, list(self.stack.parameters.values()))
        return kept

    def validate(self, epoch: int) -> None:
        here = Final(self.stack, self.step, self.lanes, self.parts.train)
        with self.stack.model.mode(training=False), here.judged() as stack:
            losses = stack.losses(self.parts.validation, "validation", compiled=self.compiled)
        self.results.validation_loss[epoch, self.lanes] = losses.numpy()
