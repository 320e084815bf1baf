"""Catalog: what is known of each rule beside its equation, one row for each rule.

What a rule's signature says is not repeated here. Where a hyperparameter is legal, and where it is
searched, depends on its name alone and not on the rule. A rule without a row, such as one of the
user's own, has an empty entry.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thalweg import rules
from thalweg.rule import Rule
from thalweg.wrapper import Wrapped

__all__ = ["Entry", "Optimum", "TorchClass", "of"]

# The name of a hyperparameter, or of all that a tuple holds, or a function of all values.
Argument = str | tuple[str, ...] | Callable[[Mapping[str, float]], float]


@dataclass(frozen=True)
class TorchClass:
    """The class of torch.optim, or one like it, that takes the steps of a rule.

    Args:
        name: the class.
        arguments: what each argument of the class holds.
        state: for each state of the rule, its key in the optimizer's state; ``step`` is the count
            of steps.
        chosen: further arguments, which choose this rule where the class has several.
        in_torch: whether torch has the class; ``thalweg.optim`` has all of them.

    Example:
        >>> known = TorchClass("Adam", {"lr": "lr", "betas": ("beta1", "beta2")})
        >>> known.keywords({"lr": 0.1, "beta1": 0.9, "beta2": 0.99})
        {'lr': 0.1, 'betas': (0.9, 0.99)}
        >>> known.hyper({"lr": 0.1, "betas": (0.9, 0.99), "foreach": None})
        {'lr': 0.1, 'beta1': 0.9, 'beta2': 0.99}
    """

    name: str
    arguments: Mapping[str, Argument]
    state: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, bool] = field(default_factory=dict)
    in_torch: bool = True

    def keywords(self, hyper: Mapping[str, float]) -> dict[str, Any]:
        """Return the arguments of the class for all hyperparameters of the rule."""

        def value(held: Argument) -> Any:  # noqa: ANN401 - a number or a tuple of some
            if isinstance(held, tuple):
                return tuple(hyper[name] for name in held)
            return hyper[held] if isinstance(held, str) else held(hyper)

        return {name: value(held) for name, held in self.arguments.items()} | dict(self.chosen)

    def hyper(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the hyperparameters that the options of a parameter group hold.

        Raises:
            ValueError: an option that holds several hyperparameters has another number of values.
        """
        found: dict[str, Any] = {}
        for name, held in self.arguments.items():
            if isinstance(held, tuple):
                try:
                    found |= zip(held, options[name], strict=True)
                except (TypeError, ValueError):
                    count = {2: "two"}.get(len(held), len(held))
                    raise ValueError(
                        f"{name} must be {count} numbers, got {options[name]!r}"
                    ) from None
            elif isinstance(held, str):
                found[held] = options[name]
        return found


@dataclass(frozen=True)
class Optimum:
    """The best hyperparameters on every quadratic with curvatures from mu to L, in closed form.

    Args:
        form: of mu and L: lr, beta (0 if the rule has none) and the factor per step.
        source: the paper.
    """

    form: Callable[[float, float], tuple[float, float, float]]
    source: str


@dataclass(frozen=True)
class Entry:
    """What is known of a rule.

    Args:
        torch: its class.
        rates: where its lr is searched, if the unit of lr is not that of most rules.
        optimum: its best hyperparameters on quadratics.
        decays: for each state, the hyperparameter that decays it. Where that is 0, no step reads
            the old value of the state.
        usual: whether it is in a race that names no rules.
        holds: what is true of each step of a rule that the linear theory cannot describe.
    """

    torch: TorchClass | None = None
    rates: tuple[float, float] | None = None
    optimum: Optimum | None = None
    decays: Mapping[str, str] = field(default_factory=dict)
    usual: bool = True
    holds: str = ""


def of(rule: Rule) -> Entry:
    """Return what is known of a rule; an empty entry where nothing is known.

    Example:
        >>> of(rules.get("momentum")).torch.keywords({"lr": 0.1, "beta": 0.9})
        {'lr': 0.1, 'momentum': 0.9}
    """
    if isinstance(rule, Wrapped):  # its states decay as before, and its lr has the same unit
        inner = of(rule.inner)
        return Entry(rates=inner.rates, decays=inner.decays, usual=False)
    return _ROWS.get(rule, _UNKNOWN)


