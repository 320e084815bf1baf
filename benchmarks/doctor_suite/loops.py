"""Faults of the loop, the optimizer and its rate."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from doctor_suite.data import sums
from doctor_suite.models import Net, Recurrent, Then
from doctor_suite.registry import everywhere, plant, usual
from doctor_suite.training import LOSSES, SCORES, Case, Training

__all__ = ["normalized"]

ONLY_STRONG = ("strong",)
CLASSES_AND_NUMBERS = (*everywhere("classes"), *everywhere("regression"))


def _net(training: Training) -> Net:
    assert isinstance(training.model, Net)
    return training.model


def _loss(case: Case, batch: Any) -> Tensor:
    loss: Tensor = case["loss_fn"](case["model"](batch[0]), batch[1])
    return loss


@plant("gradients_not_zeroed", *CLASSES_AND_NUMBERS)
def never_zeroed(training: Training, *, strong: bool) -> None:
    """Never, or only at the start of an epoch of 20 steps."""

    def step_fn(case: Case, batch: Any, step: int) -> Tensor:
        if not strong and step % 20 == 0:
            case["optimizer"].zero_grad()
        loss = _loss(case, batch)
        loss.backward()
        case["optimizer"].step()
        return loss

    training.step_fn = step_fn


@plant("gradients_lost_before_step", *everywhere("classes"))
def zeroed_too_late(training: Training, *, strong: bool) -> None:
    """Set to None, or to 0, between backward and step."""

    def step_fn(case: Case, batch: Any, _step: int) -> Tensor:
        loss = _loss(case, batch)
        loss.backward()
        case["optimizer"].zero_grad(set_to_none=strong)
        case["optimizer"].step()
        return loss

    training.step_fn = step_fn


@plant("parameters_not_in_optimizer", *everywhere("classes"), *everywhere("regression"))
def head_alone(training: Training, *, strong: bool) -> None:
    """The optimizer has the parameters of a model that was made again, or those of the head."""
    if strong:
        model = _net(training)
        others = [nn.Parameter(p.detach().clone()) for p in model.parameters()]
        training.trained = lambda _: others
    else:
        training.trained = lambda m: list(m.get_submodule("head").parameters())


class Listed(nn.Module):
    """Features whose layers are in a plain list."""

    def __init__(self, layers: list[nn.Module], registered: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        self.registered = registered

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.registered(x)
        return out


@plant("parameters_not_registered", *everywhere("classes"))
def layers_in_a_list(training: Training, *, strong: bool) -> None:
    """All layers of the features, or the first ones."""
    model = _net(training)
    layers = list(model.features) if isinstance(model.features, nn.Sequential) else [model.features]
    kept = len(layers) if strong or len(layers) < 3 else 2
    model.features = Listed(layers[:kept], nn.Sequential(*layers[kept:]))


@plant("parameters_frozen", *everywhere("classes"), *everywhere("regression"))
def frozen(training: Training, *, strong: bool) -> None:
    """Everything but the last bias, or the features."""
    model = _net(training)
    for parameter in model.features.parameters():
        parameter.requires_grad = False
    if strong:
        model.head.weight.requires_grad = False
    training.trained = lambda m: [p for p in m.parameters() if p.requires_grad]


@plant("graph_cut_by_detach", *everywhere("classes"), *everywhere("regression"))
def detached(training: Training, *, strong: bool) -> None:
    """Behind the features; where strong, the scores too, but for a bias."""
    model = _net(training)
    if strong:
        model.features = Then(model.features, lambda f: f.detach() * 0.1)
    else:
        model.features = Then(model.features, torch.Tensor.detach)


@plant("step_changes_nothing", *everywhere("classes"))
def no_step(training: Training, *, strong: bool) -> None:
    """The step is missing, or the rate has rounded to 0."""
    if not strong:
        training.options["lr"] = 1e-14
        return

    def step_fn(case: Case, batch: Any, _step: int) -> Tensor:
        case["optimizer"].zero_grad()
        loss = _loss(case, batch)
        loss.backward()
        return loss

    training.step_fn = step_fn


def normalized(variant: str, half: str, seed: int) -> Training:
    """Return a training whose model has batch normalization, on inputs that need it."""
    training = usual(variant, half, seed)
    size = training.parts.x.shape[-1]
    outputs = _net(training).head.out_features
    torch.manual_seed(seed)
    act = nn.ReLU if half == "calibration" else nn.SiLU
    if training.parts.x.ndim == 2:
        layers: list[nn.Module] = []
        width = 64 if half == "calibration" else 48
        for i in range(3):
            layers += [nn.Linear(size if i == 0 else width, width), nn.BatchNorm1d(width), act()]
        training.model = Net(nn.Sequential(*layers), width, outputs)
    else:
        width = 12 if half == "calibration" else 16
        layers = []
        for i in range(4):
            layers += [nn.Conv2d(1 if i == 0 else width, width, 3, padding=1)]
            layers += [nn.BatchNorm2d(width), act()]
        layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        training.model = Net(nn.Sequential(*layers), 4 * width, outputs)
    parts = training.parts
    training.parts = parts._replace(x=5 * parts.x + 5, x_val=5 * parts.x_val + 5)
    training.rule, training.options = torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}
    return training


@plant("trained_in_eval_mode", "classes mlp", "classes convnet", "regression mlp",
       "regression convnet", base=normalized)  # fmt: skip
def never_back(training: Training, *, strong: bool) -> None:
    """In evaluation mode after the first validation, at step 3 or 10."""
    first = 3 if strong else 10

    def step_fn(case: Case, batch: Any, step: int) -> Tensor:
        case["optimizer"].zero_grad()
        loss = _loss(case, batch)
        loss.backward()
        case["optimizer"].step()
        if step == first:
            case["model"].eval()
        return loss

    training.step_fn = step_fn


@plant("batch_norm_with_tiny_batches", "classes mlp", "classes convnet", "regression mlp",
       "regression convnet", base=normalized)  # fmt: skip
def tiny_batches(training: Training, *, strong: bool) -> None:
    training.batch = 2 if strong else 4


@plant("schedule_ends_too_early", *CLASSES_AND_NUMBERS)
def short_schedule(training: Training, *, strong: bool) -> None:
    """Made for epochs and stepped per batch."""
    gamma = 0.8 if strong else 0.93
    if training.seed % 2:
        training.schedule = partial(lr_scheduler.ExponentialLR, gamma=gamma)
    else:
        total = 8 if strong else 25
        training.schedule = partial(lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.001,
                                    total_iters=total)  # fmt: skip


@plant("lr_too_high", *CLASSES_AND_NUMBERS, "binary mlp", "autoencoder mlp")
def high_rate(training: Training, *, strong: bool) -> None:
    training.options["lr"] *= 100 if strong else 20


@plant("lr_too_low", *CLASSES_AND_NUMBERS, "binary mlp", "autoencoder mlp")
def low_rate(training: Training, *, strong: bool) -> None:
    training.options["lr"] /= 1000 if strong else 50


@plant("weight_decay_too_high", *CLASSES_AND_NUMBERS, "autoencoder mlp")
def high_decay(training: Training, *, strong: bool) -> None:
    training.options["weight_decay"] = 1.0 if strong else 0.1
    if training.rule is torch.optim.AdamW:
        training.options["weight_decay"] *= 30


def long_series(variant: str, half: str, seed: int) -> Training:
    """Return a recurrent net on long series, whose gradient is clipped."""
    length = 40 if half == "calibration" else 60
    parts = sums(seed, length)
    torch.manual_seed(seed)
    if variant == "relu":
        cell: Any = nn.RNN(2, 32, nonlinearity="relu", batch_first=True)
        nn.init.eye_(cell.weight_hh_l0)
    elif variant == "tanh":
        cell = nn.RNN(2, 32, batch_first=True)
        nn.init.orthogonal_(cell.weight_hh_l0, 1.1)
    else:
        cell = nn.RNN(2, 24, 2, nonlinearity="relu", batch_first=True)
        nn.init.eye_(cell.weight_hh_l0)
        nn.init.eye_(cell.weight_hh_l1)
    model = Net(Recurrent(cell), cell.hidden_size, 1)
    loss, score = LOSSES["regression"](), SCORES["regression"]
    options = {"lr": 0.01, "momentum": 0.9}
    return Training(
        parts, model, loss, score, torch.optim.SGD, options, steps=400, seed=seed, clip=1.0
    )


@plant("exploding_gradient_no_clipping", "relu", "two layers", base=long_series)
def not_clipped(training: Training, *, strong: bool) -> None:
    training.clip = None
    if not strong:
        training.options["lr"] /= 2


@plant("gradient_clipped_too_hard", "classes convnet", "regression convnet", "relu",
       base=lambda v, h, s: long_series(v, h, s) if v == "relu" else usual(v, h, s))  # fmt: skip
def clipped_hard(training: Training, *, strong: bool) -> None:
    if training.rule is not torch.optim.SGD:
        training.rule, training.options = torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}
    training.clip = 1e-4 if strong else 5e-3


def _small_batches(variant: str, half: str, seed: int) -> Training:
    """Return a training in small batches whose rate falls to 0."""
    training = usual(variant, half, seed)
    training.rule, training.options = torch.optim.SGD, {"lr": 0.03}
    training.batch, training.steps = 2, 600
    training.schedule = partial(lr_scheduler.CosineAnnealingLR, T_max=600)
    return training


@plant("noise_floor", *everywhere("regression"), "autoencoder mlp", base=_small_batches)
def no_decay(training: Training, *, strong: bool) -> None:
    training.schedule = None
    if strong:
        training.options = {"lr": 0.03, "momentum": 0.5}
