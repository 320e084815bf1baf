"""Variants of rules that torch's options ask for, composed of the rules themselves."""

from collections.abc import Mapping
from dataclasses import replace

from thalweg import catalog, rules
from thalweg.catalog import TorchClass
from thalweg.elementwise import maximum, sqrt, where
from thalweg.matrices import columns, rows
from thalweg.matrix_rules import muon_step
from thalweg.rule import Rule, read_signature
from thalweg.rules import adagrad, centered_rmsprop
from thalweg.sum_rules import adafactor_step
from thalweg.sums import mean

__all__ = [
    "BOUNDED_ADAFACTOR", "BOUNDED_ADAFACTOR_OF_VECTORS", "CENTERED_RMSPROP_MOMENTUM",
    "DAMPENED_MOMENTUM", "DAMPENED_NESTEROV", "DECAYING_ADAGRAD", "SCALED_MUON", "class_of",
    "every_class",
]  # fmt: skip


def decaying_adagrad(g, x, s, *, t, lr=1e-2, lr_decay=0.0, eps=1e-10, initial=0.0):
    """Adagrad at the rate lr / (1 + (t - 1) lr_decay), its sum begun at ``initial``."""
    return adagrad(g, x, s, t=t, lr=lr / (1 + (t - 1) * lr_decay), eps=eps)


def centered_rmsprop_momentum(g, x, s, m, v, *, t, lr=1e-2, gamma=0.99, beta=0.9, eps=1e-8):
    """Centered RMSProp whose preconditioned gradient feeds a heavy ball (Graves 2013)."""
    descent, s, m = centered_rmsprop(g, 0.0, s, m, t=t, lr=1.0, gamma=gamma, eps=eps)
    v = beta * v - descent
    return x - lr * v, s, m, v


def dampened_momentum(g, x, v, *, t, lr=1e-3, beta=0.9, dampening=0.0):
    """Momentum that adds 1 - dampening of each gradient, but all of the first one.

    v is NaN before the first step.
    """
    v = where(v == v, beta * v + (1 - dampening) * g, g)  # noqa: PLR0124 - false for NaN alone
    return x - lr * v, v


def dampened_nesterov(g, x, v, *, t, lr=1e-3, beta=0.9, dampening=0.0):
    """Nesterov's step along that velocity."""
    _, v = DAMPENED_MOMENTUM(g, x, v, t=t, lr=lr, beta=beta, dampening=dampening)
    return x - lr * (g + beta * v), v


def scaled_muon(
    g, x, m, *, t, lr=1e-3, beta=0.95, weight_decay=0.1, nesterov=1.0, like_adamw=0.0,
    first=3.4445, third=-4.775, fifth=2.0315, iterations=5.0, eps=1e-7,
):  # fmt: skip
    """Muon at the rate of Jordan et al., or at that of Liu et al. (2025) if like_adamw."""
    own = maximum(1.0, rows(x) / columns(x)) ** 0.5
    factor = 0.2 * maximum(rows(x), columns(x)) ** 0.5 if like_adamw else own
    return muon_step(
        g, x, m, lr=lr, beta=beta, weight_decay=weight_decay, factor=factor, nesterov=nesterov,
        coefficients=(first, third, fifth), iterations=iterations, eps=eps,
    )  # fmt: skip


def bounded_adafactor(
    g, x, r, c, *, t, lr=1e-2, beta2_decay=-0.8, eps1=2.0**-23, eps2=1e-3, clip=1.0,
    weight_decay=0.0,
):  # fmt: skip
    """Adafactor whose eps1 bounds the second moment, by eps1², and is not added to g².

    Matrices are the last two dimensions; the length of a step is that of the whole tensor.
    """
    forget = t**beta2_decay
    r = (1 - forget) * r + forget * mean(g * g, 1)
    c = (1 - forget) * c + forget * mean(g * g, 0)
    u = g / sqrt(maximum(r * c / maximum(mean(r, 0), eps1), eps1 * eps1))
    x = adafactor_step(u, x, t=t, lr=lr, eps2=eps2, clip=clip, weight_decay=weight_decay)
    return x, r, c


