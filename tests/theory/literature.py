"""What the literature and the rules of users say of theory: limits at λ = 1, memories, matrices."""

# ruff: noqa: ANN001, ANN202 - the rules declared here are equations, as in thalweg.rules

import pytest

from thalweg import rules
from thalweg.rule import Rule, rule

BETAS = [0.0, 0.25, 0.9, 0.999]
each_beta = pytest.mark.parametrize("beta", BETAS)
# What each rule is once its preconditioner is held: the closed form of its limit at λ = 1.
SGD, HEAVY_BALL, AVERAGED, LOOK_AHEAD, LOOKING_AHEAD = (
    "2",
    "2 + 2*b",
    "(2 + 2*b) / (1 - b)",
    "(2 + 2*b) / (1 + 2*b)",
    "(2 + 2*b) / (1 + 2*b) / (1 - b)",
)
LIMITS = {
    "sgd": SGD, "asgd": SGD, "adagrad": SGD, "rmsprop": SGD, "centered_rmsprop": SGD,
    "adadelta": SGD, "momentum": HEAVY_BALL, "rmsprop_momentum": HEAVY_BALL,
    "averaged_momentum": AVERAGED, "adam": AVERAGED, "amsgrad": AVERAGED, "adamw": AVERAGED,
    "adamax": AVERAGED, "radam": AVERAGED, "yogi": AVERAGED, "adabelief": AVERAGED,
    "nesterov": LOOK_AHEAD, "nadam": LOOKING_AHEAD, "nadamw": LOOKING_AHEAD,
    "laprop": AVERAGED, "adopt": AVERAGED,
    # Where the sign of x changes at each step, an average of gradients is (1 - b)/(1 + b) of one.
    "adan": "2 / ((1 - b) / (1 + b) + 0.92 * 2 * (1 - 0.92) / (1 + 0.92))",
    "ademamix": "2 / ((1 - b) / (1 + b) + 5 * (1 - 0.9999) / (1 + 0.9999))",
    # What is one number, or a row and a column, is a preconditioner as well.
    "novograd": HEAVY_BALL, "stable_adamw": AVERAGED, "adam_mini": AVERAGED, "came": AVERAGED,
    # So are factors on either side of a matrix.
    "soap": AVERAGED, "shampoo": SGD,
    "mars": f"{AVERAGED} / (1 + 2 * 0.025 * b / (1 - b))",
}  # fmt: skip
SETTLED = {
    "asgd": {"lambd": 0.0}, "adamw": {"weight_decay": 0.0}, "nadamw": {"weight_decay": 0.0},
    "stable_adamw": {"weight_decay": 0.0}, "adam_mini": {"weight_decay": 0.0},
    "mars": {"weight_decay": 0.0}, "soap": {"weight_decay": 0.0},
}  # fmt: skip


def memory_of(name: str) -> list[str]:
    return [n for n in ("beta", "beta1") if n in rules.get(name).hyperparameters]


def users_rules() -> dict[str, Rule]:
    """Return rules as users write them, two states and unusual forms among them."""

    @rule("Ma & Yarats 2019, equations 3-4")
    def quasi_hyperbolic(g, x, m, *, t, lr=0.1, beta=0.9, nu=0.7):
        m = beta * m + (1 - beta) * g
        return x - lr * ((1 - nu) * g + nu * m), m

    @rule("Lucas et al. 2019, two velocities")
    def aggregated(g, x, v, w, *, t, lr=0.1, beta=0.9, beta1=0.5):
        v, w = beta * v + g, beta1 * w + g
        return x - lr / 2 * (v + w), v, w

    @rule("a leaky sum of a leaky sum, each as it was, and a count of both that nothing reads")
    def chained(g, x, v, w, total, *, t, lr=0.1, beta=0.5):
        return x - lr * w, beta * v + g, beta * w + v, total + v + w

    @rule("momentum that is off by default")
    def optional(g, x, v, *, t, lr=0.1, beta=0.0):
        v = beta * v + g
        return x - lr * v, v

    return {r.name: r for r in (quasi_hyperbolic, aggregated, chained, optional)}
