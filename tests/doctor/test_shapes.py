"""What the doctor's checks of shapes and labels find, each asked alone."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.doctor.checks.shapes import (
    labels_out_of_range,
    loss_ignores_size,
    summed,
    targets_without_loss,
)
from thalweg.doctor.subject import Subject


def with_targets(last: nn.Module, loss_fn: nn.Module, y: Tensor) -> Subject:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 1), last, nn.Flatten(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Subject(model, optimizer, loss_fn, [(torch.randn(len(y), 4), y)])


def by_hand(p: Tensor, y: Tensor) -> Tensor:  # torch's own refuses such targets
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


HALVES = torch.arange(16.0) % 2


@pytest.mark.parametrize("last", [nn.Identity(), nn.Sigmoid()], ids=["scores", "probabilities"])
@pytest.mark.parametrize(
    ("y", "found"),
    [
        (HALVES, False),
        (0.1 + 0.8 * HALVES, False),  # smoothed labels
        (2 * HALVES - 1, True),
        (1 + HALVES, True),
        (255 * HALVES, True),  # a mask that nobody divided
    ],
    ids=["0 and 1", "smoothed", "-1 and 1", "1 and 2", "0 and 255"],
)
def test_labels_that_a_loss_of_probabilities_has_no_bound_for(
    last: nn.Module, y: Tensor, *, found: bool
) -> None:
    scores = functional.binary_cross_entropy_with_logits
    loss_fn = by_hand if isinstance(last, nn.Sigmoid) else scores
    finding = labels_out_of_range(with_targets(last, loss_fn, y))
    assert (finding and finding.cause) == ("labels_out_of_range" if found else None)


def test_other_losses_take_any_targets() -> None:
    hinge = lambda out, y: (1 - out * y).relu().mean()  # noqa: E731
    linear = lambda out, y: -(out * y).mean()  # noqa: E731
    for loss_fn in (nn.MSELoss(), nn.L1Loss(), hinge, linear):
        subject = with_targets(nn.Identity(), loss_fn, 2 * HALVES - 1)
        assert labels_out_of_range(subject) is None


def hinge(out: Tensor, y: Tensor) -> Tensor:
    return (1 - out * y).relu().mean()


@pytest.mark.parametrize(
    ("last", "loss_fn", "y", "cause"),
    [
        (nn.Identity(), hinge, HALVES, "labels_out_of_range"),
        (nn.Identity(), hinge, 2 * HALVES - 1, None),
        (nn.Sigmoid(), lambda p, y: -(y * p.log()).mean(), HALVES, "loss_unsuited"),
        (nn.Sigmoid(), by_hand, HALVES, None),
        (nn.Identity(), nn.MSELoss(), HALVES, None),
        (nn.Identity(), lambda out, y: (out * 0 + y).mean(), HALVES[:1].repeat(16), None),
    ],
    ids=["hinge", "its sides", "half a cross-entropy", "both halves", "squares", "one value"],
)
def test_targets_whose_loss_is_the_same_for_every_output(
    last: nn.Module, loss_fn: nn.Module, y: Tensor, cause: str | None
) -> None:
    found = targets_without_loss(with_targets(last, loss_fn, y))
    assert (found and found.cause) == cause


def cosine(o: Tensor, y: Tensor) -> Tensor:
    return 1 - functional.cosine_similarity(o, y).mean()


@pytest.mark.parametrize(
    ("loss_fn", "lengths", "told"),
    [
        (cosine, True, True),
        (cosine, False, False),  # directions are all there is
        (functional.mse_loss, True, False),
        (lambda o, y: (o - o).sum() + y.mean(), True, False),  # no loss of outputs at all
    ],
)
def test_directions_alone_are_told_where_targets_differ_in_size(
    loss_fn: nn.Module, *, lengths: bool, told: bool
) -> None:
    y = functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)))
    y = y * (1 + torch.arange(20.0)[:, None]) if lengths else y
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = loss_ignores_size(Subject(model, optimizer, loss_fn, [(torch.randn(20, 4), y)]))
    assert bool(found) == told
    assert found is None or (found.cause, found.severity) == ("loss_unsuited", "warning")


def test_a_sum_over_examples_is_seen_where_time_comes_first() -> None:
    class Transposed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.transpose(0, 1)

    model = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)), Transposed())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = (torch.randn(16, 4), torch.arange(16) % 3)
    for reduction, sizes in (("sum", [16]), ("mean", [])):
        subject = Subject(
            model,
            optimizer,
            lambda out, y, r=reduction: functional.cross_entropy(out[-1], y, reduction=r),
            [batch],
        )
        assert summed(subject) == sizes
