"""TorchTask: what a user says of a module, its loss and its data."""

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.checks import NOT_NEGATIVE, POSITIVE, Range, count, number
from thalweg.errors import needed
from thalweg.words import closest, listed

__all__ = ["TorchTask"]

_AUTOCAST = (None, torch.bfloat16)


def _by_name(task: type["TorchTask"]) -> type["TorchTask"]:
    """Let a class say in a sentence which of its arguments are wrong."""
    init = task.__init__
    known = [field.name for field in fields(task)]
    needed = [field.name for field in fields(task) if field.default is MISSING]

    @functools.wraps(init)
    def named(self: "TorchTask", *given: object, **arguments: Any) -> None:  # noqa: ANN401
        if given:
            raise TypeError(
                "TorchTask takes its arguments by name: "
                "TorchTask(model=Net, loss=loss, train=(X, y))"
            )
        for name in arguments:
            if name not in known:
                hint = closest(name, known) or f"its arguments are {', '.join(known)}"
                raise TypeError(f"TorchTask has no argument {name!r}; {hint}")
        if missing := [name for name in needed if name not in arguments]:
            raise TypeError(f"TorchTask needs {' and '.join(missing)}, such as train=(X, y)")
        init(self, **arguments)

    task.__init__ = named  # type: ignore[method-assign]
    return task


@_by_name
@dataclass(frozen=True, eq=False, kw_only=True)
class TorchTask:
    """A PyTorch module, its loss and its data: something to race rules on.

    The objective is the mean loss of a minibatch, plus l2/2 ‖w‖² over the parameters of two or more
    dimensions. Losses are reported without that term. Examples are read once and kept in memory, so
    a Dataset that draws at random does so once.

    Args:
        model: a function without arguments that returns a new ``nn.Module``. It is called with
            torch's seed set for each training; one module built before would give all trainings the
            same start. Values that steps change, or that the seed draws, belong in parameters and
            buffers. If another attribute holds them, trainings run one at a time.
        loss: ``loss(outputs, targets)``, a scalar: the mean over a batch. It must keep nothing
            between two calls.
        train: examples: ``(X, y)`` of tensors or arrays (floating-point arrays become tensors of
            torch's default dtype); a Dataset, of torch's or with the same methods, or a list of
            examples, each a pair or a dict; or a DataLoader, of which the dataset, the
            ``collate_fn`` and the examples that its sampler draws count: batch sizes and the order
            are the race's.
        validation: the examples by which hyperparameters are chosen, or a share of ``train`` in (0,
            1); 0.2 by default.
        test: the examples that are used once, at the end; given in the same way.
        examples_per_epoch: how many examples to read of data without a length, such as an endless
            IterableDataset, >= 1; None (default): all.
        metric: ``metric(outputs, targets)``, a number that results quote for the test part; None
            (default): R², or accuracy where targets are integers and outputs have their classes
            along axis 1 or the last, or are one logit per target.
        step: ``step(model, batch)``, instead of ``loss``. It returns the loss of one batch, a
            scalar, and may do anything with the batch. The score is then ``metric(model, batch)``
            on the whole test part, NaN without a metric.
        l2: strength of the penalty, >= 0; 0 by default.
        label_smoothing: in [0, 1). It is given to ``loss`` by that name in training; 0 by default.
        clip_norm: greatest Euclidean norm of a training's gradient, > 0; None (default): no bound.
        autocast: ``torch.bfloat16`` for mixed precision; None (default) for none.
        compile: whether torch's compiler compiles the steps; False by default. That takes seconds
            in each process, so only long races gain. The Python code of module and loss runs once
            for each size of a stack, so it must do the same at every step: it must not count, and
            must draw with torch alone. On a CPU it needs a C++ compiler.
        device: where to train; by default a GPU where there is one.
        name: what reports call it.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument outside its bounds.

    Example:
        >>> task = TorchTask(
        ...     model=lambda: nn.Linear(4, 3),
        ...     loss=nn.functional.cross_entropy,
        ...     train=(torch.randn(60, 4), torch.arange(60) % 3),
        ... )
        >>> task.validation, task.test
        (0.2, 0.2)
    """

    model: Callable[[], nn.Module]
    loss: Callable[..., Tensor] | None = None
    train: Any
    validation: Any = 0.2
    test: Any = 0.2
    examples_per_epoch: int | None = None
    metric: Callable[[Any, Any], Any] | None = None
    step: Callable[[nn.Module, Any], Tensor] | None = None
    l2: float = 0.0
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    autocast: torch.dtype | None = None
    compile: bool = False
    device: str | torch.device | None = None
    name: str = "model"

    def __post_init__(self) -> None:
        if isinstance(self.model, nn.Module) or not callable(self.model):
            raise TypeError(
                "model must be a function that returns a new module, got "
                f"{type(self.model).__name__}; write model=lambda: Net()"
            )
        if lacking := needed(self.model):
            raise TypeError(
                f"model is called without arguments, and needs {listed(lacking, 5)}; write "
                f"model=lambda: Net({', '.join(f'{name}=...' for name in lacking)})"
            )
        self._check_functions()
        for name in ("train", "validation", "test"):
            share = getattr(self, name)
            if isinstance(share, (str, os.PathLike)):
                raise TypeError(
                    f"{name} must be examples, such as (X, y), got {str(share)!r}; read the file "
                    "first, or race it as a table: thalweg race FILE --target COL"
                )
            if name != "train" and isinstance(share, (int, float)) and not 0 < share < 1:
                raise ValueError(f"{name} must be a share in (0, 1) or examples, got {share}")
        if self.examples_per_epoch is not None:
            count("examples_per_epoch", self.examples_per_epoch)
        number("l2", self.l2, NOT_NEGATIVE)
        if self.clip_norm is not None:
            number("clip_norm", self.clip_norm, POSITIVE)
        if self.autocast not in _AUTOCAST:
            raise ValueError(f"autocast must be torch.bfloat16 or None, got {self.autocast}")
        self._check_device()
        self._check_smoothing()

    def _check_functions(self) -> None:
        for name in ("loss", "step", "metric"):
            held = getattr(self, name)
            if held is not None and not callable(held):
                known = isinstance(held, str) and hasattr(nn.functional, held)
                remedy = f"; write torch.nn.functional.{held}" if known else ""
                raise TypeError(f"{name} must be a function, got {held!r}{remedy}")
        if (self.loss is None) == (self.step is None):
            raise TypeError("give either loss(outputs, targets) or step(model, batch)")
        if isinstance(self.loss, type):
            called = self.loss.__name__
            raise TypeError(f"loss must be a function, got the class {called}; write {called}()")

    def _check_device(self) -> None:
        try:
            _ = self.torch_device
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"device must be one of torch's, such as 'cpu', 'cuda' or 'cuda:1', got "
                f"{self.device!r}"
            ) from error

    def _check_smoothing(self) -> None:
        number("label_smoothing", self.label_smoothing, Range(0.0, 1.0, "[)"))
        if self.label_smoothing:
            loss = self.loss or self.step
            assert loss is not None
            if "label_smoothing" not in inspect.signature(loss).parameters:
                raise ValueError(
                    "label_smoothing needs a loss that takes it by name, such as "
                    "torch.nn.functional.cross_entropy; smooth within your own loss instead"
                )

    @property
    def torch_device(self) -> torch.device:
        """The device to train on."""
        if self.device is not None:
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
