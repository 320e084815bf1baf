"""Epochs that workers tell of."""

import pickle

import pytest

from thalweg.racing import ticks
from thalweg.racing.ticks import Ticker, Ticks


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "_OFTEN", 0.0)


@pytest.mark.usefixtures("_at_once")
def test_epochs_of_several_pieces_are_added_up_and_read_once() -> None:
    with Ticks() as told:
        first, second = told.ticker(1), pickle.loads(pickle.dumps(told.ticker(2)))  # noqa: S301 - our own
        for ticker, epochs in ((first, 3), (second, 5), (first, 4)):
            ticker(epochs)
        assert told.read() == {1: 7, 2: 5}
        assert told.read() == {}
        second(2**40)
        assert told.read() == {2: 2**40}


def test_what_is_told_too_often_is_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.1, 0.15, 0.2, 0.21])
    monkeypatch.setattr(ticks.time, "monotonic", lambda: next(clock))
    with Ticks() as told:
        ticker = told.ticker(1)
        seen = []
        for _ in range(4):
            ticker(1)
            seen.append(dict(told.read()))
    assert seen == [{}, {}, {1: 3}, {}]


@pytest.mark.usefixtures("_at_once")
def test_a_worker_without_the_file_tells_nothing(tmp_path: object) -> None:
    Ticker(f"{tmp_path}/gone", 1)(3)
