"""Gradients that are too large, not finite, scaled, or against the step."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from optim_pairs import (
    CONFIGURATIONS,
    Build,
    Configuration,
    assert_close,
    assert_same,
    every_class,
    every_configuration,
    follow,
    idle,
    members,
    new_parameters,
    scalars_in,
    set_gradients,
)
from thalweg import optim


@every_class
@pytest.mark.parametrize("bound", [0.5, 1e6], ids=["below", "above"])
def test_clip_norm_is_torchs_clipping_before_the_step(
    configuration: Configuration, bound: float
) -> None:
    with scalars_in(torch.float64):
        ours = configuration.ours(new_parameters(), clip_norm=bound)
        theirs = configuration.theirs(new_parameters())
        for t in range(1, 11):
            set_gradients(members(ours), t)
            set_gradients(members(theirs), t)
            before = [p.grad.clone() for p in members(ours) if p.grad is not None]
            ours.step()
            clip_grad_norm_(members(theirs), bound)
            theirs.step()
            after = [p.grad for p in members(ours) if p.grad is not None]
            assert all(map(torch.equal, after, before))
    assert_same(ours, theirs, 1e-11)


@pytest.mark.parametrize("loss_scale", [None, 2.0**16])
def test_the_norm_of_float16_is_bounded_where_float16_could_not_hold_it(
    loss_scale: float | None,
) -> None:
    """Against the norm in float64."""
    params: list[Any] = [torch.zeros(n, dtype=torch.float16) for n in (100_000, 7)]
    optimizer = optim.SGD(params, lr=64.0, clip_norm=1.0)
    for p, value in zip(params, (0.5, 0.25), strict=True):
        p.grad = torch.full_like(p, value * (loss_scale or 1000))
    whole = torch.cat([p.grad for p in params]).double()
    if loss_scale is not None:
        optimizer.grad_scale = torch.tensor(loss_scale)  # type: ignore[attr-defined]
    optimizer.step()
    wanted = -64 * whole / whole.norm()
    torch.testing.assert_close(torch.cat(params).double(), wanted, rtol=2**-10, atol=0.0)


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
@pytest.mark.parametrize("bound", [None, 0.5])
def test_a_gradient_that_is_not_finite_propagates_as_in_torch(
    bad: float, bound: float | None
) -> None:
    ours = optim.Adam(new_parameters(), clip_norm=bound)
    theirs = torch.optim.Adam(new_parameters())
    for optimizer in (ours, theirs):
        set_gradients(members(optimizer), 1)
        spoil(members(optimizer)[1], bad)
    ours.step()
    if bound is not None:
        clip_grad_norm_(members(theirs), bound)
    theirs.step()
    assert_same(ours, theirs, 1e-9)


@pytest.mark.parametrize(
    "configuration", [c for c in CONFIGURATIONS if c.name != "ASGD"], ids=lambda c: c.id
)
def test_a_parameter_that_is_infinite_is_not_decayed_to_nan(configuration: Configuration) -> None:
    """As in a mask that lies among the parameters: torch leaves a decay of 0 out.

    ASGD's average of it is NaN: inf - inf; torch copies x while the weight is 1.
    """
    decay = {} if configuration.name == "Rprop" else {"weight_decay": 0.0}
    with scalars_in(torch.float64):
        ended = []
        for build in (configuration.ours, configuration.theirs):
            params = new_parameters()
            with torch.no_grad():
                params[1][::2] = -torch.inf
            optimizer = build(params, **decay)
            for t in range(1, 4):
                set_gradients(params, t)
                if params[1].grad is not None:
                    params[1].grad[::2] = 0.0
                optimizer.step()
            ended.append(optimizer)
    assert_same(*ended, 1e-11)


def spoil(p: Tensor, bad: float) -> None:
    assert p.grad is not None
    p.grad[3, 2] = bad


@every_class
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_a_gradient_that_is_not_finite_may_skip_the_step(
    configuration: Configuration, bad: float
) -> None:
    optimizer = configuration.ours(new_parameters(), nonfinite="skip")
    follow(optimizer, 1, 3)
    before = deepcopy(optimizer)
    set_gradients(members(optimizer), 5)
    spoil(members(optimizer)[1], bad)
    optimizer.step()
    assert_same(optimizer, before, 0.0)
    follow(optimizer, 6, 7)
    follow(before, 6, 7)
    assert_same(optimizer, before, 0.0)


@every_configuration
def test_a_step_skipped_before_the_first_leaves_nothing(configuration: Configuration) -> None:
    with scalars_in(torch.float64):
        ours = configuration.ours(new_parameters(), nonfinite="skip")
        theirs = configuration.theirs(new_parameters())
        set_gradients(members(ours), 1)
        spoil(members(ours)[1], torch.nan)
        ours.step()
        assert_same(ours, theirs, 0.0)
        follow(ours, 2, 6)
        follow(theirs, 2, 6)
    assert_same(ours, theirs, 1e-11)


@every_class
@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
def test_a_gradient_that_is_not_finite_may_raise(configuration: Configuration, named: bool) -> None:  # noqa: FBT001
    params: Any = new_parameters()
    groups = [params[:1], params[1:]]
    if named:
        groups = [[("bias", p) for p in groups[0]], [(f"w{i}", p) for i, p in enumerate(groups[1])]]
    optimizer = configuration.ours([{"params": group} for group in groups], nonfinite="raise")
    follow(optimizer, 1, 3)
    before = deepcopy(optimizer)
    set_gradients(params, 5)
    spoil(params[1], torch.nan)
    name = "w0" if named else "parameter 0 of group 1"
    with pytest.raises(FloatingPointError, match=f"the gradient of {name} is not finite"):
        optimizer.step()
    assert_same(optimizer, before, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_norm": 0.0}, "clip_norm must be > 0 or None, got 0.0"),
        ({"clip_norm": -1.0}, "clip_norm must be > 0 or None, got -1.0"),
        ({"clip_norm": float("nan")}, "clip_norm must be > 0 or None, got nan"),
        (
            {"nonfinite": "ignore"},
            "nonfinite must be one of propagate, skip, raise, got 'ignore'",
        ),
    ],
)
@every_class
def test_options_outside_their_range_are_refused(
    configuration: Configuration, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        configuration.ours(new_parameters(), **options)


def scaled_training(build: Build, *, unscale: bool, clip: float | None, **more: Any) -> Any:
    """Train under a loss scale that overflows in step 4; return optimizer and scaler."""
    params = new_parameters(torch.float32)
    optimizer: Any = build(params, **more)
    optimizer._step_supports_amp_scaling = not unscale  # as torch sets it where fused=True
    scaler = GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    for t in range(1, 11):
        optimizer.zero_grad()
        loss = torch.stack([(p.sin() * (i + t)).sum() for i, p in enumerate(params)]).sum()
        scaler.scale(loss * (torch.inf if t == 4 else 1.0)).backward()
        if unscale:
            scaler.unscale_(optimizer)
        if clip is not None:
            clip_grad_norm_(params, clip)
        scaler.step(optimizer)
        scaler.update()
    return optimizer, scaler


@every_class
@pytest.mark.parametrize("unscale", [False, True], ids=["in the step", "before it"])
@pytest.mark.parametrize("clip", [None, 2.0], ids=["whole", "clipped"])
def test_a_loss_scale_is_taken_off_and_an_overflow_skipped(
    configuration: Configuration,
    unscale: bool,  # noqa: FBT001
    clip: float | None,
) -> None:
    ours, scaler = scaled_training(configuration.ours, unscale=unscale, clip=None, clip_norm=clip)
    theirs, like = scaled_training(configuration.theirs, unscale=True, clip=clip)
    assert_same(ours, theirs, 2e-5)
    assert scaler.state_dict() == like.state_dict()
    assert scaler.get_scale() == 1024.0 * 2 / 2 * 2 * 2  # doubled after 3, 7, 10; halved after 4


@every_class
def test_where_there_is_no_kernel_torchs_own_step_is_taken(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a device that no kernel knows; under a loss scale, of which torch's knows nothing."""
    monkeypatch.setattr("thalweg.optim.stepper.served", lambda _: False)
    ours, scaler = scaled_training(configuration.ours, unscale=False, clip=None)
    theirs, like = scaled_training(configuration.theirs, unscale=True, clip=None)
    assert_same(ours, theirs, 0.0)
    assert scaler.state_dict() == like.state_dict()
    guarded, _ = scaled_training(configuration.ours, unscale=False, clip=None, clip_norm=2.0)
    theirs, _ = scaled_training(configuration.theirs, unscale=True, clip=2.0)
    assert_same(guarded, theirs, 2e-5)  # by the rule: torch's has no such option


