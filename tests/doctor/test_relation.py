"""Have pictures anything to do with the pictures that they stand beside?"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from thalweg.doctor.relation import explained, left_by_network
from thalweg.doctor.subject import Subject


def test_pictures_beside_those_of_others_explain_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    large = torch.rand(300, 1, 8, 8, generator=generator)
    small = functional.avg_pool2d(large, 2)
    own = explained([(small, large)])
    other = explained([(small.roll(1, 0), large)])
    assert own is not None
    assert own > 0.1  # the means of four say a quarter of the variance
    assert other is not None
    assert other < 0.02


@pytest.mark.parametrize("single", [True, False])
def test_a_plain_network_learns_single_scores_and_rows_of_them(*, single: bool) -> None:
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    y = (x.prod(1) > 0).float()
    y = y if single else y[:, None]
    model = nn.Sequential(nn.Linear(2, 1), *[nn.Flatten(0)] * single)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = list(zip(x.split(40), y.split(40), strict=True))
    left = left_by_network(Subject(model, optimizer, nn.BCEWithLogitsLoss(), batches))
    assert left is not None
    assert left < 0.5  # of log 2, which no line is below
