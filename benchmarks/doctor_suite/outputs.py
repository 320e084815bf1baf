"""Faults between the outputs and the loss."""

import warnings
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from doctor_suite.data import diabetes, draws
from doctor_suite.models import Net, Then
from doctor_suite.registry import everywhere, plant, usual
from doctor_suite.training import LOSSES, SCORES, Training

__all__ = ["table"]

ONLY_STRONG = ("strong",)


@plant("softmax_before_cross_entropy", *everywhere("classes"))
def softmax_before_loss(training: Training, *, strong: bool) -> None:
    """End in a softmax; in a log-softmax's exponential of half the scores where mild."""
    scale = 1.0 if strong else 3.0  # surer probabilities leave more gradient
    training.model = Then(training.model, lambda o: torch.softmax(scale * o, 1))


@plant("sigmoid_before_bce_with_logits", *everywhere("binary"), *everywhere("labels"))
def sigmoid_before_loss(training: Training, *, strong: bool) -> None:
    scale = 1.0 if strong else 3.0
    training.model = Then(training.model, lambda o: torch.sigmoid(scale * o))


@plant("softmax_over_one_unit", *everywhere("binary"), strengths=ONLY_STRONG)
def softmax_over_one(training: Training, **_: bool) -> None:
    training.model = Then(training.model, partial(torch.softmax, dim=1))
    training.loss_fn = nn.BCELoss()


def _logarithm(least: float, output: Tensor, y: Tensor) -> Tensor:
    share = output / (output.sum(1, keepdim=True) + least)
    hot = functional.one_hot(y, output.shape[1])
    return -(hot * torch.log(share + least)).sum(1).mean()


@plant("relu_output_into_log", *everywhere("classes"))
def relu_into_log(training: Training, *, strong: bool) -> None:
    training.model = Then(training.model, torch.relu)
    training.loss_fn = partial(_logarithm, 0.0 if strong else 1e-12)


@plant("output_range_too_small", *everywhere("regression"), "autoencoder mlp")
def range_too_small(training: Training, *, strong: bool) -> None:
    """End in a sigmoid, or in tanh, where targets are of deviation 1 and more."""
    training.model = Then(training.model, torch.sigmoid if strong else torch.tanh)


@plant("binary_loss_for_classes", *everywhere("classes"))
def binary_loss(training: Training, *, strong: bool) -> None:
    """One unit for all classes, numbered from 0; three classes where mild."""
    model = training.model
    assert isinstance(model, Net)
    count = model.head.out_features
    model.head = nn.Linear(model.head.in_features, 1)
    kept = count if strong else 3
    parts = training.parts
    inside, held = parts.y < kept, parts.y_val < kept
    training.honest = parts.x_val[held], parts.y_val[held]
    training.parts = parts._replace(
        x=parts.x[inside], y=parts.y[inside, None].float(),
        x_val=parts.x_val[held], y_val=parts.y_val[held, None].float(),
    )  # fmt: skip
    training.loss_fn = nn.BCEWithLogitsLoss()
    training.comparable = False
    named = partial(_nearest, kept)
    training.predict = lambda m, x: named(torch.sigmoid(m(x)))


def _nearest(count: int, output: Tensor) -> Tensor:
    """Return scores of classes, given their number as one output."""
    return -(output.reshape(-1, 1) - torch.arange(count, dtype=output.dtype)).abs()


def _labels_base(variant: str, half: str, seed: int) -> Training:
    training = usual(variant, half, seed)
    training.score = _exact_labels
    return training


@plant("softmax_for_multi_label", *everywhere("labels"), base=_labels_base)
def softmax_for_labels(training: Training, *, strong: bool) -> None:
    """One softmax for independent labels, by the binary loss or by the cross-entropy."""
    training.comparable = False
    training.predict = lambda m, x: torch.softmax(m(x), 1) if not strong else m(x)
    if strong:
        training.model = Then(training.model, partial(torch.softmax, dim=1))
        training.loss_fn = nn.BCELoss()
    else:
        training.loss_fn = _soft_targets
    training.score = _exact_labels


def _exact_labels(output: Tensor, y: Tensor) -> float:
    """Return the share of rows whose labels are all right at the threshold of one half."""
    threshold = 0.0 if bool((output < 0).any()) else 0.5
    return float(((output > threshold) == y.bool()).all(1).float().mean())


