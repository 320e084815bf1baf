"""Dynamics: what rate, curvature, noise and units of a training are like at one point of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg import theory
from thalweg.doctor.layers import activations
from thalweg.doctor.loaders import halves
from thalweg.doctor.preconditioner import felt
from thalweg.doctor.sharpness import CriticalRate, critical_rate, dot
from thalweg.doctor.subject import Copy, Subject
from thalweg.errors import TaskError, told
from thalweg.noise import GradientNoise

__all__ = ["Dynamics", "measure"]

_NEAR = 0.05  # of an eigenvalue, as a share of it
_FAR = 0.01  # of the curvature at which a rule becomes unstable: the floor hardly depends on less


@dataclass(frozen=True)
class Dynamics:
    """A training at one step, measured on a copy.

    Args:
        step: how many steps had been taken.
        critical: the rate beside its limit; None where it is not known.
        noise: of the gradient, from the two halves of one batch; None where it has no halves.
        batch_size: examples of that batch.
        floor: how far above its minimum the noise keeps the loss at this rate, by theory; NaN: not
            known.
        dead: the largest share of units of one rectifier that are 0 for all examples; NaN: none.
        saturated: the largest share of values of one activation at an end of its range.
        unknown: what could not be measured, and why.
    """

    step: int
    critical: CriticalRate | None
    noise: GradientNoise | None
    batch_size: int
    floor: float
    dead: float
    saturated: float
    unknown: Mapping[str, str]


def measure(subject: Subject, step: int, products: int = 20) -> Dynamics:
    """Measure a training where it stands, on its first batch.

    The floor is the sum over coordinates of ``theory.noise_floor`` at a hundredth of the curvature
    at which the rule becomes unstable, with the measured noise of the preconditioned gradient. For
    sgd that is η tr Σ / (4 B), with b examples of variance Σ in a batch.

    Args:
        subject: the training; copies of it are examined.
        step: how many steps it has taken.
        products: with the Hessian, at most.
    """
    unknown: dict[str, str] = {}
    twin, critical = subject.copy(), None
    try:
        critical = critical_rate(
            twin.model, twin.optimizer, subject.loss_fn, subject.batch,
            step=subject.step, tolerance=_NEAR, products=products,
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - one signal that fails hides no other
        unknown["sharpness"] = told(error)
    noise, size, floor = None, 0, math.nan
    parts = halves(subject.batch)
    if parts is None:
        unknown["gradient noise"] = "the batch has no two halves"
    else:
        try:
            one, other, size = _gradient(twin, parts[0]), _gradient(twin, parts[1]), parts[2]
            noise = _noise(list(one.values()), list(other.values()), size)
            if critical is None or critical.ratio < 1:  # else nothing settles
                floor = _floor(twin, one, other, size)
        except Exception as error:  # noqa: BLE001
            unknown["gradient noise" if noise is None else "noise floor"] = told(error)
    try:
        seen = activations(subject)
    except Exception as error:  # noqa: BLE001
        unknown["activations"], seen = told(error), []
    return Dynamics(
        step,
        critical,
        noise,
        2 * size,
        floor,
        max((one.dead for one in seen), default=math.nan),
        max((one.saturated for one in seen), default=math.nan),
        unknown,
    )


def _gradient(twin: Copy, batch: object) -> dict[Tensor, Tensor]:
    """Return the gradient of the loss by parameter, with the draws of the seed 0."""
    held = [p for p in twin.parameters if p.requires_grad]
    torch.manual_seed(0)
    found = torch.autograd.grad(twin.loss(batch), held, allow_unused=True)
    return {p: g for p, g in zip(held, found, strict=True) if g is not None}


def _noise(one: Sequence[Tensor], other: Sequence[Tensor], size: int) -> GradientNoise:
    squares = [dot(one, one), dot(other, other)]
    mean = (sum(squares) + 2 * dot(one, other)) / 4
    return GradientNoise.of_moments(sum(squares) / 2, mean, 2, size)


def _floor(
    twin: Copy, one: Mapping[Tensor, Tensor], other: Mapping[Tensor, Tensor], size: int
) -> float:
    both = {p: (one[p] + other[p]) / 2 for p in one if p in other}
    as_felt = felt(twin.optimizer, both)
    roots = [s.sqrt() for s in as_felt.scales]
    here, there = ([r * g[p] for r, p in zip(roots, both, strict=True)] for g in (one, other))
    variance = _noise(here, there, size).variance / (2 * size)
    limit = as_felt.max_lr(1.0) / as_felt.lr if as_felt.lr else math.inf
    if not math.isfinite(limit):
        raise TaskError("the rate is 0")
    return theory.noise_floor(as_felt.rule, _FAR * limit, variance, lr=as_felt.lr, **as_felt.hyper)
