"""Recipe: the rule that a parameter group asks for, and its values."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from thalweg import catalog
from thalweg.catalog import TorchClass
from thalweg.rule import Rule

__all__ = ["Recipe", "recipe"]


@dataclass(frozen=True)
class Recipe:
    """What one step does to the tensors of a parameter group.

    Attributes:
        rule: the rule.
        hyper: its hyperparameters, all of them, in its own order.
        keys: the name in ``optimizer.state`` of each state that is kept there, and of ``step``.
        weight_decay: the decay, whether the rule or the step applies it.
        decoupled: whether the decay shrinks x before the rule, or is added to the gradient.
        decay: the factor of x, if decoupled; otherwise the weight of x in the gradient.
        maximize: whether to climb.
        without: the states that are not kept.
        split: how many blocks of rows a rule of matrices steps each by itself.
        as_given: whether a rule that looks at whole tensors sees one of more than two dimensions as
            it is, and not as a matrix.
        like_parameter: whether its states have the parameter's shape and format from the start.
        in_torch: whether torch has the class, so that numbers of the state are in its format.
        fitted: makes of this one that of a parameter, where parameters of a group differ.
    """

    rule: Rule
    hyper: Mapping[str, float]
    keys: Mapping[str, str]
    weight_decay: float
    decoupled: bool
    decay: float
    maximize: bool
    without: tuple[str, ...] = ()
    split: int = 1
    as_given: bool = False
    like_parameter: bool = False
    in_torch: bool = True
    fitted: Callable[["Recipe", Tensor], "Recipe"] | None = None

    def of(self, p: Tensor) -> "Recipe":
        """Return the recipe of a parameter of the group.

        Raises:
            RuntimeError, ValueError: the rule takes no such parameter.
        """
        return self if self.fitted is None else self.fitted(self, p)

    @property
    def idle(self) -> tuple[str, ...]:
        """The states whose old values no step reads."""
        decays = catalog.of(self.rule).decays
        return tuple(state for state, decay in decays.items() if self.hyper[decay] == 0)

    @property
    def form(self) -> tuple[Rule, bool, tuple[str, ...], int]:
        """What decides the kernel and its table. Everything else is a value."""
        return self.rule, self.decoupled, self.without, self.split

    def independent(self) -> "Recipe":
        """Return the same with a decay that shrinks x by 1 - weight_decay at every rate except 0.

        A step at the rate 0 changes no parameter. Torch makes the state of a checkpoint in this
        way.
        """
        hyper = {n: 0.0 if n == "weight_decay" else value for n, value in self.hyper.items()}
        decay = 1.0 - self.weight_decay if self.hyper.get("lr", 1.0) else 1.0
        return replace(self, hyper=hyper, decoupled=True, decay=decay)


def recipe(rule: Rule, known: TorchClass, options: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a parameter group.

    ``weight_decay`` is the rule's own if it has one; otherwise the step applies it.

    Args:
        rule: the rule that the group asks for.
        known: the names of the rule's hyperparameters and states in the optimizer.
        options: of the group; numbers may be tensors of one element.

    Raises:
        TypeError: a value is not a number.
    """
    given = known.hyper(options)
    values = {name: _number(name, given[name]) for name in rule.hyperparameters}
    weight_decay = _number("weight_decay", options.get("weight_decay", 0.0))
    decoupled = options.get("decoupled_weight_decay", False)
    around = 0.0 if "weight_decay" in values else weight_decay
    decay = 1.0 - values["lr"] * around if decoupled else around
    return Recipe(
        rule, values, known.state, weight_decay, decoupled, decay,
        options.get("maximize", False), split=int(options.get("split", 1)),
        in_torch=known.in_torch,
    )  # fmt: skip


def _number(name: str, value: Any) -> float:  # noqa: ANN401 - what a user wrote into a group
    if not isinstance(value, (str, bytes)):  # float() would accept both
        with suppress(TypeError):
            return float(value)
    raise TypeError(f"{name} must be a number, got {value!r}")
