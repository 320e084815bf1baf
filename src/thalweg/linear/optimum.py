"""The optimum of a linear model, from wherever a pass has ended."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from thalweg.linear.interior import interior_optimum, solver
from thalweg.linear.objective import Objective

__all__ = ["optimum", "proximal_step"]

Floats = NDArray[np.float64]

_NEWTON = 400  # parameters: above, L-BFGS has the last word
_STEPS = 40  # of Newton's method
_UNSOLVED = 0.01  # of a gradient: a step that leaves more is none
_WIDTHS = 10.0 ** -np.arange(6)  # over which a derivative that jumps is averaged
_HALVED = 12  # times that a proximal step is halved
_NEAR = 1e-9  # of the objective: how near to its least L-BFGS goes over each of them


def optimum(objective: Objective, start: Floats, accuracy: float = 0.0) -> Floats:
    """Return the parameters that minimize an objective.

    Of few parameters without |w| by Newton's method, whose second derivatives are those of enough
    rows as long as that helps. Where it gets stuck, and of others, by L-BFGS, and few of them then
    by Newton. |w| is smooth in the two parts of w = p - q, p and q >= 0, so that zeros are zeros.

    Where the derivative of the loss jumps, few parameters are those of an interior point method. Of
    many, the derivative is averaged over a width, which falls, each time from the last optimum
    (Nesterov 2005).

    Args:
        objective: what is minimized.
        start: parameters, (columns, outputs).
        accuracy: a share of the objective; less than that is not worth a step. 0: none.
    """
    if objective.loss.kinks is None:
        return _optimum_of_smooth(objective, start, accuracy)
    if start.size <= _NEWTON:
        return interior_optimum(objective, start, accuracy)
    w, enough = start, max(accuracy / 10_000, _NEAR)
    for width in _WIDTHS:
        smoothed = replace(objective, width=float(width))
        w = _quasi_newton(smoothed, w, enough, split=bool(objective.l1.any()))
        if width / 2 <= accuracy / 2 * objective.both(w)[0]:  # more, averaging does not cost
            break
    return w


def proximal_step(objective: Objective, w: Floats) -> Floats:
    """Return w after one step down the smooth part, and |w| taken by its soft threshold.

    Each parameter has a step of its own, 1 over its second derivative, halved until the objective
    falls. What comes nearer to 0 than the threshold is 0 then.

    Args:
        objective: with weights of |w|.
        w: parameters, (columns, outputs).
    """
    value, gradient = objective.both(w)[0], objective.smooth(w)[1]
    steps = 1 / objective.diagonal(w)
    for length in 0.5 ** np.arange(_HALVED):
        moved = w - length * steps * gradient
        new: Floats = np.sign(moved) * np.maximum(abs(moved) - length * steps * objective.l1, 0)
        if objective.both(new)[0] <= value:
            return new
    return w


def _optimum_of_smooth(objective: Objective, start: Floats, accuracy: float) -> Floats:
    few, split = start.size <= _NEWTON, bool(objective.l1.any())
    if few and not split:
        start, done = _newton(objective, start, accuracy, objective.sampling(start.size))
        if done:
            return start
    w = _quasi_newton(objective, start, accuracy, split=split)
    return _newton(objective, w, accuracy, 1)[0] if few else w


def _quasi_newton(objective: Objective, start: Floats, accuracy: float, *, split: bool) -> Floats:
    """Take steps of L-BFGS in units in which each parameter alone has the curvature 1.

    The objective is then about 1, too: SciPy compares what it falls by with the larger of the two,
    and its first step has the length 1. Where there is |w|, steps are those of the two parts of w.
    """
    shape, size = start.shape, start.size
    about = min(1.0, objective.both(start)[0]) or 1.0
    near = objective.width or 1.0
    unit = near * np.sqrt(about / objective.diagonal(start))
    l1 = np.broadcast_to(objective.l1 * unit, shape).ravel() / about

    def joined(flat: Floats) -> Floats:
        return (flat[:size] - flat[size:] if split else flat).reshape(shape) * unit

    def function(flat: Floats) -> tuple[float, Floats]:
        value, gradient = objective.smooth(joined(flat))
        value, g = value / about, (gradient * unit).ravel() / about
        if not split:
            return value, g
        return value + float(l1 @ (flat[:size] + flat[size:])), np.concatenate([g + l1, l1 - g])

    first = (start / unit).ravel()
    if split:
        first = np.concatenate([np.maximum(first, 0), np.maximum(-first, 0)])
    ends = {"ftol": max(accuracy / 10, 1e-16), "gtol": 1e-9 * near}
    found = minimize(
        function,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * size) if split else None,
        options={"maxiter": 2000, "maxfun": 4000, "maxcor": 20, **ends},
    )
    return joined(found.x)


def _newton(objective: Objective, w: Floats, accuracy: float, every: int) -> tuple[Floats, bool]:
    """Take steps of Newton's method in the parameters that are not held at 0 by |w|.

    Returns:
        The parameters, and whether they are those of the optimum.
    """
    value, gradient = objective.both(w)
    before = np.inf
    for _ in range(_STEPS):
        moves = ((objective.l1 == 0) | (w != 0)).ravel()
        g = gradient.ravel()[moves]
        if not g.any():
            return w, True
        step = np.zeros(w.size)
        step[moves] = _solved(objective.curvature(w, every)[np.ix_(moves, moves)], g)
        decrement = 0.5 * float(g @ step[moves])  # how far the objective is from its least
        if not np.isfinite(decrement) or decrement < 0:
            return w, False
        if decrement <= accuracy * abs(value):
            return w - step.reshape(w.shape), True
        if decrement > before / 20:
            every = 1
        before = decrement
        for length in 0.5 ** np.arange(12):
            new = w - length * step.reshape(w.shape)
            new = np.where((objective.l1 > 0) & (new * w < 0), 0.0, new)
            lower, its_gradient = objective.both(new)
            if lower <= value:
                break
        else:
            if every == 1:
                return w, decrement <= 1e-13 * max(1.0, abs(value))
            every = 1
            continue
        small = np.max(abs(new - w)) <= 1e-13 * max(1.0, np.max(abs(new)))
        w, value, gradient = new, lower, its_gradient
        if small:
            return w, True
    return w, False


def _solved(hessian: Floats, gradient: Floats) -> Floats:
    """Return Newton's step; NaN where the objective is linear in some direction, and has none."""
    step = solver(hessian)(gradient)
    left = np.max(abs(hessian @ step - gradient))
    return step if left <= _UNSOLVED * np.max(abs(gradient)) else np.full_like(step, np.nan)
