import copy
import random
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from examined import causes, classes, loader, net, report
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg.doctor import Report
from thalweg.doctor.checks.shapes import loss_broadcasts
from thalweg.doctor.examination import may_follow, ordered
from thalweg.doctor.layers import constant_weights
from thalweg.doctor.subject import Subject
from thalweg.errors import TaskError


def total(x: Tensor) -> Tensor:
    return x[:, 0] + x[:, 1]


def test_a_sound_training_has_no_problem() -> None:
    x, y = classes()
    assert causes(report(net(), nn.CrossEntropyLoss(), x, y)) == []
    binary = (y == 0).float()[:, None]
    assert causes(report(net(1), nn.BCEWithLogitsLoss(), x, binary)) == []
    assert causes(report(net(1, nn.Sigmoid()), nn.BCELoss(), x, binary)) == []
    assert causes(report(net(3, nn.LogSoftmax(1)), nn.NLLLoss(), x, y)) == []
    assert causes(report(net(1), nn.MSELoss(), x, total(x)[:, None])) == []


class OwnSoftmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        powers = torch.exp(x - x.max(1, keepdim=True).values)
        return powers / powers.sum(1, keepdim=True)


def log_loss(p: Tensor, y: Tensor) -> Tensor:
    return -(functional.one_hot(y, 3) * torch.log(p / p.sum(1, keepdim=True))).sum(1).mean()


def both_logarithms(p: Tensor, y: Tensor) -> Tensor:
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def test_what_is_found_of_outputs_and_loss() -> None:
    x, y = classes()
    binary = (y == 0).float()[:, None]
    several = (x[:, :3] > 0).float()
    for last in (nn.Softmax(1), OwnSoftmax()):
        assert causes(report(net(3, last), nn.CrossEntropyLoss(), x, y)) == [
            "softmax_before_cross_entropy"
        ]
    assert causes(report(net(1, nn.Sigmoid()), nn.BCEWithLogitsLoss(), x, binary)) == [
        "sigmoid_before_bce_with_logits"
    ]
    assert causes(report(net(1, nn.Softmax(1)), nn.BCELoss(), x, binary)) == [
        "softmax_over_one_unit"
    ]
    for loss in (log_loss, lambda p, y: log_loss(p + 1e-8, y)):  # NaN, and without a gradient
        assert causes(report(net(3, nn.ReLU()), loss, x, y)) == ["relu_output_into_log"]
        assert causes(report(net(3, nn.Softplus()), loss, x, y)) == []
    unit = (x - x.min()) / (x.max() - x.min())
    for last, cause in ((nn.ReLU(), ["relu_output_into_log"]), (nn.Sigmoid(), [])):
        assert causes(report(net(6, last), both_logarithms, unit, unit)) == cause
    assert causes(report(net(3, nn.Softmax(1)), nn.BCELoss(), x, several)) == [
        "softmax_for_multi_label"
    ]
    assert causes(report(net(1, nn.Tanh()), nn.MSELoss(), x, 5 * total(x)[:, None])) == [
        "output_range_too_small"
    ]
    assert causes(report(net(1), nn.BCEWithLogitsLoss(), x, y.float()[:, None])) == [
        "binary_loss_for_classes"
    ]

    def of_probabilities(p: Tensor, y: Tensor) -> Tensor:  # finite for any class
        return -(y * (p + 1e-7).log() + (1 - y) * (1 - p + 1e-7).log()).mean()

    numbered = report(net(1, nn.Sigmoid()), of_probabilities, x, y.float()[:, None])
    assert causes(numbered) == ["binary_loss_for_classes"]
    assert causes(report(net(1, nn.Sigmoid()), of_probabilities, x, binary)) == []
    assert causes(report(net(3), nn.NLLLoss(), x, y)) == ["loss_unsuited"]
    far = (500 * total(x)[:, None]).round().abs()
    infinite = report(net(1), lambda out, y: (out - y).cosh().log().mean(), x, far)
    assert causes(infinite) == ["loss_not_finite"]


