"""What the classes do beside torch's: decay, roundings, formats of the state, rates, release."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from optim_pairs import (
    ONE_EACH,
    Configuration,
    assert_close,
    assert_same,
    every_kind,
    idle,
    members,
    new_parameters,
    set_gradients,
    step_in_float32,
)
from thalweg import optim


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Yogi", "Lion"])
def test_independent_decay_does_not_know_the_rate(name: str) -> None:
    """Steps without decay, from points that shrank by 1 - weight_decay first."""
    make = getattr(optim, name)
    ours = make(new_parameters(), lr=0.02, weight_decay=0.1, independent_decay=True)
    plain = make(new_parameters(), lr=0.02, weight_decay=0.0)
    for t in range(1, 8):
        for optimizer in (ours, plain):
            set_gradients(members(optimizer), t)
            optimizer.param_groups[0]["lr"] = 0.02 / t
        ours.step()
        with torch.no_grad():
            for p in members(plain):
                p.mul_(1.0 if p.grad is None else 0.9)
        plain.step()
        for p, like in zip(members(ours), members(plain), strict=True):
            assert_close(p.detach(), like.detach(), 1e-12)


@pytest.mark.parametrize(
    "configuration",
    [c for c in ONE_EACH if c.name in {"SGD", "NAdam", "Rprop"}],
    ids=lambda c: c.name,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_are_zeroed_in_the_step(configuration: Configuration, dtype: torch.dtype) -> None:
    ours = configuration.ours(
        [*new_parameters(dtype), whole(dtype)[:, ::2].requires_grad_()], zero_gradients=True
    )
    plain = configuration.ours([*new_parameters(dtype), whole(dtype)[:, ::2].requires_grad_()])
    for t in range(1, 7):
        for optimizer in (ours, plain):
            set_gradients(members(optimizer), t)
            first = members(optimizer)[1]
            if first.grad is not None and t > 3:  # of another memory order
                first.grad = first.grad.T.contiguous().T
            optimizer.step()
        for p, like in zip(members(ours), members(plain), strict=True):
            assert (p.grad is None) == (like.grad is None)
            assert p.grad is None or not p.grad.any()
    assert_same(ours, plain, 0.0)


def whole(dtype: torch.dtype) -> Tensor:
    return torch.linspace(1.0, 2.0, 40).reshape(4, 10).to(dtype)


@every_kind
def test_state_in_bfloat16_is_that_of_float32_rounded(configuration: Configuration) -> None:
    lr = 0.0625  # where Rprop starts: a number of bfloat16
    ours = configuration.ours(new_parameters(torch.float32), lr=lr, state_dtype=torch.bfloat16)
    for t in range(1, 7):
        theirs = configuration.theirs([p.detach().clone() for p in members(ours)], lr=lr)
        theirs.load_state_dict(deepcopy(ours.state_dict()))  # torch casts it to float32
        for optimizer in (ours, theirs):
            set_gradients(members(optimizer), t)
            optimizer.step()
        for p, like in zip(members(ours), members(theirs), strict=True):
            assert_close(p.detach(), like, 1e-5)
            for key, value in theirs.state.get(like, {}).items():
                if key in idle(theirs) or key in {"step", "mu_product", "eta", "mu"}:
                    continue
                kept = ours.state[p][key]
                assert kept.dtype is torch.bfloat16
                torch.testing.assert_close(kept.float(), value, rtol=2**-8, atol=1e-6)


@every_kind
def test_state_in_float32_keeps_what_bfloat16_parameters_would_lose(
    configuration: Configuration,
) -> None:
    options = {} if configuration.name == "Rprop" else {"weight_decay": 0.0}
    if configuration.name == "Adagrad":
        options["initial_accumulator_value"] = 0.125
    ours = configuration.ours(new_parameters(torch.bfloat16), state_dtype=torch.float32, **options)
    theirs = configuration.theirs(new_parameters(torch.float32), **options)
    for t in range(1, 7):
        step_in_float32(ours, theirs, t)
    shared = {"exp_avg", "exp_avg_sq", "sum", "square_avg", "momentum_buffer", "step_size"}
    for p, like in zip(members(ours), members(theirs), strict=True):
        state = ours.state.get(p, {})
        for key in shared & set(state):
            assert state[key].dtype is torch.float32
            assert_close(state[key], theirs.state[like][key], 1e-5)


def small_steps(rounding: str, steps: int) -> Tensor:
    """Take steps of 1e-3 down from 1, where bfloat16 has no number between 1 and 1 - 2**-8."""
    p = torch.ones(20_000, dtype=torch.bfloat16, requires_grad=True)
    optimizer = optim.SGD([p], lr=1e-3, rounding=rounding)
    for _ in range(steps):
        p.grad = torch.ones_like(p)
        optimizer.step()
    return p.detach().float()


def test_small_updates_are_lost_unless_rounding_keeps_them() -> None:
    torch.manual_seed(0)
    assert (small_steps("nearest", 100) == 1.0).all()
    assert (small_steps("kahan", 100) - 0.9).abs().max() <= 2**-9
    random = small_steps("stochastic", 100)
    deviation = (100 * 1e-3 * 2**-8) ** 0.5  # of a walk whose steps are 2**-8 or nothing
    assert random.std() == pytest.approx(deviation, rel=0.2)
    assert random.mean() == pytest.approx(0.9, abs=5 * deviation / 20_000**0.5)


def test_stochastic_rounding_goes_to_a_neighbour_and_follows_torchs_seed() -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(small_steps("stochastic", 1))
    assert set(drawn[0].unique().tolist()) == {1.0, 1 - 2**-8}
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@every_kind
def test_kahan_follows_float32(configuration: Configuration) -> None:
    """Without it the distance would be ten times as large."""
    ours = configuration.ours(
        new_parameters(torch.bfloat16), rounding="kahan", state_dtype=torch.float32
    )
    theirs = configuration.theirs([p.detach().float() for p in members(ours)])
    for t in range(1, 41):
        step_in_float32(ours, theirs, t)
    for p, like in zip(members(ours), members(theirs), strict=True):
        kept = p.detach().float() + ours.state[p]["lost"].float()
        torch.testing.assert_close(kept, like, rtol=0.0, atol=5e-3)
        assert ((kept - p).abs() <= 2**-8 * kept.abs()).all()  # half a unit in the last place


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounding": "up"}, "rounding must be one of nearest, stochastic, kahan, got 'up'"),
        (
            {"state_dtype": torch.float16},
            "state_dtype must be one of None, torch.float32, torch.bfloat16, got torch.float16",
        ),
        (
            {"product_dtype": torch.float16},
            "product_dtype must be one of None, torch.bfloat16, got torch.float16",
        ),
        ({"clip_norm": "1"}, "clip_norm must be > 0 or None, got '1'"),
        ({"clip_norm": True}, "clip_norm must be > 0 or None, got True"),
        ({"cautious": "no"}, "cautious must be one of False, True, got 'no'"),
        ({"zero_gradients": "false"}, "zero_gradients must be one of False, True, got 'false'"),
        ({"independent_decay": 2}, "independent_decay must be one of False, True, got 2"),
    ],
)
def test_values_outside_their_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        optim.Adam(new_parameters(), **options)


def test_an_option_of_all_groups_is_refused_in_one() -> None:
    message = "clip_norm must be given for all groups together, as a keyword of Adam, got 1.0"
    with pytest.raises(ValueError, match=message):
        optim.Adam([{"params": new_parameters(), "clip_norm": 1.0}])


@pytest.mark.parametrize("kernel", [True, False])
def test_a_cautious_step_does_not_hide_nan(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """As torch's do, what has met NaN shows it: its state is NaN for ever."""
    if not kernel:
        monkeypatch.setattr("thalweg.optim.stepper.served", lambda _: False)
    p = torch.ones(3, requires_grad=True)
    optimizer = optim.Adam([p], lr=0.1, cautious=True)
    like = torch.ones(3, requires_grad=True)
    theirs = torch.optim.Adam([like], lr=0.1)
    for gradient in ([1.0, torch.nan, 1.0], [1.0, 1.0, 1.0]):
        p.grad, like.grad = torch.tensor(gradient), torch.tensor(gradient)
        optimizer.step()
        theirs.step()
        torch.testing.assert_close(p, like, equal_nan=True)
