"""torch.optim's own classes, with their signatures, defaults, state and checkpoints.

Each class inherits torch's and replaces the step. Beside torch's arguments each takes

    clip_norm: greatest Euclidean norm of all gradients together, > 0; None (default): no bound.
    cautious: an element that would move up its gradient stays where it is (Liang et al. 2024,
        without their rescaling); False by default.
    nonfinite: what an infinite or NaN gradient does: "propagate" into the parameters, as in torch
        (default), "skip" the step, or "raise" FloatingPointError with the parameter's name.

``foreach`` and ``fused`` change nothing: a step on the CPU is always fused. ``capturable`` and
``differentiable`` steps and sparse gradients are torch's own.
"""

from typing import Any

import torch

from thalweg.optim.base import Compiled
from thalweg.optim.recipe import Recipe, recipe

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

    def _recipe(self, group: dict[str, Any], t: float) -> Recipe | None:
        beta, given = group["momentum"], _common(group)
        if beta == 0:
            return recipe("sgd", {}, **given)
        if group["dampening"] != 0:
            return None
        rule = "nesterov" if group["nesterov"] else "momentum"
        return recipe(rule, {"v": "momentum_buffer"}, beta=beta, **given)


class Adagrad(Compiled, torch.optim.Adagrad):
    """Adagrad; see torch.optim.Adagrad."""

    def _recipe(self, group: dict[str, Any], t: float) -> Recipe | None:
        given = _common(group, eps=group["eps"])
        given["lr"] = given["lr"] / (1 + (t - 1) * group["lr_decay"])
        return recipe("adagrad", {"step": "step", "s": "sum"}, **given)


class RMSprop(Compiled, torch.optim.RMSprop):
    """RMSProp, plain, centered or with momentum; see torch.optim.RMSprop."""

    def _recipe(self, group: dict[str, Any], t: float) -> Recipe | None:
        keys = {"step": "step", "s": "square_avg"}
        given = _common(group, gamma=group["alpha"], eps=group["eps"])
        match group["centered"], group["momentum"] > 0:
            case False, False:
                return recipe("rmsprop", keys, **given)
            case True, False:
                return recipe("centered_rmsprop", keys | {"m": "grad_avg"}, **given)
            case False, True:
                keys = keys | {"v": "momentum_buffer"}
                return recipe("rmsprop_momentum", keys, beta=group["momentum"], **given)
        return None


class Adadelta(Compiled, torch.optim.Adadelta):
    """Adadelta; see torch.optim.Adadelta."""

    def _recipe(self, group: dict[str, Any], t: float) -> Recipe | None:
        keys = {"step": "step", "s": "square_avg", "u": "acc_delta"}
        return recipe("adadelta", keys, **_common(group, rho=group["rho"], eps=group["eps"]))


class Adam(Compiled, torch.optim.Adam):
    """Adam, or AMSGrad; see torch.optim.Adam."""

    def _recipe(self, group: dict[str, Any], t: float) -> Recipe | None:
        if group["amsgrad"]:
            keys = _MOMENTS | {"v_max": "max_exp_avg_sq"}
            return recipe("amsgrad", keys, **_adaptive(group))
        return recipe("adam", _MOMENTS, **_adaptive(group))


class AdamW(Adam, torch.optim.AdamW):
    """Adam with decoupled weight decay; see torch.optim.AdamW."""


class Adamax(Compiled, torch.optim.Adamax):
    """Adam in the infinity norm; see torch.optim.Adamax."""

    def _recipe(self, group: dict[str, Any], t: float) -> Recipe | None:
        keys = {"step": "step", "m": "exp_avg", "u": "exp_inf"}
        return recipe("adamax", keys, **_adaptive(group))


class NAdam(Compiled, torch.optim.NAdam):
    """Adam with Nesterov's look-ahead; see torch.optim.NAdam."""

    def _recipe(self, group: dict[str, Any], t: float) -> Recipe | None:
        keys = _MOMENTS | {"mu_product": "mu_product"}
        return recipe("nadam", keys, momentum_decay=group["momentum_decay"], **_adaptive(group))


class RAdam(Compiled, torch.optim.RAdam):
    """Rectified Adam; see torch.optim.RAdam."""

    def _recipe(self, group: dict[str, Any], t: float) -> Recipe | None:
        return recipe("radam", _MOMENTS, **_adaptive(group))


class ASGD(Compiled, torch.optim.ASGD):
    """Averaged SGD; see torch.optim.ASGD."""

    def _recipe(self, group: dict[str, Any], t: float) -> Recipe | None:
        keys = {name: name for name in ("step", "ax", "eta", "mu")}
        own = {name: group[name] for name in ("lambd", "alpha", "t0")}
        return recipe("asgd", keys, **_common(group, **own))


class Rprop(Compiled, torch.optim.Rprop):
    """Rprop, for full gradients; see torch.optim.Rprop."""

    def _recipe(self, group: dict[str, Any], t: float) -> Recipe | None:
        keys = {"step": "step", "g_last": "prev", "step_size": "step_size"}
        eta_minus, eta_plus = group["etas"]
        step_min, step_max = group["step_sizes"]
        return recipe(
            "rprop", keys, lr=group["lr"], maximize=group["maximize"],
            eta_minus=eta_minus, eta_plus=eta_plus, step_min=step_min, step_max=step_max,
        )  # fmt: skip
