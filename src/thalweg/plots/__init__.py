"""Pictures: paths and losses of descents, stability of rules, schedules, leaky averages.

Each function takes ``ax``, the axes to draw on, and returns them. Without it, it makes a new
figure, which is then ``ax.figure``. ``thalweg.style.save`` writes it.
"""

from thalweg.plots.curves import leaky_weights, schedule
from thalweg.plots.decay import components, loss
from thalweg.plots.descents import animate, paths
from thalweg.plots.stability import rate_map, rates

__all__ = [
    "animate",
    "components",
    "leaky_weights",
    "loss",
    "paths",
    "rate_map",
    "rates",
    "schedule",
]
