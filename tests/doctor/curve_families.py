"""Loss curves with a known fault, drawn from families of courses.

Thresholds of ``thalweg.doctor.signs`` were set on the families CALIBRATED; those of APART decide.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.doctor.curves import Curves

__all__ = ["APART", "CALIBRATED", "FAULTS", "draw"]

Floats = NDArray[np.float64]
Course = Callable[[Floats, Any], Floats]
"""From the share of the training that is done to the share of the loss that is left, 1 at 0."""


def _exponential(u: Floats, rng: Any) -> Floats:
    return np.exp(-rng.uniform(6, 14) * u)


def _stairs(u: Floats, rng: Any) -> Floats:
    """A rate that is cut twice."""
    first, second = rng.uniform(0.15, 0.25), rng.uniform(0.35, 0.5)
    left = 0.25 + 0.75 * np.exp(-30 * u)
    left = np.where(u > first, 0.06 + (left - 0.06) * np.exp(-40 * (u - first)), left)
    return np.where(u > second, left * np.exp(-np.minimum(1.5, 30 * (u - second))), left)


def _two_times(u: Floats, rng: Any) -> Floats:
    return 0.8 * np.exp(-rng.uniform(20, 60) * u) + 0.2 * np.exp(-rng.uniform(5, 8) * u)


def _power(u: Floats, rng: Any) -> Floats:
    return (1 + rng.uniform(100, 1000) * u) ** -rng.uniform(0.5, 1.0)


def _warmup(u: Floats, rng: Any) -> Floats:
    """Slow at first, as with a warmup: a logistic course."""
    middle, width = rng.uniform(0.05, 0.12), rng.uniform(0.02, 0.04)
    left = 1 / (1 + np.exp((u - middle) / width))
    return left / left[0]


def _stretched(u: Floats, rng: Any) -> Floats:
    return np.exp(-rng.uniform(5, 9) * u ** rng.uniform(0.5, 0.8))


CALIBRATED: Mapping[str, Course] = {
    "exponential": _exponential, "stairs": _stairs, "two times": _two_times,
}  # fmt: skip
APART: Mapping[str, Course] = {"power": _power, "warmup": _warmup, "stretched": _stretched}


def _wander(rng: Any, size: int, memory: float) -> Floats:
    """Noise that remembers, of variance 1."""
    noise = rng.standard_normal(size)
    for i in range(1, size):
        noise[i] = memory * noise[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    return noise


def draw(fault: str, course: Course, seed: int) -> Curves:  # noqa: C901, PLR0915 - a case each
    """Return the curves of a training with a fault, logged by epoch or by step."""
    rng: Any = np.random.default_rng([seed, FAULTS.index(fault), sum(map(ord, course.__name__))])
    by_step = bool(rng.integers(2))
    size = int(rng.integers(300, 5000)) if by_step else int(rng.integers(20, 120))
    records = int(rng.integers(20, 60)) if by_step else size
    u = np.linspace(0, 1, size)
    height = np.exp(rng.uniform(np.log(0.1), np.log(10)))
    floor = rng.uniform(0.02, 0.2)
    gap = rng.uniform(1.02, 1.4)
    if fault == "underfitting":
        floor, gap = rng.uniform(0.65, 0.85), rng.uniform(0.98, 1.1)
    left = course(u, rng)
    if fault == "still_falling":
        k = rng.uniform(0.2, 1.0)
        left = np.exp(-k * u)
        floor = 0.0
    train = floor + (1 - floor) * left
    held = floor * gap + (1 - floor) * left
    u0 = rng.uniform(0.3, 0.6)
    if fault == "overfitting":
        held = held + held[-1] * rng.uniform(0.3, 2) * np.maximum(0, u - u0) / (1 - u0)
        train = train * np.exp(-2 * u)
    elif fault == "validation_of_other_distribution":
        held = train * rng.uniform(0.1, 0.5)
    elif fault == "diverged":
        growth = np.expm1(np.log(rng.uniform(2, 1000)) * np.maximum(0, u - u0) / (1 - u0))
        train, held = train + growth, held + growth
    elif fault == "plateau":
        if rng.integers(2):
            train = held = 1 - rng.uniform(0, 0.05) * u
        else:
            later = course(np.maximum(0, u - u0) / (1 - u0), rng)
            train = floor + (1 - floor) * later
            held = floor * gap + (1 - floor) * later
    elif fault == "noise_floor":
        size_of = rng.uniform(0.25, 0.5)
        memory = 1 - 1 / (size / rng.uniform(15, 40)) if by_step else rng.uniform(0, 0.5)
        wander = np.exp(size_of * _wander(rng, size, memory))
        train = (train - floor) + floor * wander
        held = (held - floor * gap) + floor * gap * wander
    elif fault == "loss_spikes":
        for place in rng.integers(size // 6, size - size // 6, int(rng.integers(1, 5))):
            long = max(1, size // 200)
            train[place : place + long] *= rng.uniform(3, 10)
    scatter = rng.uniform(0.05, 0.35) if by_step else rng.uniform(0.0, 0.03)
    train = height * train * np.exp(scatter * rng.standard_normal(size) - scatter**2 / 2)
    at = np.linspace(size // records - 1, size - 1, records).astype(int)
    few = rng.uniform(0.0, 0.03)
    held = height * held[at] * np.exp(few * rng.standard_normal(len(at)))
    if fault == "loss_not_finite":
        train[int(u0 * size) :] = np.nan
    every = int(rng.integers(1, 50)) if by_step else 1
    steps = np.arange(size, dtype=float) * every
    return Curves(fault, steps, train, steps[at], held, "step" if by_step else "epoch")


FAULTS = (
    "healthy", "overfitting", "underfitting", "validation_of_other_distribution", "diverged",
    "plateau", "still_falling", "noise_floor", "loss_not_finite", "loss_spikes",
)  # fmt: skip
