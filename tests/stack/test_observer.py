"""Observers of a training, told of its steps and epochs, against what the training returns."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stack.nets import classes, in_lanes
from thalweg.stack import Observer
from thalweg.stack.lanes import Stack
from thalweg.stack.observer import Interrupt

pytestmark = pytest.mark.usefixtures("one_thread")


class Notes(Observer):
    def __init__(self) -> None:
        self.steps: list[tuple[int, list[int], Tensor, list[Tensor], list[Tensor]]] = []
        self.epochs: list[tuple[int, list[int], Any, Any]] = []

    def stepped(
        self, step: int, lanes: Sequence[int], losses: Tensor, gradients: Sequence[Tensor],
        stack: Stack,
    ) -> None:  # fmt: skip
        now = [value.clone() for value in stack.parameters.values()]
        self.steps.append((step, list(lanes), losses.clone(), [g.clone() for g in gradients], now))

    def epoch_ended(
        self, epoch: int, lanes: Sequence[int], train_loss: Any, validation_loss: Any, stack: Stack,
    ) -> None:  # fmt: skip
        assert list(stack.parameters)
        self.epochs.append((epoch, list(lanes), train_loss, validation_loss))


def test_an_observer_sees_every_step_as_it_was_taken() -> None:
    notes = Notes()
    training = in_lanes(
        classes("mlp"), "sgd", [{"lr": 0.1}, {"lr": 0.2}], epochs=2, observers=[notes]
    )
    assert [step for step, *_ in notes.steps] == [*range(1, 9)]
    np.testing.assert_array_equal(notes.steps[0][2], training.train_loss[0])
    for (*_, before), (_, lanes, _, gradients, after) in itertools.pairwise(notes.steps):
        assert lanes == [0, 1]
        for old, gradient, new in zip(before, gradients, after, strict=True):
            for lane, rate in enumerate((0.1, 0.2)):  # plain gradient descent
                torch.testing.assert_close(new[lane], old[lane] - rate * gradient[lane])


def test_an_observer_sees_the_losses_of_each_epoch_and_the_lanes_that_are_left() -> None:
    notes = Notes()
    rates = [{"lr": 0.1}, {"lr": 1e308}, {"lr": 0.2}]
    training = in_lanes(classes("mlp"), "sgd", rates, epochs=3, observers=[notes])
    assert training.diverged_at.astype(bool).tolist() == [False, True, False]
    assert [epoch for epoch, *_ in notes.epochs] == [1, 2, 3]
    for epoch, lanes, train_loss, validation_loss in notes.epochs:
        assert lanes == [0, 2]
        np.testing.assert_array_equal(train_loss, training.train_loss[epoch, lanes])
        np.testing.assert_array_equal(validation_loss, training.validation_loss[epoch, lanes])


def test_lanes_that_are_trained_alone_are_observed_one_by_one() -> None:
    notes = Notes()
    rates = [{"lr": 0.1}, {"lr": 0.2}]
    in_lanes(classes("mlp"), "sgd", rates, epochs=2, stacked=False, observers=[notes])
    assert [(lanes, epoch) for epoch, lanes, *_ in notes.epochs] == [
        ([0], 1), ([0], 2), ([1], 1), ([1], 2),
    ]  # fmt: skip


def test_an_observer_changes_no_number() -> None:
    alone = in_lanes(classes("mlp"), "adam", [{"lr": 0.1}], epochs=2)
    seen = in_lanes(classes("mlp"), "adam", [{"lr": 0.1}], epochs=2, observers=[Notes(), Notes()])
    np.testing.assert_array_equal(seen.validation_loss, alone.validation_loss)


def test_a_training_stops_when_it_is_asked_to() -> None:
    asked = itertools.count()
    stop = Interrupt(lambda: next(asked) == 2)
    with pytest.raises(KeyboardInterrupt):
        in_lanes(classes("mlp"), "sgd", [{}] * 2, batch_size=1, epochs=100_000, observers=[stop])
