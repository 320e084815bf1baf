"""What a module is quoted for where its user gives no metric, and what is asked for one."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, r2_score
from torch import Tensor, nn
from torch.nn import functional

from stack.nets import SEED, classes, one_by_one
from tasks.conftest import line, run, trial
from thalweg import rules
from thalweg.errors import TaskError
from thalweg.racing.trial import FINAL
from thalweg.stack import TorchTask
from thalweg.tasks import metric as score
from thalweg.tasks.constant import best_constant
from thalweg.tasks.modules import ModuleTask
from thalweg.tasks.task import Lane

ROWS, TIME = 60, 5
X = torch.linspace(-2, 2, ROWS)[:, None]
LABELS = (X[:, 0] > 0.3).long()
SERIES = torch.arange(ROWS * TIME).reshape(ROWS, TIME) % 4


class Reshaped(nn.Module):
    """A linear layer whose outputs have some shape."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape
        self.layer = nn.Linear(1, int(torch.tensor(shape).prod()))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x).reshape(len(x), *self.shape)
        return outputs


def binary(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(
        outputs.reshape(targets.shape), targets.float()
    )


def last_axis(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def made(model: Callable[[], nn.Module], loss: Any, y: Any, **given: Any) -> ModuleTask:
    task = ModuleTask(TorchTask(model=model, loss=loss, train=(X, y), **given), 0)
    task.lanes = 2
    return task


def judged(task: ModuleTask) -> float:
    lane = Lane(rules.adam, rules.adam.resolve({"lr": 0.1}), 0, 8, 8, shared=False)
    lanes = task.run([lane], should_stop=lambda: False)
    return float(lanes.judge()[1][0])


def test_one_logit_is_judged_by_its_sign_however_it_lies() -> None:
    found = {
        judged(made(lambda s=shape: Reshaped(*s), binary, y, validation=(X, y), test=(X, y)))
        for shape, y in (((1,), LABELS), ((), LABELS), ((1,), LABELS[:, None]))
    }
    assert len(found) == 1
    assert found.pop() > 0.8  # the class of all zeros has 0.57


def test_classes_lie_along_axis_1_or_the_last() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((), (3,), (2, 3)):
        outputs = torch.randn(40, 4, *shape, generator=generator)
        targets = torch.randint(4, (40, *shape), generator=generator)
        expected = accuracy_score(targets.flatten(), outputs.movedim(1, -1).argmax(-1).flatten())
        assert score.of(outputs, targets) == pytest.approx(expected, rel=1e-12)
        score.check(outputs[:8], targets, functional.nll_loss)
        last = outputs.movedim(1, -1)
        assert score.of(last, targets) == score.of(outputs, targets)
        score.check(last[:8], targets, last_axis)


def test_other_targets_are_judged_by_r2() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(40, 2, generator=generator)
    outputs = targets + 0.1 * torch.randn(40, 2, generator=generator)
    expected = r2_score(targets, outputs)
    assert score.of(outputs, targets) == expected
    assert score.of(outputs.bfloat16(), targets) == pytest.approx(expected, abs=1e-3)
    assert score.of(outputs, targets.bfloat16()) == pytest.approx(expected, abs=1e-3)
    outputs[3, 1] = torch.inf
    assert math.isnan(score.of(outputs, targets))


class Both(nn.Linear):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


def fit_first(outputs: Any, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs[0], targets)


def ours(_: Tensor, __: Tensor) -> float:
    return 0.5


def backwards(outputs: Tensor, targets: Tensor) -> float:
    return float((outputs @ targets).mean())


ASKED = r"; give metric=\(outputs, targets\) -> number$"
SQUARE = SERIES[:, :4]


@pytest.mark.parametrize(
    ("model", "loss", "y", "given", "message"),
    [
        (lambda: Both(1, 2), fit_first, LABELS, {},
         r"^model must return a tensor .* got tuple for 8 examples; give step=\(model, batch\)"),
        (lambda: Both(1, 2), fit_first, LABELS, {"metric": ours}, "^model must return a tensor"),
        (lambda: Reshaped(TIME - 1, 4), lambda out, y: last_axis(out, y[:, 1:]), SERIES, {},
         r"^accuracy needs the classes along the first .* axis, got outputs of shape \(4, 4\) for "
         r"targets of shape \(5,\) per example" + ASKED),
        (lambda: Reshaped(4, 4), last_axis, SQUARE, {}, "^accuracy needs to know along" + ".*"
         + ASKED),
        (lambda: nn.Linear(1, 1), lambda out, y: functional.mse_loss(out[:, 0], y.float()),
         SERIES[:, 0], {}, "^accuracy of single outputs needs targets that are 0 or 1" + ASKED),
        (lambda: nn.Linear(1, 2), lambda out, y: (out[:, 0] - y).square().mean(), X[:, 0], {},
         r"^R² needs as many .* \(2,\) for targets of shape \(\) per example" + ASKED),
        (lambda: nn.Linear(1, 4), lambda out, y: functional.cross_entropy(out, y["class"]),
         {"class": SERIES[:, 0]}, {}, "^accuracy and R² need targets in one .* got a dict" + ASKED),
        (lambda: nn.Linear(1, 2), functional.cross_entropy, LABELS, {"metric": backwards},
         r"test_metric\.py:\d+: RuntimeError: size mismatch"),
        (lambda: nn.Linear(1, 2), functional.cross_entropy, LABELS,
         {"test": (X.expand(-1, 3), LABELS)}, "^test: RuntimeError: mat1 and mat2 shapes cannot"),
        (lambda: nn.Linear(1, 2), functional.cross_entropy, LABELS,
         {"validation": (X, LABELS.float())}, "^validation: RuntimeError: expected target dtype"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused_before_anything_is_trained(
    model: Callable[[], nn.Module], loss: Any, y: Any, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message) as told:
        made(model, loss, y, **given)
    assert "\n" not in str(told.value)


def test_examples_that_are_batches_are_doubted() -> None:
    batches = torch.randn(40, 16, 3), torch.zeros(40, 16).long()
    doubt = r"; if the 16 rows of each example are examples themselves, give train as \(torch.cat"
    with pytest.raises(TaskError, match=doubt):
        ModuleTask(
            TorchTask(model=lambda: nn.Linear(3, 2), loss=functional.cross_entropy, train=batches),
            0,
        )


def test_a_metric_takes_whatever_targets_are() -> None:
    def loss(outputs: Tensor, targets: dict[str, Tensor]) -> Tensor:
        return functional.cross_entropy(outputs, targets["class"])

    def right(outputs: Tensor, targets: dict[str, Tensor]) -> Tensor:
        if len(outputs) < 10:
            raise ValueError("that few say nothing")
        return (outputs.argmax(1) == targets["class"]).float().mean()

    given = {"class": LABELS, "weight": X[:, 0]}
    task = made(lambda: nn.Linear(1, 2), loss, given, metric=right)
    assert (task.data["kind"], task.facts["metric"]) == ("own targets", "right")
    assert judged(task) > 0.8
    plain = made(lambda: nn.Linear(1, 2), functional.cross_entropy, LABELS, test=(X, LABELS))
    own = made(lambda: nn.Linear(1, 2), loss, given, metric=right, test=(X, given))
    expected = best_constant(plain.model, plain._placed)
    assert expected is not None
    assert best_constant(own.model, own._placed) == pytest.approx(expected, rel=1e-6)


def test_a_loss_may_view_outputs_of_a_constant_otherwise() -> None:
    def viewed(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs.view(-1, 4), targets.flatten())

    tasks = [
        made(lambda: Reshaped(TIME, 4), loss, SERIES, metric=ours) for loss in (viewed, last_axis)
    ]
    found, expected = (best_constant(task.model, task._placed) for task in tasks)
    assert expected is not None
    assert found == pytest.approx(expected, rel=1e-6)


def test_classes_along_both_axes_are_no_riddle_to_torch_s_own_losses() -> None:
    for loss in (functional.cross_entropy, nn.CrossEntropyLoss(label_smoothing=0.1)):
        assert made(lambda: Reshaped(4, 4), loss, SQUARE).facts["metric"] == "accuracy"


def test_the_test_part_is_judged_by_loss_and_accuracy(task: ModuleTask) -> None:
    lanes = run(task, [trial(hyper={"lr": lr}, round=FINAL, seed=SEED) for lr in (0.5, 1e308)])
    losses, scores = lanes.judge()
    module, _, _ = one_by_one(task.description, lambda p: torch.optim.SGD(p, lr=0.5), epochs=3)
    x, y = task._parts.test
    outputs = module(x)
    assert losses[0] == pytest.approx(functional.cross_entropy(outputs, y).item(), rel=1e-10)
    assert scores[0] == (outputs.argmax(1) == y).double().mean().item()
    assert np.isnan([losses[1], scores[1]]).all()  # it diverged
    assert lanes.checkpoint(1) is None


def test_a_regression_is_scored_by_r2_a_users_metric_by_itself() -> None:
    def largest(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).abs().max()

    def ours(model: nn.Module, batch: Any) -> Tensor:
        return largest(model(batch[0]), batch[1])

    def step(model: nn.Module, batch: Any) -> Tensor:
        return functional.mse_loss(model(batch[0]), batch[1])

    found = {}
    for name, given in {
        "R²": {}, "largest": {"metric": largest}, "none": {"loss": None, "step": step},
        "ours": {"metric": ours, "loss": None, "step": step},
    }.items():  # fmt: skip
        task = ModuleTask(line(**given), 0)
        task.lanes = 2
        assert task.facts["metric"] == name
        found[name] = run(task, [trial(hyper={"lr": 0.1}, epochs=9)]).judge()[1].item()
    assert 0.8 < found["R²"] < 1
    assert found["largest"] == pytest.approx(found["ours"])
    assert math.isnan(found["none"])


def test_a_metric_of_the_users_own_step_may_leave_torch(task: ModuleTask) -> None:
    def share(model: nn.Module, batch: Any) -> float:
        return float(f1_score(batch[1].numpy(), model(batch[0]).argmax(1).numpy(), average="micro"))

    def right(model: nn.Module, batch: Any) -> float:
        return (model(batch[0]).argmax(1) == batch[1]).double().mean().item()

    def step(model: nn.Module, batch: Any) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1])

    trials = [trial(hyper={"lr": lr}, round=FINAL, seed=seed) for lr, seed in ((0.5, 1), (0.1, 2))]
    expected = run(task, trials).judge()[1]
    for metric in (share, right):  # of one label each, both are the accuracy
        own = ModuleTask(classes("mlp", loss=None, step=step, metric=metric), 0)
        own.lanes = 2
        np.testing.assert_allclose(run(own, trials).judge()[1], expected)