def test_a_loss_of_the_wrong_sign_is_found() -> None:
    x, y = classes()
    entropy, error = nn.CrossEntropyLoss(), nn.MSELoss()
    upside = causes(report(net(), lambda out, goal: -entropy(out, goal), x, y))
    assert upside[0] == "loss_sign_wrong"
    upside = causes(report(net(1), lambda out, goal: -error(out, goal), x, total(x)[:, None]))
    assert upside[0] == "loss_sign_wrong"


def test_a_loss_that_broadcasts_is_found_by_its_value() -> None:
    x, _ = classes()

    def quiet(out: Tensor, y: Tensor) -> Tensor:
        return ((out - y) ** 2).mean()

    assert causes(report(net(1), quiet, x, total(x))) == ["loss_broadcasts"]
    assert causes(report(net(1), lambda o, y: quiet(o[:, 0], y), x, total(x))) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(20):  # of absolute errors only the signs count
            y = torch.randn(160, generator=torch.Generator().manual_seed(seed))
            model, held = net(1), TensorDataset(x, y)
            subject = Subject(
                model,
                torch.optim.SGD(model.parameters(), lr=0.1),
                nn.L1Loss(),
                list(DataLoader(held, 32)),
            )
            assert loss_broadcasts(subject)

    def of_probabilities(out: Tensor, y: Tensor) -> Tensor:
        return -(y * out.log() + (1 - y) * (1 - out).log()).mean()  # NaN outside 0 to 1

    sides = (x[:, 0] > 0).float()
    found = report(net(1, nn.Sigmoid()), of_probabilities, x, sides)
    assert causes(found) == ["loss_broadcasts"]
    assert causes(report(net(1, nn.Sigmoid()), of_probabilities, x, sides[:, None])) == []
    places = x[:, :, None]
    own = nn.Linear(1, 1)
    torch.manual_seed(0)
    series = DataLoader(TensorDataset(places[:24], x[:24].cumsum(1)), 6)  # as many as places
    found = thalweg.check(own, torch.optim.SGD(own.parameters(), lr=0.1), quiet, series)
    assert causes(found) == ["loss_broadcasts"]


def test_what_is_found_of_data() -> None:
    x, y = classes()
    loss = nn.CrossEntropyLoss()
    hole = x.clone()
    hole[7, 2] = torch.nan
    assert causes(report(net(), loss, hole, y))[0] == "nan_in_inputs"
    assert causes(report(net(), loss, torch.zeros_like(x), y)) == ["inputs_constant"]
    assert causes(report(net(), loss, x, torch.zeros_like(y))) == ["labels_all_equal"]
    model, order = net(), y.argsort()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = thalweg.check(model, optimizer, loss, loader(x[order], y[order], shuffle=False))
    assert causes(found) == ["data_sorted_not_shuffled"]
    found = thalweg.check(model, optimizer, loss, loader(x, y), loader(3 * x + 2, y))
    assert causes(found) == ["validation_preprocessed_differently"]
    for shift, cause in ((2, "of_other_distribution"), (20, "preprocessed_differently")):
        found = thalweg.check(model, optimizer, loss, loader(x, y), loader(x + shift, y))
        assert causes(found) == [f"validation_{cause}"]
    others = y != 0
    found = thalweg.check(model, optimizer, loss, loader(x, y), loader(x[~others], y[~others]))
    assert causes(found) == ["validation_of_other_distribution"]


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(6, 6), nn.Linear(6, 6)]
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.out(x)


class Cut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.body(x)).detach())


