"""Which treatments the doctor tries: those whose sign is seen."""

import torch
from torch import nn

from thalweg.doctor.subject import Subject
from thalweg.doctor.treatments import treatments


def test_outliers_are_drawn_in_where_the_error_is_squared() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 3)
    y = x.sum(1, keepdim=True)
    wild = y.clone()
    wild[::50] = 300.0
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for targets, loss_fn, tried in (
        (y, nn.MSELoss(), False),
        (wild, nn.MSELoss(), True),
        (wild, nn.SmoothL1Loss(), False),
        (torch.where(x[:, :1] > 0, y, 300.0), nn.MSELoss(), False),  # half of them are no outliers
    ):
        given = list(zip(x.split(20), targets.split(20), strict=True))
        found = [t for t in treatments(Subject(model, optimizer, loss_fn, given))
                 if t.cause == "loss_unsuited"]  # fmt: skip
        assert bool(found) == tried
        for one in found:
            drawn = torch.cat([batch[-1] for batch in one.data(given)])
            assert float(drawn.abs().max()) < 20
            assert torch.equal(drawn[1:50], wild[1:50])


def test_batches_that_are_no_pairs_are_treated() -> None:
    torch.manual_seed(0)
    x = torch.randn(32, 3)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return (model(batch["x"]) - batch["y"]).square().mean()

    subject = Subject(model, optimizer, None, [{"x": x, "y": x.sum(1, keepdim=True)}], step=step)
    assert list(treatments(subject)) == []
