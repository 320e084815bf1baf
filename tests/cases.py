"""One table of rules: what each is called with, which torch class must agree, what it refuses.

A rule is called with its defaults; these are further calls. Elsewhere are rules of matrices, which
take neither numbers nor vectors (test_matrix_rules.py), and those that ask for gradients at other
points (optim/test_asked.py). The class and its arguments are those of
the catalog. Every hyperparameter has a refused value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thalweg import catalog, rules

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
    """A rule, the hyperparameters it is called with, and its peer if it is not the catalog's."""

    rule: str
    description: str
    hyper: Mapping[str, float]
    other: Peer | None = None

    @property
    def id(self) -> str:
        return f"{self.rule}: {self.description}"

    @property
    def peer(self) -> Peer | None:
        """The class that must agree, called with what differs from the rule's defaults.

        The rest are torch's own. Its momentum is 0, and no rule's; so is the decay of a class that
        decays in two ways.
        """
        rule = rules.get(self.rule)
        known = catalog.of(rule).torch
        if self.other or known is None or not known.in_torch:
            return self.other
        every = known.keywords(rule.resolve(self.hyper))
        usual = known.keywords(rule.defaults)
        made = {name for name, held in known.arguments.items() if callable(held)}
        always = {"momentum", *known.chosen, *made}
        always |= {"weight_decay"} if known.chosen.get("decoupled_weight_decay") else set()
        kept = {n for n in every if every[n] != usual.get(n) or n in always}
        own = {key: name for name, key in known.state.items() if name != "step"}
        skip = {} if {*rule.state} <= {*own.values()} else {"primed": "torch keeps another state"}
        return Peer(known.name, {n: v for n, v in every.items() if n in kept}, own, skip)


FURTHER = (
    Case("momentum", "heavy ball", {"lr": 0.05, "beta": 0.8}),
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
    Case("nesterov", "shifted variables", {"lr": 0.05, "beta": 0.8}),
    Case("adagrad", "eps that counts", {"lr": 0.2, "eps": 0.1}),
    Case(
        "rmsprop", "gamma is torch's alpha, eps that counts", {"lr": 0.02, "gamma": 0.9, "eps": 0.1}
    ),
    Case("centered_rmsprop", "variance in place of mean square", {"lr": 0.02, "gamma": 0.9}),
    Case("rmsprop_momentum", "preconditioned heavy ball", {"lr": 0.02, "gamma": 0.9, "beta": 0.7}),
    Case("adadelta", "slow, eps that counts", {"lr": 0.5, "rho": 0.95, "eps": 0.01}),
    Case("adam", "every hyperparameter", {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "eps": 0.01}),
    Case("adam", "without the first moment", {"lr": 0.02, "beta1": 0.0}),
    Case("amsgrad", "a second moment that would fall", {"lr": 0.02, "beta2": 0.6}),
    Case("adamw", "strong decay", {"lr": 0.02, "weight_decay": 0.5}),
    Case(
        "adamw",
        "without decay it is adam",
        {"lr": 0.02, "weight_decay": 0.0},
        Peer("Adam", {"lr": 0.02}, {"exp_avg": "m", "exp_avg_sq": "v"}),
    ),
    Case("adamax", "eps that counts", {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "eps": 0.1}),
    Case("nadam", "fast warming momentum", {"lr": 0.02, "beta1": 0.8, "momentum_decay": 0.5}),
    Case("radam", "long memory", {"lr": 0.02}),
    Case("radam", "rectified from step 7 on", {"lr": 0.02, "beta2": 0.8}),
    Case("radam", "memory too short to rectify", {"lr": 0.02, "beta2": 0.6}),
    Case("yogi", "a second moment that falls", {"lr": 0.1, "beta2": 0.6}),
    Case("adabelief", "eps that counts", {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "eps": 0.01}),
    Case("lion", "with decay", {"lr": 0.02, "weight_decay": 0.5}),
    Case(
        "rprop",
        "both bounds reached",
        {"lr": 0.1, "eta_minus": 0.3, "eta_plus": 1.9, "step_min": 0.05, "step_max": 0.2},
    ),
    Case(
        "asgd",
        "averaging from step 5 on",
        {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 5.0},
    ),
    Case("nadamw", "strong decay", {"lr": 0.02, "momentum_decay": 0.5, "weight_decay": 0.5}),
    Case("laprop", "eps that counts", {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "eps": 0.1}),
    Case("adopt", "bounds that are reached", {"lr": 0.02, "beta2": 0.6, "eps": 1e-3}),
    Case(
        "adan",
        "with decay, eps that counts",
        {"lr": 0.02, "beta1": 0.9, "beta2": 0.8, "beta3": 0.9, "eps": 0.1, "weight_decay": 0.5},
    ),
    Case("adan", "without memory", {"lr": 0.02, "beta1": 0.0, "beta2": 0.0}),
    Case(
        "ademamix",
        "warming up until step 10",
        {"lr": 0.02, "beta3": 0.99, "warmup": 10.0, "weight_decay": 0.5},
    ),
    Case(
        "schedule_free_sgd",
        "warming up until step 5, with decay",
        {"lr": 0.1, "beta": 0.8, "weight_decay": 0.5, "warmup": 5.0},
    ),
    Case("schedule_free_sgd", "gradients at z", {"lr": 0.1, "beta": 0.0}),
    Case(
        "schedule_free_adamw",
        "warming up until step 5, with decay, eps that counts",
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 0.1, "weight_decay": 0.5, "warmup": 5.0},
    ),
    Case("lars", "with decay", {"lr": 10.0, "weight_decay": 0.5}),
    Case("lamb", "strong decay, eps that counts", {"lr": 0.02, "eps": 0.1, "weight_decay": 0.5}),
    Case("novograd", "with decay, without memory", {"beta1": 0.0, "weight_decay": 0.5}),
    Case("adafactor", "short memory, shorter steps", {"decay": 0.5, "clip": 0.1}),
    Case("mars", "much of the change", {"lr": 0.02, "gamma": 0.5}),
    Case("ademamix", "without memory", {"lr": 0.02, "beta1": 0.0, "beta3": 0.0, "warmup": 10.0}),
)

CASES = (*(Case(name, "defaults", {}) for name in rules.names("element-wise", "sums")), *FURTHER)

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
    "beta3": (1.0, "beta3 must be in [0, 1), got 1.0"),
    "slow_weight": (-5.0, "slow_weight must be >= 0, got -5.0"),
    "warmup": (-1.0, "warmup must be >= 0, got -1.0"),
    "trust": (0.0, "trust must be > 0, got 0.0"),
    "decay": (-0.8, "decay must be > 0, got -0.8"),
    "eps1": (-1.0, "eps1 must be >= 0, got -1.0"),
    "eps2": (-1.0, "eps2 must be >= 0, got -1.0"),
    "clip": (0.0, "clip must be > 0, got 0.0"),
    "d0": (0.0, "d0 must be > 0, got 0.0"),
    "distance0": (0.0, "distance0 must be > 0, got 0.0"),
    "every": (0.5, "every must be >= 1, got 0.5"),
    "scale": (0.0, "scale must be > 0, got 0.0"),
}
