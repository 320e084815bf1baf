"""What the doctor's checks of outputs find, each asked alone."""

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional

from thalweg import check
from thalweg.doctor.checks.examples import inputs_ignored, lengths, reads_padding
from thalweg.doctor.checks.members import outputs_range_too_small
from thalweg.doctor.checks.outputs import (
    loss_sign_wrong,
    output_range_too_small,
    reach,
    softmax_over_one_unit,
)
from thalweg.doctor.subject import Subject


def test_outputs_of_one_sign_have_no_bound_at_zero() -> None:
    drawn = torch.rand(32, 3, generator=torch.Generator().manual_seed(0))
    x = (1 + drawn) * torch.tensor([1000.0, 2.0, 15.0])
    y = 150 * x[:, :1] * (-1.0) ** torch.arange(32)[:, None]
    for seed in range(5):
        torch.manual_seed(seed)
        body = [nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1)]
        for last, bounded in ((nn.Identity(), False), (nn.ReLU(), True), (nn.Tanh(), True)):
            model = nn.Sequential(*body, last)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            subject = Subject(model, optimizer, nn.MSELoss(), [(x, y)])
            values = reach(subject)
            assert values is not None
            assert bool(output_range_too_small(subject, values)) == bounded


def test_outputs_of_categories_that_are_of_one_sign_have_no_bound_at_zero() -> None:
    torch.manual_seed(0)
    x, y = torch.arange(32) % 8, torch.full((32, 1), -5.0)
    body = [nn.Embedding(8, 4), nn.Tanh(), nn.Linear(4, 1)]
    for last, bounded in ((nn.Identity(), False), (nn.ReLU(), True), (nn.Tanh(), True)):
        model = nn.Sequential(*body, last)
        for p in model.parameters():
            p.detach().abs_()
        subject = Subject(model, torch.optim.SGD(model.parameters(), 0.01), nn.MSELoss(), [(x, y)])
        values = reach(subject)
        assert values is not None
        assert bool(output_range_too_small(subject, values)) == bounded


def test_a_likelihood_without_its_minus_has_the_wrong_sign() -> None:
    def likelihood(out: Tensor, y: Tensor) -> Tensor:
        return Normal(out[:, 0], functional.softplus(out[:, 1]) + 0.01).log_prob(y).mean()

    def linear(out: Tensor, y: Tensor) -> Tensor:  # falls to one side alone
        return (out * y[:, None]).mean()

    torch.manual_seed(0)
    x = torch.randn(32, 3)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for loss_fn, wrong in (
        (likelihood, True),
        (lambda out, y: -likelihood(out, y), False),
        (linear, False),
        (lambda out, y: -linear(out, y), False),
    ):
        subject = Subject(model, optimizer, loss_fn, [(x, x.sum(1))])
        values = reach(subject)
        assert values is not None
        assert bool(loss_sign_wrong(subject, values)) == wrong


def test_a_loss_that_is_maximized_has_the_wrong_sign() -> None:
    model, batch = nn.Linear(3, 1), (torch.randn(32, 3), torch.randn(32, 1))
    for sign, maximize, wrong in ((1, True, True), (-1, True, False), (1, False, False)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, maximize=maximize)
        error = lambda out, y, sign=sign: sign * functional.mse_loss(out, y)  # noqa: E731
        subject = Subject(model, optimizer, error, [batch])
        values = reach(subject)
        assert values is not None
        assert bool(loss_sign_wrong(subject, values)) == wrong


def test_each_of_several_outputs_is_asked_for_its_range() -> None:
    class Policy(nn.Module):
        def __init__(self, last: nn.Module) -> None:
            super().__init__()
            self.body, self.size = (
                nn.Sequential(nn.Linear(3, 2), last),
                nn.Parameter(torch.zeros(2)),
            )

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            mean = self.body(x)
            return {"mean": mean, "size": self.size.expand_as(mean)}

    def loss_fn(out: dict[str, Tensor], y: dict[str, Tensor]) -> Tensor:
        return -Normal(out["mean"], out["size"].exp()).log_prob(y["act"]).mean()

    torch.manual_seed(0)
    x = torch.randn(32, 3)
    for last, reach_, found in (
        (nn.Tanh(), 5.0, True),
        (nn.Tanh(), 0.5, False),
        (nn.Identity(), 5.0, False),
    ):
        model = Policy(last)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        goal = {"act": reach_ * (2 * torch.rand(32, 2) - 1)}
        subject = Subject(model, optimizer, loss_fn, [(x, goal)])
        assert bool(outputs_range_too_small(subject)) == found
        if found:
            report = check(model, optimizer, loss_fn, [(x, goal)])
            assert "output_range_too_small" in [finding.cause for finding in report]


def test_a_loss_that_asks_for_no_scale_is_not_the_same_for_all_outputs() -> None:
    def unlike(out: Tensor, y: Tensor) -> Tensor:
        one, other = (part.flatten() - part.mean() for part in (out, y))
        return 1 - functional.cosine_similarity(one, other, dim=0)

    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for loss_fn, same in ((unlike, False), (lambda out, _: -out.log_softmax(1).mean(), True)):
        subject = Subject(model, optimizer, loss_fn, [(x, x[:, :1])])
        values = reach(subject)
        assert values is not None
        assert bool(softmax_over_one_unit(subject, values)) == same


