"""How far a race is."""

from dataclasses import replace

import numpy as np
import pytest

from thalweg.racing import run, ticks
from thalweg.racing.meter import Meter
from thalweg.racing.protocol import Protocol
from thalweg.racing.ticks import Ticks
from thalweg.racing.trial import FINAL, Result, Trial

TERMS = Protocol(rules=("sgd", "adam"), epochs=4, trials=8, repeats=2, seeds=2, batch_sizes=(8,))
TRIAL = Trial("adam", "round 1", 0, 0, 8, {"lr": 0.1}, 2)


def _result(trial: Trial, *losses: float) -> Result:
    return Result(trial, 0, np.array(losses), np.array(losses))


def test_epochs_count_while_work_runs_and_its_results_once_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ticks, "_OFTEN", 0.0)
    told: list[run.Progress] = []
    with Ticks() as file:
        meter = Meter(told.append, file, TERMS, 8.0, 20.0)
        ticker = meter.begin(1, 6, 1.5)  # three trainings of two epochs of four
        meter.look()
        assert told == []  # nothing new
        ticker(2)
        meter.look()
        assert (told[-1].done, told[-1].total, told[-1].doing) == (0.5, 20.0, "first trainings")
        assert told[-1].seconds_left is not None
        ticker(9)  # some of them by a worker that is lost
        meter.look()
        assert told[-1].done == 1.5
        meter.end(1)
        meter.count([_result(TRIAL, 3.0, 1.0, 2.0), _result(TRIAL, 3.0, 1.5, 1.0)], new=True)
        meter.show("adam: trials 1-2")
        assert (told[-1].done, told[-1].doing, told[-1].best) == (1.0, "adam: trials 1-2", "adam 1")
        assert told[-1].standings["adam"].curve == (3.0, 1.5, 1.0)
        assert told[-1].standings["adam"].trainings == 2
        ticker(1)  # too late
        meter.look()
        assert told[-1].done == 1.0


def test_finals_and_what_was_kept_count_as_said() -> None:
    told: list[run.Progress] = []
    with Ticks() as file:
        meter = Meter(told.append, file, TERMS, 8.0, 20.0)
        meter.count([_result(replace(TRIAL, round=FINAL), 1.0, np.inf)], new=False)
        meter.show()
        assert (told[-1].done, told[-1].seconds_left) == (8.0, None)
        assert told[-1].standings["adam"].loss is None
        meter.end(1, 2.0)
        meter.show()
        assert told[-1].done == 10.0
        assert told[-1].seconds_left is not None
