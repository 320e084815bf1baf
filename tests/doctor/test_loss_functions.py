"""What the doctor finds of the arguments that torch's own loss functions are given."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from thalweg.doctor.checks.losses import every_pair, losses_given
from thalweg.doctor.subject import LossFn, Subject

Y = torch.arange(24) % 3
SIDES = (Y > 0).float()


def dice(p: Tensor, y: Tensor) -> Tensor:
    return 1 - 2 * (p * y).sum() / (p.sum() + y.sum())


def body(outputs: int, last: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, outputs), last)


class TwoHeads(nn.Module):
    """Gives scores of classes, or probabilities, beside a number."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.classes, self.number = body(3, last), body(1, nn.Identity())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.classes(x), self.number(x)


class Twins(nn.Module):
    """Embeds two halves of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x[:, :2]), self.inner(x[:, 2:])


def found(model: nn.Module, loss_fn: LossFn, y: Tensor) -> str | None:
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    finding = losses_given(Subject(model, optimizer, loss_fn, [(x, y)]))
    return finding.cause if finding else None


@pytest.mark.parametrize(
    ("last", "cause"),
    [(nn.Sigmoid(), "sigmoid_before_bce_with_logits"), (nn.Identity(), None)],
    ids=["probabilities", "scores"],
)
def test_a_term_of_a_sum_is_looked_at(last: nn.Module, cause: str | None) -> None:
    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out, y) + dice(out.sigmoid(), y)

    assert found(body(1, last), loss_fn, SIDES[:, None]) == cause


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        (nn.Softmax(1), "softmax_before_cross_entropy"),
        (nn.LogSoftmax(1), None),  # a second one changes nothing
        (nn.Identity(), None),
    ],
    ids=["probabilities", "logarithms", "scores"],
)
def test_one_output_of_several_is_looked_at(last: nn.Module, cause: str | None) -> None:
    def loss_fn(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return F.cross_entropy(out[0], y) + F.mse_loss(out[1], y[:, None].float())

    assert found(TwoHeads(last), loss_fn, Y) == cause


def focal(out: Tensor, y: Tensor) -> Tensor:
    """Weight the logarithms, which stay below 0."""
    logarithm = F.log_softmax(out, 1)
    return F.nll_loss((1 - logarithm.exp()) ** 2 * logarithm, y)


def divergence(out: Tensor, y: Tensor) -> Tensor:
    return F.kl_div(out, 0.1 + 0.7 * F.one_hot(y, 3), reduction="batchmean")


def of_teacher(targets: Callable[[Tensor], Tensor], *, log_target: bool) -> LossFn:
    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        scores = 3.0 * F.one_hot(y, 3)
        return F.kl_div(out, targets(scores), reduction="batchmean", log_target=log_target)

    return loss_fn


def of_scores(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out, F.one_hot(y, 3) - 0.5)


def alignment(out: Tensor, y: Tensor, blank: int = 2) -> Tensor:
    """Compare one time of each example with one label."""
    ones = torch.ones(len(y), dtype=torch.long)
    return F.ctc_loss(out[None], (y % 2)[:, None], ones, ones, blank)


@pytest.mark.parametrize(
    ("last", "loss_fn", "cause"),
    [
        (nn.Identity(), nn.NLLLoss(), "loss_unsuited"),
        (nn.Softmax(1), nn.NLLLoss(), "loss_unsuited"),
        (nn.LogSoftmax(1), nn.NLLLoss(), None),
        (nn.Identity(), focal, None),
        (nn.Softmax(1), divergence, "loss_unsuited"),
        (nn.LogSoftmax(1), divergence, None),
        (nn.LogSoftmax(1), of_teacher(lambda s: s.softmax(1), log_target=False), None),
        (nn.LogSoftmax(1), of_teacher(lambda s: s.softmax(1), log_target=True), "loss_unsuited"),
        (nn.LogSoftmax(1), of_teacher(lambda s: s.log_softmax(1), log_target=True), None),
        (nn.LogSoftmax(1), of_teacher(lambda s: s - 1, log_target=False), "loss_unsuited"),
        (nn.Identity(), of_scores, "loss_unsuited"),
        (nn.LogSoftmax(1), alignment, None),
        (nn.Softmax(1), alignment, "loss_unsuited"),
        (nn.LogSoftmax(1), partial(alignment, blank=0), "labels_out_of_range"),
    ],
    ids=[
        "scores", "probabilities", "logarithms", "focal", "divergence", "its logarithms",
        "a teacher", "a teacher's probabilities as logarithms", "a teacher's logarithms",
        "a teacher's scores", "scores as targets", "an alignment", "an alignment of probabilities",
        "labels that are blank",
    ],
)  # fmt: skip
def test_logarithms_are_expected(last: nn.Module, loss_fn: LossFn, cause: str | None) -> None:
    assert found(body(3, last), loss_fn, Y) == cause


@pytest.mark.parametrize(("y", "cause"), [(SIDES, "labels_out_of_range"), (2 * SIDES - 1, None)])
def test_two_sides_are_minus_one_and_one(y: Tensor, cause: str | None) -> None:
    losses: list[Callable[[Tensor, Tensor, Tensor], Tensor]] = [
        F.cosine_embedding_loss,
        lambda one, other, y: F.margin_ranking_loss(one.sum(1), other.sum(1), target=y),
        lambda one, other, y: F.hinge_embedding_loss((one - other).norm(dim=1), y),
    ]
    for loss in losses:
        assert found(Twins(), lambda out, y, loss=loss: loss(*out, y), y) == cause  # type: ignore[misc]


@pytest.mark.filterwarnings("ignore:Using a target size")  # as within check
@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss])
def test_a_term_that_broadcasts_is_found(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    y = Y.float()
    for shaped, cause in ((y, "loss_broadcasts"), (y[:, None], None)):
        assert found(TwoHeads(nn.Identity()), lambda out, y: loss(out[1], y), shaped) == cause


def test_several_true_labels_and_one_softmax() -> None:
    several = torch.ones(24, 3)
    several[:, 0] = SIDES
    for y, cause in ((several, "softmax_for_multi_label"), (F.one_hot(Y, 3).float(), None)):
        loss = lambda out, y: F.cross_entropy(out[0], y)  # noqa: E731
        assert found(TwoHeads(nn.Identity()), loss, y) == cause


@pytest.mark.parametrize(
    ("last", "cause"),
    [(nn.Flatten(0), "loss_unsuited"), (nn.Sequential(nn.Softplus(), nn.Flatten(0)), None)],
    ids=["scores", "distances"],
)
def test_distances_are_at_least_0(last: nn.Module, cause: str | None) -> None:
    assert found(body(1, last), F.hinge_embedding_loss, 2 * SIDES - 1) == cause


def weighted(out: Tensor, y: tuple[Tensor, Tensor]) -> Tensor:
    errors = (out.squeeze(1) - y[0]).abs()
    return (errors * y[1]).sum() / y[1].sum()


def apart(out: Tensor, y: tuple[Tensor, Tensor]) -> Tensor:
    """Error, and a penalty of outputs that lie close together: of pairs on purpose."""
    s = out.squeeze(1)
    return (s - y[0]).pow(2).mean() + torch.exp(-((s.unsqueeze(1) - s) ** 2)).mean()


def ranked(out: Tensor, y: tuple[Tensor, Tensor]) -> Tensor:
    """Every pair of outputs, by the order of their targets: of pairs on purpose."""
    above = y[0].unsqueeze(1) - y[0]
    return (torch.relu(1 - out + out.squeeze(1)) * (above > 0)).mean()


def alike(out: Tensor, y: tuple[Tensor, Tensor]) -> Tensor:
    """Distances of two sets, each point of one from each of the other: on purpose."""
    points = torch.stack([y[0], y[0].sin()], 1)
    return (torch.cat([out, out], 1).unsqueeze(1) - points).pow(2).sum(2).sqrt().mean()


WEIGHTS = torch.linspace(0.1, 2, 24)


@pytest.mark.parametrize(
    ("loss_fn", "weights", "cause"),
    [
        (weighted, WEIGHTS[:, None], "loss_broadcasts"),
        (weighted, WEIGHTS, None),
        (apart, WEIGHTS, None),
        (ranked, WEIGHTS, None),
        (alike, WEIGHTS, None),
    ],
    ids=["weights in a column", "weights in a row", "spread of outputs", "ranking", "sets"],
)
def test_every_pair_within_a_loss(loss_fn: LossFn, weights: Tensor, cause: str | None) -> None:
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))
    model = body(1, nn.Identity())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    finding = every_pair(Subject(model, optimizer, loss_fn, [(x, (x.sum(1), weights))]))
    assert (finding.cause if finding else None) == cause
