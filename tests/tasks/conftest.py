"""A module as the task of a race, and how lanes of it are trained."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from stack.nets import SEED, classes
from thalweg.racing.protocol import Rules
from thalweg.racing.trial import TIMING, Trial
from thalweg.rules import get
from thalweg.stack import TorchTask
from thalweg.tasks.modules import ModuleTask
from thalweg.tasks.task import Lanes


def trial(rule: str = "sgd", **given: Any) -> Trial:
    hyper = get(rule).defaults | given.pop("hyper", {})
    settings = {"round": "round 1", "number": 0, "seed": SEED, "batch_size": 9, "epochs": 3}
    return Trial(**{"rule": rule, "hyper": hyper, **settings, **given})


def run(task: ModuleTask, trials: Sequence[Trial]) -> Lanes:
    lanes, alone = [each.lane(Rules()) for each in trials], trials[0].round == TIMING
    return task.run(lanes, should_stop=lambda: False, alone=alone)


@pytest.fixture(scope="module")
def task() -> ModuleTask:
    made = ModuleTask(classes("mlp"), 0)
    made.lanes = 8  # measuring takes seconds
    return made


def line(**given: Any) -> TorchTask:
    """Return y = 3 x + 1, fitted by least squares."""
    x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    settings = {
        "model": lambda: nn.Linear(1, 1).double(), "loss": functional.mse_loss,
        "train": (x, 3 * x + 1),
    }  # fmt: skip
    return TorchTask(**{**settings, **given})
