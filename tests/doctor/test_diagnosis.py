"""What the doctor's treatments on copies say of a rate before a training."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg


def batches(x: Tensor, y: Tensor) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(x, y), 16, shuffle=True, generator=generator)


class Summing(nn.Module):
    """Sums along a sequence; its gradient explodes at a rate that suits it where it is clipped."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.RNN(2, 16, nonlinearity="relu", batch_first=True)
        nn.init.eye_(self.rnn.weight_hh_l0)
        self.out = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


def test_where_clipping_saves_a_recurrent_net_check_calls_no_rate_too_high() -> None:
    x = torch.rand(160, 40, 2, generator=torch.Generator().manual_seed(0))
    y = (x[..., 0] - x[..., 1]).sum(1, keepdim=True) / 2
    model = Summing()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    found = thalweg.check(model, optimizer, nn.MSELoss(), batches(x, y))
    assert [f.cause for f in found if f.severity == "problem"] == []
    assert "exploding_gradient_no_clipping" in [f.cause for f in found]


def test_a_rate_that_clipping_would_save_is_no_problem_yet() -> None:
    x = torch.randn(160, 6, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] + x[:, 1:2]
    for rate, severity in ((1.0, "warning"), (20.0, "problem")):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        found = thalweg.check(model, optimizer, nn.MSELoss(), batches(x, y))
        assert [f.severity for f in found if f.cause == "lr_too_high"] == [severity]
