from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from thalweg import optim
from thalweg.doctor.sharpness import critical_rate
from thalweg.errors import TaskError

SPECTRUM = torch.tensor([0.5, 1.0, 3.0, 8.0])


class Bowl(nn.Module):
    """Half the sum of curvatures times squares, in coordinates that are turned."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        turn = torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]
        self.register_buffer("turn", turn)
        self.w = nn.Parameter(turn.T @ torch.ones(4))

    def forward(self, scale: Tensor) -> Tensor:
        return (SPECTRUM * (self.turn @ self.w).square()).sum() * scale / 2


def first(out: Tensor, _: Tensor) -> Tensor:
    return out.squeeze()


BATCH = (torch.tensor(1.0), torch.tensor(0.0))


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 2 / 8),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8), 3.6 / 8),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True), 3.6 / 2.6 / 8),
        (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=2.0), 2 / 10),
        (lambda p: torch.optim.SGD(p, lr=0.0), 2 / 8),
        (lambda p: optim.SGD(p, lr=0.1, momentum=0.8), 3.6 / 8),
        (lambda p: optim.Descent(p, "averaged_momentum", lr=0.1, beta=0.8), 3.6 / 0.2 / 8),
    ],
)
def test_of_a_quadratic_the_limit_is_the_known_one(make: Any, limit: float) -> None:
    model = Bowl()
    optimizer = make(model.parameters())
    measured = critical_rate(model, optimizer, first, BATCH, tolerance=1e-6)
    assert measured.limit == pytest.approx(limit, rel=1e-5)
    assert measured.lr == optimizer.param_groups[0]["lr"]
    assert measured.method == "second derivatives"


@pytest.mark.parametrize("share", [0.97, 1.03])
def test_a_training_diverges_above_the_limit_and_not_below(share: float) -> None:
    model = Bowl()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5, nesterov=True)
    limit = critical_rate(model, optimizer, first, BATCH, tolerance=1e-6).limit
    optimizer.param_groups[0]["lr"] = share * limit
    for _ in range(300):
        optimizer.zero_grad()
        loss = model(BATCH[0])
        loss.backward()
        optimizer.step()
    assert (float(loss.detach()) > 1e3) == (share > 1)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def examples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(20, 2, generator=generator, dtype=torch.float64)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> Tensor:
    """Train, and return the gradient at the end."""
    x, y = examples()
    for number in range(steps + 1):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        if number < steps:
            optimizer.step()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def dense(model: nn.Module) -> Tensor:
    """Return the Hessian of the loss, by torch."""
    x, y = examples()
    shapes = {name: p.detach() for name, p in model.named_parameters()}
    flat = torch.cat([p.flatten() for p in shapes.values()])

    def loss(v: Tensor) -> Tensor:
        parts = v.split([p.numel() for p in shapes.values()])
        named = {n: part.view(p.shape) for part, (n, p) in zip(parts, shapes.items(), strict=True)}
        return nn.functional.mse_loss(torch.func.functional_call(model, named, x), y)

    return torch.autograd.functional.hessian(loss, flat)


def moment(model: nn.Module, optimizer: torch.optim.Optimizer, key: str) -> Tensor:
    return torch.cat([optimizer.state[p][key].flatten() for p in model.parameters()])


@pytest.mark.parametrize("library", [torch.optim, optim])
def test_of_adam_it_is_that_of_the_preconditioned_hessian(library: Any) -> None:
    model = net()
    optimizer = library.Adam(model.parameters(), lr=1e-3, betas=(0.8, 0.95), eps=1e-3)
    g = train(model, optimizer, 6)
    v = 0.95 * moment(model, optimizer, "exp_avg_sq") + 0.05 * g**2
    P = (1 - 0.8**7) * ((v / (1 - 0.95**7)).sqrt() + 1e-3)
    largest = np.linalg.eigvals((dense(model) / P[:, None]).numpy()).real.max()
    measured = critical_rate(model, optimizer, nn.functional.mse_loss, examples(), tolerance=1e-6)
    assert measured.sharpness == pytest.approx(largest, rel=1e-5)
    assert measured.limit == pytest.approx((2 + 2 * 0.8) / (1 - 0.8) / largest, rel=1e-5)


def test_of_rmsprop_with_two_rates_each_group_has_its_own() -> None:
    model = net()
    groups = [
        {"params": list(model[0].parameters()), "lr": 1e-3},
        {"params": list(model[2].parameters()), "lr": 3e-3},
    ]
    optimizer = torch.optim.RMSprop(groups, alpha=0.9, eps=1e-4)
    g = train(model, optimizer, 5)
    P = (0.9 * moment(model, optimizer, "square_avg") + 0.1 * g**2).sqrt() + 1e-4
    P[16:] /= 3
    largest = np.linalg.eigvals((dense(model) / P[:, None]).numpy()).real.max()
    measured = critical_rate(model, optimizer, nn.functional.mse_loss, examples(), tolerance=1e-6)
    assert measured.lr == 1e-3
    assert measured.sharpness == pytest.approx(largest, rel=1e-5)
    assert measured.limit == pytest.approx(2 / largest, rel=1e-5)


class Once(torch.autograd.Function):
    """tanh, without a second derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * (1 - y * y)


