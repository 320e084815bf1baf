"""Which treatments the doctor tries: those whose sign is seen."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg.doctor.diagnosis import betters
from thalweg.doctor.exchange import exchanged
from thalweg.doctor.loaders import merged
from thalweg.doctor.rates import rates
from thalweg.doctor.scale import standardized
from thalweg.doctor.subject import Subject
from thalweg.doctor.treatments import treatments
from thalweg.doctor.trials import Trials


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


@pytest.mark.parametrize(
    ("last", "loss_fn", "y", "tried"),
    [
        (nn.Softmax(1), nn.MSELoss(), torch.eye(3), True),
        (nn.Sigmoid(), nn.MSELoss(), torch.eye(3), True),
        (nn.Identity(), nn.MSELoss(), torch.eye(3), False),  # any numbers
        (nn.Softmax(1), nn.L1Loss(), torch.eye(3), False),
        (nn.Sigmoid(), nn.MSELoss(), torch.eye(3) / 2, False),  # no classes: grey values
    ],
    ids=["softmax", "sigmoid", "scores", "absolute error", "grey values"],
)
def test_squared_errors_of_probabilities_are_treated(
    last: nn.Module, loss_fn: nn.Module, y: torch.Tensor, *, tried: bool
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = (torch.randn(12, 4), y.repeat(4, 1))
    subject = Subject(model, optimizer, loss_fn, [batch])
    found = [t for t in treatments(subject) if t.cause == "loss_unsuited"]
    assert bool(found) == tried
    for one in found:
        twin, plain = subject.copy(), subject.copy()
        one.prepare(twin)
        losses = [each.loss(batch) for each in (twin, plain)]
        torch.testing.assert_close(*losses)  # the number stays
        losses[0].backward()
        scores = plain.model[0](batch[0])
        cross = torch.nn.functional.cross_entropy  # its gradient is that of torch's own
        if isinstance(last, nn.Sigmoid):
            cross = torch.nn.functional.binary_cross_entropy_with_logits
        cross(scores, batch[1]).backward()
        torch.testing.assert_close(twin.model[0].weight.grad, plain.model[0].weight.grad)


def test_sides_of_pairs_are_exchanged() -> None:
    one, two, three = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    f = torch.nn.functional
    for call, other in (
        (
            lambda: f.triplet_margin_loss(one, two, three, margin=2.0),
            lambda: f.triplet_margin_loss(one, three, two, margin=2.0),
        ),
        (
            lambda: f.triplet_margin_loss(one, negative=two, positive=three),
            lambda: f.triplet_margin_loss(one, two, three),
        ),
        (
            lambda: f.cosine_embedding_loss(one, two, y, margin=0.1),
            lambda: f.cosine_embedding_loss(one, two, -y, margin=0.1),
        ),
        (
            lambda: f.margin_ranking_loss(one[:, 0], two[:, 0], target=y),
            lambda: f.margin_ranking_loss(one[:, 0], two[:, 0], -y),
        ),
        (
            lambda: f.hinge_embedding_loss(one[:, 0], y),
            lambda: f.hinge_embedding_loss(one[:, 0], -y),
        ),
        (lambda: f.mse_loss(one, two), lambda: f.mse_loss(one, two)),
    ):
        with exchanged() as sides:
            found = call()
        torch.testing.assert_close(found, other())
        assert sides.calls == int(call() != found)


def test_triplets_alone_are_treated_so() -> None:
    x = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    triplets = nn.TripletMarginLoss()
    for loss_fn, tried in (
        (lambda out, _: triplets(out[:, 0], out[:, 1], out[:, 2]), True),
        (lambda out, _: (out[:, 0] - out[:, 1]).norm(dim=1).mean(), False),
    ):
        subject = Subject(model, optimizer, loss_fn, [(x, torch.zeros(12))])
        assert any(t.cause == "loss_sign_wrong" for t in treatments(subject)) == tried


def test_embeddings_whose_products_start_the_loss_high_are_made_smaller() -> None:
    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.user, self.item = nn.Embedding(20, 64), nn.Embedding(20, 64)

        def forward(self, x: Tensor) -> Tensor:
            return (self.user(x[:, 0]) * self.item(x[:, 1])).sum(1)

    torch.manual_seed(0)
    model, x = Factors(), torch.randint(0, 20, (400, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    subject = Subject(model, optimizer, nn.MSELoss(), [(x, torch.randn(400))])
    found = [t for t in treatments(subject) if t.cause == "init_too_large"]
    assert len(found) == 1
    twin = subject.copy()
    found[0].prepare(twin)
    # A product of two that are a tenth as large each is a hundredth as large.
    assert torch.allclose(100 * twin.outputs((x, None)), model(x), rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        model.user.weight.mul_(0.05)  # the loss starts near that of a constant
    subject = Subject(model, optimizer, nn.MSELoss(), subject.batches)
    assert not [t for t in treatments(subject) if t.cause == "init_too_large"]


def test_weights_that_are_too_small_are_drawn_so_that_signals_come_through() -> None:
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    batch = (x, (x[:, 0] > 0).long())
    layers = ((nn.Linear(16, 16), nn.ReLU()) for _ in range(8))
    model = nn.Sequential(*(part for layer in layers for part in layer), nn.Linear(16, 2))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trials = Trials(Subject(model, optimizer, nn.CrossEntropyLoss(), [batch]), 150, 2.0)
    tried = [one for one in treatments(trials.subject) if one.cause == "plateau"]
    assert trials.plain.left > 0.9
    assert min(trials.run(one).left for one in tried) < 0.2


class Normalized(nn.Sequential):
    """Layers of which normalization stays in evaluation mode, as where it was trained before."""

    def __init__(self, *, frozen: bool) -> None:
        torch.manual_seed(0)
        layers = ((nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU()) for _ in range(7))
        super().__init__(*(part for layer in layers for part in layer), nn.Linear(16, 2))
        self.frozen = frozen
        self.train()

    def train(self, mode: bool = True) -> "Normalized":  # noqa: FBT001, FBT002 - as torch has it
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d) and getattr(self, "frozen", False):
                module.eval()
        return self


@pytest.mark.parametrize("frozen", [True, False])
def test_parts_in_evaluation_mode_are_woken(*, frozen: bool) -> None:
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 32)
    model = Normalized(frozen=frozen)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    found = thalweg.check(model, optimizer, nn.CrossEntropyLoss(), data)
    told = [f.cause for f in found if f.severity == "problem"]
    assert told == ["trained_in_eval_mode"] * frozen


def mixture(out: Tensor, y: Tensor) -> Tensor:
    weight, mean, size = out.chunk(3, 1)
    normal = torch.distributions.Normal(mean, size.exp())
    return -(weight.log_softmax(1) + normal.log_prob(y)).logsumexp(1).mean()


@pytest.mark.parametrize("equal", [True, False])
def test_units_that_are_equal_in_parts_are_drawn(*, equal: bool) -> None:
    torch.manual_seed(0)
    side = torch.where(torch.rand(256, 1) < 0.5, -1.0, 1.0)
    x = torch.randn(256, 1)
    batch = (x, side * (1 + 0.3 * x) + 0.05 * torch.randn(256, 1))
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 6))
    if equal:
        nn.init.zeros_(model[-1].weight)
        nn.init.zeros_(model[-1].bias)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    subject = Subject(model, optimizer, mixture, [batch])
    tried = [one for one in treatments(subject) if one.cause == "constant_init"]
    assert len(tried) == equal
    trials = Trials(subject, 200, 2.0)
    for one in tried:
        course = trials.run(one)
        assert betters(course, trials.plain, trials.plain.left)


@pytest.mark.parametrize("cut", [True, False])
def test_a_graph_that_the_model_cuts_is_treated_uncut(*, cut: bool) -> None:
    class Steps(nn.Module):
        def __init__(self, *, cut: bool) -> None:
            super().__init__()
            self.cell, self.cut = nn.RNNCell(2, 4), cut

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(len(x), 4)
            for part in x.unbind(1):
                h = self.cell(part, h.detach() if self.cut else h)
            return h

    torch.manual_seed(0)
    model, whole = Steps(cut=cut), Steps(cut=False)
    whole.load_state_dict(model.state_dict())
    batch = (torch.randn(12, 5, 2), torch.randn(12, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.MSELoss(), [batch])
    found = [t for t in treatments(subject) if t.cause == "graph_cut_by_detach"]
    assert len(found) == cut
    nn.MSELoss()(whole(batch[0]), batch[1]).backward()
    twin = subject.copy()
    for one in found:
        assert "4 times" in one.sign  # the first state has no graph
        one.prepare(twin)
        twin.loss(batch).backward()
        for ours, its in zip(twin.model.parameters(), whole.parameters(), strict=True):
            assert torch.equal(ours.grad, its.grad)


class Physics(nn.Module):
    """Gives the residual of u'' + k u = 0."""

    def __init__(self, *, keeps: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.k, self.keeps = nn.Parameter(torch.tensor(2.0)), keeps

    def forward(self, t: Tensor) -> Tensor:
        t = t.clone().requires_grad_()
        u = self.net(t)
        slope = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
        second = torch.autograd.grad(slope.sum(), t, create_graph=self.keeps, retain_graph=True)
        return second[0] + self.k * u


@pytest.mark.parametrize("keeps", [True, False])
def test_a_derivative_without_a_graph_is_treated_with_one(*, keeps: bool) -> None:
    torch.manual_seed(0)
    model, whole = Physics(keeps=keeps), Physics(keeps=True)
    whole.load_state_dict(model.state_dict())
    batch = (torch.rand(12, 1), torch.zeros(12, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = [
        t for t in treatments(Subject(model, optimizer, nn.MSELoss(), [batch]))
        if t.cause == "graph_cut_by_detach"
    ]  # fmt: skip
    assert len(found) == (not keeps)
    nn.MSELoss()(whole(batch[0]), batch[1]).backward()
    for one in found:
        with one.around():
            nn.MSELoss()(model(batch[0]), batch[1]).backward()
        for ours, its in zip(model.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, its.grad)


def test_what_the_optimizer_lacks_is_tried_in_it() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.scale = nn.Linear(2, 1), nn.Parameter(torch.tensor(0.01))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * self.net(x).tanh()

    torch.manual_seed(0)
    model, x = Scaled(), torch.randn(200, 2)
    data = list(zip(x.split(20), x.sum(1, keepdim=True).split(20), strict=True))
    optimizer = torch.optim.Adam(model.net.parameters(), lr=0.05)
    doctor = thalweg.Doctor(model, optimizer, nn.MSELoss())
    for batch in data * 10:
        optimizer.zero_grad()
        loss = nn.MSELoss()(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=batch)
    first = doctor.findings[0]
    assert (first.cause, first.severity) == ("parameters_not_in_optimizer", "problem")
    assert "scale" in first.sentence


class Table(nn.Module):
    """Numbers and a category, from a dict."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kinds, self.net = nn.Embedding(4, 3), nn.Linear(8, 1)

    def forward(self, row: dict[str, Tensor]) -> Tensor:
        return self.net(torch.cat([self.kinds(row["kind"]), row["numbers"]], 1))


