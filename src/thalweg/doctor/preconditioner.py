"""Preconditioner: what an optimizer's rule multiplies each gradient by, read off rule and state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from thalweg import optim, theory
from thalweg.errors import TaskError
from thalweg.kind import MATRICES
from thalweg.optim.optimizer import CompiledOptimizer
from thalweg.optim.recipe import Recipe
from thalweg.rule import Rule
from thalweg.theory.linearization import linearize

__all__ = ["Felt", "felt", "rule_of"]

# A gradient in place of one of 0: its square vanishes beside any second moment.
_TINY = 1e-150


@dataclass(frozen=True)
class Felt:
    """An optimizer as the linear theory sees it: one rule, its rate, and P⁻¹.

    Args:
        rule: of the optimizer.
        hyper: its hyperparameters but the rate.
        lr: the rate of the group with the most elements.
        scales: of each parameter: P⁻¹ times its group's rate over ``lr``, an element each or a
            number for all; 1 where the rule multiplies by the rate alone.
        decays: of each parameter, the weight decay that is added to the gradient.
        climbs: whether the loss is maximized.
    """

    rule: Rule
    hyper: Mapping[str, float]
    lr: float
    scales: Sequence[Tensor]
    decays: Sequence[float]
    climbs: bool

    def max_lr(self, sharpness: float) -> float:
        """Return the rate at which the rule becomes unstable; inf for a sharpness of 0 or less."""
        if sharpness <= 1e-200:  # where theory ends
            return float("inf")
        return theory.max_lr(self.rule, sharpness, **self.hyper)


def rule_of(optimizer: Optimizer) -> list[Recipe]:
    """Return which rule each parameter group of an optimizer asks for, with its values.

    Args:
        optimizer: of torch.optim or thalweg.optim; a subclass may not have a step of its own.

    Raises:
        TaskError: the rule is not known.
    """
    if isinstance(optimizer, CompiledOptimizer):
        return [optimizer._recipe(group) for group in optimizer.param_groups]  # noqa: SLF001 - the package's own
    for known in type(optimizer).__mro__:
        if known.__module__.startswith("torch.optim"):
            ours = getattr(optim, known.__name__, None)
            if isinstance(ours, type) and issubclass(ours, CompiledOptimizer):
                return rule_of(ours([dict(group) for group in optimizer.param_groups]))
        if "step" in vars(known):
            break
    name = type(optimizer).__name__
    raise TaskError(
        f"the rule of {name} is not known, so neither is its stability limit; it is for the "
        "classes of torch.optim and thalweg.optim, but LBFGS, Muon, SparseAdam and Adafactor"
    )


def felt(optimizer: Optimizer, gradients: Mapping[Tensor, Tensor]) -> Felt:
    """Return an optimizer as the linear theory sees it, at its state.

    An adaptive rule is taken with P held as the next step will use it; for Adam that is
    (1 − β₁ᵗ)(√v̂ + ε), as in Cohen et al. 2022. Decay that is decoupled is left out: it moves the
    limit by lr times the decay, which is next to nothing.

    Args:
        optimizer: of torch.optim or thalweg.optim.
        gradients: of the loss, by parameter, those without one left out.

    Raises:
        TaskError: the rule is not known, has no linear map, or groups have different ones.
    """
    recipes = rule_of(optimizer)
    options = getattr(optimizer, "options", None)
    if options is not None and options.cautious:
        raise TaskError("the stability limit is not known for cautious=True")
    groups = [[p for p in group["params"] if p in gradients] for group in optimizer.param_groups]
    parts = [(r, g) for r, g in zip(recipes, groups, strict=True) if g]
    if not parts:
        raise TaskError("the loss does not depend on any parameter in the optimizer")
    chief = max(parts, key=lambda part: sum(p.numel() for p in part[1]))[0]
    for recipe, _ in parts:
        if recipe.rule.kind == MATRICES:
            raise TaskError(
                f"the stability limit of a model is not known for rule {recipe.rule.name!r}, whose "
                "steps turn whole matrices"
            )
        if _dynamics(recipe) != _dynamics(chief) or recipe.maximize != chief.maximize:
            raise TaskError("parameter groups differ in more than lr, eps and weight_decay")
    hyper = {name: value for name, value in chief.hyper.items() if name != "lr"}
    lr = chief.hyper["lr"]
    scales, decays = {}, {}
    for recipe, parameters in parts:
        # What a step does grows with lr; at 1 it is known where a schedule has brought lr to 0.
        relative = recipe.hyper["lr"] / lr if lr else 1.0
        try:
            unit = float(linearize(recipe.rule, {**recipe.hyper, "lr": 1.0}).b[-1])
        except ValueError as error:
            raise TaskError(str(error)) from error
        for p in parameters:
            state = optimizer.state.get(p, {})
            scales[p] = relative / unit * _response(recipe, state, gradients[p])
            decays[p] = 0.0 if recipe.decoupled else recipe.decay
    order = list(gradients)
    kept = [scales.get(p, torch.zeros(())).to(p) for p in order]
    return Felt(chief.rule, hyper, lr, kept, [decays.get(p, 0.0) for p in order], chief.maximize)


def _dynamics(recipe: Recipe) -> tuple[Rule, dict[str, float]]:
    """Return what the linear map depends on, beside the rate."""
    aside = {"lr", "eps", "weight_decay"}
    return recipe.rule, {name: v for name, v in recipe.hyper.items() if name not in aside}


def _response(recipe: Recipe, state: Mapping[str, Any], gradient: Tensor) -> Tensor:
    """Return what the next step adds to x per unit of its gradient, at the rate 1, from x = 0.

    States that carry gradients to x are taken as 0: what they add is the linear map's.
    """
    rule, hyper = recipe.rule, {**recipe.hyper, "lr": 1.0}
    linear = linearize(rule, hyper).states
    if not rule.state:
        return torch.tensor(float(linearize(rule, hyper).b[-1]))
    first = rule.first_state(0.0, hyper)
    held = {name: state.get(recipe.keys.get(name, name)) for name in first}
    held = {name: first[name] if value is None else value for name, value in held.items()}
    values = {
        name: 0.0 if name in linear else value.double() if isinstance(value, Tensor) else value
        for name, value in held.items()
    }
    g = gradient.double()
    g = torch.where(g == 0, _TINY, g)
    t = int(state.get(recipe.keys.get("step", "step"), 0)) + 1
    moved = rule.advance(g, torch.zeros_like(g), values, t=t, hyper=hyper)[0]
    return torch.nan_to_num(moved / g)