def _gradient_descent(mu: float, L: float) -> tuple[float, float, float]:
    return 2 / (mu + L), 0.0, (L - mu) / (L + mu)


def _heavy_ball(mu: float, L: float) -> tuple[float, float, float]:
    low, high = math.sqrt(mu), math.sqrt(L)
    rate = (high - low) / (high + low)
    return (2 / (low + high)) ** 2, rate**2, rate


def _nesterov(mu: float, L: float) -> tuple[float, float, float]:
    root = math.sqrt(3 * L / mu + 1)
    return 4 / (3 * L + mu), (root - 2) / (root + 2), 1 - 2 / root


_LR: dict[str, Argument] = {"lr": "lr"}
_BETAS = _LR | {"betas": ("beta1", "beta2")}
_ADAM: dict[str, Argument] = _BETAS | {"eps": "eps"}
_RMSPROP = _LR | {"alpha": "gamma", "eps": "eps"}
_STEP = {"step": "step"}
_MOMENT = _STEP | {"m": "exp_avg"}
_MOMENTS = _MOMENT | {"v": "exp_avg_sq"}
_NADAM = _ADAM | {"momentum_decay": "momentum_decay"}
_NADAM_STATE = _MOMENTS | {"mu_product": "mu_product"}
_SQUARES = _STEP | {"s": "square_avg"}
_VELOCITY = {"v": "momentum_buffer"}
_FIRST_MOMENT = {"m": "beta1"}
_FACTORS = (1e-3, 1e3)  # where an lr is searched that multiplies a rate which the rule finds