def _soft_targets(output: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(output, y / y.sum(1, keepdim=True).clamp(min=1))


def table(variant: str, half: str, seed: int) -> Training:
    """Return a regression on the diabetes table, or the usual one."""
    if variant != "table":
        return usual(variant, half, seed)
    parts = diabetes(seed)
    torch.manual_seed(seed)
    width, activation = (32, nn.ReLU()) if half == "calibration" else (24, nn.Tanh())
    model = Net(nn.Sequential(nn.Linear(10, width), activation), width, 1)
    loss, score = LOSSES["regression"](), SCORES["regression"]
    return Training(parts, model, loss, score, torch.optim.Adam, {"lr": 5e-3}, seed=seed)


def _quiet(loss_fn: nn.Module, output: Tensor, y: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value: Tensor = loss_fn(output, y)
    return value


@plant("loss_broadcasts", *everywhere("regression"), "table", base=table)
def broadcasts(training: Training, *, strong: bool) -> None:
    """Targets (N,) beside outputs (N, 1); the other loss where mild."""
    parts = training.parts
    training.honest = parts.x_val, parts.y_val
    training.parts = parts._replace(y=parts.y[:, 0], y_val=parts.y_val[:, 0])
    training.loss_fn = partial(_quiet, nn.MSELoss() if strong else nn.SmoothL1Loss())
    training.comparable = False


class TwoTerms(nn.Module):
    """The task's loss, and a weighted penalty of the outputs' size."""

    def __init__(self, loss_fn: nn.Module, weight: float) -> None:
        super().__init__()
        self.loss_fn = loss_fn
        self.weight = weight

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the sum."""
        first: Tensor = self.loss_fn(output, y)
        return first + self.weight * output.square().mean()


@plant("loss_terms_unbalanced", *everywhere("classes"), *everywhere("regression"))
def unbalanced_terms(training: Training, *, strong: bool) -> None:
    training.loss_fn = TwoTerms(training.loss_fn, 300.0 if strong else 30.0)  # type: ignore[arg-type]
    training.comparable = False


@plant("loss_unsuited", *everywhere("classes"))
def squared_error_of_class_numbers(training: Training, *, strong: bool) -> None:
    """One output fitted to the number of the class, by the squared or the absolute error."""
    model = training.model
    assert isinstance(model, Net)
    count = model.head.out_features
    model.head = nn.Linear(model.head.in_features, 1)
    parts = training.parts
    training.honest = parts.x_val, parts.y_val
    training.parts = parts._replace(y=parts.y[:, None].float(), y_val=parts.y_val[:, None].float())
    training.loss_fn = nn.MSELoss() if strong else nn.SmoothL1Loss()
    training.comparable = False
    training.predict = lambda m, x: _nearest(count, m(x))


@plant("loss_unsuited", *everywhere("regression"), "table", base=table)
def squared_error_with_outliers(training: Training, *, strong: bool) -> None:
    """Give a few training targets a decimal point in the wrong place."""
    parts = training.parts
    wrong = torch.rand(len(parts.y), generator=draws(training.seed, 20)) < (
        0.04 if strong else 0.02
    )
    y = parts.y.clone()
    y[wrong] *= 100 if strong else 30
    training.parts = parts._replace(y=y)


@plant("loss_not_mean", *everywhere("regression"), "classes convnet", "autoencoder mlp")
def summed_loss(training: Training, *, strong: bool) -> None:
    kind = nn.CrossEntropyLoss if isinstance(training.loss_fn, nn.CrossEntropyLoss) else nn.MSELoss
    training.loss_fn = kind(reduction="sum")
    if training.rule is not torch.optim.SGD:
        training.rule, training.options = torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}
    training.batch = 64 if strong else 24
    training.comparable = False


def _against(loss_fn: nn.Module, output: Tensor, y: Tensor) -> Tensor:
    value: Tensor = -loss_fn(output, y)
    return value


def _similarity(output: Tensor, y: Tensor) -> Tensor:
    """Return the likeness that should have been made large: bounded, so nothing diverges."""
    if y.is_floating_point():
        return torch.exp(-(output - y).square()).mean()
    return torch.softmax(output, 1).gather(1, y[:, None]).mean()


@plant("loss_sign_wrong", *everywhere("classes"), *everywhere("regression"))
def wrong_sign(training: Training, *, strong: bool) -> None:
    training.loss_fn = partial(_against, training.loss_fn) if strong else _similarity  # type: ignore[arg-type]
    training.comparable = False
