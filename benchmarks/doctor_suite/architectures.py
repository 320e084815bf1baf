"""Faults of the architecture, its start and its arithmetic."""

from functools import partial

import torch
from torch import Tensor, nn

from doctor_suite.data import draws
from doctor_suite.models import Attention, Net, Recurrent, Then, deep
from doctor_suite.registry import everywhere, plant, usual
from doctor_suite.training import Training

__all__ = ["deep_net", "rectified"]

ONLY_STRONG = ("strong",)


def _net(training: Training) -> Net:
    assert isinstance(training.model, Net)
    return training.model


def _weights(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.ndim > 1]


def _without_time(features: Tensor) -> Tensor:
    """Mix examples by reading the memory in the wrong order."""
    return features.t().reshape(features.shape)


@plant("batch_dimension_mixed", *everywhere("classes"), *everywhere("regression"))
def mixed(training: Training, *, strong: bool) -> None:
    """A view of the transposed features; the time of series taken for the batch."""
    model = _net(training)
    if isinstance(model.features, Recurrent):
        model.features.cell.batch_first = False
    elif isinstance(model.features, Attention):
        model.features.layer.self_attn.batch_first = False
    elif strong:
        model.features = Then(model.features, _without_time)
    else:
        model.features = Then(model.features, partial(torch.softmax, dim=0))


def deep_net(variant: str, half: str, seed: int) -> Training:
    """Return a deep net with normalization and ReLU."""
    training = usual(variant, half, seed)
    outputs = _net(training).head.out_features
    torch.manual_seed(seed)
    depth = 7 if half == "calibration" else 9
    side = round(training.parts.x[0].numel() ** 0.5)
    training.model = deep(variant.split()[1], side, outputs, depth, nn.ReLU, tame=True)
    training.rule, training.options = torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}
    return training


@plant(
    "vanishing_gradient_sigmoid", "classes mlp", "classes convnet", "regression mlp", base=deep_net
)
def sigmoids(training: Training, *, strong: bool) -> None:
    name = "convnet" if training.parts.x.ndim == 4 else "mlp"
    depth = 7 if strong else 4
    side = round(training.parts.x[0].numel() ** 0.5)
    outputs = _net(training).head.out_features
    torch.manual_seed(training.seed)
    training.model = deep(name, side, outputs, depth, nn.Sigmoid, tame=False)


def rectified(variant: str, half: str, seed: int) -> Training:
    """Return a net of two hidden layers with ReLU; wider in the judging half."""
    training = usual(variant, half, seed)
    outputs = _net(training).head.out_features
    torch.manual_seed(seed)
    side = round(training.parts.x[0].numel() ** 0.5)
    depth = 2 if half == "calibration" else 3
    training.model = deep(variant.split()[1], side, outputs, depth, nn.ReLU, tame=False)
    return training


@plant("dead_relu", "classes mlp", "classes convnet", "regression mlp", "regression convnet",
       base=rectified)  # fmt: skip
def dead(training: Training, *, strong: bool) -> None:
    """The biases of a layer are far below 0: all of its units are dead, or nearly all."""
    features = _net(training).features
    assert isinstance(features, nn.Sequential)
    layers = [m for m in features if isinstance(m, nn.Linear | nn.Conv2d)]
    bias = layers[-1].bias
    assert bias is not None
    with torch.no_grad():
        bias.fill_(-20.0)
        if not strong:
            bias[:2] = 0.0


@plant("init_too_large", "classes mlp", "classes convnet", "regression mlp", "regression convnet",
       base=rectified)  # fmt: skip
def large_start(training: Training, *, strong: bool) -> None:
    with torch.no_grad():
        for weight in _weights(training.model):
            weight.mul_(20.0 if strong else 6.0)


@plant("init_too_large", "classes sequence", "regression sequence")
def large_start_of_series(training: Training, *, strong: bool) -> None:
    with torch.no_grad():
        for weight in _weights(training.model):
            weight.mul_(20.0 if strong else 6.0)