def test_a_loss_of_directions_is_least_at_the_targets() -> None:
    def to_noise(out: Tensor, y: Tensor) -> Tensor:  # of any scale and sign, with a small number
        part = (out * y).sum(1, keepdim=True) / y.pow(2).sum(1, keepdim=True) * y
        ratio = (part.pow(2).sum(1) + 1e-8) / ((out - part).pow(2).sum(1) + 1e-8)
        return 10 * ratio.log10().mean()

    torch.manual_seed(0)
    x = torch.randn(32, 6)
    model = nn.Linear(6, 6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for sign in (1, -1):
        given = [(x, x.roll(1, 1))]
        subject = Subject(model, optimizer, lambda out, y, s=sign: s * to_noise(out, y), given)
        values = reach(subject)
        assert values is not None
        assert bool(loss_sign_wrong(subject, values)) == (sign == 1)


def test_a_loss_of_log_probabilities_is_asked_within_their_reach() -> None:
    def aligned(out: Tensor, y: Tensor) -> Tensor:  # out: time, examples, kinds
        lengths = (torch.full((len(y),), n) for n in (len(out), y.shape[1]))
        return functional.ctc_loss(out, y, *lengths, reduction="sum")

    torch.manual_seed(0)
    x, y = torch.randn(6, 16, 3), torch.randint(1, 4, (16, 2))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    for last, unbounded in ((nn.LogSoftmax(-1), False), (nn.Identity(), True)):
        model = nn.Sequential(nn.Linear(3, 4), last)

        def loss_fn(out: Tensor, y: Tensor) -> Tensor:
            return aligned(out.transpose(0, 1), y)

        subject = Subject(model, optimizer, loss_fn, [(x.transpose(0, 1), y)])
        values = reach(subject)
        assert values is not None
        assert bool(loss_sign_wrong(subject, values)) == unbounded


def test_a_last_layer_that_starts_at_zero_is_sound() -> None:
    torch.manual_seed(0)
    x = torch.randn(32, 3)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    for last, blind in ((nn.Identity(), False), (nn.Softmax(1), True)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        given = [(x, x.sum(1, keepdim=True))]
        subject = Subject(nn.Sequential(model, last), optimizer, nn.MSELoss(), given)
        values = reach(subject)
        assert values is not None
        assert bool(output_range_too_small(subject, values)) == blind
        assert bool(inputs_ignored(subject)) == blind


def test_a_loss_that_asks_for_no_target_has_no_wrong_sign() -> None:
    torch.manual_seed(0)
    judge = nn.Linear(2, 1)
    model, batch = nn.Linear(3, 2), (torch.randn(16, 3), torch.randn(16, 2) + 3)
    with torch.no_grad():
        judge.weight.fill_(-1.0)  # takes what is like the targets for made

    def judged(made: Tensor, _: Tensor) -> Tensor:
        return functional.softplus(-judge(made)).mean()

    def unlike(made: Tensor, y: Tensor) -> Tensor:
        return functional.softplus((made * y).sum(1)).mean()

    def acted(made: Tensor, y: Tensor) -> Tensor:  # what it is told of differs each time
        return unlike(made, y) + 0.01 * torch.rand(())

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for loss_fn, wrong in ((judged, False), (unlike, True), (acted, False)):
        subject = Subject(model, optimizer, loss_fn, [batch])
        values = reach(subject)
        assert values is not None
        assert bool(loss_sign_wrong(subject, values)) == wrong


class Meaning(nn.Module):
    """The mean of embedded tokens, of all places or of those that are not 0."""

    def __init__(self, *, masked: bool) -> None:
        super().__init__()
        self.table, self.out, self.masked = nn.Embedding(9, 4), nn.Linear(4, 3), masked

    def forward(self, x: Tensor) -> Tensor:
        keep = (x != 0).float() if self.masked else torch.ones(x.shape)
        return self.out((self.table(x) * keep[..., None]).sum(1) / keep.sum(1, keepdim=True))


def test_padding_is_seen_where_all_sequences_are_as_long_and_most_of_it_is_padding() -> None:
    torch.manual_seed(0)
    tokens = torch.cat([torch.randint(1, 9, (32, 4)), torch.zeros(32, 12, dtype=torch.long)], 1)
    labels = torch.randint(0, 3, (32,))
    for masked in (False, True):
        model = Meaning(masked=masked)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        subject = Subject(model, optimizer, nn.CrossEntropyLoss(), [(tokens, labels)])
        assert bool(reads_padding(subject)) != masked
    assert lengths(tokens[:, :8]) is None  # a table's columns may be constant


def test_categories_among_the_inputs_are_not_replaced_by_noise() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 2)
            self.last = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            columns = [self.embedding(x[:, 0].long()), x[:, 1:]]
            return torch.relu(self.last(torch.cat(columns, 1)))

    torch.manual_seed(0)
    x = torch.cat([torch.arange(40)[:, None] % 5, torch.randn(40, 1)], 1)
    model = Table()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    values = reach(Subject(model, optimizer, nn.MSELoss(), [(x, x.sum(1, keepdim=True))]))
    assert values is not None
    assert (values.low, values.high) == (0.0, float("inf"))
