"""What several tests of pictures draw and read."""

import numpy as np
from matplotlib.axes import Axes

from thalweg import problems, theory

HALVING = problems.quadratic(2.0 ** -np.arange(12.0), name="halving")
LR = np.geomspace(0.01, 2, 60)
MEMORY = 1 - np.geomspace(1, 0.01, 50)


def momentum_map() -> theory.RateMap:
    return theory.rate_map("momentum", [0.2, 4.0], over={"lr": LR, "beta": MEMORY})


def texts(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]
