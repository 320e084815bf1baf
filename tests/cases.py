"""One table of rules: what each is called with, which torch class must agree, what it refuses.

Every rule of ``thalweg.rules`` has at least one row; every hyperparameter has a refused value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CASES", "REFUSED", "Case", "Peer"]


@dataclass(frozen=True)
class Peer:
    """The torch class that computes the same, called with its own names.

    ``state`` maps torch's state keys to ours. ``skip`` maps a test's name to the reason why it
    cannot hold for this class.
    """

    name: str
    arguments: Mapping[str, Any]
    state: Mapping[str, str] = field(default_factory=dict)
    skip: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A rule, the hyperparameters it is called with, and its peer (None: ``without`` says why)."""

    rule: str
    description: str
    hyper: Mapping[str, float]
    peer: Peer | None = None
    without: str = ""

    @property
    def id(self) -> str:
        return f"{self.rule}: {self.description}"


ADAM = {"exp_avg": "m", "exp_avg_sq": "v"}
NOT_IN_TORCH = "torch.optim does not have the rule; closed forms take its place"

CASES = (
    Case("sgd", "plain", {"lr": 0.1}, Peer("SGD", {"lr": 0.1})),
    Case(
        "momentum",
        "heavy ball",
        {"lr": 0.05, "beta": 0.8},
        Peer("SGD", {"lr": 0.05, "momentum": 0.8}, {"momentum_buffer": "v"}),
    ),
    Case(
        "momentum",
        "without memory it is sgd",
        {"lr": 0.1, "beta": 0.0},
        Peer("SGD", {"lr": 0.1}),
    ),
    Case(
        "averaged_momentum",
        "dampening = beta",
        {"lr": 0.05, "beta": 0.8},
        Peer(
            "SGD",
            {"lr": 0.05, "momentum": 0.8, "dampening": 0.8},
            {"momentum_buffer": "m"},
            skip={"fresh": "torch's first buffer is g, not (1 - beta) g"},
        ),
    ),
    Case(
        "nesterov",
        "shifted variables",
        {"lr": 0.05, "beta": 0.8},
        Peer("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True}, {"momentum_buffer": "v"}),
    ),
    Case("adagrad", "defaults", {}, Peer("Adagrad", {}, {"sum": "s"})),
    Case(
        "adagrad",
        "eps that counts",
        {"lr": 0.2, "eps": 0.1},
        Peer("Adagrad", {"lr": 0.2, "eps": 0.1}, {"sum": "s"}),
    ),
    Case("rmsprop", "defaults", {}, Peer("RMSprop", {}, {"square_avg": "s"})),
    Case(
        "rmsprop",
        "gamma is torch's alpha, eps that counts",
        {"lr": 0.02, "gamma": 0.9, "eps": 0.1},
        Peer("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 0.1}, {"square_avg": "s"}),
    ),
    Case(
        "centered_rmsprop",
        "variance in place of mean square",
        {"lr": 0.02, "gamma": 0.9},
        Peer(
            "RMSprop",
            {"lr": 0.02, "alpha": 0.9, "centered": True},
            {"square_avg": "s", "grad_avg": "m"},
        ),
    ),
    Case(
        "rmsprop_momentum",
        "preconditioned heavy ball",
        {"lr": 0.02, "gamma": 0.9, "beta": 0.7},
        Peer(
            "RMSprop",
            {"lr": 0.02, "alpha": 0.9, "momentum": 0.7},
            {"square_avg": "s", "momentum_buffer": "v"},
        ),
    ),
    Case("adadelta", "defaults", {}, Peer("Adadelta", {}, {"square_avg": "s", "acc_delta": "u"})),
    Case(
        "adadelta",
        "slow, eps that counts",
        {"lr": 0.5, "rho": 0.95, "eps": 0.01},
        Peer(
            "Adadelta",
            {"lr": 0.5, "rho": 0.95, "eps": 0.01},
            {"square_avg": "s", "acc_delta": "u"},
        ),
    ),
    Case("adam", "defaults", {}, Peer("Adam", {}, ADAM)),
    Case(
        "adam",
        "every hyperparameter",
        {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "eps": 0.01},
        Peer("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 0.01}, ADAM),
    ),
    Case(
        "adam",
        "without the first moment",
        {"lr": 0.02, "beta1": 0.0},
        Peer("Adam", {"lr": 0.02, "betas": (0.0, 0.999)}, ADAM),
    ),
    Case(
        "amsgrad",
        "a second moment that would fall",
        {"lr": 0.02, "beta2": 0.6},
        Peer(
            "Adam",
            {"lr": 0.02, "betas": (0.9, 0.6), "amsgrad": True},
            ADAM | {"max_exp_avg_sq": "v_max"},
        ),
    ),
    Case("adamw", "default decay", {}, Peer("AdamW", {}, ADAM)),
    Case(
        "adamw",
        "strong decay",
        {"lr": 0.02, "weight_decay": 0.5},
        Peer("AdamW", {"lr": 0.02, "weight_decay": 0.5}, ADAM),
    ),
    Case(
        "adamw",
        "without decay it is adam",
        {"lr": 0.02, "weight_decay": 0.0},
        Peer("Adam", {"lr": 0.02}, ADAM),
    ),
    Case("adamax", "defaults", {}, Peer("Adamax", {}, {"exp_avg": "m", "exp_inf": "u"})),
    Case(
        "adamax",
        "eps that counts",
        {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "eps": 0.1},
        Peer(
            "Adamax",
            {"lr": 0.02, "betas": (0.8, 0.9), "eps": 0.1},
            {"exp_avg": "m", "exp_inf": "u"},
        ),
    ),
    Case("nadam", "defaults", {}, Peer("NAdam", {}, ADAM | {"mu_product": "mu_product"})),
    Case(
        "nadam",
        "fast warming momentum",
        {"lr": 0.02, "beta1": 0.8, "momentum_decay": 0.5},
        Peer(
            "NAdam",
            {"lr": 0.02, "betas": (0.8, 0.999), "momentum_decay": 0.5},
            ADAM | {"mu_product": "mu_product"},
        ),
    ),
    Case(
        "radam",
        "long memory",
        {"lr": 0.02},
        Peer("RAdam", {"lr": 0.02}, ADAM),
    ),
    Case(
        "radam",
        "rectified from step 7 on",
        {"lr": 0.02, "beta2": 0.8},
        Peer("RAdam", {"lr": 0.02, "betas": (0.9, 0.8)}, ADAM),
    ),
    Case(
        "radam",
        "memory too short to rectify",
        {"lr": 0.02, "beta2": 0.6},
        Peer("RAdam", {"lr": 0.02, "betas": (0.9, 0.6)}, ADAM),
    ),
    Case("yogi", "defaults", {}, without=NOT_IN_TORCH),
    Case("yogi", "a second moment that falls", {"lr": 0.1, "beta2": 0.6}, without=NOT_IN_TORCH),
    Case("adabelief", "defaults", {}, without=NOT_IN_TORCH),
    Case(
        "adabelief",
        "eps that counts",
        {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "eps": 0.01},
        without=NOT_IN_TORCH,
    ),
    Case("lion", "defaults", {}, without=NOT_IN_TORCH),
    Case("lion", "with decay", {"lr": 0.02, "weight_decay": 0.5}, without=NOT_IN_TORCH),
    Case(
        "rprop",
        "defaults",
        {},
        Peer("Rprop", {}, {"step_size": "step_size", "prev": "g_last"}),
    ),
    Case(
        "rprop",
        "both bounds reached",
        {
            "lr": 0.1,
            "eta_minus": 0.3,
            "eta_plus": 1.9,
            "step_min": 0.05,
            "step_max": 0.2,
        },
        Peer(
            "Rprop",
            {"lr": 0.1, "etas": (0.3, 1.9), "step_sizes": (0.05, 0.2)},
            {"step_size": "step_size", "prev": "g_last"},
        ),
    ),
    Case(
        "asgd",
        "averaging from step 5 on",
        {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 5.0},
        Peer(
            "ASGD",
            {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 5.0},
            {"ax": "ax", "eta": "eta", "mu": "mu"},
        ),
    ),
)

# A value that each hyperparameter refuses, in every rule that has it, and the exact words.
REFUSED = {
    "lr": (-0.1, "lr must be > 0, got -0.1"),
    "beta": (1.0, "beta must be in [0, 1), got 1.0"),
    "beta1": (-0.5, "beta1 must be in [0, 1), got -0.5"),
    "beta2": (1.0, "beta2 must be in [0, 1), got 1.0"),
    "rho": (1.5, "rho must be in [0, 1), got 1.5"),
    "gamma": (1, "gamma must be in [0, 1), got 1"),
    "eps": (-1e-8, "eps must be >= 0, got -1e-08"),
    "weight_decay": (-0.01, "weight_decay must be >= 0, got -0.01"),
    "momentum_decay": (-1.0, "momentum_decay must be >= 0, got -1.0"),
    "lambd": (-1e-4, "lambd must be >= 0, got -0.0001"),
    "alpha": (-0.75, "alpha must be >= 0, got -0.75"),
    "t0": (-1.0, "t0 must be >= 0, got -1.0"),
    "eta_minus": (1.0, "eta_minus must be in (0, 1), got 1.0"),
    "eta_plus": (1.0, "eta_plus must be > 1, got 1.0"),
    "step_min": (-1.0, "step_min must be >= 0, got -1.0"),
    "step_max": (0.0, "step_max must be > 0, got 0.0"),
}
