"""Problems: objectives that know their gradient, Hessian, minimizers and spectrum.

``quadratic`` builds any quadratic, ``finite_sum`` and ``noisy_sum`` build sums that minibatches are
drawn from; ``get(name)`` returns a named problem.
"""

from thalweg.problems.curves import beale, himmelblau, ripples, rosenbrock
from thalweg.problems.problem import Problem
from thalweg.problems.quadratics import bowl, quadratic, rotated_bowl, saddle, stretched_bowl
from thalweg.problems.sums import finite_sum, noisy_bowl, noisy_sum, reddi, sigmoid_fit
from thalweg.words import closest

__all__ = [
    "Problem", "beale", "bowl", "finite_sum", "get", "himmelblau", "names", "noisy_bowl",
    "noisy_sum", "quadratic", "reddi", "ripples", "rosenbrock", "rotated_bowl", "saddle",
    "sigmoid_fit", "stretched_bowl",
]  # fmt: skip

_PROBLEMS = {
    make.__name__: make
    for make in (
        bowl, stretched_bowl, rotated_bowl, noisy_bowl, saddle, rosenbrock, beale, himmelblau,
        ripples, sigmoid_fit, reddi,
    )
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the names of the named problems.

    Example:
        >>> names()[:3]
        ('bowl', 'stretched_bowl', 'rotated_bowl')
    """
    return tuple(_PROBLEMS)


def get(problem: str | Problem) -> Problem:
    """Return the problem of that name; a Problem is returned as it is.

    Raises:
        ValueError: no problem has that name; the message lists the closest ones.
        TypeError: it is neither.

    Example:
        >>> get("bwl")
        Traceback (most recent call last):
        ...
        ValueError: unknown problem 'bwl'; did you mean bowl?
    """
    if isinstance(problem, Problem):
        return problem
    if not isinstance(problem, str):
        raise TypeError(f"a problem must be a Problem or the name of one, got {problem!r}")
    if problem in _PROBLEMS:
        return _PROBLEMS[problem]()
    hint = closest(problem, _PROBLEMS) or f"problems: {', '.join(_PROBLEMS)}"
    raise ValueError(f"unknown problem {problem!r}; {hint}")
