"""A training goes on from a checkpoint as if it had never stopped, whoever wrote it."""

import io
from copy import deepcopy
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
from thalweg import optim

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


def descent(rule: str) -> Build:
    return lambda params: optim.Descent(params, rule, report=None)


def sgd(params: Any) -> Optimizer:
    return torch.optim.SGD(params, momentum=0.5)


# Whose checkpoint, into what, and how the error calls both.
STRANGERS: list[tuple[Any, Any, str, str]] = [
    (descent("adam"), descent("lion"), "Descent with rule 'adam'", "Descent with rule 'lion'"),
    (descent("momentum"), descent("nesterov"), "rule 'momentum'", "Descent with rule 'nesterov'"),
    (
        descent("adamw"),
        descent("averaged(adamw)"),
        "rule 'adamw'",
        "Descent with rule 'averaged(adamw)'",
    ),
    (descent("adam"), optim.Adam, "Descent with rule 'adam'", "Adam"),
    (descent("yogi"), optim.Yogi, "Descent with rule 'yogi'", "Yogi"),
    (optim.Yogi, optim.AdaBelief, "Yogi", "AdaBelief"),
    (optim.Lion, optim.SGD, "Lion", "SGD"),
    (torch.optim.Adam, optim.Yogi, "Adam or AdamW", "Yogi"),
    (torch.optim.Adam, optim.RAdam, "Adam or AdamW", "RAdam"),
    (torch.optim.RAdam, optim.AdamW, "RAdam", "AdamW"),
    (optim.Adam, optim.Lion, "Adam or AdamW, which has the state 'exp_avg_sq'", "Lion"),
    (optim.RMSprop, optim.SGD, "RMSprop, which has the state 'square_avg'", "SGD"),
    (sgd, descent("sgd"), "SGD, which has the state 'momentum_buffer'", "Descent with rule 'sgd'"),
    (
        torch.optim.AdamW,
        descent("adamw"),
        "which has no option 'beta1'",
        "Descent with rule 'adamw'",
    ),
]


@pytest.mark.parametrize(("saved", "loading", "origin", "own"), STRANGERS)
def test_a_checkpoint_of_another_optimizer_is_refused(
    saved: Build, loading: Build, origin: str, own: str
) -> None:
    theirs, optimizer = saved(new_parameters()), loading(new_parameters())
    follow(theirs, 1, 2)
    follow(optimizer, 1, 2)
    before = deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match="the checkpoint is of") as caught:
        optimizer.load_state_dict(theirs.state_dict())
    said = str(caught.value)
    assert origin in said.partition(";")[0]
    assert f"; this optimizer is {own}: load it into the optimizer that wrote it" in said
    assert str(optimizer.state_dict()) == str(before)


def without_rule(optimizer: Optimizer) -> dict[str, Any]:
    """Return a checkpoint as it was written before groups named their rule."""
    kept = deepcopy(optimizer.state_dict())
    for group in kept["param_groups"]:
        del group["rule"]
    return kept


def test_a_checkpoint_that_names_no_rule_is_known_by_its_state() -> None:
    first, second = descent("adam")(new_parameters()), descent("adam")(new_parameters())
    follow(first, 1, 2)
    second.load_state_dict(without_rule(first))
    assert str(second.state_dict()) == str(first.state_dict())
    with pytest.raises(ValueError, match="of another optimizer, which has the state 'v'; this"):
        descent("lion")(new_parameters()).load_state_dict(without_rule(first))


def test_a_subclass_may_keep_a_state_of_its_own() -> None:
    class Watched(optim.Adam):
        pass

    first, second = Watched(new_parameters()), Watched(new_parameters())
    follow(first, 1, 2)
    for p in members(first):
        first.state[p]["largest"] = p.detach().abs()
    second.load_state_dict(first.state_dict())
    assert all("largest" in second.state[p] for p in members(second))