def bounded_adafactor_of_vectors(
    g, x, v, *, t, lr=1e-2, beta2_decay=-0.8, eps1=2.0**-23, eps2=1e-3, clip=1.0, weight_decay=0.0
):
    """The same with the whole second moment."""
    forget = t**beta2_decay
    v = (1 - forget) * v + forget * g * g
    u = g / sqrt(maximum(v, eps1 * eps1))
    return adafactor_step(u, x, t=t, lr=lr, eps2=eps2, clip=clip, weight_decay=weight_decay), v


SCALED_MUON = read_signature(scaled_muon, "Jordan et al. 2024; Liu et al. 2025", {}, {})
BOUNDED_ADAFACTOR = read_signature(
    bounded_adafactor, "Shazeer & Stern 2018; the bound is torch's", {}, {}
)
BOUNDED_ADAFACTOR_OF_VECTORS = read_signature(
    bounded_adafactor_of_vectors, "Shazeer & Stern 2018; the bound is torch's", {}, {}
)
DAMPENED_MOMENTUM = read_signature(
    dampened_momentum, "Polyak 1964; dampening is torch's", {"v": float("nan")}, {}
)
DAMPENED_NESTEROV = read_signature(
    dampened_nesterov, "Nesterov 1983; dampening is torch's", {"v": float("nan")}, {}
)
DECAYING_ADAGRAD = read_signature(
    decaying_adagrad, "Duchi, Hazan & Singer 2011; lr_decay is torch's", {"s": "initial"}, {}
)
CENTERED_RMSPROP_MOMENTUM = read_signature(
    centered_rmsprop_momentum, "Graves 2013, equations 38-41", {}, {}
)


def _extended(rule: Rule, options: Mapping[str, str], state: Mapping[str, str]) -> TorchClass:
    """Return the class of a rule with further options and states."""
    known = catalog.of(rule).torch
    assert known is not None
    arguments, states = {**known.arguments, **options}, {**known.state, **state}
    return replace(known, arguments=arguments, state=states)


_DAMPENING = {"dampening": "dampening"}
_SUM = {"lr_decay": "lr_decay", "initial_accumulator_value": "initial"}
_ADAFACTOR = TorchClass(
    "Adafactor",
    {"lr": "lr", "beta2_decay": "beta2_decay", "eps": ("eps1", "eps2"), "d": "clip",
     "weight_decay": "weight_decay"},
    {"step": "step", "r": "row_var", "c": "col_var"},
)  # fmt: skip
_CLASSES = {
    SCALED_MUON: TorchClass(
        "Muon",
        {
            "lr": "lr",
            "momentum": "beta",
            "weight_decay": "weight_decay",
            "nesterov": "nesterov",
            "adjust_lr_fn": "like_adamw",
            "ns_coefficients": ("first", "third", "fifth"),
            "ns_steps": "iterations",
            "eps": "eps",
        },
        {"m": "momentum_buffer"},
    ),
    BOUNDED_ADAFACTOR: _ADAFACTOR,
    BOUNDED_ADAFACTOR_OF_VECTORS: replace(_ADAFACTOR, state={"step": "step", "v": "variance"}),
    DAMPENED_MOMENTUM: _extended(rules.momentum, _DAMPENING, {}),
    DAMPENED_NESTEROV: _extended(rules.nesterov, _DAMPENING, {}),
    DECAYING_ADAGRAD: _extended(rules.adagrad, _SUM, {}),
    CENTERED_RMSPROP_MOMENTUM: _extended(
        rules.centered_rmsprop, {"momentum": "beta"}, {"v": "momentum_buffer"}
    ),
}


def class_of(rule: Rule) -> TorchClass:
    """Return torch's names for the hyperparameters and states of a rule or a variant."""
    known = _CLASSES.get(rule) or catalog.of(rule).torch
    assert known is not None
    return known


def every_class() -> list[TorchClass]:
    """Return torch's names for all rules and variants that torch, or a class like its own, has."""
    known = (catalog.of(rules.get(name)).torch for name in rules.names())
    return [*filter(None, known), *_CLASSES.values()]
