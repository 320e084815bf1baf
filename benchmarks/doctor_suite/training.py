"""Training: a small training as a record that a plant can change, and what it has learned."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from doctor_suite.data import Parts, pictures
from doctor_suite.models import BODIES, body

__all__ = ["Case", "Score", "Training", "ordinary", "plain_step", "run"]

Case = dict[str, Any]  # model, optimizer, loss_fn, loader, steps; val_loader, step_fn
Loss = Callable[[Tensor, Tensor], Tensor]
Score = Callable[[Tensor, Tensor], float]  # of outputs and targets: 1 is best, 0 is chance
Predict = Callable[[nn.Module, Tensor], Tensor]
StepFn = Callable[[Case, Any, int], Tensor]


def _accuracy(output: Tensor, y: Tensor) -> float:
    count = output.shape[-1]
    share = balanced_accuracy_score(y.flatten(), output.argmax(-1).flatten())
    return float((share - 1 / count) / (1 - 1 / count))


def _ranking(output: Tensor, y: Tensor) -> float:
    return float(2 * roc_auc_score(y, output.reshape(y.shape)) - 1)


def _explained(output: Tensor, y: Tensor) -> float:
    output = output.reshape(y.shape)
    return float(r2_score(y.flatten(1), output.flatten(1), multioutput="variance_weighted"))


SCORES: dict[str, Score] = {
    "classes": _accuracy,
    "binary": _ranking,
    "labels": _ranking,
    "regression": _explained,
    "autoencoder": _explained,
}
LOSSES: dict[str, Callable[[], nn.Module]] = {
    "classes": nn.CrossEntropyLoss,
    "binary": nn.BCEWithLogitsLoss,
    "labels": nn.BCEWithLogitsLoss,
    "regression": nn.MSELoss,
    "autoencoder": nn.MSELoss,
}


@dataclass
class Training:
    """A training, before its loader and optimizer are made.

    Args:
        parts: its data.
        model: its module.
        loss_fn: of outputs and targets.
        score: of outputs and targets; 0 is chance.
        rule: class of the optimizer.
        options: its keywords.
        batch: examples of a batch.
        steps: how many.
        seed: of the order of the batches.
        shuffle: whether examples are shuffled.
        clip: norm to which gradients are clipped.
        schedule: makes a scheduler, which is stepped after every step.
        step_fn: takes the step, where it is no plain one.
        trained: the parameters that the optimizer gets; all by default.
        honest: the validation data that the score is taken on, where the plant spoils the user's.
        comparable: whether its loss may be compared with that of the same training without the
            plant.
        misleads: whether the fault is in what the user's validation says, not in what is learned.
        predict: the outputs that the score is taken of, where they are not the model's.
    """

    parts: Parts
    model: Any
    loss_fn: Loss
    score: Score
    rule: Any = torch.optim.Adam
    options: dict[str, Any] = field(default_factory=lambda: {"lr": 3e-3})
    batch: int = 32
    steps: int = 250
    seed: int = 0
    shuffle: bool = True
    clip: float | None = None
    schedule: Callable[[Any], Any] | None = None
    step_fn: StepFn | None = None
    trained: Callable[[nn.Module], Iterable[Any]] | None = None
    honest: tuple[Tensor, Tensor] | None = None
    comparable: bool = True
    misleads: bool = False
    predict: Predict | None = None

    def case(self) -> Case:
        """Return the training as its user has it."""
        order = torch.Generator().manual_seed(self.seed)
        parts = self.parts
        loader = DataLoader(
            TensorDataset(parts.x, parts.y),
            batch_size=self.batch,
            shuffle=self.shuffle,
            drop_last=self.batch < len(parts.x),  # else no batch would be left
            generator=order,
        )
        given = self.trained(self.model) if self.trained else self.model.parameters()
        case: Case = {
            "model": self.model,
            "optimizer": self.rule(given, **self.options),
            "loss_fn": self.loss_fn,
            "loader": loader,
            "steps": self.steps,
        }
        case["val_loader"] = DataLoader(TensorDataset(parts.x_val, parts.y_val), batch_size=100)
        step_fn = self.step_fn or (_stepper(self) if self.clip or self.schedule else None)
        if step_fn:
            case["step_fn"] = step_fn
        return case

    def learned(self) -> tuple[float, float]:
        """Return the score and the loss on validation data; a score of 0 where it is not finite."""
        return self._on(*(self.honest or (self.parts.x_val, self.parts.y_val)), self.predict)

    def deceived(self) -> float:
        """Return which share of the score that the user sees is true."""
        return self.learned()[0] / self._on(self.parts.x_val, self.parts.y_val, None)[0]

    def _on(self, x: Tensor, y: Tensor, predict: Predict | None) -> tuple[float, float]:
        was = self.model.training
        self.model.eval()
        with torch.no_grad():
            outputs = [self.model(part) for part in x.split(100)]
            seen = [predict(self.model, part) for part in x.split(100)] if predict else []
            try:
                loss = float(self.loss_fn(torch.cat(outputs), y))
            except (RuntimeError, ValueError):
                loss = float("nan")
        self.model.train(was)
        output = torch.cat(seen or outputs)
        return (self.score(output, y) if output.isfinite().all() else 0.0), loss


def _stepper(training: Training) -> StepFn:
    """Return the step of a user who clips gradients and steps a scheduler."""
    scheduler: list[Any] = []

    def step_fn(case: Case, batch: Any, step: int) -> Tensor:
        loss = _forward_backward(case, batch)
        if training.clip is not None:
            nn.utils.clip_grad_norm_(case["model"].parameters(), training.clip)
        case["optimizer"].step()
        if training.schedule is not None:
            if step == 0:
                scheduler[:] = [training.schedule(case["optimizer"])]
            scheduler[0].step()
        return loss

    return step_fn


def _forward_backward(case: Case, batch: Any) -> Tensor:
    case["optimizer"].zero_grad()
    loss: Tensor = case["loss_fn"](case["model"](batch[0]), batch[1])
    loss.backward()
    return loss


def plain_step(case: Case, batch: Any, _step: int) -> Tensor:
    """Take the step that nearly every loop has."""
    loss = _forward_backward(case, batch)
    case["optimizer"].step()
    return loss


def run(case: Case, watch: Callable[[Any, int, Tensor], object] | None = None) -> list[float]:
    """Train as the user's loop does, and return the losses.

    Args:
        case: the training.
        watch: is called after every step with batch, step and loss.
    """
    case["model"].train()
    step_fn: StepFn = case.get("step_fn", plain_step)
    losses: list[float] = []
    batches = iter(case["loader"])
    for step in range(case["steps"]):
        batch = next(batches, None)
        if batch is None:
            batches = iter(case["loader"])
            batch = next(batches)
        loss = step_fn(case, batch, step)
        losses.append(float(loss.detach()))
        if watch is not None:
            watch(batch, step, loss)
    return losses


_RULES: dict[tuple[str, str], tuple[Any, dict[str, float]]] = {
    ("mlp", "calibration"): (torch.optim.Adam, {"lr": 3e-3}),
    ("mlp", "judging"): (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    ("convnet", "calibration"): (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    ("convnet", "judging"): (torch.optim.AdamW, {"lr": 5e-3}),
    ("sequence", "calibration"): (torch.optim.Adam, {"lr": 1e-2}),
    ("sequence", "judging"): (torch.optim.AdamW, {"lr": 5e-3}),
}


def shaped(x: Tensor, name: str) -> Tensor:
    """Return images as a body takes them: rows of numbers, images, or series of rows."""
    return {"mlp": x.flatten(1), "convnet": x, "sequence": x[:, 0]}[name]


def ordinary(kind: str, name: str, half: str, seed: int) -> Training:
    """Return a healthy training of a kind of target by a body."""
    assert name in BODIES
    parts = pictures(kind, half, seed)
    size = parts.x.shape[-1]
    parts = parts._replace(x=shaped(parts.x, name), x_val=shaped(parts.x_val, name))
    outputs = int(parts.y.max()) + 1 if kind == "classes" else parts.y.shape[1]
    torch.manual_seed(seed)
    model = body(name, half, size, outputs)
    rule, options = _RULES[name, half]
    return Training(parts, model, LOSSES[kind](), SCORES[kind], rule, dict(options), seed=seed)
