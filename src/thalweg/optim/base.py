"""The step that all classes share: compiled where it can be, else the rule itself on tensors."""

import inspect
from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from operator import is_
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from thalweg.optim.bucket import Bucket, Member, SparseError, fits, local
from thalweg.optim.guard import Guard
from thalweg.optim.recipe import Recipe
from thalweg.optim.tensors import step_tensor

__all__ = ["Compiled"]


class _TorchStepError(Exception):
    """This step is one that torch must take; the message says why."""


class Compiled(Optimizer):
    """An optimizer whose step is compiled from rules.

    A subclass says which rule a group asks for. What is laid out for the kernels is found again
    whenever parameters, state or groups are no longer what they were.
    """

    # GradScaler leaves unscaling and skipping to ``step``.
    _step_supports_amp_scaling = True

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - as the class beside this one
        clip_norm: float | None = None,
        cautious: bool = False,
        nonfinite: str = "propagate",
        **named: Any,  # noqa: ANN401
    ) -> None:
        self._guard = Guard(clip_norm=clip_norm, nonfinite=nonfinite)
        self._cautious = cautious
        self._forget()
        super().__init__(*arguments, **named)

    def __init_subclass__(cls) -> None:
        """Show the arguments of the torch class beside those that ``Compiled`` adds."""
        super().__init_subclass__()
        theirs: Any = super().__init__
        if theirs is not Optimizer.__init__:
            own = inspect.signature(Compiled.__init__).parameters.values()
            added = [p for p in own if p.kind is p.KEYWORD_ONLY]
            whole = inspect.signature(theirs)
            given = [*list(whole.parameters.values())[1:], *added]
            cls.__signature__ = whole.replace(parameters=given)  # type: ignore[attr-defined]

    def _recipe(self, group: dict[str, Any]) -> Recipe | None:
        """Return what a step does to a group; None where torch's own step must do it."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Drop what was laid out: parameters, state or groups have changed."""
        self._buckets: list[Bucket] | None = None
        self._seen: tuple[list[Any], list[Recipe]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        own = {"_guard": self._guard, "_cautious": self._cautious, "_buckets": None, "_seen": None}
        return super().__getstate__() | own

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._forget()
        super().__setstate__(state)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; see torch.optim.Optimizer."""
        self._forget()
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401
        """Take one step.

        Args:
            closure: computes the loss again, with its gradients, and returns it.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        try:
            self._step(self._recipes())
        except _TorchStepError as reason:
            self._torch_step(str(reason))
        return loss

    def _recipes(self) -> list[Recipe]:
        """Return each group's recipe."""
        if torch.compiler.is_compiling():
            raise _TorchStepError("compiled by torch")
        values = [tuple(group.values()) for group in self.param_groups]
        if self._seen is not None and values == self._seen[0]:
            return self._seen[1]
        recipes = []
        for group in self.param_groups:
            found = self._recipe(group)
            if found is None or group.get("capturable") or group.get("differentiable"):
                raise _TorchStepError("with these options")
            recipes.append(found)
        fixed = not any(isinstance(value, Tensor) for row in values for value in row)
        self._seen = (values, recipes) if fixed else None  # a tensor may change in place
        return recipes

    def _step(self, recipes: list[Recipe]) -> None:
        if self._buckets is None or not self._valid(recipes):
            self._lay_out(recipes)
        assert self._buckets is not None
        try:
            gradients = [bucket.gradients() for bucket in self._buckets]
        except SparseError:
            raise _TorchStepError("with sparse gradients") from None
        alone = [(p, group) for p, group in self._alone if p.grad is not None]
        given = chain(*gradients, (p.grad for p, _ in alone))
        scale = self._guard.scale(self, [g for g in given if g is not None])
        if scale is None:
            return
        for bucket, own in zip(self._buckets, gradients, strict=True):
            bucket.step(own, recipes, scale)
        for p, group in alone:
            step_tensor(p, self.state[p], recipes[group], scale, cautious=self._cautious)

    def _torch_step(self, why: str) -> None:
        """Take the step of the torch class, without the hooks that this one has run already."""
        step: Any = super().step
        if self._guard.active or self._cautious or step.__func__ is Optimizer.step:
            raise RuntimeError(
                f"{type(self).__name__} has no step of its own {why}, and torch's "
                "knows neither clip_norm, cautious, nonfinite nor rules of thalweg's"
            )
        function = step.__func__
        (function.__wrapped__ if getattr(function, "hooked", False) else function)(self)
        self._forget()

    def _valid(self, recipes: list[Recipe]) -> bool:
        """Return whether what was laid out still holds."""
        assert self._buckets is not None
        return (
            (recipes is self._laid_out or [recipe.form for recipe in recipes] == self._forms)
            and all(map(_same, self._listed, self.param_groups))
            and self._known is self.state
            and len(self.state) == len(self._states)
            and all(map(is_, self.state.values(), self._states))
            and not any(p.grad is not None for p in self._waiting)
            and all(bucket.valid() for bucket in self._buckets)
        )

    @torch.no_grad()
    def _lay_out(self, recipes: list[Recipe]) -> None:
        """Give each parameter with a gradient its state and its bucket."""
        self._waiting: list[Tensor] = []
        self._alone: list[tuple[Tensor, int]] = []
        kinds: dict[Any, list[Member]] = defaultdict(list)
        first: dict[Any, Recipe] = {}
        for index, (group, found) in enumerate(zip(self.param_groups, recipes, strict=True)):
            for p in group["params"]:
                if p.grad is None and p not in self.state:
                    self._waiting.append(p)
                    continue
                state = self._prepare(p, found)
                columns = [p, *(state[found.keys[name]] for name in found.rule.state)]
                if not all(fits(c) and _alike(c, p) for c in columns):
                    self._alone.append((p, index))
                    continue
                key = found.rule, found.decoupled, *(c.dtype for c in columns)
                kinds[key].append(Member(p, state, index))
                first[key] = found
        self._buckets = [
            Bucket(members, first[key], cautious=self._cautious) for key, members in kinds.items()
        ]
        self._known, self._states = self.state, list(self.state.values())
        self._laid_out, self._forms = recipes, [recipe.form for recipe in recipes]
        self._listed = [list(group["params"]) for group in self.param_groups]

    def _prepare(self, p: Tensor, found: Recipe) -> dict[str, Any]:
        """Return a parameter's state, with all that the rule keeps there."""
        if not found.keys:
            return {}
        state: dict[str, Any] = self.state[p]
        rule = found.rule
        first = {name: rule.start_of(name, found.hyper) for name in rule.state}
        for name, key in found.keys.items():
            if state.get(key) is not None:
                continue
            if name in first:
                state[key] = torch.full_like(
                    p, _complex(first[name], p), memory_format=torch.preserve_format
                ).detach()
            else:
                start = 0.0 if name == "step" else rule.start_of(name, found.hyper)
                state[key] = torch.tensor(start, dtype=_scalar_dtype())
        return state


def _same(listed: list[Tensor], group: dict[str, Any]) -> bool:
    params: list[Tensor] = group["params"]
    return len(listed) == len(params) and all(map(is_, listed, params))


def _alike(tensor: Tensor, like: Tensor) -> bool:
    return local(tensor).stride() == local(like).stride()


def _complex(value: float, p: Tensor) -> complex:
    return complex(value, value) if p.is_complex() else value


def _scalar_dtype() -> torch.dtype:
    return torch.float64 if torch.get_default_dtype() is torch.float64 else torch.float32