def test_inputs_in_a_dict_are_treated() -> None:
    generator = torch.Generator().manual_seed(0)
    numbers, kind = torch.randn(320, 5, generator=generator), torch.arange(320) % 4
    y = numbers[:, :2].sum(1, keepdim=True) + kind[:, None]
    raw = 1e4 + 1e3 * numbers
    rows = zip(kind.split(20), raw.split(20), y.split(20), strict=True)
    batches = [({"kind": k, "numbers": n}, goal) for k, n, goal in rows]
    model = Table()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    found = thalweg.check(model, optimizer, nn.MSELoss(), batches)
    assert not found.skipped
    assert found.findings[0].cause == "inputs_not_scaled"
    whole = merged(batches, 16)
    assert torch.equal(whole[0][0]["numbers"], raw)
    scaled = standardized(whole)[0][0]
    torch.testing.assert_close(scaled["numbers"].mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    assert torch.equal(scaled["kind"], kind)


def test_of_several_targets_those_that_are_not_scaled_are_treated() -> None:
    generator = torch.Generator().manual_seed(0)
    prices = 20000 + 8000 * torch.randn(64, generator=generator)
    ages, kinds = torch.randn(64, 1, generator=generator), torch.arange(64) % 3
    x = torch.randn(64, 4, generator=generator)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    whole = [(x, {"kind": kinds, "price": prices, "age": ages})]
    subject = Subject(model, optimizer, lambda o, y: nn.MSELoss()(o[:, 0], y["price"]), whole)
    (found,) = (t for t in treatments(subject) if t.cause == "inputs_and_targets_not_scaled")
    _, treated = found.data(whole)[0]
    torch.testing.assert_close(treated["price"], (prices - prices.mean()) / prices.std())
    assert treated["age"] is ages
    assert treated["kind"] is kinds


def test_a_course_that_is_behind_ends_halfway_where_only_half_of_the_loss_counts() -> None:
    torch.manual_seed(0)
    x = torch.randn(320, 3)
    data = list(zip(x.split(20), x.sum(1, keepdim=True).split(20), strict=True))
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    trials = Trials(Subject(model, optimizer, nn.MSELoss(), data), 60, 10.0)
    slower, faster = (one for factor, one in rates() if factor in {0.1, 10.0})
    assert [len(trials.run(one).losses) for one in (slower, faster)] == [60, 60]
    trials.hurried = True
    assert [len(trials.run(one).losses) for one in (slower, faster)] == [30, 60]


@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        ([1.0], 20),  # nothing is learned halfway
        ([1.0] * 19 + [0.9], 40),
        ([2.0], 10),  # far more than a constant, and it does not fall
        ([float(loss) for loss in range(40, 0, -1)], 40),  # it falls
    ],
)
def test_a_rate_that_teaches_nothing_ends_early(
    losses: list[float], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thalweg.doctor.trials._TELLING", 10)
    told = itertools.chain([1.0] * 40, losses, itertools.repeat(losses[-1]))

    def step(model: nn.Module, _: Tensor) -> Tensor:
        loss: Tensor = sum(p.sum() for p in model.parameters()) * 0 + next(told)
        return loss

    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trials = Trials(Subject(model, optimizer, None, [torch.ones(1)], step=step), 40, 10.0)
    vars(trials)["_constant"] = 1.0
    assert len(trials.run(next(rates())[1]).losses) == steps


@pytest.mark.parametrize(("bound", "tried"), [(1.2, True), (1.2 / 30, False)])
def test_first_weights_are_made_smaller_where_outputs_hang_on_the_last_digits_of_inputs(
    bound: float, *, tried: bool
) -> None:
    class Sines(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(4, 32), nn.Linear(32, 32), nn.Linear(32, 1)])

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers[:-1]:
                x = torch.sin(30 * layer(x))
            out: Tensor = self.layers[-1](x)
            return out

    torch.manual_seed(0)
    model, x = Sines(), torch.randn(64, 4)
    for layer in model.layers:
        nn.init.uniform_(layer.weight, -bound / 32**0.5, bound / 32**0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    subject = Subject(model, optimizer, nn.MSELoss(), [(x, x[:, :1])])
    found = [t for t in treatments(subject) if t.cause == "init_too_large"]
    assert bool(found) == tried
    for one, factor in zip(found, (10, 30), strict=tried):
        twin = subject.copy()
        one.prepare(twin)
        torch.testing.assert_close(twin.model.layers[0].weight * factor, model.layers[0].weight)


@pytest.mark.parametrize(("gain", "rank"), [(1.0, 0), (9.0, 1)])
def test_rectifiers_explain_less_where_weights_are_too_large(gain: float, rank: int) -> None:
    linears = [nn.Linear(8, 8) for _ in range(4)]
    for layer in linears:
        nn.init.orthogonal_(layer.weight, gain)
    model = nn.Sequential(
        *[part for layer in linears[:3] for part in (layer, nn.Tanh())], linears[3]
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.MSELoss(), [(torch.randn(16, 8), torch.randn(16, 8))])
    found = {one.cause: one.rank for one in treatments(subject)}
    assert found["vanishing_gradient_sigmoid"] == rank
    assert ("init_too_large" in found) == bool(rank)


@pytest.mark.parametrize("blocks", [14, 2])
def test_first_weights_that_swell_signals_together_are_drawn_anew(blocks: int) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(16, 16)
            nn.init.kaiming_normal_(self.inner.weight)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.inner(x)

    torch.manual_seed(0)
    model, x = nn.Sequential(*[Block() for _ in range(blocks)]), torch.randn(64, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.MSELoss(), [(x, x.flip(1))])
    assert any(t.cause == "init_too_large" for t in treatments(subject)) == (blocks > 2)


@pytest.mark.parametrize(("first", "tried"), [(-6.0, True), (1.0, False)])
def test_biases_that_shut_gates_are_put_at_zero(first: float, *, tried: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 12), nn.GRUCell(12, 8))
    nn.init.constant_(model[1].bias_ih, first)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = torch.randn(16, 4)
    subject = Subject(model, optimizer, nn.MSELoss(), [(x, torch.randn(16, 8))])
    found = [t for t in treatments(subject) if t.cause == "plateau"]
    assert bool(found) == tried
    for one in found:
        twin = subject.copy()
        one.prepare(twin)
        assert not bool(twin.model[1].bias_ih.any())
        assert torch.equal(twin.model[1].bias_hh, model[1].bias_hh)