@every_class
def test_cautious_steps_never_climb(configuration: Configuration) -> None:
    """Liang et al. 2024, Algorithm 1 without rescaling, from torch's own step."""
    ours = configuration.ours(new_parameters(), cautious=True)
    stayed = moved = 0
    with scalars_in(torch.float64):
        for t in range(1, 9):
            theirs = configuration.theirs([p.detach().clone() for p in members(ours)])
            theirs.load_state_dict(deepcopy(ours.state_dict()))
            for optimizer in (ours, theirs):
                set_gradients(members(optimizer), t)
            bases = [shrunk(theirs, p) for p in members(theirs)]
            slopes = [slope(theirs, p) for p in members(theirs)]
            ours.step()
            theirs.step()
            for p, like, base, g in zip(members(ours), members(theirs), bases, slopes, strict=True):
                downhill = (base - like) * g > 0
                wanted = torch.where(downhill, like, base) if like.grad is not None else base
                assert_close(p.detach(), wanted, 1e-12)
                stayed += int((~downhill & (like != base)).sum())
                moved += int(downhill.sum())
                for key, value in theirs.state.get(like, {}).items():
                    if key not in idle(theirs):
                        assert_close(ours.state[p][key], value, 1e-12)
    assert moved > 100
    assert stayed > 0 or not configuration.options.get("betas", (0,))[0]  # averages overshoot


def slope(optimizer: Optimizer, p: Tensor) -> Tensor:
    """Return the gradient that the rule sees: turned and with coupled decay."""
    group = optimizer.param_groups[0]
    if p.grad is None:
        return torch.zeros_like(p)
    g = -p.grad if group["maximize"] else p.grad
    if group.get("decoupled_weight_decay"):
        return g
    return g + group.get("weight_decay", 0) * p.detach()


def shrunk(optimizer: Optimizer, p: Tensor) -> Tensor:
    """Return the parameter after decoupled decay."""
    group = optimizer.param_groups[0]
    if p.grad is None or not group.get("decoupled_weight_decay"):
        return p.detach().clone()
    return p.detach() * (1 - group["lr"] * group["weight_decay"])


def test_a_scaler_may_step_where_nothing_has_a_gradient() -> None:
    p = torch.ones(2, requires_grad=True)
    optimizer, scaler = optim.SGD([p], lr=1.0, fused=True), GradScaler("cpu")
    scaler.scale(torch.ones(()))
    scaler.step(optimizer)
    assert p.tolist() == [1.0, 1.0]