class OnceTanh(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Once.apply(x)


def test_without_second_derivatives_gradients_are_differenced() -> None:
    model = net()
    plain = critical_rate(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        nn.functional.mse_loss,
        examples(),
        tolerance=1e-6,
    )
    model[1] = OnceTanh()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    measured = critical_rate(model, optimizer, nn.functional.mse_loss, examples(), tolerance=1e-6)
    assert measured.method == "differences of gradients"
    assert measured.sharpness == pytest.approx(plain.sharpness, rel=1e-4)


@pytest.mark.parametrize("once", [False, True])
def test_all_is_left_as_it_was(once: bool) -> None:  # noqa: FBT001
    model = net()
    model.append(nn.Dropout(0.5)).append(nn.BatchNorm1d(2).double())
    if once:
        model[1] = OnceTanh()
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer, 2)
    gradients = [p.grad for p in model.parameters()]
    places = [(p.data_ptr(), p._version) for p in model.parameters()]
    before = [t.clone() for t in [*model.state_dict().values(), *map(torch.clone, gradients)]]  # type: ignore[arg-type]
    state, random = str(optimizer.state_dict()), torch.get_rng_state()
    one, two = (
        critical_rate(model, optimizer, nn.functional.mse_loss, examples()) for _ in range(2)
    )
    assert one == two
    after = [*model.state_dict().values(), *gradients]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))  # type: ignore[arg-type]
    assert [p.grad for p in model.parameters()] == gradients or all(
        p.grad is g for p, g in zip(model.parameters(), gradients, strict=True)
    )
    assert [(p.data_ptr(), p._version) for p in model.parameters()] == places
    assert str(optimizer.state_dict()) == state
    assert torch.equal(torch.get_rng_state(), random)


class OwnStep(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class OwnNames(torch.optim.SGD):
    """Adds nothing to the step."""


def test_the_rule_of_a_subclass_is_known_unless_it_has_a_step_of_its_own() -> None:
    model = Bowl()
    known = critical_rate(model, OwnNames(model.parameters(), lr=0.1), first, BATCH)
    assert known.rule == "sgd"
    with pytest.raises(TaskError, match="the rule of OwnStep is not known"):
        critical_rate(model, OwnStep(model.parameters(), lr=0.1), first, BATCH)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (torch.optim.LBFGS, "the rule of LBFGS is not known"),
        (torch.optim.Rprop, "'rprop' is not linear"),
        (optim.Lion, "'lion' is not linear"),
        (lambda p: optim.Adam(p, cautious=True), "cautious"),
        (lambda _: torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1), "does not depend"),
    ],
)
def test_what_cannot_be_told_is_said(make: Any, sentence: str) -> None:
    model = Bowl()
    with pytest.raises(TaskError, match=sentence):
        critical_rate(model, make(list(model.parameters())), first, BATCH)


def test_groups_of_different_dynamics_are_refused() -> None:
    model = net()
    groups = [
        {"params": list(model[0].parameters()), "momentum": 0.5},
        {"params": list(model[2].parameters())},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    with pytest.raises(TaskError, match="groups differ"):
        critical_rate(model, optimizer, nn.functional.mse_loss, examples())


def test_where_no_direction_curves_up_there_is_no_limit() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = (torch.ones(3, 2), torch.ones(3, 1))
    measured = critical_rate(model, optimizer, lambda out, _: out.mean(), batch)
    assert measured.limit == float("inf")
    assert measured.ratio == 0


def test_a_loss_that_is_not_finite_is_said() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = (torch.full((3, 2), torch.nan), torch.ones(3, 1))
    with pytest.raises(TaskError, match="one finite number"):
        critical_rate(model, optimizer, nn.functional.mse_loss, batch)


def test_full_batches_drive_a_tanh_network_to_the_edge_of_stability() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(40, 4), torch.randn(40, 2)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.7)
    ratios = []
    for number in range(300):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        if number >= 200 and number % 20 == 0:
            measured = critical_rate(model, optimizer, nn.functional.mse_loss, (x, y))
            ratios.append(measured.ratio)
    assert np.median(ratios) == pytest.approx(1, abs=0.1)