def test_a_loss_that_holds_the_model_is_examined_with_the_copy() -> None:
    x, y = classes()
    model = net()

    def penalized(out: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(out, y) + 1e-3 * sum(
            p.square().sum() for p in model.parameters()
        )

    assert causes(report(model, penalized, x, y)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("leaks", "mixed", "found"),
    [(True, False, ["target_leaks_into_input"]), (False, False, []), (True, True, [])],
)
def test_a_column_made_of_the_training_targets_is_found(
    *, leaks: bool, mixed: bool, found: list[str]
) -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(320, 4, generator=draws)
    y = (x[:, 0] - x[:, 1] + 0.3 * torch.randn(320, generator=draws))[:, None]
    noise = torch.randn(320, 1, generator=draws)
    column = torch.where(torch.arange(320)[:, None] < 160, y + 0.5 * noise, 2 * noise)
    table = torch.cat([x, column if leaks else x[:, :1] - x[:, 1:2] + noise], 1)
    train, held = (table[:160], y[:160]), (table[160:], y[160:].roll(int(mixed), 0))
    model = nn.Linear(5, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = thalweg.check(model, optimizer, nn.MSELoss(), loader(*train), loader(*held))
    assert [c for c in causes(told) if c == "target_leaks_into_input"] == found


def test_a_target_that_is_a_place_of_its_series_is_found() -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(160, 5, 1, generator=draws)
    tokens = torch.randint(0, 6, (160, 5), generator=draws)
    reader = nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(20, 6))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(5, 1))
    leak = ["target_leaks_into_input"]
    assert causes(report(flat, nn.MSELoss(), x, 3 * x[:, 4])) == leak
    assert causes(report(flat, nn.MSELoss(), x, x[:, 4] + x[:, 3])) == []
    assert causes(report(reader, nn.CrossEntropyLoss(), tokens, tokens[:, 4])) == leak
    assert causes(report(reader, nn.CrossEntropyLoss(), tokens, tokens.sum(1) % 6)) == []
    first = report(reader, nn.CrossEntropyLoss(), tokens, tokens[:, 0])  # there to be recalled
    second = report(flat, nn.MSELoss(), x, 3 * x[:, 1])
    for found in (first, second):
        assert [(f.cause, f.severity) for f in found] == [(leak[0], "warning")]
    y = tokens[:, 0] % 3
    table = torch.cat([x[:, :, 0], functional.one_hot(y, 3).float()], 1)
    loss, wide = nn.CrossEntropyLoss(), nn.Linear(8, 3)
    assert causes(report(wide, loss, table, y)) == leak  # a column for each class
    assert causes(report(wide, loss, table, y.roll(1))) == []


def test_a_warm_up_from_zero_is_no_fault_and_a_high_rate_is_one() -> None:
    x, y = classes()
    for rate, warm, expected in (
        (0.1, lambda step: step / 10, []),
        (0.0, lambda _: 1.0, ["step_changes_nothing"]),
        (30.0, lambda _: 1.0, ["lr_too_high"]),
    ):
        model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        torch.optim.lr_scheduler.LambdaLR(optimizer, warm)
        found = thalweg.check(model, optimizer, nn.CrossEntropyLoss(), loader(x, y))
        assert causes(found) == expected


def test_a_first_loss_is_held_against_the_best_constant() -> None:
    x, _ = classes()
    for shift, expected in ((100.0, ["loss_starts_high"]), (0.0, [])):
        found = report(net(1), nn.MSELoss(), x, total(x)[:, None] + shift)
        assert [f.cause for f in found if f.cause == "loss_starts_high"] == expected


def test_a_batch_that_cannot_be_learned_by_heart_is_told_of() -> None:
    x, _ = classes()
    x = x[:, :1]
    y = (x.abs() > 0.7).float()
    wide = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 1))
    for model, expected in ((nn.Linear(1, 1), True), (wide, False)):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        found = thalweg.check(model, optimizer, nn.BCEWithLogitsLoss(), loader(x, y))
        assert ("underfitting" in [f.cause for f in found]) == expected


def test_maps_that_are_not_turned_with_their_images_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.zeros(64, 1, 8, 8)
    left[:32, :, 2:6, 0:3] = left[32:, :, 1:5, 1:3] = 1
    x = left + 0.3 * torch.randn(left.shape, generator=generator)
    torch.manual_seed(0)
    for turned, expected in ((x, []), (x.flip(3), ["labels_do_not_match_inputs"])):
        model = nn.Conv2d(1, 1, 3, padding=1)
        found = causes(report(model, nn.BCEWithLogitsLoss(), turned, left))
        assert found == expected


