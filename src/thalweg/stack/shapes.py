"""Shapes: a loss that compares outputs with targets of another shape, which torch broadcasts."""

import itertools
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from thalweg.errors import TaskError, user_line
from thalweg.stack.batch import Batch, leaves

__all__ = ["compared"]

# What torch's own losses say then, as a warning or as an error.
_SAID = (
    r"arget size \((.*?)\) (?:that is different to|must be the same as) "
    r"(?:the )?input size \((.*?)\)"
)
_EXPAND = torch.ops.aten.expand.default

Shape = tuple[int, ...]


class _CrossedError(Exception):
    """Outputs of one shape and targets of another were broadcast against each other."""

    def __init__(self, outputs: Shape, targets: Shape) -> None:
        super().__init__(outputs, targets)
        self.shapes = outputs, targets


class _Crossing(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it so
    """Sees where each row of a module's outputs meets every row of the targets.

    That is an operation on one of the outputs' shape, with a gradient, and one of the targets' that
    has more or fewer dimensions, whose result has the shape of neither.
    """

    def __init__(self, targets: set[Shape]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._targets = targets
        self.outputs: set[Shape] = set()
        self._pairs: dict[Shape, set[tuple[Shape, Shape]]] = {}  # by the shape of the result
        self._expanded: set[tuple[Shape, Shape]] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say no: what is watched is not compiled, and to load torch's compiler takes a second."""
        return False

    def hook(self, _: nn.Module, __: Any, outputs: Any) -> None:  # noqa: ANN401
        """Note what the module has returned."""
        self.outputs = {tuple(t.shape) for t in tree_leaves(outputs) if isinstance(t, Tensor)}
        for own in self.outputs:
            for target in self._targets:
                if len(own) != len(target) and own[:1] == target[:1]:
                    self._add(own, target)

    def _add(self, own: Shape, target: Shape) -> None:
        try:
            whole = tuple(torch.broadcast_shapes(own, target))  # type: ignore[no-untyped-call]
        except RuntimeError:  # torch refuses this itself
            return
        if whole not in {own, target}:
            self._pairs.setdefault(whole, set()).add((own, target))

    def __torch_dispatch__(
        self,
        function: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call the function, and look at the shapes."""
        found = function(*args, **(kwargs or {}))
        whole = tuple(found.shape) if isinstance(found, Tensor) else ()
        for own, target in self._pairs.get(whole, ()):
            given = [t for t in tree_leaves(args) if isinstance(t, Tensor)]
            if function is _EXPAND:  # two of them make one broadcast
                self._expanded.add((whole, tuple(given[0].shape)))
                crossed = {(whole, own), (whole, target)} <= self._expanded
            else:
                shapes = [(tuple(t.shape), t.requires_grad) for t in given]
                crossed = (own, True) in shapes and any(shape == target for shape, _ in shapes)
            if crossed:
                raise _CrossedError(own, target)
        return found


@contextmanager
def compared(module: nn.Module, batch: Batch) -> Iterator[None]:
    """Refuse a loss that broadcasts a module's outputs against targets.

    Args:
        module: its outputs are given to the loss.
        batch: a few examples, at least two.

    Raises:
        TaskError: it does. The message has both shapes and the remedy.
    """
    crossing = _Crossing({tuple(t.shape) for t in leaves(batch) if isinstance(t, Tensor)})
    handle = module.register_forward_hook(crossing.hook)
    try:
        with crossing, warnings.catch_warnings():
            warnings.filterwarnings("error", f".*{_SAID}")
            yield
    except _CrossedError as error:
        raise TaskError(_refusal(error, *error.shapes)) from error
    except (UserWarning, ValueError) as error:
        if not (match := re.search(_SAID, str(error))):
            raise
        targets, outputs = (_sizes(match[group]) for group in (1, 2))
        if outputs not in crossing.outputs and targets in crossing.outputs:  # given the other way
            targets, outputs = outputs, targets
        raise TaskError(_refusal(error, outputs, targets)) from error
    finally:
        handle.remove()


def _sizes(text: str) -> Shape:
    return tuple(map(int, re.findall(r"\d+", text)))


def _refusal(error: Exception, outputs: Shape, targets: Shape) -> str:
    place = user_line(error)
    said = (
        f"the loss compares outputs of shape {_rows(outputs)} with targets of shape "
        f"{_rows(targets)}, but they must have one shape: {_remedy(outputs, targets)}"
    )
    return f"{place}: {said}" if place else said


def _rows(shape: Shape) -> str:
    """Return a shape with n instead of the number of rows."""
    return f"({', '.join(['n', *map(str, shape[1:])])}{',' * (len(shape) == 1)})"


def _remedy(outputs: Shape, targets: Shape) -> str:
    """Return how to make two shapes equal."""
    for axis in itertools.chain(range(1, len(outputs)), range(1, len(targets))):
        index = ", ".join([":"] * axis)
        if targets == outputs[:axis] + outputs[axis + 1 :] and outputs[axis] == 1:
            return f"give targets[{index}, None], or let the model return outputs.squeeze({axis})"
        if outputs == targets[:axis] + targets[axis + 1 :] and targets[axis] == 1:
            return f"give targets.squeeze({axis}), or let the model return outputs[{index}, None]"
    lacking = len(outputs) - len(targets)
    index = f"[..., {', '.join(['None'] * lacking)}]" if lacking > 0 else ""
    try:
        torch.empty(targets + (1,) * lacking).expand(outputs)
    except RuntimeError:
        return "make them alike"
    return (
        f"give targets{index}.expand_as(outputs) to the loss if each is meant for several outputs"
    )
