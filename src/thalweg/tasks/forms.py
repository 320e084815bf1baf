"""Forms: the parts of a training that a user's function may return in place of a TorchTask."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from thalweg.errors import TaskError
from thalweg.tasks.frameworks import framework_model, framework_parts

if TYPE_CHECKING:
    from thalweg.stack import TorchTask

__all__ = ["OWN_LOSS", "PARTS", "TEST", "parts", "raced"]

PARTS = ("model", "optimizer", "loss_fn", "loader", "val_loader", "step")
"""The parts of a training by name, in the order of a tuple."""

TEST = "test_loader"
"""A part beside them: a race judges by it, and never chooses."""

OWN_LOSS = (
    "if the model returns its loss, give step=lambda model, batch: model(**batch).loss, or "
    "model(*batch)"
)
"""What to do without a loss."""

_OTHERWISE = {
    **dict.fromkeys(("net", "network"), "model"),
    **dict.fromkeys(("optim", "opt"), "optimizer"),
    **dict.fromkeys(("criterion", "loss", "loss_function"), "loss_fn"),
    **dict.fromkeys(
        ("train_loader", "trainloader", "train_dataloader", "dataloader", "train_dl"), "loader"
    ),
    **dict.fromkeys(
        (
            "valid_loader",
            "validation_loader",
            "val_dataloader",
            "valid_dl",
            "valloader",
            "validloader",
            "valid_dataloader",
            "val_dl",
            "eval_loader",
            "eval_dataloader",
        ),
        "val_loader",
    ),
    **dict.fromkeys(("testloader", "test_dataloader", "test_dl"), TEST),
}  # what else people call them


def parts(returned: object) -> object:
    """Return the parts of a training by name, if it is a dict, a tuple or an object of them.

    What is written for Lightning or transformers has them too. Anything else comes back as it is.

    Example:
        >>> parts({"net": 1, "criterion": 2, "epochs": 3})
        {'model': 1, 'loss_fn': 2, 'epochs': 3}
        >>> parts((1, 2, 3, 4))
        {'model': 1, 'optimizer': 2, 'loss_fn': 3, 'loader': 4}
        >>> parts("neither")
        'neither'
    """
    if framework := framework_parts(_members(returned)):
        given = _named(returned) if isinstance(returned, Mapping) else {}
        return {**framework, **{n: part for n, part in given.items() if n in (*PARTS, TEST)}}
    if isinstance(returned, tuple) and (told := _by_type(returned)):
        return told
    if isinstance(returned, tuple) and 4 <= len(returned) <= len(PARTS):
        held = [part for part in returned if not _schedules(part)]
        return dict(zip(PARTS, held, strict=False))
    if isinstance(returned, Mapping):
        return _named(returned)
    found = {
        name: part for name, part in getattr(returned, "__dict__", {}).items()
        if _OTHERWISE.get(name, name) in (*PARTS, TEST)
    }  # fmt: skip
    named = _named(found)
    return named if {"model", "loader"} <= named.keys() else returned


def _by_type(held: tuple[object, ...]) -> dict[str, object]:
    """Return the parts of a tuple in any order, if the type of each tells which one it is."""
    from torch import nn  # noqa: PLC0415 - takes seconds to load
    from torch.nn.modules.loss import _Loss  # noqa: PLC0415 - of all losses of torch
    from torch.optim import Optimizer  # noqa: PLC0415
    from torch.utils.data import DataLoader, Dataset  # noqa: PLC0415

    found: dict[str, object] = {}
    for part in held:
        if _schedules(part):
            continue
        if isinstance(part, (DataLoader, Dataset)):
            names = ("loader", "val_loader", TEST)
            name = next((each for each in names if each not in found), names[0])
        elif isinstance(part, nn.Module) and not isinstance(part, _Loss):
            name = "model"
        elif isinstance(part, Optimizer):
            name = "optimizer"
        else:
            name = "loss_fn"
        if name in found or (name == "loss_fn" and not callable(part)):
            return {}
        found[name] = part
    return found if {"model", "loss_fn", "loader"} <= found.keys() else {}


def _members(returned: object) -> list[object]:
    """Return what a function returns, one by one."""
    if isinstance(returned, Mapping):
        return list(returned.values())
    return list(returned) if isinstance(returned, (tuple, list)) else [returned]


def _named(held: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the same with our names, but where two parts would have one; without a schedule."""
    return {
        _OTHERWISE[name] if name in _OTHERWISE and _OTHERWISE[name] not in held else name: part
        for name, part in held.items()
        if not _schedules(part)
    }


def _schedules(part: object) -> bool:
    """Return whether a part is a schedule: the user's loop steps it, and no plain one does."""
    return hasattr(part, "get_last_lr")


def raced(returned: object, again: Callable[[], object], place: str) -> "TorchTask | None":
    """Return the task of the parts of a training: its model, loss and data, for a race of rules.

    Its optimizer is left out. A new model is that of the function called again.

    Args:
        returned: by the user's function.
        again: calls it.
        place: the file and function.

    Returns:
        None if these are no parts of a training.

    Raises:
        TaskError: the loader is none that a race can draw its own batches from.
    """
    held = parts(returned)
    if not isinstance(held, Mapping) or not {"model", "loader"} <= held.keys():
        return None
    if held.get("loss_fn") is None and held.get("step") is None:
        raise TaskError(f"{place} returns neither loss_fn nor step; {OWN_LOSS}")
    from torch.utils.data import DataLoader, Dataset  # noqa: PLC0415 - takes seconds to load

    from thalweg.stack import TorchTask  # noqa: PLC0415 - loads torch

    loaders: dict[str, Any] = {
        part: held.get(name)
        for name, part in (("loader", "train"), ("val_loader", "validation"), (TEST, "test"))
        if name == "loader" or held.get(name) is not None
    }
    for part, loader in loaders.items():
        if not isinstance(loader, (DataLoader, Dataset)):
            raise TaskError(
                f"{place}: a race draws batches of its own, so the {part} data must be a "
                f"DataLoader or a Dataset, got {type(loader).__name__}; return "
                "thalweg.TorchTask(model=Net, loss=loss, train=(X, y))"
            )
    step = held.get("step")
    loss = held.get("loss_fn") if step is None else None
    return TorchTask(model=partial(_model, again), loss=loss, step=step, **loaders)


def _model(again: Callable[[], object]) -> Any:  # noqa: ANN401 - of the user's
    """Return the model of the parts that a user's function returns."""
    returned = again()
    if (model := framework_model(_members(returned))) is not None:
        return model
    held = parts(returned)
    assert isinstance(held, Mapping)
    return held["model"]
