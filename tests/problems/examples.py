"""Problems to try: the named ones and others."""

from typing import Any

import numpy as np
from scipy.stats import ortho_group

from thalweg import problems
from thalweg.problems import Problem, finite_sum, noisy_sum, quadratic

A_ROTATION = ortho_group.rvs(4, random_state=np.random.default_rng(1))
A_MATRIX = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]])
PROBLEMS = {name: problems.get(name) for name in problems.names()} | {
    "spectrum": quadratic([1.0, 0.5, 0.25], linear=[1.0, -2.0, 3.0], offset=4.0),
    "rotated": quadratic([1.0, 10.0, 100.0, 1000.0], rotation=A_ROTATION, linear=[1, 2, 3, 4]),
    "matrix": quadratic(A_MATRIX, linear=[0.5, 0.0, -1.0], offset=-2.0),
    "turned saddle": quadratic([-1.0, 2.0], rotation=0.3, linear=[1.0, 1.0]),
    "valley": quadratic([0.0, 2.0]),
    "line": quadratic([3.0], linear=[6.0]),
    "rosenbrock in 5": problems.rosenbrock(5),
    "sum": finite_sum([problems.beale(), problems.himmelblau(), problems.bowl()]),
    "sum of quadratics": finite_sum(
        [quadratic(A_MATRIX, linear=[1, 2, 3], offset=1), quadratic([2, 1, 0])]
    ),
    "noisy rosenbrock": noisy_sum(problems.rosenbrock(), 5, noise=0.5),
    "a part of noisy rosenbrock": noisy_sum(problems.rosenbrock(), 5).parts[0],
    "a part of sigmoid_fit": problems.sigmoid_fit().parts[0],
}


def points(problem: Problem) -> Any:
    return problem.start + np.random.default_rng(2).normal(size=(8, problem.start.size))
