"""Variants of rules that torch's options ask for, composed of the rules themselves."""

from collections.abc import Mapping
from dataclasses import replace

from thalweg import catalog, rules
from thalweg.catalog import TorchClass
from thalweg.elementwise import where
from thalweg.rule import Rule, read_signature
from thalweg.rules import adagrad, centered_rmsprop

__all__ = [
    "CENTERED_RMSPROP_MOMENTUM", "DAMPENED_MOMENTUM", "DAMPENED_NESTEROV", "DECAYING_ADAGRAD",
    "class_of",
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
_CLASSES = {
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
