"""A training as an object: it stops, goes on, and takes its rows from anywhere."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from thalweg import rules
from thalweg.linear.examples import Examples
from thalweg.linear.stream import Stretch, stream
from thalweg.linear.team import Team
from thalweg.linear.trainer import Trainer

LAYOUT: dict[str, Any] = {"loss": "softmax", "intercept": True, "dtype": np.dtype("float32")}
RNG = np.random.default_rng(0)
EXAMPLES = Examples.of(RNG.normal(size=(60, 4)), np.arange(60) % 3, **LAYOUT)


def trainer() -> Trainer:
    adam = rules.get("adam")
    lanes = [adam.defaults | {"lr": rate} for rate in (0.01, 0.1)]
    start = np.zeros((5, 3))
    return Trainer(adam, "softmax", start, lanes, l2=0.01, dtype=LAYOUT["dtype"])


def stretches(sampling: str, lengths: list[int]) -> list[Stretch]:
    return list(stream(60, 10, lengths, sampling, np.random.SeedSequence(0)))


def test_a_training_goes_on_after_it_was_pickled() -> None:
    whole, parted = trainer(), trainer()
    with ThreadPoolExecutor(1) as pool:
        team = Team(pool, 1, whole.count, None)
        for stretch in stretches("shuffle", [1, 2, 1]):
            whole.step(team, EXAMPLES, stretch)
            parted = pickle.loads(pickle.dumps(parted))  # noqa: S301 - our own
            parted.step(team, EXAMPLES, stretch)
        losses = [each.evaluate(team, EXAMPLES) for each in (whole, parted)]
    assert parted.steps == 24
    np.testing.assert_array_equal(parted.parameters, whole.parameters)
    np.testing.assert_array_equal(*losses)
    assert losses[0][1] < np.log(3)  # it learned something


def test_rows_may_come_in_parts_from_anywhere() -> None:
    whole, parted = trainer(), trainer()
    (epoch,) = stretches("sequential", [1])
    with ThreadPoolExecutor(1) as pool:
        team = Team(pool, 1, whole.count, None)
        whole.step(team, EXAMPLES, epoch)
        for first in range(0, 60, 20):
            rows = slice(first, first + 20)
            part = replace(EXAMPLES, X=EXAMPLES.X[rows].copy(), y=EXAMPLES.y[rows].copy())
            parted.step(team, part, Stretch(np.arange(20), np.array([0, 10, 20]), 1))
    np.testing.assert_allclose(parted.parameters, whole.parameters, rtol=1e-6)


def test_no_vector_lies_in_two_lines_of_the_cache() -> None:
    tables = [trainer().w for _ in range(5)]  # kept, so that each has an address of its own
    assert not any(table.ctypes.data % 64 for table in tables)
