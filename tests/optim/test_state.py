"""The first moment where its beta is 0: not kept from the start, kept on once it was there."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from optim_pairs import assert_close, assert_same, follow, members, new_parameters
from thalweg import optim

NAMES = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


def has_moment(optimizer: Optimizer) -> set[bool]:
    return {"exp_avg" in optimizer.state[p] for p in members(optimizer)}


@pytest.mark.parametrize("name", NAMES)
def test_a_cycle_of_momentum_that_touches_0_is_torchs(name: str) -> None:
    ended, seen = [], []
    for module in (optim, torch.optim):
        optimizer = getattr(module, name)(new_parameters(), lr=0.01)
        scheduler = OneCycleLR(optimizer, 0.02, total_steps=12, pct_start=0.25, base_momentum=0.0)
        for t in range(1, 12):
            follow(optimizer, t, t)
            scheduler.step()
            seen.append(optimizer.param_groups[0]["betas"][0])
        ended.append(optimizer)
    assert 0.0 in seen[:-1]
    assert_same(*ended, 1e-6)


@pytest.mark.parametrize("writer", [optim.Adam, torch.optim.Adam])
def test_a_moment_from_a_checkpoint_is_kept_on(writer: Any) -> None:
    """It is the last gradient where torch wrote it, or where ours had it before."""
    first = writer(new_parameters(), lr=0.02, betas=(0.9, 0.99))
    follow(first, 1, 3)
    first.param_groups[0]["betas"] = (0.0, 0.99)
    follow(first, 4, 6)
    ended = []
    for module in (optim, torch.optim):
        second = module.Adam([p.detach().clone().requires_grad_() for p in members(first)])
        second.load_state_dict(deepcopy(first.state_dict()))
        follow(second, 7, 9)
        second.param_groups[0]["betas"] = (0.9, 0.99)
        follow(second, 10, 14)
        ended.append(second)
    assert_same(*ended, 1e-6)


@pytest.mark.parametrize("way", ["new", "resumed", "copied"])
def test_no_moment_is_kept_where_beta_is_0_from_the_start(way: str) -> None:
    optimizer = optim.Adam(new_parameters(), lr=0.02, betas=(0.0, 0.99))
    follow(optimizer, 1, 6)
    if way == "resumed":
        saved = optimizer.state_dict()
        assert all(not state["exp_avg"].any() for state in saved["state"].values())
        optimizer.load_state_dict(saved)
    if way == "copied":
        optimizer = deepcopy(optimizer)
    follow(optimizer, 7, 9)
    assert has_moment(optimizer) == {False}


def test_a_moment_that_was_not_kept_begins_at_0_with_a_warning() -> None:
    ours, theirs = (
        module.Adam(new_parameters(), lr=0.02, betas=(0.0, 0.99)) for module in (optim, torch.optim)
    )
    for optimizer in (ours, theirs):
        follow(optimizer, 1, 6)
        optimizer.param_groups[0]["betas"] = (0.9, 0.99)
    for state in theirs.state.values():
        state["exp_avg"].zero_()
    with pytest.warns(UserWarning, match=r"betas\[0\] was 0 from the start, so that no first"):
        follow(ours, 7, 12)
    follow(theirs, 7, 12)
    assert_same(ours, theirs, 1e-6)


def test_lion_keeps_the_moment_that_its_other_beta_decays() -> None:
    optimizer = optim.Lion(new_parameters(), lr=0.02, betas=(0.0, 0.5))
    p = members(optimizer)[0]
    for expected in (0.5, 0.75):
        p.grad = torch.ones_like(p)
        optimizer.step()
        assert_close(optimizer.state[p]["exp_avg"], torch.full_like(p, expected), 1e-12)
