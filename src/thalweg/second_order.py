"""Second-order methods: rules made for one problem, because they need more than g.

A rule sees the gradient and treats every element alike. ``newton`` and ``diagonal_newton`` also see
the problem's Hessian; ``bfgs`` and ``lbfgs`` estimate the Hessian from gradients, and see the
problem's values along a line. Once made for a problem, each is an ordinary Rule for ``descend``. It
is not element-wise, so it has no kernel.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from thalweg import rules
from thalweg.checks import Range
from thalweg.problems import Problem
from thalweg.problems.problem import Vector
from thalweg.rule import SECOND_ORDER, Rule, read_signature
from thalweg.words import closest
from thalweg.wrapper import named

__all__ = ["METHODS", "bfgs", "diagonal_newton", "get", "lbfgs", "newton"]

_DAMPED = {"damping": Range(0.0, ends="[)")}
_SEARCHED = {"curvature": Range(0.0, 1.0, "()")}
_KEPT = {**_SEARCHED, "memory": Range(1.0, ends="[)")}


def newton(problem: Problem) -> Rule:
    """Return Newton's method: x ← x − lr (|H| + damping I)⁻¹ g, H = ∇²f(x).

    |H| has H's eigenvectors and the absolute values of its eigenvalues. It is H itself where H is
    positive. Where H is indefinite, the plain step would go to saddle points and maxima; this step
    leaves them (Dauphin et al. 2014, saddle-free Newton). The state ``indefinite`` counts the
    steps at which H had a negative eigenvalue. Along an eigenvector of eigenvalue 0 there is no
    step unless damping > 0.

    On a quadratic one step of lr = 1 lands on the minimizer; otherwise the error is (1 − lr)^t.

    Args:
        problem: gives the Hessian.

    Returns:
        A rule with the hyperparameters lr (> 0, 1 by default) and damping (>= 0, 0 by default; in
        units of the Hessian).

    Example:
        >>> from thalweg import descend
        >>> trace = descend("rotated_bowl", "newton", steps=1)
        >>> bool(abs(trace.x[1]).max() < 1e-14), trace.state["indefinite"]
        (True, 0.0)
        >>> descend("saddle", "newton", steps=3).state["indefinite"]
        3.0
    """

    def newton(
        g: Vector,
        x: Vector,
        *,
        t: int,  # noqa: ARG001 - every rule is called with t
        indefinite: float,
        lr: float = 1.0,
        damping: float = 0.0,
    ) -> tuple[Vector, float]:
        eigenvalues, V = np.linalg.eigh(problem.hessian(x))
        step = V @ _divide(V.T @ g, eigenvalues, damping)
        negative = eigenvalues[0] < -_rounding(eigenvalues)
        return x - lr * step, indefinite + float(negative)

    return read_signature(newton, "Newton; Dauphin et al. 2014, equation 3", {}, _DAMPED)


def diagonal_newton(problem: Problem) -> Rule:
    """Return gradient descent preconditioned by the Hessian's own diagonal.

    x ← x − lr g / (|diag H| + damping), H = ∇²f(x). Adagrad and its successors estimate such a
    scale from gradients alone. Where an element of diag H is 0 there is no step unless damping > 0.

    Args:
        problem: gives the Hessian.

    Returns:
        A rule with the hyperparameters lr (> 0, 1 by default) and damping (>= 0, 0 by default; in
        units of the Hessian).

    Example:
        >>> from thalweg import descend
        >>> descend("stretched_bowl", "diagonal_newton", steps=1).x[1].tolist()
        [0.0, 0.0]
    """

    def diagonal_newton(
        g: Vector,
        x: Vector,
        *,
        t: int,  # noqa: ARG001 - every rule is called with t
        lr: float = 1.0,
        damping: float = 0.0,
    ) -> Vector:
        return x - lr * _divide(g, np.diag(problem.hessian(x)), damping)

    return read_signature(diagonal_newton, "Becker & LeCun 1989", {}, _DAMPED)


def bfgs(problem: Problem) -> Rule:
    """Return BFGS: x ← x − α B g, with B ← (I − ρ s yᵀ) B (I − ρ y sᵀ) + ρ s sᵀ.

    s and y are the last changes of x and g, and ρ = 1/(yᵀs). The new B takes y to s, as H⁻¹ does on
    a quadratic; of the symmetric matrices that do so it is nearest to the old B. A pair with yᵀs <=
    0 is left out. The
    first step goes along −g/‖g‖, and B starts as (yᵀs/yᵀy) I (Nocedal & Wright, equation 6.20). The
    state ``inverse`` is B; 0 before the first pair.

    α satisfies the strong Wolfe conditions: the slope along the line falls to at most ``curvature``
    times its first size, and f by at least min(10⁻⁴, curvature/2) times α times the slope. The
    search sees exact values and gradients whatever the noise in g. Where it finds no α, x stays and
    B is forgotten.

    Args:
        problem: gives values and gradients along the line.

    Returns:
        A rule with the hyperparameter curvature (in (0, 1), 0.9 by default; the smaller, the more
        exact the search).

    Example:
        >>> from thalweg import descend
        >>> trace = descend("rosenbrock", "bfgs", steps=100, tolerance=1e-8)
        >>> trace.end, trace.x[-1].round(6).tolist()
        ('converged', [1.0, 1.0])
    """

    def bfgs(
        g: Vector,
        x: Vector,
        x_last: Vector,
        g_last: Vector,
        *,
        t: int,
        inverse: Vector | float,
        curvature: float = 0.9,
    ) -> tuple[Vector, Vector, Vector, Vector | float]:
        s, y = x - x_last, g - g_last
        if t > 1 and s @ y > 0:
            identity = np.eye(x.size)
            if not np.ndim(inverse):
                inverse = (s @ y) / (y @ y) * identity
            W = identity - np.outer(s, y) / (s @ y)
            inverse = W @ inverse @ W.T + np.outer(s, s) / (s @ y)
        direction = -(inverse @ g) if np.ndim(inverse) else -_unit(g)
        step = _wolfe_step(problem, x, direction, curvature)
        return x + step, x, g, inverse if step.any() else 0.0

    return read_signature(bfgs, "Nocedal & Wright 2006, Algorithm 6.1", {}, _SEARCHED)


def lbfgs(problem: Problem) -> Rule:
    """Return L-BFGS: ``bfgs`` that keeps the last few pairs (s, y) instead of the matrix B.

    B g is computed from the pairs by the two-loop recursion, B starting from (yᵀs/yᵀy) I of the
    newest pair. The state ``pairs`` has them, the oldest first. All else is as in ``bfgs``.

    Args:
        problem: gives values and gradients along the line.

    Returns:
        A rule with the hyperparameters memory (pairs kept, a whole number >= 1, 10 by default) and
        curvature (in (0, 1), 0.9 by default).

    Raises:
        ValueError: at the first step, if memory is not a whole number.

    Example:
        >>> from thalweg import descend, problems
        >>> trace = descend(problems.rosenbrock(20), "lbfgs", steps=500, tolerance=1e-8)
        >>> trace.end, bool(trace.f[-1] < 1e-15)
        ('converged', True)
    """

    def lbfgs(
        g: Vector,
        x: Vector,
        x_last: Vector,
        g_last: Vector,
        *,
        t: int,
        pairs: Sequence[tuple[Vector, Vector]],
        memory: float = 10.0,
        curvature: float = 0.9,
    ) -> tuple[Vector, Vector, Vector, Sequence[tuple[Vector, Vector]]]:
        if memory % 1:
            raise ValueError(f"memory must be a whole number >= 1, got {memory:g}")
        pairs = pairs or ()  # it starts at 0, as every state does
        s, y = x - x_last, g - g_last
        if t > 1 and s @ y > 0:
            pairs = (*pairs, (s, y))[-int(memory) :]
        direction = -_two_loops(g, pairs) if pairs else -_unit(g)
        step = _wolfe_step(problem, x, direction, curvature)
        return x + step, x, g, pairs if step.any() else ()

    return read_signature(lbfgs, "Nocedal & Wright 2006, Algorithms 7.4 and 7.5", {}, _KEPT)


METHODS: dict[str, Callable[[Problem], Rule]] = dict(
    zip(SECOND_ORDER, (newton, diagonal_newton, bfgs, lbfgs), strict=True)
)


def get(rule: str | Rule, problem: Problem) -> Rule:
    """Return a second-order method made for the problem, or the rule of that name, or a given Rule.

    Raises:
        ValueError: nothing has that name; the message lists the closest ones.
        TypeError: it is neither.

    Example:
        >>> from thalweg import problems
        >>> get("lbgfs", problems.bowl())
        Traceback (most recent call last):
        ...
        ValueError: unknown rule 'lbgfs'; did you mean lbfgs, bfgs?
    """
    if not isinstance(rule, str):
        return rules.get(rule)
    if rule in METHODS:
        return METHODS[rule](problem)
    known = (*rules.names(), *METHODS)
    if rule in known or "(" in rule or named(rule):  # with a wrapper, or one alone
        return rules.get(rule)
    hint = closest(rule, known) or f"the rules are: {', '.join(known)}"
    raise ValueError(f"unknown rule {rule!r}; {hint}")


def _rounding(curvatures: Vector) -> float:
    """Return the size below which a curvature counts as 0, because of rounding."""
    return float(curvatures.size * np.finfo(np.float64).eps * np.abs(curvatures).max())


def _divide(g: Vector, curvatures: Vector, damping: float) -> Vector:
    """Return g / (|curvatures| + damping) of each element; 0 where the divisor is 0."""
    sizes = np.abs(curvatures) + damping
    return np.divide(g, sizes, out=np.zeros_like(g), where=~(sizes <= _rounding(sizes)))


def _unit(g: Vector) -> Vector:
    return g / (np.linalg.norm(g) or 1.0)


def _two_loops(g: Vector, pairs: Sequence[tuple[Vector, Vector]]) -> Vector:
    """Return B g, B the inverse Hessian that the pairs stand for."""
    q, shares = g, []
    for s, y in reversed(pairs):
        shares.append((s @ q) / (s @ y))
        q = q - shares[-1] * y
    s, y = pairs[-1]
    r = (s @ y) / (y @ y) * q
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        r = r + (share - (y @ r) / (s @ y)) * s
    return np.asarray(r)


def _wolfe_step(problem: Problem, x: Vector, direction: Vector, curvature: float) -> Vector:
    """Return the step along the direction that satisfies the strong Wolfe conditions; 0 if none."""
    from scipy.optimize import line_search  # noqa: PLC0415 - 0.2 s to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a slope of None means that the search failed
        length, *_, slope = line_search(
            problem.value, problem.gradient, x, direction,
            c1=min(1e-4, curvature / 2), c2=curvature, maxiter=50,
        )  # fmt: skip
    return 0 * x if slope is None else length * direction