@plant("constant_init", "classes mlp", "classes convnet", "regression mlp", "classes sequence",
       "regression convnet")  # fmt: skip
def constant_start(training: Training, *, strong: bool) -> None:
    """All weights are 0, or one small number."""
    with torch.no_grad():
        for weight in training.model.parameters():
            weight.fill_(0.0 if strong else 0.05)


@plant("plateau", "classes mlp", "classes convnet", "regression mlp", base=rectified)
def tiny_start(training: Training, *, strong: bool) -> None:
    """Weights that are so small that no layer passes a gradient on."""
    if training.rule is not torch.optim.SGD:
        training.rule, training.options = torch.optim.SGD, {"lr": 0.05}
    with torch.no_grad():
        for weight in training.model.parameters():
            weight.mul_(0.003 if strong else 0.03)


def _linear(variant: str, half: str, seed: int) -> Training:
    """Return a linear model on inputs that are turned, and trained by plain descent."""
    training = usual(variant, half, seed)
    parts = training.parts
    x = parts.x.flatten(1)
    mean = x.mean(0)
    _, singular, axes = torch.linalg.svd(x - mean, full_matrices=False)
    kept = (singular > 0.1 * singular[0]).sum()
    into = axes[:kept].T / singular[:kept] * len(x) ** 0.5
    outputs = _net(training).head.out_features
    torch.manual_seed(seed)
    training.model = nn.Linear(int(kept), outputs)
    training.parts = parts._replace(
        x=(x - mean) @ into, x_val=(parts.x_val.flatten(1) - mean) @ into
    )
    training.rule, training.options = torch.optim.SGD, {"lr": 0.02}
    return training


@plant("ill_conditioned", "regression mlp", "classes mlp", base=_linear)
def correlated(training: Training, *, strong: bool) -> None:
    """Every input is a mixture in which one direction is far larger than the others."""
    parts = training.parts
    count = parts.x.shape[1]
    own = draws(training.seed, 40)
    turn = torch.linalg.qr(torch.randn(count, count, generator=own))[0]
    scales = torch.ones(count)
    scales[: count // 8] = 30.0 if strong else 10.0
    mixing = turn @ torch.diag(scales) @ turn.T
    mixing = mixing / (mixing.square().sum(0).mean() ** 0.5)
    training.parts = parts._replace(x=parts.x @ mixing, x_val=parts.x_val @ mixing)


@plant("nan_gradient_of_sqrt_at_zero", *everywhere("classes"))
def root_of_zero(training: Training, *, strong: bool) -> None:
    """A root of features that are 0 for many examples, or of a difference that is seldom 0."""
    model = _net(training)
    model.features = Then(model.features, _root if strong else _seldom_root)


def _root(features: Tensor) -> Tensor:
    return ((features - 0.1) * (features > 0.1)).square().sqrt()


def _seldom_root(features: Tensor) -> Tensor:
    """Return features with the norm of the large ones, which is 0 where there are none."""
    large = features * (features > features.mean() + 2 * features.std())
    return features + large.square().sum(1, keepdim=True).sqrt()


@plant("gradient_not_finite", *everywhere("classes"))
def hidden_logarithm(training: Training, *, strong: bool) -> None:
    """A logarithm that `where` hides from the loss, and not from the gradient."""
    model = _net(training)
    model.features = Then(model.features, _hidden if strong else _hidden_seldom)


def _hidden(features: Tensor) -> Tensor:
    above = (features - 0.1) * (features > 0.1)
    return torch.where(above > 0, torch.log(above), torch.zeros_like(above))


def _hidden_seldom(features: Tensor) -> Tensor:
    """Return features over the sum of the large ones, where there are any."""
    large = features * (features > features.mean() + 2 * features.std())
    size = large.sum(1, keepdim=True)
    return features + torch.where(size > 0, large / size, torch.zeros_like(large))
