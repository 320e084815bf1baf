"""Functions of lanes: called for one lane, in one pass over all lanes, or compiled."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx

from thalweg.stack.batch import each, leaves
from thalweg.stack.layout import ChannelsLast

__all__ = ["Program", "mapped"]

Dimensions = tuple[int | None, ...]
"""For each argument 0 if it has one row per lane, else None."""


def mapped(
    function: Callable[..., Any],
    dimensions: Dimensions,
    *arguments: Any,  # noqa: ANN401
    stacked: bool,
) -> Any:  # noqa: ANN401
    """Call the function: for all lanes in one pass, or as it is if there is only one lane."""
    if stacked:
        return vmap(function, dimensions, randomness="error")(*arguments)
    own = [
        argument if dimension is None else each(lambda tensor: tensor[0], argument)
        for argument, dimension in zip(arguments, dimensions, strict=True)
    ]
    return each(lambda tensor: tensor[None], function(*own))


class Program:
    """A function of lanes, compiled by torch for each shape that it is called with.

    Its Python code runs once for each shape, and the operations that it calls then are compiled. So
    a step runs no more Python than the calls of its kernels. ``torch.compile`` would also
    compare everything that the function has read with what it read the first time.

    Args:
        function: of tensors, tuples and dicts of them.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._made: dict[Any, tuple[Callable[..., list[Tensor]], Any]] = {}

    def __call__(self, dimensions: Dimensions, *arguments: Any, stacked: bool) -> Any:  # noqa: ANN401
        """Return what ``mapped`` does."""
        given = list(leaves(arguments))
        key = dimensions, stacked, *((t.shape, t.stride(), t.dtype) for t in given)
        if key not in self._made:
            with torch.random.fork_rng():  # tracing draws, of which the first step must not know
                self._made[key] = self._compiled(dimensions, arguments, stacked=stacked)
        program, structure = self._made[key]
        found = iter(program(*given))
        return each(lambda _: next(found), structure)

    def _compiled(
        self, dimensions: Dimensions, arguments: tuple[Any, ...], *, stacked: bool
    ) -> tuple[Callable[..., list[Tensor]], Any]:
        """Return the program, which takes and returns a list of tensors, and their structure."""
        from torch._inductor import standalone_compile  # noqa: PLC0415 - takes seconds to load

        structure = None

        def flat(*tensors: Tensor) -> list[Tensor]:
            nonlocal structure
            rest = iter(tensors)
            own = each(lambda _: next(rest), arguments)
            result = mapped(self._function, dimensions, *own, stacked=stacked)
            structure = each(lambda _: None, result)
            return list(leaves(result))

        given: list[Any] = [tensor.detach() for tensor in leaves(arguments)]

        def traced(layout: AbstractContextManager[Any]) -> Any:  # noqa: ANN401 - as torch has it
            # One mode for all: without a context torch makes one for each operation.
            context = TracingContext(FakeTensorMode(allow_fallback_kernels=True))
            with layout, tracing(context):
                # On copies: the function may write into its state.
                return make_fx(flat)(*(tensor.clone() for tensor in given))

        try:
            graph = traced(ChannelsLast())  # type: ignore[no-untyped-call] # torch leaves it so
        except RuntimeError:  # group normalization does not take lanes in that order
            graph = traced(nullcontext())
        program: Any = standalone_compile(graph, given, dynamic_shapes="from_example_inputs")
        return program, structure
