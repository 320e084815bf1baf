"""Frameworks: the parts of a training that is written for Lightning, or for transformers' Trainer.

They are known by what they have, so that neither library is loaded here.
"""

import inspect
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from thalweg.errors import TaskError, blamed

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "framework_model", "framework_parts", "loss_of_outputs", "made_optimizer", "own_loss",
    "training_step",
]  # fmt: skip

_LOADERS = {"loader": "train", "val_loader": "val", "test_loader": "test"}


def framework_parts(members: Iterable[object]) -> dict[str, Any]:
    """Return the parts of a training by name, but for its optimizer; none if these are of neither.

    Args:
        members: what a user's function returns: a module of Lightning, with its DataModule or its
            loaders if it has none of its own, or a Trainer of transformers.

    Raises:
        TaskError: the module trains by a loop of its own, or no member has its data.
    """
    held = list(members)
    for one in held:
        with blamed(type(one).__name__):
            if _is_module(one):
                return _of_lightning(one, [other for other in held if other is not one])
            if _is_trainer(one):
                return _of_transformers(one)
    return {}


def framework_model(members: Iterable[object]) -> Any:  # noqa: ANN401 - of the user's
    """Return the model of such members, without its data; None if they are of neither."""
    for one in members:
        if _is_module(one):
            return _quiet(one)
        if _is_trainer(one):
            return one.model
    return None


def made_optimizer(model: Any) -> Any:  # noqa: ANN401 - of the user's
    """Return the optimizer that a module of Lightning makes; several as a list, None for none."""
    made = model.configure_optimizers() if _is_module(model) else None
    if isinstance(made, tuple) and made and isinstance(made[0], (list, tuple)):
        made = made[0]  # optimizers, and their schedules
    each = made if isinstance(made, (list, tuple)) else [made]
    found = [one.get("optimizer") if isinstance(one, Mapping) else one for one in each]
    return found[0] if len(found) == 1 else found


def training_step(model: "nn.Module", batch: Any) -> "Tensor":  # noqa: ANN401 - the user's
    """Return the loss of a module of Lightning."""
    step: Any = model.training_step
    found = step(batch, 0) if len(inspect.signature(step).parameters) > 1 else step(batch)
    loss: Tensor = found["loss"] if isinstance(found, Mapping) else found
    return loss


def own_loss(model: "nn.Module", batch: Any) -> "Tensor":  # noqa: ANN401 - a dict
    """Return the loss that a model returns itself."""
    loss = loss_of_outputs(model(**batch))
    if loss is None:
        raise TaskError("the model returns no loss; give its batches labels")
    return loss


def loss_of_outputs(outputs: Any) -> "Tensor | None":  # noqa: ANN401 - a dict, object or tuple
    """Return the loss that a model's outputs hold, if there is one."""
    found = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    return found if hasattr(found, "backward") else None


def _is_module(one: object) -> TypeGuard[Any]:
    return hasattr(one, "configure_optimizers") and hasattr(one, "training_step")


def _is_trainer(one: object) -> TypeGuard[Any]:
    return hasattr(one, "get_train_dataloader") and hasattr(one, "compute_loss")


def _quiet(module: Any) -> Any:  # noqa: ANN401
    """Let a module of Lightning log nothing, for which it would ask a trainer."""
    module.log = module.log_dict = _unlogged
    return module


def _of_lightning(module: Any, others: list[Any]) -> dict[str, Any]:  # noqa: ANN401
    if not getattr(module, "automatic_optimization", True):
        raise TaskError(
            f"{type(module).__name__} has automatic_optimization=False and takes its own steps; "
            "return a dict with its model, optimizer, loss_fn and loader"
        )
    held: dict[str, Any] = {"model": _quiet(module), "step": training_step}
    source = next((other for other in others if hasattr(other, "prepare_data")), module)
    loaders = [other for other in others if hasattr(other, "__iter__")]
    if loaders:
        return held | dict(zip(_LOADERS, loaders, strict=False))
    for name, stage in _LOADERS.items():
        if _is_own(source, f"{stage}_dataloader"):
            if stage != "val":
                _set_up(source, "fit" if stage == "train" else stage)
            made = getattr(source, f"{stage}_dataloader")()
            held[name] = made[0] if isinstance(made, (list, tuple)) and made else made
    if held.get("loader") is None:
        raise TaskError(
            f"{type(module).__name__} has no train_dataloader(); return it with its DataModule or "
            "its DataLoader, as in return model, loader"
        )
    return held


def _set_up(source: Any, stage: str) -> None:  # noqa: ANN401
    if stage == "fit":
        source.prepare_data()
    source.setup(stage)


def _is_own(source: object, name: str) -> bool:
    """Return whether a method is of the user's, not Lightning's that raises."""
    home = getattr(getattr(type(source), name, None), "__module__", "lightning")
    return home.partition(".")[0] not in {"lightning", "pytorch_lightning"}


def _unlogged(*_: object, **__: object) -> None:
    """Log nothing."""


def _of_transformers(trainer: Any) -> dict[str, Any]:  # noqa: ANN401
    own = type(trainer).compute_loss.__module__.partition(".")[0] != "transformers"
    other = own or trainer.compute_loss_func is not None or trainer.label_smoother is not None
    held = {
        "model": trainer.model,
        "step": partial(_computed, trainer) if other else own_loss,
        "loader": trainer.get_train_dataloader(),
        "optimizer": trainer.create_optimizer(),
    }
    if trainer.eval_dataset is not None:
        held["val_loader"] = trainer.get_eval_dataloader()
    return held


def _computed(trainer: Any, model: "nn.Module", batch: Mapping[str, Any]) -> "Tensor":  # noqa: ANN401
    loss: Tensor = trainer.compute_loss(model, dict(batch))
    return loss