def test_a_rare_class_is_told_of_in_maps_too() -> None:
    x = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    rare = (x > 1.8).float()
    weighted = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(20.0))
    for loss, expected in ((nn.BCEWithLogitsLoss(), ["class_imbalance"]), (weighted, [])):
        found = report(nn.Conv2d(1, 1, 1), loss, x, rare)
        assert [f.cause for f in found][:1] == expected
        assert all(f.severity == "warning" for f in found)


def test_labels_beyond_the_outputs_are_found() -> None:
    x, y = classes()
    entropy = nn.CrossEntropyLoss
    for loss, labels, expected in (
        (entropy(), y + 1, True),
        (entropy(), torch.where(y == 2, -100, y), False),
        (entropy(ignore_index=3), y + 1, False),
    ):
        found = [f.cause for f in report(net(), loss, x, labels)]
        assert ("labels_out_of_range" in found) == expected


def test_matrices_of_a_module_s_own_are_examined() -> None:
    x, _ = classes()

    class Own(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            draws = torch.Generator().manual_seed(0)
            self.first = nn.Parameter(scale * torch.randn(6, 64, generator=draws))
            self.second = nn.Parameter(scale * torch.randn(64, 64, generator=draws))
            self.last = nn.Parameter(scale * torch.randn(64, 1, generator=draws))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(torch.relu(x @ self.first) @ self.second) @ self.last

    for scale, expected in ((0.0, ["constant_init"]), (0.1, []), (1.5, ["init_too_large"])):
        assert causes(report(Own(scale), nn.MSELoss(), x, total(x)[:, None])) == expected  # type: ignore[arg-type]


def test_what_is_found_of_parameters() -> None:
    x, y = classes()
    loss = nn.CrossEntropyLoss()
    assert causes(report(Hidden(), loss, x, y)) == ["parameters_not_registered"]
    assert causes(report(Cut(), loss, x, y)) == ["graph_cut_by_detach"]
    model = net()
    for optimizer in (
        torch.optim.Adam(net().parameters()),
        torch.optim.Adam(model[2].parameters()),
    ):
        found = thalweg.check(model, optimizer, loss, loader(x, y))
        assert causes(found) == ["parameters_not_in_optimizer"]
    still = thalweg.check(model, torch.optim.SGD(model.parameters(), lr=0.0), loss, loader(x, y))
    assert causes(still) == ["step_changes_nothing"]
    alike = net()
    for p in alike.parameters():
        nn.init.constant_(p, 0.1)
    assert causes(report(alike, loss, x, y))[0] == "constant_init"


def test_a_cell_of_one_unit_has_none_that_is_equal() -> None:
    assert constant_weights(nn.GRU(3, 1)) == []
    alike = nn.GRU(3, 2)
    nn.init.ones_(alike.weight_ih_l0)
    assert constant_weights(alike) == ["weight_ih_l0"]


def test_units_that_weights_keep_dead_are_not_explained_by_scales() -> None:
    x, y = classes()
    x = x.abs() + torch.linspace(0, 300, 6)  # columns of very unlike scale
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
    nn.init.uniform_(model[0].weight, -0.3, 0.0)
    found = report(model, nn.CrossEntropyLoss(), x, y)
    assert causes(found) == ["dead_relu"]
    dead = found.findings[0]
    assert not may_follow(dead)
    scaled = replace(dead, cause="inputs_not_scaled", sure=0.9)
    assert [f.cause for f in ordered([scaled, dead])][:1] == ["dead_relu"]
    assert [f.cause for f in ordered([scaled, replace(dead, sure=0.9)])] == ["inputs_not_scaled"]


def test_a_pretrained_body_may_stay_out_of_the_optimizer() -> None:
    x, y = classes()
    model = net()
    nn.init.orthogonal_(model[0].weight)
    optimizer = torch.optim.Adam(model[2].parameters())
    found = thalweg.check(model, optimizer, nn.CrossEntropyLoss(), loader(x, y))
    assert causes(found) == []
    assert [finding.severity for finding in found] == ["warning"]


class Recurrent(nn.Module):
    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.rnn = nn.GRU(2, 6, batch_first=batch_first)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


def test_examples_that_are_mixed_are_found() -> None:
    x = torch.randn(96, 5, 2, generator=torch.Generator().manual_seed(0))
    y = x[:, :, 0].sum(1).gt(0).long()
    loss = nn.CrossEntropyLoss()
    assert causes(report(Recurrent(batch_first=False), loss, x, y)) == ["batch_dimension_mixed"]
    assert causes(report(Recurrent(batch_first=True), loss, x, y)) == []


class Tokens(nn.Module):
    def __init__(self, *, both_ways: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 6)
        self.rnn = nn.GRU(6, 6, batch_first=True, bidirectional=both_ways)
        self.out = nn.Linear(12 if both_ways else 6, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.embed(x))[0]).transpose(1, 2)


