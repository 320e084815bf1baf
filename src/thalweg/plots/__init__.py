"""Pictures: paths of descents and how they fall, where a rule is stable, schedules, leaky averages.

Each takes ``ax``, the axes to draw on, and returns them; without it, it makes a new figure, which
is then ``ax.figure``. ``thalweg.style.save`` writes it.
"""

from thalweg.plots.curves import schedule
from thalweg.plots.descents import animate, paths

__all__ = ["animate", "paths", "schedule"]
