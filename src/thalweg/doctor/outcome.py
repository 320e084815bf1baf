"""Outcome: training against validation loss, once the training has learned what it could."""

import math
from collections.abc import Iterator, Sequence

from thalweg.doctor.baseline import constant_loss
from thalweg.doctor.finding import Finding
from thalweg.doctor.trials import Trials
from thalweg.words import digits

__all__ = ["look_at_outcome"]


def look_at_outcome(
    trials: Trials, left: float, validated: Sequence[tuple[int, float]], found: list[Finding]
) -> Iterator[Finding]:
    """Yield over- and underfitting.

    Args:
        trials: of the training.
        left: the share of the constant's loss that the training leaves.
        validated: steps and validation losses.
        found: what was found before: it explains a loss that stays high.
    """
    if left > 0.7 and not found:
        yield Finding(
            "underfitting",
            "warning",
            f"{digits(left)} of the loss of a constant output is left after "
            f"{len(trials.plain.losses)} steps, and no change that was tried made it learn more.",
            {"left": left},
            "more than 70 % of the loss of the best constant is left",
            "an experiment: the treatments that were ruled out",
            sure=0.5,
        )
    held = trials.subject.validation
    best = constant_loss(trials.subject, held) if held else None
    if not validated or best is None or best <= 0 or not math.isfinite(validated[-1][1]):
        return
    last = validated[-1][1]
    least_step, least = min(validated, key=lambda pair: pair[1])
    gap = last / best - left
    if left < 0.3 and last / best > 0.9:
        yield Finding(
            "overfitting",
            "problem",
            f"{digits(left)} of the loss of a constant output is left on training data, and "
            f"{digits(last / best)} on validation data: what was learned does not carry over.",
            {"left on training data": left, "left on validation data": last / best},
            "less than 30 % left in training and more than 90 % in validation",
            "the loss of the best constant",
            sure=0.7,
        )
    elif gap > 0.3 or (last > 1.3 * least and left < 0.3):
        yield Finding(
            "overfitting",
            "warning",
            f"The validation loss is {digits(last)} and was {digits(least)} at step {least_step}; "
            f"{digits(left)} of the loss of a constant output is left on training data.",
            {"validation loss": last, "least validation loss": least},
            "30 % above its least value, or 30 % of the constant's loss above the training loss",
            "the loss of the best constant",
            sure=0.5,
        )
