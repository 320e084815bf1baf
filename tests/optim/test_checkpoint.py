"""A training goes on from a checkpoint as if it had never stopped, whoever wrote it."""

import io
from functools import cache
from typing import Any

import pytest
import torch
from torch.optim import Optimizer

from optim_pairs import (
    Build,
    Configuration,
    assert_same,
    every_configuration,
    every_precision,
    every_whole,
    follow,
    members,
    new_parameters,
    scalars_in,
    without_bfloat16,
)

WAYS = {"torch to thalweg": "theirs ours", "thalweg to torch": "ours theirs", "ours": "ours ours"}


def saved_and_loaded(value: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@every_configuration
@every_precision
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_training_goes_on_from_a_checkpoint(
    configuration: Configuration, way: str, dtype: torch.dtype, tolerance: float
) -> None:
    makers: list[Build] = [getattr(configuration, one) for one in way.split()]
    with scalars_in(dtype):
        first = makers[0](new_parameters(dtype, shapes=configuration.shapes))
        follow(first, 1, 7)
        kept = saved_and_loaded({"parameters": members(first), "all": first.state_dict()})
        second = makers[1](kept["parameters"])
        second.load_state_dict(kept["all"])
        follow(second, 8, 27)
    assert_same(second, never_stopped(configuration, dtype), tolerance)


@every_whole
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_those_of_whole_tensors_go_on_likewise(configuration: Configuration, way: str) -> None:
    with without_bfloat16():
        test_a_training_goes_on_from_a_checkpoint(configuration, way, torch.float64, 1e-12)


@cache
def never_stopped(configuration: Configuration, dtype: torch.dtype) -> Optimizer:
    with scalars_in(dtype):
        optimizer = configuration.theirs(new_parameters(dtype, shapes=configuration.shapes))
        follow(optimizer, 1, 27)
    return optimizer
