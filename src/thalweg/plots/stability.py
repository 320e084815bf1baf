"""Pictures of where a rule converges, and how fast: over lr, and over lr and memory."""

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.scale import FuncScale
from numpy.typing import ArrayLike, NDArray

from thalweg import rules, style, theory
from thalweg.plots.legend import below, digits, near_one
from thalweg.rule import RANGES, Rule
from thalweg.theory.linearization import linearize, positive

__all__ = ["rate_map", "rates"]

Array = NDArray[np.float64]

_BEST: dict[str, Any] = {
    "linestyle": "none", "marker": "*", "markersize": 13, "color": style.TIE,
    "markeredgecolor": "white",
}  # fmt: skip
_OSCILLATING: dict[str, Any] = {"facecolor": style.FAINT, "alpha": 0.6, "linewidth": 0}
_DIVERGENT: dict[str, Any] = {
    "facecolor": "none", "edgecolor": style.MUTED, "hatch": "///", "linewidth": 0,
}  # fmt: skip
_POINTS = 600


@style.styled()
def rates(rule: Rule | str, spectrum: ArrayLike, ax: Axes | None = None, **hyper: float) -> Axes:
    """Draw the rate on a quadratic against lr, and mark where a descent oscillates and diverges.

    Left of the grey region every eigen-coordinate goes to the minimizer from one side in the long
    run: the eigenvalue of its iteration matrix that is largest in size is positive. In it one of
    them is negative or complex; in the hatched region one of them is 1 or more in size. The thin
    lines are the rates along the eigenvectors of the least and of the largest curvature.

    Args:
        rule: a Rule, or the name of one; it must be linear (see ``theory.iteration_matrix``).
        spectrum: the Hessian's eigenvalues, each > 0: (d,), or one number.
        ax: where to draw; a new figure by default (``ax.figure``).
        hyper: the rule's hyperparameters but lr; its defaults for the rest.

    Raises:
        ValueError: a value is out of range, or the rule is not linear.
        TypeError: the rule has no such hyperparameter, or lr is given.

    Example:
        >>> ax = rates("sgd", [1.0, 4.0])
        >>> ax.get_xlabel(), ax.get_legend().get_texts()[-1].get_text()
        ('lr', 'divergent: lr ≥ 0.5')
    """
    rule = rules.get(rule)
    eigenvalues = np.unique(positive("spectrum", spectrum))
    limit = theory.max_lr(rule, eigenvalues[-1], **hyper)
    lr = np.linspace(0, 1.25, _POINTS)[1:] * min(limit, 1e3 / eigenvalues[-1])
    map_ = linearize(rule, {**rule.resolve(hyper), "lr": lr})
    worst = [_dominant(map_.matrix(eigenvalue)) for eigenvalue in eigenvalues]
    size = np.abs(worst)
    rate = size.max(axis=0)
    signs = (np.real(worst) < 0) | (np.abs(np.imag(worst)) > 1e-6 * size)
    ax = ax or style.figure(6.4, 5.0)[1]
    ax.set(xlim=(0, lr[-1]), xlabel="lr", ylabel="rate: error factor per step")
    band: dict[str, Any] = {"transform": ax.get_xaxis_transform()}
    oscillating = (rate < 1) & signs.any(axis=0)
    ax.fill_between(lr, 0, 1, where=oscillating, **band, **_OSCILLATING)
    ax.fill_between(lr, 0, 1, where=rate >= 1, **band, **_DIVERGENT)
    ends = zip(eigenvalues[[0, -1]], size[[0, -1]], ("--", ":"), strict=True)
    for eigenvalue, along, dash in list(ends)[: len(eigenvalues)]:
        label = f"along λ = {eigenvalue:.4g}"
        ax.plot(lr, along, color=style.MUTED, linewidth=1.0, linestyle=dash, label=label)
    ax.plot(lr, rate, color=style.WINNER, linestyle="-", label=_title(rule, rule.resolve(hyper)))
    fixed = {name: value for name, value in rule.resolve(hyper).items() if name != "lr"}
    best = theory.best(rule, eigenvalues[0], eigenvalues[-1], **fixed)
    at = best.hyper["lr"]
    ax.plot(at, best.rate, label=f"least rate {near_one(best.rate)} at lr {at:.4g}", **_BEST)
    gain = 1 - best.rate
    ax.set_ylim(max(0.0, 1 - 4 * gain), 1 + gain)
    ax.ticklabel_format(axis="y", useOffset=False)
    below(ax, [
        *ax.lines,
        Patch(label="monotone", facecolor="none", edgecolor=style.FAINT),
        Patch(label="oscillating", **_OSCILLATING),
        Patch(label=f"divergent: lr ≥ {limit:.4g}", **_DIVERGENT),
    ])  # fmt: skip
    return ax


