"""The schedules of a race."""

from typing import Any

import numpy as np
import pytest
import torch

from stack.nets import one_by_one
from tasks.conftest import run, trial
from thalweg.tasks import schedule
from thalweg.tasks.modules import ModuleTask

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_cosine_schedule_is_the_races(task: ModuleTask) -> None:
    lanes = run(task, [trial(hyper={"lr": 0.5}, schedule="cosine"), trial(hyper={"lr": 0.5})])
    factors = schedule.factor("cosine", 3 * 4)

    class Cosine(torch.optim.SGD):
        taken = 0

        def step(self, closure: Any = None) -> Any:
            self.param_groups[0]["lr"] = 0.5 * factors(self.taken)
            self.taken += 1
            return super().step(closure)

    expected = one_by_one(task.description, Cosine, epochs=3)
    np.testing.assert_allclose(lanes.validation_loss[:, 0], expected[2], rtol=1e-10)
    assert lanes.validation_loss[-1, 0] != lanes.validation_loss[-1, 1]
