"""What a rule asks for at other points: gradients from the closure of a step, and curvatures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from thalweg.optim.curvature import by_differences
from thalweg.optim.fallback import Alone, copy, seen, shown
from thalweg.tensors import Tensors

__all__ = ["Asked", "SkippedError"]

Scale = Callable[[Sequence[Tensor]], float | Tensor | None]


class SkippedError(Exception):
    """A gradient that a rule asked for is not finite, and the step is to be skipped."""


class Asked:
    """Where the answers come from in one step.

    All calls of the closure see the random numbers that the first one saw, so that dropout leaves
    out the same.

    Args:
        closure: computes the loss and its gradients, of the same minibatch each time; None if the
            step was given none.
        curvature: returns the diagonal of the Hessian, a tensor for each parameter; None if the
            step was given none.
        parameters: all of the optimizer.
    """

    def __init__(
        self,
        closure: Callable[[], Any] | None,
        curvature: Callable[[], Sequence[Tensor]] | None,
        parameters: Iterable[Tensor],
    ) -> None:
        self._closure, self._curvature = closure, curvature
        self._parameters = list(parameters)
        cuda = (p.device for p in self._parameters if p.device.type == "cuda")
        self._devices = list(dict.fromkeys(cuda))
        self._drawn = torch.get_rng_state(), list(map(torch.cuda.get_rng_state, self._devices))

    def of(self, members: Sequence[Alone], scale: Scale) -> dict[str, Callable[[Tensors], Tensors]]:
        """Return the functions that a rule which steps these parameters may call.

        Args:
            members: the parameters.
            scale: returns the factor of gradients; None to skip the step.
        """
        name = members[0].recipe.rule.name

        def slope(x: Tensors, factor: float | None) -> Tensors:
            if self._closure is None:
                raise RuntimeError(
                    f"rule {name!r} asks for the gradient of the same minibatch at another point: "
                    "call step(closure), with a closure that computes the loss again with its "
                    "gradients, and returns it"
                )
            with self._at(members, x):
                found = self._gradients(members, self._closure)
            whole = scale(found)
            if whole is None:
                raise SkippedError
            used = whole if factor is None else factor
            rows = zip(members, found, x, strict=True)
            return Tensors(seen(one, g, part, used) for one, g, part in rows)

        def curvature(x: Tensors) -> Tensors:
            if self._curvature is None:
                # Clipped by two factors, gradients would differ by these.
                estimate: Tensors = by_differences(lambda point: slope(point, 1.0), x)
                return estimate
            with self._at(members, x), torch.enable_grad():
                found = self._diagonal(self._curvature())
            return Tensors(_bent(one, found[one.p]) for one in members)

        return {"gradient": lambda x: slope(x, None), "curvature": curvature}

    def _diagonal(self, given: Iterable[Tensor]) -> dict[Tensor, Tensor]:
        given = list(given)
        shapes = [tuple(t.shape) if isinstance(t, Tensor) else t for t in given]
        own = [tuple(t.shape) for t in self._parameters]
        if shapes != own:
            raise ValueError(
                "curvature must return a tensor for each parameter of the optimizer, of its "
                f"shape: {own}, got {shapes}"
            )
        return {p: each.detach() for p, each in zip(self._parameters, given, strict=True)}

    def _gradients(self, members: Sequence[Alone], closure: Callable[[], Any]) -> list[Tensor]:
        """Return the gradients where the parameters are; their own gradients stay as they are."""
        before = [p.grad for p in self._parameters]
        try:
            for p in self._parameters:
                p.grad = None
            with torch.enable_grad(), torch.random.fork_rng([d.index for d in self._devices]):
                torch.set_rng_state(self._drawn[0])
                for device, state in zip(self._devices, self._drawn[1], strict=True):
                    torch.cuda.set_rng_state(state, device)
                closure()
            found = (one.p.grad for one in members)
            pairs = zip(found, members, strict=True)
            return [torch.zeros_like(one.p) if g is None else g for g, one in pairs]
        finally:
            for p, g in zip(self._parameters, before, strict=True):
                p.grad = g

    @contextmanager
    def _at(self, members: Sequence[Alone], x: Tensors) -> Iterator[None]:
        """Have the parameters at another point."""
        before = [one.p.detach().clone(memory_format=torch.preserve_format) for one in members]
        try:
            for one, part in zip(members, x, strict=True):
                copy(one.p, part)
            yield
        finally:
            for one, value in zip(members, before, strict=True):
                copy(one.p, value)


def _bent(one: Alone, diagonal: Tensor) -> Tensor:
    """Return a diagonal as its rule sees it: of what is minimized, with the penalty's."""
    recipe = one.recipe
    bent = shown(diagonal, one.p, recipe) * (-1.0 if recipe.maximize else 1.0)
    return bent if recipe.decoupled else bent + recipe.decay
