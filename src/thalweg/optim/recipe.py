"""Recipe: which rule a parameter group asks for, with which values."""

from collections.abc import Mapping
from dataclasses import dataclass

from thalweg.rule import Rule

__all__ = ["Recipe", "recipe"]


@dataclass(frozen=True)
class Recipe:
    """What one step does to the tensors of a parameter group.

    Attributes:
        rule: the rule.
        hyper: its hyperparameters, all of them, in its own order.
        keys: the name in ``optimizer.state`` of each state that is kept there, and of ``step``.
        decoupled: whether the decay shrinks x before the rule, or is added to the gradient.
        decay: 1 - lr * weight_decay, what x is multiplied by, if decoupled; else weight_decay.
        maximize: whether to climb.
    """

    rule: Rule
    hyper: Mapping[str, float]
    keys: Mapping[str, str]
    decoupled: bool
    decay: float
    maximize: bool

    @property
    def form(self) -> tuple[Rule, bool]:
        """What decides the kernel; all else are values."""
        return self.rule, self.decoupled


def recipe(
    rule: Rule,
    keys: Mapping[str, str],
    *,
    decoupled: bool = False,
    maximize: bool = False,
    **hyper: float,
) -> Recipe:
    """Return the recipe of torch's usual options; values may be tensors of one element.

    ``weight_decay`` is the rule's own where it has one; elsewhere it goes around the rule.
    """
    values = {name: float(hyper[name]) for name in rule.hyperparameters}
    around = 0.0 if "weight_decay" in values else float(hyper.get("weight_decay", 0.0))
    decay = 1.0 - values["lr"] * around if decoupled else around
    return Recipe(rule, values, keys, decoupled, decay, maximize)
