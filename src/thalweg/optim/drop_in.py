"""torch.optim's own classes, with their signatures, defaults, state and checkpoints.

Each class inherits torch's and replaces the step; beside torch's arguments each takes those of
``thalweg.optim.options.Options``.

``foreach`` and ``fused`` change nothing: a step on the CPU is always fused. ``capturable`` and
``differentiable`` steps and sparse gradients are torch's own.
"""

from typing import Any, ClassVar

import torch

from thalweg import rules
from thalweg.optim.base import Compiled
from thalweg.optim.recipe import Recipe, recipe
from thalweg.optim.variants import (
    CENTERED_RMSPROP_MOMENTUM,
    DAMPENED_MOMENTUM,
    DAMPENED_NESTEROV,
    DECAYING_ADAGRAD,
)

__all__ = ["ASGD", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam",
           "RMSprop", "Rprop"]  # fmt: skip

_MOMENTS = {"step": "step", "m": "exp_avg", "v": "exp_avg_sq"}


def _common(group: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what most groups have: rate, decay, direction."""
    return {name: group[name] for name in ("lr", "weight_decay", "maximize")} | more


def _adaptive(group: dict[str, Any]) -> dict[str, Any]:
    """Return what the groups of Adam's family have beside."""
    beta1, beta2 = group["betas"]
    decoupled = group.get("decoupled_weight_decay", False)
    return _common(group, beta1=beta1, beta2=beta2, eps=group["eps"], decoupled=decoupled)


class SGD(Compiled, torch.optim.SGD):
    """Stochastic gradient descent, plain, with momentum or Nesterov's; see torch.optim.SGD."""

    _rules: ClassVar = {
        (False, False): rules.momentum,
        (True, False): rules.nesterov,
        (False, True): DAMPENED_MOMENTUM,
        (True, True): DAMPENED_NESTEROV,
    }

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        beta, given = group["momentum"], _common(group)
        if beta == 0:
            return recipe(rules.sgd, {}, **given)
        dampened = group["dampening"] != 0
        rule = self._rules[bool(group["nesterov"]), dampened]
        given |= {"beta": beta} | ({"dampening": group["dampening"]} if dampened else {})
        return recipe(rule, {"v": "momentum_buffer"}, **given)


class Adagrad(Compiled, torch.optim.Adagrad):
    """Adagrad; see torch.optim.Adagrad."""

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        initial = self.defaults["initial_accumulator_value"]
        given = _common(group, eps=group["eps"], lr_decay=group["lr_decay"], initial=initial)
        return recipe(DECAYING_ADAGRAD, {"step": "step", "s": "sum"}, **given)


class RMSprop(Compiled, torch.optim.RMSprop):
    """RMSProp, plain, centered or with momentum; see torch.optim.RMSprop."""

    _rules: ClassVar = {
        (False, False): rules.rmsprop,
        (True, False): rules.centered_rmsprop,
        (False, True): rules.rmsprop_momentum,
        (True, True): CENTERED_RMSPROP_MOMENTUM,
    }

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        keys = {"step": "step", "s": "square_avg"}
        given = _common(group, gamma=group["alpha"], eps=group["eps"])
        if group["momentum"] > 0:
            given["beta"], keys["v"] = group["momentum"], "momentum_buffer"
        if group["centered"]:
            keys["m"] = "grad_avg"
        return recipe(self._rules[group["centered"], group["momentum"] > 0], keys, **given)


class Adadelta(Compiled, torch.optim.Adadelta):
    """Adadelta; see torch.optim.Adadelta."""

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        keys = {"step": "step", "s": "square_avg", "u": "acc_delta"}
        return recipe(rules.adadelta, keys, **_common(group, rho=group["rho"], eps=group["eps"]))


class Adam(Compiled, torch.optim.Adam):
    """Adam, or AMSGrad; see torch.optim.Adam."""

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        if group["amsgrad"]:
            keys = _MOMENTS | {"v_max": "max_exp_avg_sq"}
            return recipe(rules.amsgrad, keys, **_adaptive(group))
        return recipe(rules.adam, _MOMENTS, **_adaptive(group))


class AdamW(Adam, torch.optim.AdamW):
    """Adam with decoupled weight decay; see torch.optim.AdamW."""


class Adamax(Compiled, torch.optim.Adamax):
    """Adam in the infinity norm; see torch.optim.Adamax."""

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        keys = {"step": "step", "m": "exp_avg", "u": "exp_inf"}
        return recipe(rules.adamax, keys, **_adaptive(group))


class NAdam(Compiled, torch.optim.NAdam):
    """Adam with Nesterov's look-ahead; see torch.optim.NAdam."""

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        keys = _MOMENTS | {"mu_product": "mu_product"}
        return recipe(rules.nadam, keys, momentum_decay=group["momentum_decay"], **_adaptive(group))


class RAdam(Compiled, torch.optim.RAdam):
    """Rectified Adam; see torch.optim.RAdam."""

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        return recipe(rules.radam, _MOMENTS, **_adaptive(group))


class ASGD(Compiled, torch.optim.ASGD):
    """Averaged SGD; see torch.optim.ASGD."""

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        keys = {name: name for name in ("step", "ax", "eta", "mu")}
        own = {name: group[name] for name in ("lambd", "alpha", "t0")}
        return recipe(rules.asgd, keys, **_common(group, **own))


class Rprop(Compiled, torch.optim.Rprop):
    """Rprop, for full gradients; see torch.optim.Rprop."""

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        keys = {"step": "step", "g_last": "prev", "step_size": "step_size"}
        eta_minus, eta_plus = group["etas"]
        step_min, step_max = group["step_sizes"]
        return recipe(
            rules.rprop, keys, lr=group["lr"], maximize=group["maximize"],
            eta_minus=eta_minus, eta_plus=eta_plus, step_min=step_min, step_max=step_max,
        )  # fmt: skip
