"""torch.optim's own classes, with their signatures, defaults, state and checkpoints.

Each class inherits from torch's and replaces the step. It takes torch's arguments and those of
``thalweg.optim.options.Options``.

``foreach`` and ``fused`` change nothing: a step on the CPU is always fused. ``capturable`` and
``differentiable`` steps and sparse gradients are torch's own.
"""

from typing import Any, ClassVar

import torch

from thalweg import rules
from thalweg.optim.optimizer import CompiledOptimizer
from thalweg.optim.recipe import Recipe
from thalweg.optim.variants import (
    CENTERED_RMSPROP_MOMENTUM,
    DAMPENED_MOMENTUM,
    DAMPENED_NESTEROV,
    DECAYING_ADAGRAD,
)
from thalweg.rule import Rule

__all__ = ["ASGD", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam",
           "RMSprop", "Rprop"]  # fmt: skip


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
