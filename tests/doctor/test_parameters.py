"""What the doctor's checks of parameters find, each asked alone."""

import torch
from torch import Tensor, nn

import thalweg
from thalweg.doctor.checks.parameters import (
    parameters_not_in_optimizer,
    parameters_not_registered,
)
from thalweg.doctor.checks.start import weights_not_finite
from thalweg.doctor.subject import Subject, copied


class Own(nn.Module):
    """A layer whose weights are plain tensors, or parameters."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.out = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(x @ self.weight))


def test_plain_tensors_are_found_where_the_optimizer_has_them_not() -> None:
    torch.manual_seed(0)
    drawn = torch.randn(3, 4)
    x, y = torch.randn(16, 3), torch.randn(16, 1)
    plain = Own(drawn.clone().requires_grad_())
    for model, more, found in (
        (plain, [], True),
        (plain, [plain.weight], False),  # trained by hand
        (Own(drawn.clone()), [], False),  # a constant
        (Own(nn.Parameter(drawn)), [], False),
    ):
        optimizer = torch.optim.SGD([*model.parameters(), *more], lr=0.1)
        finding = parameters_not_registered(Subject(model, optimizer, nn.MSELoss(), [(x, y)]))
        assert bool(finding) == found
        assert finding is None or "(weight)" in finding.sentence

    optimizer = torch.optim.SGD(plain.out.parameters(), lr=0.1)
    wanted = x.clone().requires_grad_()  # a gradient of the inputs is no fault
    subject = Subject(plain.out, optimizer, nn.MSELoss(), [(wanted @ drawn, y)])
    assert parameters_not_registered(subject) is None


def test_parameters_of_a_second_optimizer_are_not_missing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    batch = (torch.randn(16, 3), torch.randn(16, 1))
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    before = Subject(model, optimizer, nn.MSELoss(), [batch])
    found = parameters_not_in_optimizer(before)
    assert found is not None
    assert "0.weight, 0.bias" in found.sentence
    second = torch.optim.SGD(model[0].parameters(), lr=0.1)
    assert parameters_not_in_optimizer(before) is None

    start = copied(model, optimizer, None)[:2]
    after = Subject(model, optimizer, nn.MSELoss(), [batch], start=start)
    assert parameters_not_in_optimizer(after) is not None  # the second one takes no step
    nn.MSELoss()(model(batch[0]), batch[1]).backward()
    second.step()
    assert parameters_not_in_optimizer(after) is None


def test_weights_that_are_no_numbers_are_named() -> None:
    batch = (torch.randn(16, 3), torch.randn(16, 1))
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    model.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.MSELoss(), [batch])
    assert weights_not_finite(subject) is None
    for name, value in (("0.weight", torch.inf), ("1.running_var", torch.nan)):
        with torch.no_grad():
            model.state_dict()[name].view(-1)[0] = value
        found = weights_not_finite(subject)
        assert found is not None
        assert name in found.sentence
    assert thalweg.check(model, optimizer, nn.MSELoss(), [batch]).findings[0].cause == found.cause
