"""Seconds per epoch."""

from typing import Any

import numpy as np
import pytest

from tasks.conftest import run, trial
from thalweg.racing.trial import FINAL, TIMING
from thalweg.stack import train
from thalweg.tasks.modules import ModuleTask

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_training_is_timed_as_its_user_would_run_it(
    task: ModuleTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = []

    def noted(*given: Any, stacked: bool, **settings: Any) -> Any:
        stacks.append(stacked)
        return train(*given, stacked=stacked, **settings)

    monkeypatch.setattr("thalweg.tasks.modules.train", noted)
    timed, other = (run(task, [trial(round=label)]) for label in (TIMING, FINAL))
    assert stacks == [False, True]
    np.testing.assert_allclose(timed.train_loss, other.train_loss, rtol=1e-12)
