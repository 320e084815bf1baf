import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import thalweg
import thalweg.optim
from thalweg.doctor.allowance import Allowance
from thalweg.doctor.subject import Subject
from thalweg.wrappers import sam

X = torch.linspace(-1, 1, 64)[:, None]
BATCH = (X, torch.sin(3 * X))
RULES = {
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.5, max_iter=4),
    "SAM": lambda p: thalweg.optim.Descent(p, sam(thalweg.rules.sgd), lr=0.2),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 1))


def by_hand(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = mse_loss(model(BATCH[0]), BATCH[1])
        loss.backward()
        return loss.detach()

    return [float(optimizer.step(closure)) for _ in range(steps)]


@pytest.mark.parametrize("rule", RULES)
def test_a_copy_trains_as_the_training_does(rule: str) -> None:
    model = net()
    optimizer = RULES[rule](model.parameters())
    by_hand(model, optimizer, 3)  # a copy goes on with what the optimizer remembers
    twin = Subject(model, optimizer, mse_loss, [BATCH]).copy()
    found = twin.train([BATCH], 6, Allowance(5))
    expected = by_hand(model, optimizer, 6)
    assert found == pytest.approx(expected, rel=1e-5)
    assert expected[-1] < expected[0]


def test_a_rate_of_a_rule_that_computes_losses_itself_is_tried() -> None:
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=4.0, max_iter=4)
    doctor = thalweg.Doctor(model, optimizer, mse_loss)
    for loss in (by_hand(model, optimizer, 1)[0] for _ in range(25)):
        doctor.step(loss, batch=BATCH)
    assert doctor.findings[0].cause == "lr_too_high"
