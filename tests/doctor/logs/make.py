"""Make the logs of this folder: small real trainings, sound and failing, written by loggers.

Usage: python tests/doctor/logs/make.py (a minute). A log's name begins with what is wrong with the
training; no threshold was set on these logs but that of underfitting, whose line had a gap.
"""

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.tensorboard import SummaryWriter

HERE = Path(__file__).parent
SETS: dict[str, Callable[..., Any]] = {
    "digits": load_digits, "cancer": load_breast_cancer, "wine": load_wine,
    "diabetes": load_diabetes,
}  # fmt: skip


def data(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    X, y = SETS[name](return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X = torch.tensor(StandardScaler().fit_transform(X)[order], dtype=torch.float32)
    if name == "diabetes":
        y = StandardScaler().fit_transform(y[:, None])[order]
        return X, torch.tensor(y, dtype=torch.float32)
    return X, torch.tensor(y[order])


def mlp(*widths: int, act: type[nn.Module] = nn.ReLU, drop: float = 0.0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), act(), *([nn.Dropout(drop)] if drop else [])]
    return nn.Sequential(*layers[: -2 if drop else -1])


Records = list[dict[str, float]]


def train(
    name: str, model: nn.Module, lr: float, epochs: int, *, optimizer: Any = torch.optim.Adam,
    batch: int = 32, rows: int = 10_000, held: Any = None, by_step: bool = False,
    cosine: bool = False,
) -> Records:  # fmt: skip
    """Return the losses of a training on one set, three quarters of it at most."""
    X, y = data(name)
    cut = int(0.75 * len(X))
    V, w = (X[cut:], y[cut:]) if held is None else held(X[cut:], y[cut:])
    X, y = X[: min(rows, cut)], y[: min(rows, cut)]
    loss_fn = nn.functional.mse_loss if y.is_floating_point() else nn.functional.cross_entropy
    own = optimizer(model.parameters(), lr=lr)
    steps = epochs * -(-len(X) // batch)
    cool = torch.optim.lr_scheduler.CosineAnnealingLR(own, steps) if cosine else None
    records: Records = []
    step = 0
    for epoch in range(epochs):
        losses = []
        model.train()
        for part in torch.randperm(len(X)).split(batch):
            own.zero_grad()
            loss = loss_fn(model(X[part]), y[part])
            loss.backward()
            own.step()
            if cool is not None:
                cool.step()
            losses.append(loss.item())
            step += 1
            if by_step:
                records.append({"epoch": epoch, "step": step, "loss": losses[-1]})
        model.eval()
        with torch.no_grad():
            after = loss_fn(model(V), w).item()
        record = {"epoch": epoch, "step": step, "val_loss": after}
        records.append(record if by_step else {**record, "loss": float(np.mean(losses))})
    return records


def write_csv(name: str, records: Records) -> None:
    names = list(dict.fromkeys(key for record in records for key in record))
    with (HERE / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in record.items()} for record in records)


def write_lightning(name: str, records: Records) -> None:
    logger = CSVLogger(HERE, name=None, version=name)
    for record in records:
        step = int(record["step"])
        for key in ("loss", "val_loss"):
            if key in record:
                logger.log_metrics(
                    {key.replace("loss", "train_loss") if key == "loss" else key: record[key]}, step
                )
    logger.save()


def write_state(name: str, records: Records) -> None:
    words = {"loss": "loss", "val_loss": "eval_loss"}
    history = [
        {words[key]: record[key], "epoch": record["epoch"], "step": record["step"]}
        for record in records for key in words if key in record
    ]  # fmt: skip
    (HERE / f"{name}.json").write_text(json.dumps({"log_history": history}))


def write_events(name: str, records: Records) -> None:
    with SummaryWriter(str(HERE / name)) as writer:
        for record in records:
            for key, tag in (("loss", "Loss/train"), ("val_loss", "Loss/val")):
                if key in record:
                    writer.add_scalar(tag, record[key], int(record["step"]))


def write_text(name: str, records: Records) -> None:
    lines = [
        f"Epoch {int(r['epoch'])}: loss: {r['loss']:.5f} - val_loss: {r['val_loss']:.5f}"
        for r in records
    ]
    (HERE / f"{name}.log").write_text("\n".join(lines) + "\n")


def easy(X: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return X[y == 0], y[y == 0]


def zeroed(model: nn.Module) -> nn.Module:
    for p in model.parameters():
        nn.init.zeros_(p)
    return model


def logs() -> None:
    sgd = torch.optim.SGD
    deep = [64, *[32] * 12, 10]
    write_csv("healthy_digits", train("digits", mlp(64, 64, 10), 1e-3, 30))
    write_lightning("healthy_digits_lightning", train("digits", mlp(64, 32, 10), 2e-3, 25))
    write_events("healthy_digits_events", train("digits", mlp(64, 64, 10, drop=0.2), 1e-3, 40))
    write_csv("healthy_digits_steps", train("digits", mlp(64, 64, 10), 2e-3, 20, by_step=True))
    write_state("healthy_cancer", train("cancer", mlp(30, 16, 2), 1e-3, 30, cosine=True))
    write_text("healthy_wine", train("wine", mlp(13, 16, 3), 3e-3, 40, cosine=True))
    write_csv("healthy_digits_sgd", train("digits", mlp(64, 64, 10), 0.1, 30, optimizer=sgd))
    write_csv("overfitting_digits", train("digits", mlp(64, 256, 256, 10), 3e-3, 80, rows=80))
    write_lightning("overfitting_cancer", train("cancer", mlp(30, 256, 256, 2), 3e-3, 60, rows=60))
    write_events("overfitting_diabetes", train("diabetes", mlp(10, 256, 256, 1), 1e-3, 80))
    write_state(
        "overfitting_diabetes_steps", train("diabetes", mlp(10, 128, 1), 3e-3, 60, by_step=True)
    )
    write_csv("loss_not_finite_diabetes", train("diabetes", mlp(10, 32, 1), 1.0, 30, optimizer=sgd))
    write_text("diverged_diabetes_linear", train("diabetes", mlp(10, 1), 0.6, 25, optimizer=sgd))
    write_csv("plateau_zeros", train("digits", zeroed(mlp(64, 64, 10)), 1e-2, 30))
    write_events("plateau_sigmoids", train("digits", mlp(*deep, act=nn.Sigmoid), 1e-3, 30))
    write_csv("still_falling_digits", train("digits", mlp(64, 64, 10), 1e-5, 40))
    write_lightning(
        "still_falling_cancer", train("cancer", mlp(30, 16, 2), 1e-3, 20, optimizer=sgd)
    )
    write_csv("still_falling_wine", train("wine", mlp(13, 16, 3), 1e-4, 60))
    write_csv("underfitting_digits", train("digits", mlp(64, 1, 10, act=nn.Tanh), 1e-2, 80))
    write_csv(
        "overfitting_digits_large_steps",
        train("digits", mlp(64, 10), 1.0, 60, optimizer=sgd, batch=4),
    )
    write_csv(
        "overfitting_wine_large_steps", train("wine", mlp(13, 3), 3.0, 60, optimizer=sgd, batch=4)
    )
    write_state(
        "validation_of_other_distribution_digits",
        train("digits", mlp(64, 8, 10, drop=0.1), 1e-3, 60, held=easy),
    )
    nan = train("digits", mlp(64, 64, 10), 1e-3, 30)
    for record in nan[17:]:  # as of a batch with a NaN in it
        record["loss"] = record["val_loss"] = float("nan")
    write_csv("loss_not_finite_digits", nan)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    logs()
