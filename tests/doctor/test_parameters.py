"""What the doctor's checks of parameters find, each asked alone."""

import torch
from torch import Tensor, nn

from thalweg.doctor.checks.parameters import parameters_not_registered
from thalweg.doctor.subject import Subject


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
