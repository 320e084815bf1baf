"""Wrappers: what goes around the step of any rule, a plain function each.

``step(g, x)`` is the x to which the rule would go. ``cautious(adamw)`` is a rule like any other,
also by that name: ``Descent(parameters, "cautious(adamw)")``.
"""

from thalweg.checks import Range
from thalweg.elementwise import maximum, minimum, sign, sqrt, where
from thalweg.sums import mean, norm, total, tsum
from thalweg.wrapper import wrapper

__all__ = ["agc", "averaged", "cautious", "centralized", "grams", "lookahead", "sam", "trusted"]


def _columns(a):
    """Return how many numbers a row has: 1 in a vector."""
    ones = a * 0.0 + 1.0
    return tsum(ones) / tsum(mean(ones, 1))


@wrapper("Liang et al. 2024, Algorithm 1")
def cautious(step, g, x, *, t):
    """Only those elements move that move down their gradient; these by more, as the others rest.

    Deviation: what the rule subtracts for decoupled weight decay is a part of its step here.
    ``thalweg.optim`` has an option ``cautious=True``, which lets them move by no more.
    """
    d = x - step(g, x)
    kept = where(d * g > 0, 1.0, 0.0)
    return x - d * kept * (tsum(kept * 0.0 + 1.0) / (tsum(kept) + 1.0))


@wrapper("Cao et al. 2024, Algorithm 1")
def grams(step, g, x, *, t):
    """The size of each element's step is the rule's, its direction that of minus the gradient.

    Deviation: what the rule subtracts for decoupled weight decay is a part of its step here.
    """
    return x - sign(g) * abs(x - step(g, x))


@wrapper(
    "Zhang et al. 2019, Algorithm 1",
    start={"since": 0.0},
    ranges={"k": Range(1.0, ends="[)"), "slow_rate": Range(0.0, 1.0, "(]")},
)
def lookahead(step, g, x, ahead, *, t, since, k=5.0, slow_rate=0.5):
    """After each k steps go back, to slow_rate of the way that they went. The answer is there.

    ahead is x less the slow weights, and starts at zero; slow_rate is the paper's alpha. The rule
    keeps its own state when it goes back.
    """
    fast = step(g, x)
    gone = ahead + (fast - x)
    steps = since + 1.0
    back = where(steps >= k, 1.0, 0.0)
    x = fast - back * (1 - slow_rate) * gone
    return x, (1 - back) * gone, (1 - back) * steps


@lookahead.answer
def _(x, ahead):
    return x - ahead


@wrapper("Polyak & Juditsky 1992, with a leaky average", ranges={"memory": Range(0.0, 1.0, "[)")})
def averaged(step, g, x, lag, *, t, memory=0.999):
    """The rule's own path, judged at a leaky average of its points.

    lag is the average less x, and starts at zero: so the average starts at the first x.
    """
    new = step(g, x)
    return new, memory * (lag + (x - new))


@averaged.answer
def _(x, lag):
    return x + lag


@wrapper("Yong et al. 2020, equation 1")
def centralized(step, g, x, *, t):
    """The mean of each row is taken off the gradient. Rows of one number stay as they are."""
    return step(where(_columns(g) > 1, g - mean(g, 1), g), x)


@wrapper(
    "Brock et al. 2021, equation 3",
    ranges={"clipping": Range(0.0, ends="()"), "least_norm": Range(0.0, ends="()")},
)
def agc(step, g, x, *, t, clipping=1e-2, least_norm=1e-3):
    """Adaptive gradient clipping: no row of g is longer than clipping times that of x.

    clipping is the paper's lambda, and least_norm, its epsilon, the least length that a row of x
    counts for. Deviation: each element of a vector is a row; the authors' code takes it whole.
    """
    columns = _columns(x)
    limit = clipping * maximum(sqrt(mean(x * x, 1) * columns), least_norm)
    length = maximum(sqrt(mean(g * g, 1) * columns), 1e-6)
    return step(g * minimum(limit / length, 1.0), x)


@wrapper("You et al. 2020, Algorithm 2, of any rule")
def trusted(step, g, x, *, t, lr):
    """The trust ratio of LAMB: the rule's direction, and the length lr ‖x‖.

    A tensor moves by the rule's own step where that or x is 0. lr is the rule's.
    """
    d = x - step(g, x)
    size, length = norm(x), norm(d)
    return x - where(size * length > 0, lr * size / where(length > 0, length, 1.0), 1.0) * d


@wrapper("Foret et al. 2021, equations 2-4", ranges={"radius": Range(0.0, ends="[)")})
def sam(step, g, x, *, t, gradient, radius=0.05):
    """Sharpness-aware minimization: the gradient is that of a point uphill, at a distance radius.

    A step takes two gradients of one minibatch. radius is the paper's rho, in the Euclidean norm of
    all parameters. As in the paper, the derivative of the uphill point is left out. A penalty in
    the objective counts at both points, as in the authors' code; decoupled decay, as AdamW's, at x.
    """
    length = sqrt(total(g * g))
    uphill = radius / where(length > 0, length, 1.0)
    return step(gradient(x + uphill * g), x)
