"""Stepper: takes the steps of an optimizer. What torch's interface asks for is elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, count
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from thalweg.optim.asked import Asked, SkippedError
from thalweg.optim.bucket import Bucket, PreparedStep
from thalweg.optim.cuda import DeviceBucket, served
from thalweg.optim.dispatch_keys import followed
from thalweg.optim.fallback import Alone, step_tensor, step_together
from thalweg.optim.gradient_scale import device_scale, gradient_scale
from thalweg.optim.layout import Group, Layout, parameters_of, repeated, with_state
from thalweg.optim.memory import ForeignError, SparseError, foreign, has_gradient, reduced
from thalweg.optim.options import Options
from thalweg.optim.recipe import Recipe
from thalweg.optim.state import check_steppable

__all__ = ["Stepper", "TorchStepError"]


States = Mapping[Tensor, dict[str, Any]]


class TorchStepError(Exception):
    """Torch must take this step; the message says why."""


class Stepper:
    """Steps the tensors of an optimizer, by kernels where possible, else by the rules.

    The layout is used again until something changes. It holds tensors but no optimizer, because the
    two would keep each other in memory; every method is given the optimizer.

    Args:
        options: what a step does beside its rules.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._numbers = count(1)  # numbers of buckets
        self.forget()

    def forget(self) -> None:
        """Drop the layout: parameters, state or groups have changed."""
        self._layout: Layout | None = None
        self._single: dict[Tensor, Bucket] = {}

    def step(
        self,
        optimizer: Optimizer,
        recipes: Sequence[Recipe],
        torch_steps: Callable[[], bool],
        asked: Asked | None = None,
    ) -> bool:
        """Step all parameters that have a gradient.

        Args:
            optimizer: the owner of parameters and state.
            recipes: of its groups.
            torch_steps: tells whether torch's own step may be taken instead.
            asked: where rules get what they ask for at other points.

        Returns:
            False if the step is known to be skipped.

        Raises:
            TorchStepError: torch must take the step; nothing was done.
            FloatingPointError: see ``Options.nonfinite``.
            RuntimeError: a parameter cannot be stepped; nothing was done.
        """
        groups, states = optimizer.param_groups, optimizer.state
        try:
            ready = self._ready(groups, states, recipes)
            ask: Any = device_scale if ready is not None and self._on_device else gradient_scale
            scale = ask(optimizer, self.options, _gradients(groups))
            if scale is None:
                self._zero(parameters_of(groups))
                return False
            if ready is None:
                ready = self._lay_out(groups, states, recipes, torch_steps).prepare()
            assert self._layout is not None
            alone = [
                Alone(p, states.get(p, {}), recipes[group].of(p))
                for p, group in self._layout.alone
                if has_gradient(p)
            ]
            for one in alone:
                check_steppable(one.state, one.p, one.recipe, self.options)
        except SparseError:
            raise TorchStepError("with sparse gradients") from None
        try:
            writes = list(self._together(optimizer, alone, scale, asked))
        except SkippedError:
            self._zero(parameters_of(groups))
            return False
        for prepared in ready:
            prepared.take(recipes, scale)
        for one in alone:
            if not one.recipe.rule.joint:
                step_tensor(one, scale, self.options)
        for write in writes:
            write()
        copied = (prepared.copied for prepared in ready)
        self._zero(chain(*copied, (one.p for one in alone)))
        return True

    def _together(
        self,
        optimizer: Optimizer,
        alone: Sequence[Alone],
        scale: float | Tensor,
        asked: Asked | None,
    ) -> Iterator[Callable[[], None]]:
        """Yield what writes the steps of rules that look at all of their parameters."""
        for rule in {one.recipe.rule: None for one in alone if one.recipe.rule.joint}:
            members = [one for one in alone if one.recipe.rule is rule]
            inputs = {}
            if asked is not None and rule.inputs:
                inputs = asked.of(members, partial(gradient_scale, optimizer, self.options))
            yield step_together(members, scale, self.options, inputs)

    def step_one(
        self, optimizer: Optimizer, p: Tensor, group: int, recipes: Sequence[Recipe]
    ) -> None:
        """Step one parameter, from its gradient.

        Args:
            optimizer: as that of ``step``.
            p: the parameter, with a gradient that is not sparse.
            group: the number of its group.
            recipes: of all groups.
        """
        recipe = recipes[group].of(p)
        prepared = self._prepare_one(optimizer, p, group, recipe)
        if prepared is None:
            self._step_alone(optimizer, p, recipe)
            return
        ask: Any = device_scale if isinstance(prepared.bucket, DeviceBucket) else gradient_scale
        every = (reduced(g, p) for g in [p.grad] if g is not None)  # of all processes
        if (scale := ask(optimizer, self.options, every)) is not None:
            prepared.take(recipes, scale)

    def _prepare_one(
        self, optimizer: Optimizer, p: Tensor, group: int, recipe: Recipe
    ) -> PreparedStep | None:
        """Return the step of a bucket of one parameter; None if no kernel takes it."""
        states = optimizer.state
        bucket = self._single.get(p)
        if bucket is None or not _holds(bucket, states, recipe):
            member, kind, _ = with_state(p, group, states, recipe, self.options)
            if kind is None or recipe.rule.joint:
                return None
            bucket = self._single[p] = kind([member], recipe, self.options, next(self._numbers))
        try:
            return bucket.prepare()
        except ForeignError:
            return None

    def _step_alone(self, optimizer: Optimizer, p: Tensor, recipe: Recipe) -> None:
        """Step one parameter by the rule itself."""
        assert p.grad is not None
        if recipe.rule.joint:
            raise RuntimeError(
                f"attach does not go with rule {recipe.rule.name!r}, which looks at the gradients "
                "of all parameters at once: call step() after the backward pass"
            )
        state: dict[str, Any] = optimizer.state.get(p, {})
        check_steppable(state, p, recipe, self.options)
        scale = gradient_scale(optimizer, self.options, [p.grad])
        if scale is not None:
            step_tensor(Alone(p, state, recipe), scale, self.options)

    @property
    def _on_device(self) -> bool:
        return self._layout is not None and self._layout.on_device

    def _ready(
        self, groups: Sequence[Group], states: States, recipes: Sequence[Recipe]
    ) -> list[PreparedStep] | None:
        """Return the buckets' steps; None if a new layout is needed.

        Raises:
            SparseError: a gradient is sparse.
        """
        if self._layout is None or not self._layout.holds(groups, states, recipes):
            return None
        try:
            return self._layout.prepare()
        except ForeignError:
            return None

    def _lay_out(
        self,
        groups: Sequence[Group],
        states: States,
        recipes: Sequence[Recipe],
        torch_steps: Callable[[], bool],
    ) -> Layout:
        """Give each parameter with a gradient its state and its bucket.

        Raises:
            SparseError: a gradient is sparse; torch's step makes a state of its own kind.
            TorchStepError: torch has the class, and the device of a parameter or gradient has no
                kernels, or the step is followed.
        """
        bare = any(map(foreign, _gradients(groups))) or followed()  # perhaps in this step only
        if torch_steps():
            if bare or not all(map(served, parameters_of(groups))):
                # On other devices torch steps many tensors at once.
                raise TorchStepError("on such tensors")
            if repeated(groups):
                raise TorchStepError("with a parameter that is given twice")
        self._layout = Layout(
            groups, states, recipes, self.options, self._numbers, kernels=not bare
        )
        return self._layout

    def _zero(self, parameters: Iterable[Tensor]) -> None:
        """Set the gradients to zero, if the options ask for it."""
        if self.options.zero_gradients:
            for p in parameters:
                if p.grad is not None:
                    p.grad.zero_()


def _gradients(groups: Sequence[Group]) -> Iterator[Tensor]:
    """Yield every gradient, reduced over processes.

    Raises:
        SparseError: one of them is sparse.
    """
    for p in parameters_of(groups):
        if has_gradient(p):
            assert p.grad is not None
            yield reduced(p.grad, p)


def _holds(bucket: Bucket, states: States, found: Recipe) -> bool:
    """Return whether the layout of one parameter is still valid."""
    own = bucket.states[0]
    known = not own or states.get(bucket.parameters[0]) is own
    return known and bucket.form == found.form and bucket.valid()