@style.styled()
def rate_map(found: theory.RateMap, ax: Axes | None = None) -> Axes:
    """Draw the rate over two hyperparameters: darker is faster, hatched is divergent.

    Contours are at a tenth, a quarter, a half and three quarters of the best gain 1 − rate.

    Args:
        found: what ``theory.rate_map`` returns. The axis of a memory is logarithmic in 1 − β, so
            that ever longer memories have room; any other that spans a factor of thirty is too.
        ax: where to draw; a new figure by default (``ax.figure``).

    Raises:
        ValueError: no point of the grid converges, or it has one value of a hyperparameter.

    Example:
        >>> over = {"lr": np.linspace(0.1, 1.5, 40), "beta": np.linspace(0, 0.95, 40)}
        >>> ax = rate_map(theory.rate_map("momentum", [0.2, 4.0], over))
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('lr', 'beta')
    """
    (x_name, x), (y_name, y) = found.over.items()
    if min(found.rate.shape) < 2:
        raise ValueError(f"rate_map needs two values or more of each, got {found.rate.shape}")
    least = float(found.rate.min())
    if least >= 1:
        raise ValueError(f"rate_map needs a point that converges, the least rate is {least:.4g}")
    ax = ax or style.figure(6.4, 5.0)[1]
    ax.set(xlabel=x_name, ylabel=y_name, xlim=x[[0, -1]], ylim=y[[0, -1]])
    _scale(ax, "x", x_name, x)
    _scale(ax, "y", y_name, y)
    shown = found.rate.T  # rows are y
    precision = f"%.{digits(least)}g"
    colors = ax.pcolormesh(
        x, y, shown, vmin=least, vmax=1, cmap="Blues_r", shading="gouraud", rasterized=True
    )
    ax.figure.colorbar(colors, ax=ax, label="rate: error factor per step", format=precision)
    ax.contourf(x, y, shown, levels=[1, np.inf], colors=["white"])
    ax.contourf(x, y, shown, levels=[1, np.inf], colors="none", hatches=["///"])
    levels = 1 - (1 - least) * np.array([0.75, 0.5, 0.25, 0.1])
    lines = ax.contour(x, y, shown, levels=levels, colors=style.INK, linewidths=0.6)
    ax.clabel(lines, fmt=precision, fontsize=7)
    ax.contour(x, y, shown, levels=[1], colors=style.INK, linewidths=1.8)
    at = found.best
    told = ", ".join(
        f"{name} {near_one(value) if _is_memory(name) else f'{value:.3g}'}"
        for name, value in at.items()
    )
    best = f"best on this grid: {told}, rate {near_one(least)}"
    (star,) = ax.plot(*at.values(), label=best, **_BEST)
    below(ax, [
        star,
        Line2D([], [], color=style.INK, linewidth=1.8, linestyle="-", label="limit of stability"),
        Patch(label="divergent", **_DIVERGENT),
    ])  # fmt: skip
    return ax


def _scale(ax: Axes, axis: Literal["x", "y"], name: str, values: Array) -> None:
    """Give an axis the scale on which its hyperparameter is searched."""
    if _is_memory(name):
        ticks = np.array([0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999])
        ticks = ticks[(values[0] <= ticks) & (ticks <= values[-1])]
        labels = [f"{tick:g}" for tick in ticks]
        ax.set(**{f"{axis}scale": FuncScale(None, (_log_of_memory, _memory_of_log))})
        if len(ticks) > 2:  # else those of any axis
            ax.set(**{f"{axis}ticks": ticks, f"{axis}ticklabels": labels})
    elif values.min() > 0 and values.max() >= 30 * values.min():
        ax.set(**{f"{axis}scale": "log"})


def _is_memory(name: str) -> bool:
    return str(RANGES.get(name)) == "in [0, 1)"


def _log_of_memory(beta: ArrayLike) -> Array:
    return np.asarray(-np.log(np.maximum(1 - np.asarray(beta), 1e-12)))  # 1 has no logarithm


def _memory_of_log(log: ArrayLike) -> Array:
    return np.asarray(1 - np.exp(-np.asarray(log)))


def _dominant(matrices: Array) -> NDArray[np.complex128]:
    """Return of each matrix (..., n, n) the eigenvalue that is largest in size."""
    values = np.linalg.eigvals(matrices)
    largest = np.abs(values).argmax(axis=-1)[..., None]
    return np.take_along_axis(values, largest, axis=-1)[..., 0].astype(complex)


def _title(rule: Rule, hyper: dict[str, float]) -> str:
    others = ", ".join(f"{name} {value:g}" for name, value in hyper.items() if name != "lr")
    return f"{rule.name}  {others}".rstrip()