@pytest.mark.parametrize(("buffer", "told"), [(60, True), (400, False)])
def test_examples_of_a_small_shuffle_buffer_are_tried_in_a_random_order(
    buffer: int, *, told: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) // 50
    parts = y.split(buffer)
    y = torch.cat([part[torch.randperm(len(part), generator=generator)] for part in parts])
    x = y[:, None].float().expand(400, 3)
    model = nn.Linear(3, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = list(zip(x.split(24), y.split(24), strict=True))
    subject = Subject(model, optimizer, nn.CrossEntropyLoss(), batches)
    found = [t for t in treatments(subject) if t.cause == "data_sorted_not_shuffled"]
    assert bool(found) == told
    if found:
        mixed = found[0].data(batches)
        assert [len(b[1]) for b in mixed] == [len(b[1]) for b in batches]
        assert all(torch.equal(b[0][:, 0].long(), b[1]) for b in mixed)
        assert len(mixed[0][1].unique()) > 5


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ([nn.ReLU(), nn.Flatten()], True),
        ([nn.Identity()], False),
        ([nn.ReLU(), nn.Linear(2, 2)], False),
    ],
)
def test_scores_that_a_rectifier_gives_are_tried_without_it(
    last: list[nn.Module], *, told: bool
) -> None:
    x, y = torch.randn(40, 3), torch.arange(40) % 2
    model = nn.Sequential(nn.Linear(3, 2), *last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = list(treatments(Subject(model, optimizer, nn.CrossEntropyLoss(), [(x, y)])))
    assert [t.cause for t in found if t.rank < 0] == ["dead_relu"] * told


@pytest.mark.parametrize(("share", "tried"), [(0.95, ["no dropout"]), (0.5, [])])
def test_dropout_that_leaves_out_most_is_left_out(share: float, tried: list[str]) -> None:
    model = nn.Sequential(nn.Dropout(share), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    subject = Subject(model, optimizer, nn.MSELoss(), [(x, x.sum(1, keepdim=True))])
    found = [one for one in treatments(subject) if one.cause == "underfitting"]
    assert [one.words for one in found] == tried
    for one in found:
        twin = subject.copy()
        one.prepare(twin)
        torch.testing.assert_close(twin.outputs(subject.batch), twin.model[1](x))  # type: ignore[index]
    assert model[0].p == share