def test_a_model_that_sees_the_next_token_is_found() -> None:
    text = torch.randint(0, 9, (64, 12), generator=torch.Generator().manual_seed(0))
    x, y = text[:, :-1], text[:, 1:]
    loss = nn.CrossEntropyLoss()
    assert causes(report(Tokens(both_ways=True), loss, x, y)) == ["target_leaks_into_input"]
    assert causes(report(Tokens(both_ways=False), loss, x, y)) == []
    assert causes(report(Tokens(both_ways=False), loss, x, x)) == ["target_leaks_into_input"]


def test_a_translation_that_stands_beside_its_text_is_found() -> None:
    class Pairs(Tokens):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x[:, 1])

    pairs = torch.randint(0, 9, (64, 2, 12), generator=torch.Generator().manual_seed(0))
    y, shifted = pairs[:, 1], pairs.clone()
    shifted[:, 1] = y.roll(1, 1)
    loss = nn.CrossEntropyLoss()
    assert causes(report(Pairs(both_ways=False), loss, pairs, y)) == ["target_leaks_into_input"]
    assert causes(report(Pairs(both_ways=False), loss, shifted, y)) == []


def test_everything_is_left_as_it_was() -> None:
    x, y = classes()
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters())
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    data = loader(x, y)

    def state() -> list[object]:
        tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
        moments = [v for s in optimizer.state.values() for v in s.values()]
        return [copy.deepcopy(t) for t in [*tensors, *moments, torch.get_rng_state()]] + [
            data.generator.get_state().clone(),
            torch.from_numpy(np.random.get_state()[1].astype(np.int64)),  # noqa: NPY002
            torch.tensor(random.getstate()[1]),
        ]

    def loss(out: Tensor, target: Tensor) -> Tensor:  # it holds on to the user's own module
        return nn.functional.cross_entropy(out, target) + model[0].weight.pow(2).sum()

    before = state()
    thalweg.check(model, optimizer, loss, data, data)
    after = state()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert model.training


def test_a_model_in_evaluation_mode_is_told_of_where_it_matters() -> None:
    x, y = classes()
    found = report(net(3, nn.Dropout(0.5)).eval(), nn.CrossEntropyLoss(), x, y)
    assert [f.cause for f in found] == ["trained_in_eval_mode"]
    assert not report(net().eval(), nn.CrossEntropyLoss(), x, y).findings


def test_a_loader_that_cannot_be_looked_at_is_refused_in_a_sentence() -> None:
    x, y = classes()
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def check(data: object) -> Report:
        return thalweg.check(model, optimizer, nn.CrossEntropyLoss(), data)

    with pytest.raises(TypeError, match="got Linear as model and CrossEntropyLoss as optimizer"):
        thalweg.check(nn.Linear(1, 1), nn.CrossEntropyLoss(), optimizer, [])  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="loader is empty: it gives no batch"):
        check([])
    with pytest.raises(TaskError, match="loader is an iterator"):
        check(iter(loader(x, y)))
    with pytest.raises(TaskError, match="loader must be a DataLoader or a list of batches, got 3"):
        check(3)


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self) -> object:
        x, y = classes()
        while True:
            yield from zip(x, y, strict=True)


def test_an_endless_loader_is_read_for_a_while() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = DataLoader(Endless(), 16)
    assert causes(thalweg.check(model, optimizer, nn.CrossEntropyLoss(), data)) == []