_UNKNOWN = Entry()
_ROWS: Mapping[Rule, Entry] = {
    rules.sgd: Entry(
        TorchClass("SGD", _LR),
        optimum=Optimum(_gradient_descent, "Polyak 1987, section 1.4"),
    ),
    rules.momentum: Entry(
        TorchClass("SGD", _LR | {"momentum": "beta"}, _VELOCITY),
        optimum=Optimum(_heavy_ball, "Polyak 1964"),
    ),
    # torch's dampening leaves out the first step; the heavy ball at lr (1 - beta) has the same
    # path.
    rules.averaged_momentum: Entry(
        TorchClass("SGD", {"lr": lambda h: h["lr"] * (1 - h["beta"]), "momentum": "beta"})
    ),
    rules.nesterov: Entry(
        TorchClass("SGD", _LR | {"momentum": "beta"}, _VELOCITY, {"nesterov": True}),
        optimum=Optimum(_nesterov, "Lessard, Recht & Packard 2016, proposition 1"),
    ),
    rules.adagrad: Entry(TorchClass("Adagrad", _LR | {"eps": "eps"}, _STEP | {"s": "sum"})),
    rules.rmsprop: Entry(TorchClass("RMSprop", _RMSPROP, _SQUARES)),
    rules.centered_rmsprop: Entry(
        TorchClass("RMSprop", _RMSPROP, _SQUARES | {"m": "grad_avg"}, {"centered": True})
    ),
    rules.rmsprop_momentum: Entry(
        TorchClass("RMSprop", _RMSPROP | {"momentum": "beta"}, _SQUARES | _VELOCITY)
    ),
    # Its lr is a factor near 1.
    rules.adadelta: Entry(
        TorchClass("Adadelta", _LR | {"rho": "rho", "eps": "eps"}, _SQUARES | {"u": "acc_delta"}),
        rates=(1e-3, 1e3),
    ),
    rules.adam: Entry(TorchClass("Adam", _ADAM, _MOMENTS), decays=_FIRST_MOMENT),
    rules.amsgrad: Entry(
        TorchClass("Adam", _ADAM, _MOMENTS | {"v_max": "max_exp_avg_sq"}, {"amsgrad": True}),
        decays=_FIRST_MOMENT,
    ),
    rules.adamw: Entry(
        TorchClass("AdamW", _ADAM | {"weight_decay": "weight_decay"}, _MOMENTS),
        decays=_FIRST_MOMENT,
    ),
    rules.adamax: Entry(
        TorchClass("Adamax", _ADAM, _MOMENT | {"u": "exp_inf"}), decays=_FIRST_MOMENT
    ),
    rules.nadam: Entry(TorchClass("NAdam", _NADAM, _NADAM_STATE), decays=_FIRST_MOMENT),
    rules.radam: Entry(TorchClass("RAdam", _ADAM, _MOMENTS), decays=_FIRST_MOMENT),
    rules.yogi: Entry(TorchClass("Yogi", _ADAM, _MOMENTS, in_torch=False), decays=_FIRST_MOMENT),
    rules.adabelief: Entry(
        TorchClass("AdaBelief", _ADAM, _MOMENT | {"s": "exp_avg_var"}, in_torch=False),
        decays=_FIRST_MOMENT,
    ),
    # The sign of a gradient moves every coordinate by lr, however small the gradient.
    rules.lion: Entry(
        TorchClass(
            "Lion", _BETAS | {"weight_decay": "weight_decay"}, {"m": "exp_avg"}, in_torch=False
        ),
        rates=(1e-6, 1.0),
    ),
    # Its lr is the first step size.
    rules.rprop: Entry(
        TorchClass(
            "Rprop",
            _LR | {"etas": ("eta_minus", "eta_plus"), "step_sizes": ("step_min", "step_max")},
            _STEP | {"g_last": "prev", "step_size": "step_size"},
        ),
        rates=(1e-6, 1.0),
    ),
    rules.asgd: Entry(
        TorchClass(
            "ASGD",
            _LR | {"lambd": "lambd", "alpha": "alpha", "t0": "t0"},
            _STEP | {"ax": "ax", "eta": "eta", "mu": "mu"},
        )
    ),
    rules.nadamw: Entry(
        TorchClass(
            "NAdam",
            _NADAM | {"weight_decay": "weight_decay"},
            _NADAM_STATE,
            {"decoupled_weight_decay": True},
        ),
        decays=_FIRST_MOMENT,
        usual=False,
    ),
    rules.laprop: Entry(decays=_FIRST_MOMENT, usual=False),
    rules.adopt: Entry(decays=_FIRST_MOMENT, usual=False),
    rules.adan: Entry(decays=_FIRST_MOMENT, usual=False),
    rules.ademamix: Entry(decays=_FIRST_MOMENT, usual=False),
    rules.schedule_free_sgd: Entry(usual=False),
    rules.schedule_free_adamw: Entry(usual=False),
    rules.muon: Entry(
        usual=False,
        holds="a step moves all directions alike, so that its spectral norm is 0.2 lr "
        "√max(rows, columns) or nearly so, whatever the gradient",
    ),
    rules.normuon: Entry(
        usual=False, holds="a step has the length 0.2 lr √(rows × columns), whatever the gradient"
    ),
    rules.shampoo: Entry(usual=False),
    rules.soap: Entry(usual=False),
    # Its lr is a share of x for each unit of trust.
    rules.lars: Entry(
        rates=_FACTORS,
        usual=False,
        holds="what a step adds to v is as long as trust ‖x‖, whatever the gradient",
    ),
    rules.lamb: Entry(
        decays=_FIRST_MOMENT,
        usual=False,
        holds="a step has the length lr ‖x‖, whatever the gradient",
    ),
    rules.novograd: Entry(decays=_FIRST_MOMENT, usual=False),
    rules.stable_adamw: Entry(decays=_FIRST_MOMENT, usual=False),
    rules.mars: Entry(decays=_FIRST_MOMENT, usual=False),
    rules.adam_mini: Entry(decays=_FIRST_MOMENT, usual=False),
    rules.adafactor: Entry(
        usual=False,
        holds="its factors scale the gradient as Adam's second moment does, and then a step moves "
        "x by a share of at most clip · min(lr, 1/√t)",
    ),
    rules.came: Entry(decays=_FIRST_MOMENT, usual=False),
    # Their lr is a factor near 1.
    rules.prodigy: Entry(rates=_FACTORS, decays=_FIRST_MOMENT, usual=False),
    rules.dadapt_adam: Entry(rates=_FACTORS, decays=_FIRST_MOMENT, usual=False),
    rules.dowg: Entry(rates=_FACTORS, usual=False),
    rules.sophia: Entry(
        decays=_FIRST_MOMENT, usual=False, holds="a step moves no element by more than lr"
    ),
}
