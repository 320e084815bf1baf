"""Theory: what a rule will do, derived from its own equation, before a step is taken."""

from thalweg.theory.linearization import iteration_matrix
from thalweg.theory.optimum import Best, best
from thalweg.theory.rates import max_lr, rate, steps_to

__all__ = ["Best", "best", "iteration_matrix", "max_lr", "rate", "steps_to"]
