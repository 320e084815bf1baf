"""Finite sums f = (1/n) Σ f_i. Minibatches are drawn from their parts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from thalweg.checks import NOT_NEGATIVE, count, number
from thalweg.problems.curves import squares
from thalweg.problems.problem import Problem, Vector
from thalweg.problems.quadratics import bowl, quadratic

__all__ = ["finite_sum", "noisy_bowl", "noisy_sum", "reddi", "sigmoid_fit"]


def finite_sum(parts: Sequence[Problem], *, name: str = "finite_sum", source: str = "") -> Problem:
    """Return f(x) = (1/n) Σ f_i(x), which starts where its first part does.

    A sum of quadratics is a quadratic, and knows its minimizer. Other sums do not; if you know it,
    add it with ``dataclasses.replace``.

    Args:
        parts: the f_i, one or more, all of d variables.
        name: what plots and messages call the sum.
        source: where it comes from.

    Raises:
        ValueError: there are no parts, or they differ in their number of variables.

    Example:
        >>> both = finite_sum([quadratic([1.0], linear=[-1.0]), quadratic([3.0])])
        >>> both.minimizer.tolist(), both.spectrum.tolist(), len(both.parts)
        ([0.25], [2.0], 2)
    """
    parts = tuple(parts)
    if len({part.start.size for part in parts}) != 1:
        sizes = [part.start.size for part in parts]
        raise ValueError(f"parts must be one or more, of as many variables each, got {sizes}")
    start = parts[0].start

    def value(x: Vector) -> Vector:
        return np.asarray(np.mean([part.value(x) for part in parts], axis=0))

    def gradient(x: Vector) -> Vector:
        return np.asarray(np.mean([part.gradient(x) for part in parts], axis=0))

    def hessian(x: Vector) -> Vector:
        return np.asarray(np.mean([part.hessian(x) for part in parts], axis=0))

    if all(part.spectrum is not None for part in parts):
        zero = np.zeros_like(start)
        whole = quadratic(
            hessian(zero), linear=gradient(zero), offset=float(value(zero)),
            start=start, name=name, source=source,
        )  # fmt: skip
        return replace(whole, parts=parts)
    unknown = np.empty((0, start.size))
    return Problem(name, value, gradient, hessian, start, unknown, None, None, source, parts)


def noisy_sum(problem: Problem, n: int = 100, *, noise: float = 1.0, seed: int = 0) -> Problem:
    """Return the same problem as a mean of n parts f_i(x) = f(x) + ξᵢᵀx, whose gradients scatter.

    The ξᵢ sum to zero and their covariance is exactly noise² I. So a minibatch of B parts has a
    gradient of mean ∇f and covariance (noise²/B) I if they are drawn with replacement, and
    (n − B)/(n − 1) times that if they are drawn without.

    Args:
        problem: f, of d variables.
        n: number of parts, > d; 100 by default.
        noise: standard deviation of each component of a part's gradient, >= 0; 1 by default.
        seed: of the ξᵢ.

    Raises:
        ValueError: n or noise is out of range.

    Example:
        >>> problem = noisy_sum(bowl(), 50, noise=0.3)
        >>> slopes = np.array([part.gradient(np.zeros(2)) for part in problem.parts])
        >>> np.cov(slopes.T, bias=True).round(12).tolist()
        [[0.09, 0.0], [0.0, 0.09]]
    """
    d = problem.start.size
    n = count("n", n, d + 1)
    noise = number("noise", noise, NOT_NEGATIVE)
    slopes = np.random.default_rng(count("seed", seed, 0)).standard_normal((n, d))
    slopes = noise * np.sqrt(n) * np.linalg.qr(slopes - slopes.mean(axis=0)).Q
    return replace(problem, parts=tuple(_tilted(problem, slope) for slope in slopes))


def _tilted(problem: Problem, slope: Vector) -> Problem:
    return replace(
        problem,
        value=lambda x: problem.value(x) + x @ slope,
        gradient=lambda x: problem.gradient(x) + slope,
        minimizers=np.empty((0, slope.size)),
        minimum=None,
    )


def noisy_bowl(n: int = 100, *, noise: float = 1.0, seed: int = 0) -> Problem:
    """Return the bowl x₁² + 2x₂² as a ``noisy_sum`` of n parts.

    Example:
        >>> len(noisy_bowl().parts), noisy_bowl().minimizer.tolist()
        (100, [0.0, 0.0])
    """
    return replace(noisy_sum(bowl(), n, noise=noise, seed=seed), name="noisy_bowl")


def sigmoid_fit() -> Problem:
    """Return (1/n) Σ ½(σ(w uᵢ + b) − yᵢ)² over x = (w, b), from (−5, 5): a fit with plateaus.

    σ(z) = 1/(1 + e^(−z)), the uᵢ are nine even points of [−2, 2], and yᵢ = σ(2uᵢ + 1), so that the
    minimizer is (2, 1) and the minimum 0. Far from it σ is saturated and f is nearly flat: from the
    start, gradient descent soon reaches a plateau at f ≈ 0.142 and stays there for a long time.
    Each of the
    nine squares is a part.

    Example:
        >>> sigmoid_fit().value(np.array([2.0, 1.0])).item(), len(sigmoid_fit().parts)
        (0.0, 9)
    """
    from scipy.special import expit  # noqa: PLC0415 - SciPy takes its time to import

    inputs = np.linspace(-2, 2, 9)
    targets = expit(2 * inputs + 1)
    return replace(
        _sigmoid_squares(inputs, targets, minimizers=[[2.0, 1.0]]),
        parts=tuple(_sigmoid_squares(inputs[[i]], targets[[i]]) for i in range(inputs.size)),
    )


def _sigmoid_squares(u: Vector, y: Vector, minimizers: ArrayLike = ()) -> Problem:
    from scipy.special import expit  # noqa: PLC0415 - SciPy takes its time to import

    rows = np.stack([u, np.ones_like(u)], axis=-1)
    scale = 1 / np.sqrt(2 * u.size)

    def residuals(x: Vector) -> Vector:
        return np.asarray(scale * (expit(x @ rows.T) - y))

    def jacobian(x: Vector) -> Vector:
        s = expit(x @ rows.T)
        return np.asarray(scale * (s * (1 - s))[..., None] * rows)

    def curvatures(x: Vector) -> Vector:
        s = expit(x @ rows.T)
        second = scale * s * (1 - s) * (1 - 2 * s)
        return np.asarray(np.einsum("m,mi,mj->mij", second, rows, rows))

    return squares(
        residuals,
        jacobian,
        curvatures,
        name="sigmoid_fit",
        start=[-5.0, 5.0],
        minimizers=minimizers,
        source="one sigmoid unit under squared loss",
    )


def reddi() -> Problem:
    """Return the mean of 1010x once and −10x a hundred times, on [−1, 1]: Adam goes the wrong way.

    f(x) = 10x/101 is least at −1. Taken one part after the other (``batch_size=1,
    sampling="sequential"``) the one large gradient is divided by a larger √v than the hundred small
    ones, so that Adam is driven to +1, where f is greatest; AMSGrad and Yogi, whose v forgets
    slowly, go to −1.

    Deviation: it starts at 0; the paper does not say where.

    Example:
        >>> reddi().minimizer.tolist(), len(reddi().parts), reddi().parts[0].gradient(np.zeros(1))
        ([-1.0], 101, array([1010.]))
    """
    parts = [quadratic([0.0], linear=[slope], start=[0.0]) for slope in [1010.0] + 100 * [-10.0]]
    source = "Reddi, Kale & Kumar 2018, section 5, synthetic experiment"
    return replace(
        finite_sum(parts, name="reddi", source=source),
        minimizers=np.array([[-1.0]]),
        minimum=-10 / 101,
        domain=(np.array([-1.0]), np.array([1.0])),
    )
