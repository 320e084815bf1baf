"""Recipe: which rule a parameter group asks for, with which values."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from thalweg import rules
from thalweg.rule import Rule

__all__ = ["Recipe", "recipe"]

# Rules whose first moment is the gradient itself where beta1 is 0: no step reads the one before.
_AVERAGING = frozenset({
    rules.adam, rules.amsgrad, rules.adamw, rules.adamax, rules.nadam, rules.radam, rules.yogi,
    rules.adabelief,
})  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What one step does to the tensors of a parameter group.

    Attributes:
        rule: the rule.
        hyper: its hyperparameters, all of them, in its own order.
        keys: the name in ``optimizer.state`` of each state that is kept there, and of ``step``.
        weight_decay: the decay, whoever applies it.
        decoupled: whether the decay shrinks x before the rule, or is added to the gradient.
        decay: what x is multiplied by, if decoupled; else its weight in the gradient.
        maximize: whether to climb.
        without: the states that are not kept.
    """

    rule: Rule
    hyper: Mapping[str, float]
    keys: Mapping[str, str]
    weight_decay: float
    decoupled: bool
    decay: float
    maximize: bool
    without: tuple[str, ...] = ()

    @property
    def averaging(self) -> bool:
        """Whether the rule steps along an average of gradients, ``m``, that beta1 decays."""
        return self.rule in _AVERAGING

    @property
    def forgetful(self) -> bool:
        """Whether no step reads the ``m`` of the step before."""
        return self.averaging and self.hyper["beta1"] == 0

    @property
    def form(self) -> tuple[Rule, bool, tuple[str, ...]]:
        """What decides the kernel; all else are values."""
        return self.rule, self.decoupled, self.without

    def independent(self) -> "Recipe":
        """Return the same with a decay that shrinks x by 1 - weight_decay at any rate but 0.

        A step at the rate 0 changes no parameter: torch makes the state of a checkpoint by one.
        """
        hyper = {n: 0.0 if n == "weight_decay" else value for n, value in self.hyper.items()}
        decay = 1.0 - self.weight_decay if self.hyper.get("lr", 1.0) else 1.0
        return replace(self, hyper=hyper, decoupled=True, decay=decay)


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

    Raises:
        TypeError: a value is no number.
    """
    values = {name: _number(name, hyper[name]) for name in rule.hyperparameters}
    weight_decay = _number("weight_decay", hyper.get("weight_decay", 0.0))
    around = 0.0 if "weight_decay" in values else weight_decay
    decay = 1.0 - values["lr"] * around if decoupled else around
    return Recipe(rule, values, keys, weight_decay, decoupled, decay, maximize)


def _number(name: str, value: Any) -> float:  # noqa: ANN401 - what a user wrote into a group
    if not isinstance(value, (str, bytes)):  # float() would read both
        with suppress(TypeError):
            return float(value)
    raise TypeError(f"{name} must be a number, got {value!r}")
