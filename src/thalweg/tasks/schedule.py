"""Schedule: how the rate changes during a training."""

from thalweg.schedules import Schedule, constant, cosine, warmup

__all__ = ["CONSTANT", "COSINE", "NAMES", "factor", "rise"]

CONSTANT, COSINE = "constant", "cosine"
NAMES = (CONSTANT, COSINE)


def rise(steps: int) -> int:
    """Return how many steps of a training are the warm-up of ``"cosine"``: a tenth."""
    return steps // 10


def factor(name: str, steps: int) -> Schedule:
    """Return the factor of the rate, a function of the number of steps already taken.

    ``"constant"`` is 1. ``"cosine"`` rises linearly to 1 over the first tenth of the steps and then
    falls to 0 in half a cosine.

    Args:
        name: one of ``NAMES``.
        steps: of the whole training, >= 1.

    Raises:
        ValueError: no schedule has that name.

    Example:
        >>> [round(factor("cosine", 40)(step), 3) for step in (0, 3, 4, 22, 40)]
        [0.2, 0.8, 1.0, 0.5, 0.0]
    """
    if name == CONSTANT:
        return constant(1.0)
    if name != COSINE:
        raise ValueError(f"schedule must be one of {', '.join(NAMES)}, got {name!r}")
    fall = cosine(1.0, steps=steps - rise(steps))
    return warmup(fall, steps=rise(steps)) if rise(steps) else fall