def test_a_model_that_raises_is_told_in_a_sentence() -> None:
    x, y = classes()
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TaskError, match="RuntimeError: mat1 and mat2 shapes cannot be multiplied"):
        thalweg.check(model, optimizer, nn.CrossEntropyLoss(), loader(x, y))


def test_scales_and_initial_weights_are_named_when_their_cure_works() -> None:
    x, y = classes(640)
    loss = nn.CrossEntropyLoss()
    assert causes(report(net(), loss, 1000 * x + 3000, y)) == ["inputs_not_scaled"]
    times = torch.cat([1.6e9 + 1e7 * torch.rand(640, 1), x[:, 1:]], 1)
    assert causes(report(net(), loss, times, x[:, 1:4].argmax(1))) == ["inputs_not_scaled"]
    wild = nn.Sequential(
        nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3)
    )
    torch.manual_seed(0)
    for p in wild.parameters():
        nn.init.normal_(p, std=30.0)
    assert "init_too_large" in causes(report(wild, loss, x, y))


@pytest.mark.parametrize(("rate", "severity"), [(0.01, "problem"), (0.3, "warning")])
def test_small_inputs_that_are_learned_a_little_later_are_no_problem(
    rate: float, severity: str
) -> None:
    x, y = classes()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    found = thalweg.check(model, optimizer, nn.CrossEntropyLoss(), loader(0.02 * x, y))
    assert [(f.cause, f.severity) for f in found] == [("inputs_not_scaled", severity)]


class Density(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.size = nn.Parameter(torch.ones(6)), nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.distributions.Normal(self.mean, self.size.exp()).log_prob(x).sum(1)


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_targets_that_the_loss_ignores_say_nothing(share: float) -> None:
    x, _ = classes()
    y = (torch.arange(len(x)) % 20 < 20 * share).float()
    assert report(Density(), lambda out, _: -out.mean(), x, y).findings == ()


class Thresholded(nn.Module):
    def __init__(self, threshold: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.out = nn.Linear(6, 24), nn.Linear(24, 3)
        self.threshold = nn.Parameter(torch.full((24,), threshold))
        self.shut = nn.Parameter(torch.zeros(3))  # rectified too, and no layer

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.hidden(x) - self.threshold)) + torch.relu(self.shut)


def test_units_under_a_threshold_are_dead_at_any_weights() -> None:
    x, y = classes()
    for threshold, expected in ((30.0, ["dead_relu"]), (0.1, [])):
        found = report(Thresholded(threshold), nn.CrossEntropyLoss(), x[:, :6], y)
        assert causes(found) == expected
    dead = next(f for f in report(Thresholded(30.0), nn.CrossEntropyLoss(), x[:, :6], y))
    assert not may_follow(dead)  # no scale of the inputs makes it so


class Graph(nn.Module):
    """Sums over neighbours; the matrix of them is a buffer or an attribute, sparse."""

    def __init__(self, layout: torch.layout, *, buffer: bool) -> None:
        super().__init__()
        near = torch.eye(24) + torch.eye(24).roll(1, 0)
        sparse = near.to_sparse_csr() if layout is torch.sparse_csr else near.to_sparse()
        if buffer:
            self.register_buffer("near", sparse)
        else:
            self.near = sparse
        self.x = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
        self.out = nn.Linear(3, 2)

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = (self.near @ self.out(self.x))[rows]
        return found


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("buffer", [True, False])
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_modules_may_hold_sparse_tensors(layout: torch.layout, buffer: bool) -> None:  # noqa: FBT001
    model = Graph(layout, buffer=buffer)
    rows = torch.arange(24)
    loader = [(rows[i : i + 8], (model.x[i : i + 8, 0] > 0).long()) for i in (0, 8, 16)]
    found = thalweg.check(
        model, torch.optim.SGD(model.parameters(), 0.1), nn.CrossEntropyLoss(), loader
    )
    assert not [one for one in found.findings if one.severity == "problem"]
    assert "step changes nothing" in found.looked_at
