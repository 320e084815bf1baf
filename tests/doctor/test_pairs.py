"""A step of the user's own, seen as inputs, targets and a loss where it is no more than these."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.doctor.examined import classes, net
from torch import Tensor, nn
from torch.nn import functional

import thalweg
from thalweg.doctor.pairs import paired
from thalweg.doctor.subject import Subject

Step = Callable[[Any, Any], Tensor]
X, Y = classes()


class Lit(nn.Module):
    """As a module of Lightning, whose step calls a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.criterion = net(), nn.CrossEntropyLoss(label_smoothing=0.1)


class Scorer(nn.Module):
    """As a model of transformers, which returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor, mask: Any = None, labels: Any = None) -> dict[str, Tensor]:
        assert mask is None
        scores = self.net(x)
        if labels is None:
            return {"logits": scores}
        return {"loss": functional.cross_entropy(scores.view(-1, 3), labels), "logits": scores}


def smooth(model: Any, batch: Any) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)


def of_a_part(model: Any, batch: Any) -> Tensor:
    loss: Tensor = model.criterion(model.net(batch["x"].flatten(1)), batch["labels"])
    return loss


def of_numbers(model: Any, batch: Any) -> Tensor:
    out, y = model(input=batch[0]).squeeze(1), batch[1].float()
    functional.l1_loss(out, y)  # as a measure beside the loss
    return functional.mse_loss(out, y)


def own(model: Any, batch: Any) -> Tensor:
    loss: Tensor = model(**batch)["loss"]
    return loss


def subject(model: nn.Module, step: Step, form: Callable[[Tensor, Tensor], Any]) -> Subject:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [form(X[i::10], Y[i::10]) for i in range(10)]
    return Subject(model, optimizer, None, batches[:8], batches[8:], step=step)


def pair(x: Tensor, y: Tensor) -> Any:
    return x, y


def named(x: Tensor, y: Tensor) -> Any:
    return {"labels": y, "x": x}


FORMS: dict[str, tuple[Callable[[], nn.Module], Step, Any, int]] = {
    "a loss with an option": (net, smooth, pair, 3),
    "a part of the model, and a loss that is a module": (Lit, of_a_part, named, 3),
    "an output that is squeezed": (lambda: net(1), of_numbers, pair, 1),
    "a model that returns its loss": (Scorer, own, named, 3),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_step_has_the_losses_and_gradients_of_its_pairs(form: str) -> None:
    model, step, batch, width = FORMS[form]
    given = subject(model(), step, batch)
    found = paired(given)
    assert found.pairs
    assert len(found.batch) == 2
    assert found.output is not None
    assert found.output.shape == (16, width)
    every = (each.batches + each.validation for each in (given, found))
    for parts in zip(*every, strict=True):
        twins = given.copy(), found.copy()
        losses = [twin.loss(part) for twin, part in zip(twins, parts, strict=True)]
        torch.testing.assert_close(*losses, rtol=0, atol=0)
        for loss in losses:
            loss.backward()
        grads = ([p.grad for p in twin.parameters] for twin in twins)
        torch.testing.assert_close(*grads, rtol=0, atol=0)


def twice(model: Any, batch: Any) -> Tensor:
    loss = smooth(model, batch)
    model(batch[0].flip(0))
    return loss


def of_places(model: Any, batch: Any) -> Tensor:
    """Has a target for each of two places of an example."""
    return functional.cross_entropy(model(batch[0].view(8, 2, 6)).view(16, 3), batch[1])


@pytest.mark.parametrize("step", [of_places, twice])
def test_what_is_more_than_pairs_stays_a_step(step: Step) -> None:
    given = subject(net(), step, pair)
    assert paired(given) is given


def test_a_step_that_raises_stays_one() -> None:
    given = subject(net(), smooth, named)
    assert paired(given) is given


@pytest.mark.parametrize("form", ["a loss with an option", "a model that returns its loss"])
def test_check_and_doctor_look_at_inputs_of_a_step(form: str) -> None:
    make, step, batch, _ = FORMS[form]
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = [batch(X[i::10], torch.full_like(Y[i::10], 2)) for i in range(10)]
    found = thalweg.check(model, optimizer, None, data, step=step)
    assert [f.cause for f in found if f.severity == "problem"] == ["labels_all_equal"]
    doctor = thalweg.Doctor(model, optimizer, None, step=step, seconds=0.5)
    for one in data:
        loss = step(model, one)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        doctor.step(loss, batch=one)
    assert doctor.findings[0].cause == "labels_all_equal"
