"""Theory: what a rule will do, derived from its own equation, before a step is taken."""

from thalweg.theory.averages import effective_window, leaky_weights
from thalweg.theory.conditioning import Conditioning, Preconditioning, precondition
from thalweg.theory.linearization import iteration_matrix
from thalweg.theory.maps import RateMap, rate_map
from thalweg.theory.noise import noise_floor
from thalweg.theory.optimum import Best, best
from thalweg.theory.rates import max_lr, rate
from thalweg.theory.risk import horizon_lr, risk_bound, strong_risk_bound
from thalweg.theory.steps import steps_to

__all__ = [
    "Best",
    "Conditioning",
    "Preconditioning",
    "RateMap",
    "best",
    "effective_window",
    "horizon_lr",
    "iteration_matrix",
    "leaky_weights",
    "max_lr",
    "noise_floor",
    "precondition",
    "rate",
    "rate_map",
    "risk_bound",
    "steps_to",
    "strong_risk_bound",
]
