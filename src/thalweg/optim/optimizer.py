"""The step that all classes share: compiled where it can be, else the rule itself on tensors."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.autograd import profiler
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from thalweg.catalog import TorchClass
from thalweg.kind import ELEMENT_WISE
from thalweg.optim import answer, gradient_release, lr_schedule
from thalweg.optim.asked import Asked
from thalweg.optim.checkpoint import check_origin
from thalweg.optim.cuda import ready
from thalweg.optim.gradient_scale import gradient_scale
from thalweg.optim.layout import parameters_of
from thalweg.optim.memory import SparseError, has_gradient, local
from thalweg.optim.options import Options
from thalweg.optim.recipe import Recipe, recipe
from thalweg.optim.stepper import Stepper, TorchStepError
from thalweg.optim.variants import class_of
from thalweg.rule import Rule

__all__ = ["OPTION_NAMES", "CompiledOptimizer"]


# Values that cannot be changed in place; np.bool_ is not a Number.
_FIXED = (Number, np.bool_, str, type(None))

OPTION_NAMES = {field.name for field in fields(Options)}


def _outside_graphs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let torch's compiler leave its graph for a function. The compiler is loaded only if used."""
    outside = _disable_dynamo(function)

    @functools.wraps(function)
    def anywhere(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the function's
        return (outside if torch.compiler.is_compiling() else function)(*args, **kwargs)

    return anywhere


def _light(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of torch's without its wrapper, which loads the compiler at the first call.

    To load it takes a second, and the wrapper as long as to zero the gradients of a small model.
    """
    return _outside_graphs(inspect.unwrap(method))


_add_param_group = _light(Optimizer.add_param_group)
_state_dict = _light(Optimizer.state_dict)
_load_state_dict = _light(Optimizer.load_state_dict)


def _watched(step: Callable[..., Any]) -> Callable[..., Any]:
    """Let torch's wrapper run hooks and tell the profiler, but only if there are some.

    The wrapper takes as long as the step of a small model. A compiled graph is left for the step.
    """
    wrapped = Optimizer.profile_hook_step(step)

    def either(self: "CompiledOptimizer", *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the step's
        watching = (
            profiler._is_profiler_enabled  # noqa: SLF001 - torch's modules ask it too
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
        )
        # The step of a subclass has a wrapper of torch's own.
        chosen = wrapped if watching and not self._extended else step
        return chosen(self, *args, **kwargs)

    anywhere = _outside_graphs(functools.wraps(step)(either))
    anywhere.hooked = True  # type: ignore[attr-defined] # torch wraps no such step
    return anywhere


class CompiledOptimizer(Optimizer):
    """An optimizer whose step is compiled from rules.

    A subclass says which rule a group asks for. The layout for the kernels is made again whenever
    parameters, state or groups have changed.
    """

    rule: Rule
    _unscales = False  # whether GradScaler leaves unscaling and skipping to ``step``
    _extended = False
    attached = 0  # how many models it is attached to
    _judged = False  # whether the parameters are at the answer
    asking = False  # whether a rule asks for gradients at other points
    zero_grad = _light(Optimizer.zero_grad)

    @_outside_graphs
    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - as the class beside this one
        **named: Any,  # noqa: ANN401 - and those of ``Options``
    ) -> None:
        own = {name: named.pop(name) for name in OPTION_NAMES & named.keys()}
        self.options = Options(**own)
        self._forget()
        given = list(arguments)
        options = given[1] if len(given) > 1 and isinstance(given[1], dict) else named
        where, key = (given, 1) if len(given) > 1 and options is named else (options, "lr")
        self._default = given[1] if where is given else options.get("lr")
        if callable(self._default):
            where[key] = lr_schedule.rate(self._default, 0)  # type: ignore[index] # a list's key is 1
        if options is not named:  # as torch's classes do, whatever the parameters are
            self._check(options | ({"schedule": ...} if callable(self._default) else {}))
        super().__init__(*given, **named)

    def __init_subclass__(cls) -> None:
        """Show the arguments of the torch class beside those that ``CompiledOptimizer`` adds."""
        super().__init_subclass__()
        cls._extended = cls._extended or "step" in vars(cls)
        theirs: Any = super().__init__
        if "__init__" in vars(cls):
            cls.__init__ = _outside_graphs(cls.__init__)  # type: ignore[method-assign]
            cls.__signature__ = None  # type: ignore[attr-defined] # its own is shown
        elif theirs is not Optimizer.__init__:
            own = inspect.signature(Options).parameters.values()
            added = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in own]
            whole = inspect.signature(theirs)
            given = [*list(whole.parameters.values())[1:], *added]
            cls.__signature__ = whole.replace(parameters=given)  # type: ignore[attr-defined]

    @property
    def options(self) -> Options:
        """What a step does beside its rules. It can be replaced."""
        return self._stepper.options

    @options.setter
    def options(self, options: Options) -> None:
        self._stepper = Stepper(options)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether GradScaler leaves unscaling to ``step``, as in torch with fused=True.

        Lightning refuses to clip for such an optimizer. One that is attached must see a scale to
        refuse it, and one that zeroes gradients zeroes those that have overflowed, too.
        """
        return self._unscales or self.attached > 0 or self.options.zero_gradients

    @_step_supports_amp_scaling.setter
    def _step_supports_amp_scaling(self, value: bool) -> None:
        self._unscales = value

    def _rule(self, group: dict[str, Any]) -> Rule:  # noqa: ARG002 - some classes look at it
        """Return the rule that a group asks for."""
        return self.rule

    def _class_of(self, rule: Rule) -> TorchClass:
        """Return the names that the options and states of a rule have in this class."""
        return class_of(rule)

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        """Return what a step does to a group."""
        rule = self._rule(group)
        # A group may have further keys, which no step uses.
        own = {name: group[name] for name in self.defaults if name in group}
        return recipe(rule, self._class_of(rule), own)

    def _check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError if an option of a group is outside its range; torch's classes do so."""

    def _check_loaded(self, state_dict: Mapping[str, Any]) -> None:
        """Raise ValueError if a checkpoint is of another optimizer."""
        states = state_dict["state"]
        for group, loaded in zip(self.param_groups, state_dict["param_groups"], strict=False):
            rule = self._rule(group)
            kept = [states[number] for number in loaded["params"] if number in states]
            check_origin(type(self).__name__, rule, self._class_of(rule), loaded, kept)

    def _forget(self) -> None:
        """Drop the layout: parameters, state or groups have changed."""
        self._stepper.forget()
        self._seen: tuple[list[Any], list[Recipe]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        own = {"options": self.options, "_default": self._default}
        return super().__getstate__() | own

    def __setstate__(self, state: dict[str, Any]) -> None:
        given = dict(state)
        if "options" in given:  # from a pickle, not from a checkpoint
            self.options = given.pop("options")
        self._forget()
        super().__setstate__(given)
        self._judged = any(answer.TRAINING_POINT in state for state in self.state.values())

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; see torch.optim.Optimizer."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        self._forget()
        schedule = param_group.get("lr", self._default)
        if callable(schedule):
            param_group = {**param_group, **lr_schedule.scheduled(schedule)}
        for name in OPTION_NAMES & param_group.keys():
            raise ValueError(
                f"{name} must be given for all groups together, as a keyword of "
                f"{type(self).__name__}, got {param_group[name]!r} in one group"
            )
        self._check(self.defaults | param_group)
        _add_param_group(self, param_group)

    @_watched
    def step(
        self,
        closure: Callable[[], Any] | None = None,
        *,
        curvature: Callable[[], Sequence[Tensor]] | None = None,
    ) -> Any:  # noqa: ANN401
        """Take one step.

        Args:
            closure: computes the loss again, with its gradients, and returns it. SAM calls it once
                more, at another point; Sophia twice more at each tenth step, unless there is a
                ``curvature``. It must use the same minibatch each time.
            curvature: returns the diagonal of the Hessian, a tensor for each parameter, for rules
                that ask for it; such as a lambda with ``optim.hutchinson``.

        Returns:
            What the closure returned.
        """
        asked = None
        if self.asking:
            asked = Asked(closure, curvature, parameters_of(self.param_groups))
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.attached and getattr(self, "found_inf", None) is not None:
            # If it stayed, GradScaler would multiply the next scale by it.
            del self.grad_scale, self.found_inf  # type: ignore[attr-defined]
            raise RuntimeError(
                "attach and a loss scale do not go together: parameters were stepped in the "
                "backward pass, by gradients still scaled; train without GradScaler, or detach"
            )
        if scheduled := [group for group in self.param_groups if "schedule" in group]:
            lr_schedule.take(scheduled, functools.partial(self._take, asked))
        else:
            self._take(asked)
        return loss

    def eval(self) -> None:
        """Move the parameters to where the model is to be judged.

        That is the average of Schedule-Free's points, or of ASGD's; most rules have no such place,
        and nothing moves. The training point is kept, in the state and its checkpoints; ``train``
        goes back there.
        """
        for group in self.param_groups:
            answer.go(group["params"], self.state, self._found(group))
        self._judged = any(answer.TRAINING_POINT in state for state in self.state.values())

    def train(self) -> None:
        """Move the parameters back to where they are trained, before further steps."""
        answer.back(self.state)
        self._judged = False

    @contextmanager
    def answer(
        self, model: torch.nn.Module | None = None, batches: Iterable[Any] | None = None
    ) -> Iterator[None]:
        """Have the parameters where the model is to be judged, inside a ``with``; see ``eval``.

        Args:
            model: one with batch normalization, whose running statistics are those of the training
                point. They are renewed at the answer, and are back afterwards.
            batches: to renew them on, such as the loader of the training data: tensors, or tuples
                that begin with the input. One pass of ``torch.optim.swa_utils.update_bn``.

        Raises:
            TypeError: only one of them is given, or a batch does not begin with an input.
            ValueError: there are no batches.

        Example:
            >>> from thalweg.optim import Descent
            >>> w = torch.tensor([1.0], requires_grad=True)
            >>> optimizer = Descent([w], "schedule_free_sgd", lr=0.5, beta=0.5)
            >>> for _ in range(2):
            ...     w.grad = torch.ones(1)
            ...     optimizer.step()
            >>> with optimizer.answer():
            ...     w.item()  # the average of 0.5 and 0
            0.25
            >>> w.item()
            0.125
        """
        if (model is None) != (batches is None):
            raise TypeError(
                "answer(model, batches) renews the running statistics on batches, such as the "
                "loader of the training data: give both, or neither"
            )
        within = self._judged
        self.eval()
        try:
            renewing = model is not None and batches is not None and self._judged
            with answer.renewed(model, batches) if renewing else nullcontext():  # type: ignore[arg-type] # neither is None
                yield
        finally:
            if not within:
                self.train()

    def _check_trained(self) -> None:
        """Raise RuntimeError at a step from where the model is judged."""
        if self._judged:
            raise RuntimeError(
                "the parameters are where the model is judged, not where it is trained: call "
                "optimizer.train() before a step"
            )

    def _take(self, asked: Asked | None = None) -> bool:
        """Take the step, or let torch take it. Return False if it is known to be skipped."""
        self._check_trained()
        try:
            return self._stepper.step(self, self._recipes(), self._torch_steps, asked)
        except TorchStepError as reason:
            left = str(reason)
        return self._torch_step(left)

    def attach(self, model: torch.nn.Module, *, accumulate: int = 1) -> Callable[[], None]:
        """Step each parameter of a model as soon as its gradient is ready, and free the gradient.

        Gradients are never all in memory at the same time. You may call ``step`` as before: it
        finds no gradient left. The loss must not be scaled. A schedule moves on at each
        ``step``.

        Args:
            model: the model. Parameters that this optimizer does not have stay as they are.
            accumulate: backward passes whose gradients are added up for one step, >= 1.

        Returns:
            A function that undoes it.

        Raises:
            ValueError: accumulate is less than 1, the optimizer clips the norm of all gradients, or
                the model is a ``DistributedDataParallel``, which reduces them after the pass.

        Example:
            >>> from thalweg.optim import SGD
            >>> model = torch.nn.Linear(1, 1, bias=False)
            >>> optimizer = SGD(model.parameters(), lr=0.5)
            >>> detach = optimizer.attach(model)
            >>> before = model.weight.item()
            >>> model(torch.ones(1)).sum().backward()
            >>> round(model.weight.item() - before, 6), model.weight.grad
            (-0.5, None)
        """
        return gradient_release.attach(self, model, accumulate)

    def step_one(self, p: Tensor, group: int) -> None:
        """Step one parameter, from its gradient.

        Raises:
            RuntimeError: torch must take the step, and for all parameters at once.
        """
        self._check_trained()
        try:
            has_gradient(p)
            recipes = self._recipes()
        except SparseError:
            reason = "with sparse gradients"
        except TorchStepError as error:
            reason = str(error)
        else:
            self._stepper.step_one(self, p, group, recipes)
            return
        raise RuntimeError(f"attach has no step {reason}: call step() after the backward pass")

    def _found(self, group: dict[str, Any]) -> Recipe:
        """Return a group's recipe, without a moment that it did not need at the start either.

        A moment that is kept stays: schedulers that cycle momentum come back from a beta1 of 0.
        """
        found = self._recipe(group)
        if not found.idle:
            return found
        own: dict[str, Any] = next(filter(None, (self.state.get(p) for p in group["params"])), {})
        return replace(found, without=tuple(n for n in found.idle if found.keys[n] not in own))

    def _recipes(self) -> list[Recipe]:
        """Return each group's recipe."""
        values = [tuple(group.values()) for group in self.param_groups]
        if self._seen is not None and _equal(values, self._seen[0]):
            return self._seen[1]
        recipes = []
        for group in self.param_groups:
            # Kernels on a GPU can be captured, but the graph would keep the number of the rate for
            # ever.
            captured = group.get("capturable") and not (
                all(map(ready, group["params"])) and not isinstance(group["lr"], Tensor)
            )
            if captured or group.get("differentiable"):
                raise TorchStepError("with these options")
            found = self._found(group)
            recipes.append(found.independent() if self.options.independent_decay else found)
        fixed = all(_fixed(group.get(n)) for group in self.param_groups for n in self.defaults)
        self._seen = (values, recipes) if fixed else None
        return recipes

    def _torch_steps(self) -> bool:
        """Return whether torch has this class and knows its options."""
        step: Any = super().step
        return self.options == Options() and step.__func__ is not Optimizer.step

    def _torch_step(self, why: str) -> bool:
        """Take the step of torch's class, without hooks: they have run already.

        Returns:
            False if the step is known to be skipped.
        """
        step: Any = super().step
        if not self._torch_steps():
            given = [n for n in OPTION_NAMES if getattr(self.options, n) != getattr(Options(), n)]
            known = f"has no {' and no '.join(sorted(given))}" if given else "has not these rules"
            sparse = "; sparse=False in an embedding makes them dense" * ("sparse" in why)
            raise RuntimeError(
                f"{type(self).__name__} has no step of its own {why}, and torch's {known}{sparse}"
            )
        if not all(group.get("fused") for group in self.param_groups) and not self._unscale():
            return False
        function = step.__func__
        (function.__wrapped__ if getattr(function, "hooked", False) else function)(self)
        self._forget()
        return True

    def _unscale(self) -> bool:
        """Take a loss scale off the gradients: of torch's steps only the fused ones do so.

        Returns:
            Whether to take the step: whether no gradient has overflowed.
        """
        scale = gradient_scale(self, self.options, ())
        for name in ("grad_scale", "found_inf"):
            if hasattr(self, name):
                setattr(self, name, None)
        if scale not in {None, 1.0}:
            for p in parameters_of(self.param_groups):
                if p.grad is not None:
                    p.grad.mul_(scale)
        return scale is not None

    def state_dict(self) -> dict[str, Any]:
        """Return the state as torch's class has it; see torch.optim.Optimizer."""
        # Before the user's own hooks, which may change it as they like.
        handle = self.register_state_dict_post_hook(lambda _, p: self._complete(p), prepend=True)
        try:
            packed: dict[str, Any] = _state_dict(self)
            return packed
        finally:
            handle.remove()

    def _complete(self, packed: dict[str, Any]) -> None:
        """Complete a packed state to what torch's class would have packed."""
        number = 0
        for group, shown in zip(self.param_groups, packed["param_groups"], strict=True):
            shown.pop("schedule", None)  # it is code, and a checkpoint has none
            shown.pop("schedule_lr", None)
            found = self._found(group)
            if not self._class_of(found.rule).in_torch:
                shown["rule"] = found.rule.name
            for p in group["params"]:
                own = packed["state"].get(number)
                if own:
                    missing = {found.keys[name]: torch.zeros_like(p) for name in found.without}
                    packed["state"][number] = missing | own
                number += 1

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, in the dtype that the options ask for; see torch.optim.Optimizer."""
        given: dict[str, Any] = {}
        schedules = [group.get("schedule") for group in self.param_groups]

        def keep(final: dict[str, Any]) -> None:
            self._check_loaded(final)
            given.update(final)

        def finish(_: Optimizer) -> None:
            self._restore(given)
            for group, schedule in zip(self.param_groups, schedules, strict=True):
                lr_schedule.resume(group, schedule, self.state)
                self._drop_moment(group)

        # After the user's hooks on what is loaded, before those on the state.
        handles = [
            self.register_load_state_dict_pre_hook(lambda _, final: keep(final)),
            self.register_load_state_dict_post_hook(finish, prepend=True),
        ]
        try:
            _load_state_dict(self, state_dict)
        finally:
            for handle in handles:
                handle.remove()

    def _restore(self, given: dict[str, Any]) -> None:
        """Take the state as it was given, because torch has rounded it to the parameters' dtype."""
        for group, named in zip(self.param_groups, given["param_groups"], strict=True):
            found = self._recipe(group)
            whole = found.rule.kind != ELEMENT_WISE and not found.like_parameter
            for number, p in zip(named["params"], group["params"], strict=True):
                for name, value in self.state.get(p, {}).items():
                    kept = given["state"][number][name]
                    wide = whole and name != "step"
                    if isinstance(kept, Tensor) and (
                        wide or kept.dtype is self.options.state_dtype
                    ):
                        self.state[p][name] = kept.detach().to(value.device, copy=True)

    def _drop_moment(self, group: dict[str, Any]) -> None:
        """Drop the moments of 0 that ``_complete`` added to a checkpoint; no step needs them."""
        found = self._recipe(group)
        for key in (found.keys[name] for name in found.idle):
            own = [s for p in group["params"] if key in (s := self.state.get(p, {}))]
            if not any(local(state[key]).any() for state in own):
                for state in own:
                    del state[key]


def _fixed(value: Any) -> bool:  # noqa: ANN401 - whatever a group has
    """Return whether an option changes only when it is replaced, unlike arrays and tensors."""
    return all(map(_fixed, value)) if isinstance(value, tuple) else isinstance(value, _FIXED)


def _equal(values: list[Any], seen: list[Any]) -> bool:
    try:
        return values == seen
    except Exception:  # noqa: BLE001 - tensors and arrays are compared by element, as they can be
        return False
