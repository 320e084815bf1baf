"""What a step reads of the options of a group: their values, replaced or written to, or refused."""

from typing import Any

import numpy as np
import pytest
import torch

from optim_pairs import BOTH, Configuration, Edit, ends, leaf
from thalweg import optim

pytestmark = pytest.mark.usefixtures("_asked")


def replace_an_array_of_the_users_own(group: dict[str, Any], t: int) -> None:
    group["projector"] = np.eye(3) * t


def write_into_the_rate(group: dict[str, Any], t: int) -> None:
    if t == 1:
        group["lr"] = np.array(0.1)
    group["lr"][...] = 0.1 / t


def write_into_the_decay(group: dict[str, Any], t: int) -> None:
    if t == 1:
        group["weight_decay"] = np.array(0.0)
    group["weight_decay"][...] = 0.1 * t


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("SGD", replace_an_array_of_the_users_own),
        ("AdamW", replace_an_array_of_the_users_own),
        ("SGD", write_into_the_rate),
        ("AdamW", write_into_the_decay),
    ],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_an_array_may_be_an_option(name: str, edit: Edit) -> None:
    configuration = Configuration(name, {"lr": 0.2})
    ours, theirs = (ends(library, configuration, 5, edit) for library in BOTH)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("value", ["0.1", b"0.1", [0.1], 1j])
@pytest.mark.parametrize("option", ["lr", "weight_decay", "eps"])
def test_an_option_that_is_no_number_is_refused(option: str, value: Any) -> None:
    p = leaf(torch.ones(1))
    optimizer = optim.AdamW([p])
    p.grad = torch.ones(1)
    optimizer.step()
    optimizer.param_groups[0][option] = value
    with pytest.raises(TypeError, match=f"^{option} must be a number, got "):
        optimizer.step()


@pytest.mark.parametrize("lr", [float("nan"), float("inf")])
def test_a_rate_that_is_not_finite_ends_as_torchs(lr: float) -> None:
    found = []
    for library in BOTH.values():
        p = leaf(torch.ones(3))
        optimizer = library.ASGD([p], lr=0.1)
        optimizer.param_groups[0]["lr"] = lr
        for _ in range(3):
            p.grad = torch.ones(3)
            optimizer.step()
        found.append(p.detach())
    torch.testing.assert_close(*found, equal_nan=True)


def test_what_changes_within_an_option_is_followed() -> None:
    found = []
    for library in BOTH.values():
        p = leaf(torch.ones(3))
        optimizer = library.Adam([p], lr=0.1)
        optimizer.param_groups[0]["betas"] = [0.9, 0.999]
        for _ in range(4):
            p.grad = p.detach().clone()
            optimizer.step()
            optimizer.param_groups[0]["betas"][0] = 0.3
        found.append(p.detach())
    torch.testing.assert_close(*found)
