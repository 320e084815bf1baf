"""Healthy trainings: drawn over rules, rates, schedules, batches, models and kinds of targets."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import lr_scheduler

from doctor_suite import architectures, inputs, loops, outputs
from doctor_suite.data import draws
from doctor_suite.models import Net, Recurrent
from doctor_suite.registry import Base, everywhere, usual
from doctor_suite.training import Training
from thalweg import optim

__all__ = ["COUNT", "Drawn", "drawn"]

COUNT = 400  # built; those that do not learn are left out and counted

# Rates near the best of these small trainings; the drawn one is within a factor of 10.
RATES: dict[str, tuple[float, dict[str, Any]]] = {
    "SGD": (0.1, {}), "SGD with momentum": (0.03, {"momentum": 0.9}),
    "SGD with Nesterov's momentum": (0.03, {"momentum": 0.9, "nesterov": True}),
    "Adam": (3e-3, {}), "AdamW": (3e-3, {}), "NAdam": (3e-3, {}), "RAdam": (5e-3, {}),
    "Adamax": (5e-3, {}), "Adagrad": (0.03, {}), "Adadelta": (1.0, {}), "RMSprop": (1e-3, {}),
    "ASGD": (0.1, {}), "Lion": (3e-4, {}), "Yogi": (1e-2, {}), "AdaBelief": (3e-3, {}),
    "Rprop": (1e-3, {}),
}  # fmt: skip
FROM_TORCH = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adagrad", "RMSprop", "Adamax")


def _dropped(variant: str, half: str, seed: int) -> Training:
    """Return a wide MLP with dropout."""
    training = usual(variant, half, seed)
    outs = training.model.head.out_features
    torch.manual_seed(seed)
    size, share = training.parts.x.shape[1], 0.3 if half == "calibration" else 0.5
    layers = [nn.Linear(size, 128), nn.ReLU(), nn.Dropout(share), nn.Linear(128, 64), nn.ReLU()]
    training.model = Net(nn.Sequential(*layers, nn.Dropout(share)), 64, outs)
    return training


def _cells(variant: str, half: str, seed: int) -> Training:
    """Return a net with an LSTM, or with a plain recurrent cell."""
    training = usual(variant, half, seed)
    outs, size = training.model.head.out_features, training.parts.x.shape[2]
    torch.manual_seed(seed)
    cell: nn.RNNBase = nn.LSTM(size, 32, batch_first=True)
    if half == "calibration":
        cell = nn.RNN(size, 40, batch_first=True)
    training.model = Net(Recurrent(cell), 32 if half == "judging" else 40, outs)
    return training


def _bottleneck(variant: str, half: str, seed: int) -> Training:
    """Return an autoencoder with a narrow middle."""
    training = usual(variant, half, seed)
    torch.manual_seed(seed)
    size = training.parts.x.shape[1]
    act = nn.ReLU() if half == "calibration" else nn.Tanh()
    layers = [nn.Linear(size, 48), act, nn.Linear(48, 12), nn.Linear(12, 48), act]
    training.model = Net(nn.Sequential(*layers), 48, size)
    return training


KINDS = ("classes", "binary", "labels", "regression")
PLAIN = tuple(variant for kind in KINDS for variant in everywhere(kind))
BASES: list[tuple[Base, tuple[str, ...]]] = [
    (usual, PLAIN),
    (usual, (*PLAIN, "autoencoder mlp")),
    (inputs.tables, ("table",)),
    (outputs.table, ("table",)),
    (inputs.points, ("rings",)),
    (inputs.texts, ("text transformer", "text recurrent", "text convnet")),
    (inputs.series, ("rnn", "gru", "lstm")),
    (loops.normalized, tuple(f"{k} {b}" for k in KINDS for b in ("mlp", "convnet"))),
    (architectures.deep_net, tuple(f"{k} {b}" for k in KINDS for b in ("mlp", "convnet"))),
    (architectures.rectified, tuple(f"{k} {b}" for k in KINDS for b in ("mlp", "convnet"))),
    (_dropped, tuple(f"{kind} mlp" for kind in KINDS)),
    (_cells, tuple(f"{kind} sequence" for kind in KINDS)),
    (_bottleneck, ("autoencoder mlp",)),
]


class Drawn(NamedTuple):
    """A healthy training that was drawn.

    Args:
        name: what it is.
        half: of the suite.
        seed: of data, start and order.
        base: makes the same model and data with the settings of their own.
        variant: of the base.
        training: the drawn one.
    """

    name: str
    half: str
    seed: int
    base: Base
    variant: str
    training: Training


def _pick(options: Any, own: torch.Generator) -> Any:
    return options[int(torch.randint(0, len(options), (), generator=own))]


def _scheduled(name: str, steps: int) -> Any:
    """Return what makes a schedule that is as long as the training."""
    if name == "cosine":
        return partial(lr_scheduler.CosineAnnealingLR, T_max=steps)
    if name == "steps":
        return partial(lr_scheduler.MultiStepLR, milestones=[steps // 2, steps * 3 // 4])
    if name == "warm-up":
        return partial(lr_scheduler.LinearLR, start_factor=0.1, total_iters=steps // 10)
    if name == "linear":
        return partial(lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.02, total_iters=steps)
    return None


def drawn(number: int) -> Drawn:
    """Return the healthy training of a number; even ones are of the calibration half."""
    half = "judging" if number % 2 else "calibration"
    seed = number // 2 % 5 + (5 if number % 2 else 0)
    own = draws(number, 50)
    base, variants = _pick(BASES, own)
    variant = _pick(variants, own)
    training: Training = base(variant, half, seed)
    name = _pick(list(RATES), own)
    short = name.split()[0]
    lr, others = RATES[name]
    factor = float(10 ** (2 * torch.rand((), generator=own) - 1))
    from_torch = short in FROM_TORCH and number % 3 == 0
    training.rule = getattr(torch.optim if from_torch else optim, short)
    training.options = {"lr": lr * factor, **others}
    if short == "AdamW" or _pick(range(4), own) == 0:
        training.options["weight_decay"] = 1e-2 if short == "AdamW" else 1e-5
    if short in {"Lion", "Adagrad"} or short == "Rprop":
        training.options.pop("weight_decay", None)
    training.batch = 512 if short == "Rprop" else _pick([16, 32, 32, 64, 128], own)
    training.steps = _pick([250, 400, 500], own)
    schedule = _pick([None, None, "cosine", "steps", "warm-up", "linear"], own)
    training.schedule = _scheduled(schedule, training.steps) if schedule else None
    training.clip = 1.0 if _pick(range(4), own) == 0 else None
    maker = "torch" if from_torch else "thalweg"
    title = f"{number}: {variant}, {maker} {name}, {factor:.2g} of the rate, batch {training.batch}"
    return Drawn(f"{title}, schedule {schedule}", half, seed, base, variant, training)
