"""torch.optim's own classes, with their signatures, defaults, state and checkpoints.

Each class inherits from torch's and replaces the step. It takes torch's arguments and those of
``thalweg.optim.options.Options``.

``foreach`` and ``fused`` change nothing: a step on the CPU is always fused. ``capturable`` and
``differentiable`` steps and sparse gradients are torch's own.
"""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from thalweg import rules
from thalweg.optim.optimizer import CompiledOptimizer
from thalweg.optim.recipe import Recipe
from thalweg.optim.variants import (
    BOUNDED_ADAFACTOR,
    BOUNDED_ADAFACTOR_OF_VECTORS,
    CENTERED_RMSPROP_MOMENTUM,
    DAMPENED_MOMENTUM,
    DAMPENED_NESTEROV,
    DECAYING_ADAGRAD,
    SCALED_MUON,
    class_of,
)
from thalweg.rule import Rule

__all__ = ["ASGD", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon",
           "NAdam", "RAdam", "RMSprop", "Rprop"]  # fmt: skip


class SGD(CompiledOptimizer, torch.optim.SGD):
    """Stochastic gradient descent, plain, with momentum or Nesterov's; see torch.optim.SGD."""

    _rules: ClassVar = {
        (False, False): rules.momentum,
        (True, False): rules.nesterov,
        (False, True): DAMPENED_MOMENTUM,
        (True, True): DAMPENED_NESTEROV,
    }

    def _rule(self, group: dict[str, Any]) -> Rule:
        if group["momentum"] == 0:
            return rules.sgd
        chosen: Rule = self._rules[bool(group["nesterov"]), group["dampening"] != 0]
        return chosen


class Adagrad(CompiledOptimizer, torch.optim.Adagrad):
    """Adagrad; see torch.optim.Adagrad."""

    rule = DECAYING_ADAGRAD

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        first = "initial_accumulator_value"  # its state has all groups from the beginning
        return super()._recipe({**group, first: self.defaults[first]})


class RMSprop(CompiledOptimizer, torch.optim.RMSprop):
    """RMSProp, plain, centered or with momentum; see torch.optim.RMSprop."""

    _rules: ClassVar = {
        (False, False): rules.rmsprop,
        (True, False): rules.centered_rmsprop,
        (False, True): rules.rmsprop_momentum,
        (True, True): CENTERED_RMSPROP_MOMENTUM,
    }

    def _rule(self, group: dict[str, Any]) -> Rule:
        chosen: Rule = self._rules[bool(group["centered"]), group["momentum"] > 0]
        return chosen


class Adadelta(CompiledOptimizer, torch.optim.Adadelta):
    """Adadelta; see torch.optim.Adadelta."""

    rule = rules.adadelta


class Adam(CompiledOptimizer, torch.optim.Adam):
    """Adam, or AMSGrad; see torch.optim.Adam."""

    def _rule(self, group: dict[str, Any]) -> Rule:
        return rules.amsgrad if group["amsgrad"] else rules.adam


class AdamW(Adam, torch.optim.AdamW):
    """Adam with decoupled weight decay; see torch.optim.AdamW."""


class Adamax(CompiledOptimizer, torch.optim.Adamax):
    """Adam in the infinity norm; see torch.optim.Adamax."""

    rule = rules.adamax


class NAdam(CompiledOptimizer, torch.optim.NAdam):
    """Adam with Nesterov's look-ahead; see torch.optim.NAdam."""

    rule = rules.nadam


class RAdam(CompiledOptimizer, torch.optim.RAdam):
    """Rectified Adam; see torch.optim.RAdam."""

    rule = rules.radam


class ASGD(CompiledOptimizer, torch.optim.ASGD):
    """Averaged SGD; see torch.optim.ASGD."""

    rule = rules.asgd


class Rprop(CompiledOptimizer, torch.optim.Rprop):
    """Rprop, for full gradients; see torch.optim.Rprop."""

    rule = rules.rprop


class Adafactor(CompiledOptimizer, torch.optim.Adafactor):
    """Adam in little memory: means of rows and columns for a second moment; see
    torch.optim.Adafactor.

    Deviations from torch's: where eps[0] is None it is that of each parameter's own format, not of
    the first one's; the second moment of 16-bit parameters is kept in float32. As in torch, a
    tensor of more than two dimensions is many matrices, its last two: of a 16 × 8 × 3 × 3 kernel
    768 numbers are kept. ``Descent(params, "adafactor")`` takes it as one, and keeps 88.

    Example:
        >>> weight = torch.ones(4, 6, requires_grad=True)
        >>> optimizer = Adafactor([weight], lr=0.5)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> weight[0, 0].item(), tuple(optimizer.state[weight]["row_var"].shape)
        (0.5, (4, 1))
    """  # noqa: D205 - its first line is a sentence

    rule = BOUNDED_ADAFACTOR

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        given = group["eps"]
        formats = isinstance(given, list | tuple) and [*given[:1]] == [None]
        found = super()._recipe({**group, "eps": (0.0, *given[1:])} if formats else group)

        def fitted(found: Recipe, p: Tensor) -> Recipe:
            if p.is_complex():
                raise RuntimeError("Adafactor does not support complex parameters")
            rule = BOUNDED_ADAFACTOR if p.ndim > 1 else BOUNDED_ADAFACTOR_OF_VECTORS
            own = {"eps1": torch.finfo(p.dtype).eps} if formats else {}
            return replace(
                found, rule=rule, hyper={**found.hyper, **own}, keys=class_of(rule).state
            )

        return replace(found, as_given=True, fitted=fitted)


class Muon(CompiledOptimizer, torch.optim.Muon):
    """Momentum with all singular values brought near 1, for matrices; see torch.optim.Muon.

    ``Descent(model, "muon", otherwise="adamw")`` sends matrices, kernels of convolutions among
    them, to Muon and the rest to AdamW.

    Deviations from torch's: singular values are brought near 1 in float32 (float64 for float64),
    not in bfloat16; without Nesterov too the momentum stays what it is, where torch overwrites that
    of bfloat16 parameters; what ``add_param_group`` brings is refused as by the constructor.

    Example:
        >>> weight = torch.eye(2, requires_grad=True)
        >>> optimizer = Muon([weight], lr=0.5, weight_decay=0.0)
        >>> (3 * weight[0, 0] - 4 * weight[1, 1]).backward()
        >>> optimizer.step()
        >>> [round(value, 2) for value in weight.diagonal().tolist()]
        [0.64, 1.56]
    """

    rule = SCALED_MUON
    _factors: ClassVar = {None: 0.0, "original": 0.0, "match_rms_adamw": 1.0}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add matrices with options of their own; see torch.optim.Optimizer."""
        super().add_param_group(param_group)
        for p in self.param_groups[-1]["params"]:
            if not is_lazy(p) and p.ndim != 2:
                self.param_groups.pop()
                raise ValueError(
                    "Muon only supports 2D parameters whereas we found a parameter with size: "
                    f"{p.size()}"
                )

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        name = group["adjust_lr_fn"]
        if name not in self._factors:
            raise ValueError(f"Adjust learning rate function {name} is not supported")
        found = super()._recipe({**group, "adjust_lr_fn": self._factors[name]})
        return replace(found, like_parameter=True, fitted=_of_matrix)

    def _torch_steps(self) -> bool:
        return False  # torch's step computes in bfloat16

    def _torch_step(self, why: str) -> bool:
        raise RuntimeError("Muon does not support " + why.removeprefix("with "))


def _of_matrix(found: Recipe, p: Tensor) -> Recipe:
    if p.is_complex():
        raise RuntimeError("Muon does not support complex parameters")
    return found
