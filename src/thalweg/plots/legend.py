"""The legend of every picture stands below it, where it covers nothing."""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes

__all__ = ["below"]


def below(ax: Axes, handles: Sequence[Artist] | None = None) -> None:
    """Put the legend below the x label; a constrained layout makes room for it."""
    ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        borderaxespad=4,  # font sizes, not shares of the axes: layouts can make room for it
        handlelength=3.5,
    )
