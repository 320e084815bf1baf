"""What check finds of gradients: wrong ones, and such as are not finite."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from examined import causes, classes, loader, net, report
from torch import Tensor, nn
from torch.nn import functional

import thalweg
from thalweg.doctor.checks.gradients import gradient_not_finite
from thalweg.doctor.subject import Subject


class Cube(torch.autograd.Function):
    factor = 3.0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return Cube.factor * x**2 * upstream[0]


class Rounded(torch.autograd.Function):
    """A straight-through estimator: its gradient is meant to be another."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return (4 * x).round() / 4

    @staticmethod
    def backward(_: Any, *upstream: Tensor) -> Tensor:
        return upstream[0]


def test_a_wrong_backward_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = classes()

    class Own(nn.Module):
        def __init__(self, function: type[torch.autograd.Function]) -> None:
            super().__init__()
            self.body, self.function = net(), function

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.function.apply(self.body(x))
            return out

    for function, factor, expected in (
        (Cube, 3.0, []),
        (Cube, 2.0, ["gradient_wrong"]),
        (Rounded, 3.0, []),
    ):
        monkeypatch.setattr(Cube, "factor", factor)
        assert causes(report(Own(function), nn.CrossEntropyLoss(), x, y)) == expected
    assert "apply" not in vars(Cube)


class Root(nn.Module):
    """A root of what is 0 for some examples, behind a factor that no mask hides."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * (x > 0)).square().sqrt()


class HiddenLogarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        above = x * (x > 0)
        return torch.where(above > 0, torch.log(above), torch.zeros_like(above))


class Angle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.asin(x / x.abs())


class SafeRoot(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return ((x * (x > 0)).square() + 1e-8).sqrt()


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        (Root(), ["nan_gradient_of_sqrt_at_zero"]),
        (HiddenLogarithm(), ["gradient_not_finite"]),
        (Angle(), ["nan_gradient_of_sqrt_at_zero"]),
        (SafeRoot(), []),
    ],
)
def test_a_gradient_that_is_not_finite_is_told_by_its_operation(
    last: nn.Module, cause: list[str]
) -> None:
    x, y = classes()
    found = report(net(3, last, nn.Linear(3, 3)), nn.CrossEntropyLoss(), x, y)
    assert causes(found) == cause


class Spread(nn.Module):
    """A mean and a variance, which some activation keeps above 0."""

    def __init__(self, above: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
        self.above = above

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.body(x).unbind(1)
        return torch.stack([mean, self.above(variance)], 1)


def likelihood(out: Tensor, y: Tensor) -> Tensor:
    return (out[:, 1].log() + (out[:, 0] - y) ** 2 / out[:, 1]).mean()


@pytest.mark.parametrize(
    ("above", "expected"), [(nn.ReLU(), ["relu_output_into_log"]), (nn.Softplus(), [])]
)
def test_a_logarithm_of_one_rectified_column_is_named(
    above: nn.Module, expected: list[str]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    model = Spread(above)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    found = thalweg.check(model, optimizer, likelihood, loader(x, x[:, 0] - x[:, 1]))
    assert causes(found) == expected


def test_as_many_places_as_letters_are_not_taken_for_them() -> None:
    letters = torch.randint(0, 6, (64, 7), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)

    class Next(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(6, 8)
            self.cell = nn.GRU(8, 8, batch_first=True)
            self.out = nn.Linear(8, 6)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.out(self.cell(self.embed(x))[0])
            return out

    def each(output: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(output.flatten(0, 1), y.flatten())

    model = Next()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = thalweg.check(model, optimizer, each, loader(letters[:, :-1], letters[:, 1:]))
    assert "target_leaks_into_input" not in causes(found)


def test_a_root_of_zero_is_named() -> None:
    x, y = classes()
    x[3, 3:] = x[3, :3]

    class Distance(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(3, 4)

        def forward(self, both: Tensor) -> Tensor:
            return torch.sqrt((self.body(both[:, :3]) - self.body(both[:, 3:])).pow(2).sum(1))

    assert causes(report(Distance(), nn.MSELoss(), x, y.float())) == [
        "nan_gradient_of_sqrt_at_zero"
    ]


class Half(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = net().half()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x.half())
        return out.float()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.sqrt, "sqrt"),
        (torch.log, "log"),
        (lambda out: out.exp() ** 0.5, None),
        (lambda out: (1e38 * out * 1e38).log(), None),  # overflow is another fault
        (lambda out: (out - out) / (out - out), None),  # and so is a division by 0
    ],
    ids=["root", "logarithm", "defined", "overflow", "division"],
)
def test_a_function_that_has_no_value_for_a_number_is_named(
    function: Callable[[Tensor], Tensor], name: str | None
) -> None:
    torch.manual_seed(0)
    model, batch = nn.Linear(3, 1), (torch.randn(16, 3), torch.randn(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, lambda out, y: (function(out) - y).mean(), [batch])
    found = gradient_not_finite(subject)
    assert (found and found.evidence["function"]) == name


@pytest.mark.parametrize(("eps", "expected"), [(1e-8, ["loss_not_finite"]), (1e-4, [])])
def test_a_step_that_makes_weights_of_half_precision_nan_is_named(
    eps: float, expected: list[str]
) -> None:
    x, y = classes()
    x[:, 2] = 0.0  # no gradient: 0 over the root of 0 and eps
    model = Half()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=eps)
    found = thalweg.check(model, optimizer, nn.CrossEntropyLoss(), loader(x, y))
    assert causes(found) == [finding.cause for finding in found] == expected


@pytest.mark.parametrize(
    ("least", "first", "expected"),
    [(0.0, 1.0, ["loss_not_finite"]), (0.0, 0.0, ["loss_not_finite"]), (1.0, 1.0, [])],
    ids=["last", "first and last", "bounded"],
)
def test_a_batch_whose_mask_is_empty_is_named(
    least: float, first: float, expected: list[str]
) -> None:
    x, _ = classes(512)
    y = torch.stack([x.sum(1), torch.ones(len(x))], 1)
    y[480:, 1] = 0.0  # no batch of the first eight
    y[:64, 1] *= first

    def masked(out: Tensor, y: Tensor) -> Tensor:
        errors = (out[:, 0] - y[:, 0]) ** 2 * y[:, 1]
        return errors.sum() / y[:, 1].sum().clamp(min=least)

    torch.manual_seed(0)
    model = nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = list(zip(x.split(32), y.split(32), strict=True))
    found = thalweg.check(model, optimizer, masked, data)
    assert causes(found) == expected
    if expected:
        told = found.findings[0]
        assert (told.onset, told.evidence["function"]) == (15 * first, "div")
        assert "function to give NaN is div. It divides by 0, as a mean over an" in told.sentence
