"""What the doctor's checks of outputs find, each asked alone."""

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional

from thalweg.doctor.checks.examples import inputs_ignored, lengths, reads_padding
from thalweg.doctor.checks.outputs import loss_sign_wrong, output_range_too_small, reach
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
