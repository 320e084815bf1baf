"""Faults of the data."""

from typing import Any

import torch
from torch import Tensor, nn

from doctor_suite.data import LETTERS, cancer, draws, rings, sums, text
from doctor_suite.models import Net, Then, reader
from doctor_suite.registry import everywhere, plant, usual
from doctor_suite.training import LOSSES, SCORES, Training

__all__ = ["noisy", "points", "series", "tables", "texts"]

ONLY_STRONG = ("strong",)


def tables(variant: str, half: str, seed: int) -> Training:
    """Return a training on the cancer table, or the usual one."""
    if variant != "table":
        return usual(variant, half, seed)
    torch.manual_seed(seed)
    width, activation = (32, nn.ReLU()) if half == "calibration" else (24, nn.Tanh())
    model = Net(nn.Sequential(nn.Linear(30, width), activation), width, 1)
    loss, score = LOSSES["binary"](), SCORES["binary"]
    return Training(
        cancer(seed), model, loss, score, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}, seed=seed
    )


def _units(x: Tensor, training: Training, *, strong: bool) -> Tensor:
    """Return columns in units of their own: factors from 1 to 1000, far from 0."""
    own = draws(training.seed, 30)
    size = x.shape[1:]
    scale = 10 ** (torch.rand(size, generator=own) * (4 if strong else 2))
    return (x + 2 * torch.randn(size, generator=own)) * scale


@plant("inputs_not_scaled", "table", "classes mlp", "regression mlp", base=tables)
def columns_not_scaled(training: Training, *, strong: bool) -> None:
    parts = training.parts
    training.parts = parts._replace(
        x=_units(parts.x, training, strong=strong),
        x_val=_units(parts.x_val, training, strong=strong),
    )


@plant("inputs_not_scaled", *everywhere("classes"))
def pixels_not_scaled(training: Training, *, strong: bool) -> None:
    """Pixels from 0 to 65535, or from 0 to 255."""
    parts = training.parts
    most = 65_535.0 if strong else 255.0
    low, width = parts.x.min(), parts.x.max() - parts.x.min()
    training.parts = parts._replace(
        x=(parts.x - low) / width * most, x_val=(parts.x_val - low) / width * most
    )


@plant("inputs_and_targets_not_scaled", *everywhere("regression"))
def nothing_scaled(training: Training, *, strong: bool) -> None:
    parts, scale = training.parts, 1e4 if strong else 100.0
    training.comparable = False
    training.parts = parts._replace(
        x=_units(parts.x, training, strong=strong),
        x_val=_units(parts.x_val, training, strong=strong),
        y=scale * (parts.y + 3), y_val=scale * (parts.y_val + 3),
    )  # fmt: skip


@plant("inputs_constant", *everywhere("classes"), strengths=ONLY_STRONG)
def whole_division(training: Training, **_: bool) -> None:
    """Pixels of 0 to 254, divided by 255 as whole numbers."""
    parts = training.parts
    training.parts = parts._replace(
        x=torch.zeros_like(parts.x), x_val=torch.zeros_like(parts.x_val)
    )


@plant("inputs_ignored", *everywhere("classes"), *everywhere("regression"))
def inputs_ignored(training: Training, *, strong: bool) -> None:
    """The features are multiplied by 0, or every example gets the features of the first."""
    model = training.model
    assert isinstance(model, Net)
    lost = torch.zeros_like if strong else _first
    model.features = Then(model.features, lost)


def _first(features: Tensor) -> Tensor:
    return features[:1].expand_as(features)


@plant("nan_in_inputs", "table", *everywhere("classes"), base=tables)
def missing_values(training: Training, *, strong: bool) -> None:
    """A value in a hundred, or one of one example."""
    x = training.parts.x.clone()
    own = draws(training.seed, 31)
    if strong:
        x[torch.rand(x.shape, generator=own) < 0.01] = float("nan")
    else:
        place = int(torch.randint(0, x.numel(), (), generator=own))
        x.view(-1)[place] = float("nan")
    training.parts = training.parts._replace(x=x)


@plant("labels_all_equal", *everywhere("classes"), "binary mlp", strengths=ONLY_STRONG)
def equal_labels(training: Training, **_: bool) -> None:
    parts = training.parts
    training.honest, training.comparable = (parts.x_val, parts.y_val), False
    training.parts = parts._replace(y=torch.ones_like(parts.y), y_val=torch.ones_like(parts.y_val))


@plant("labels_do_not_match_inputs", *everywhere("classes"), *everywhere("regression"))
def labels_shuffled(training: Training, *, strong: bool) -> None:
    """All labels, or six of ten, stand beside other inputs."""
    parts, own = training.parts, draws(training.seed, 32)
    moved = torch.rand(len(parts.y), generator=own) < (1.0 if strong else 0.6)
    places = moved.nonzero()[:, 0]
    y = parts.y.clone()
    y[places] = parts.y[places[torch.randperm(len(places), generator=own)]]
    training.parts = parts._replace(y=y)


@plant("class_imbalance", *everywhere("binary"), "classes mlp")
def imbalance(training: Training, *, strong: bool) -> None:
    """One class has 98 or 93 of 100 training examples."""
    parts, own = training.parts, draws(training.seed, 33)
    y = parts.y.flatten()
    often = (y == 0).nonzero()[:, 0]
    seldom = (y != 0).nonzero()[:, 0]
    share = 0.02 if strong else 0.07
    few = seldom[torch.randperm(len(seldom), generator=own)]
    few = few[: max(2, round(share * len(often) / (1 - share)))]
    kept = torch.cat([often, few])
    training.honest, training.comparable = (parts.x_val, parts.y_val), False
    training.score = _decided
    training.parts = parts._replace(x=parts.x[kept], y=parts.y[kept])


def _decided(output: Tensor, y: Tensor) -> float:
    """Return the balanced accuracy of decisions, 0 for chance."""
    if output.shape[1] > 1:
        return SCORES["classes"](output, y)
    return SCORES["classes"](torch.cat([torch.zeros_like(output), output], 1), y.flatten().long())


@plant("data_sorted_not_shuffled", *everywhere("classes"), "binary mlp")
def sorted_data(training: Training, *, strong: bool) -> None:
    """All examples by class, or by class within each third of the data."""
    parts = training.parts
    y = parts.y.flatten()
    thirds = torch.arange(len(y)) // (len(y) if strong else -(-len(y) // 3))
    order = (thirds * (y.max() + 1) + y).argsort(stable=True)
    training.parts = parts._replace(x=parts.x[order], y=parts.y[order])
    training.shuffle = False


def noisy(variant: str, half: str, seed: int) -> Training:
    """Return a training with 3 in 10 labels wrong in both parts: only memory learns those."""
    training = usual(variant, half, seed)
    own = draws(seed, 34)

    def spoiled(y: Tensor) -> Tensor:
        wrong = torch.rand(len(y), generator=own) < 0.3
        y = y.clone()
        y[wrong] = y[torch.randint(0, len(y), (int(wrong.sum()),), generator=own)]
        return y

    parts = training.parts
    training.parts = parts._replace(y=spoiled(parts.y), y_val=spoiled(parts.y_val))
    training.steps = 800
    return training


@plant("duplicates_across_parts", *everywhere("classes"), base=noisy)
def duplicates(training: Training, *, strong: bool) -> None:
    """All or half of the validation examples are training examples."""
    parts = training.parts
    training.honest, training.misleads = (parts.x_val, parts.y_val), True
    count = len(parts.x_val) if strong else len(parts.x_val) // 2
    x_val, y_val = parts.x_val.clone(), parts.y_val.clone()
    x_val[:count], y_val[:count] = parts.x[:count], parts.y[:count]
    training.parts = parts._replace(x_val=x_val, y_val=y_val)


@plant("validation_preprocessed_differently", *everywhere("classes"), "table", base=tables)
def validation_not_normalized(training: Training, *, strong: bool) -> None:
    """Validation inputs from 0 to 255, or with another mean and scale."""
    x = training.parts.x_val
    x_val = (x - x.min()) / (x.max() - x.min()) * 255 if strong else 3 * x + 1.5
    training.parts = training.parts._replace(x_val=x_val)


@plant("validation_of_other_distribution", *everywhere("classes"), "regression mlp")
def validation_of_others(training: Training, *, strong: bool) -> None:
    """Split by target: what is validated on was never, or seldom, trained on."""
    parts = training.parts
    x, y = torch.cat([parts.x, parts.x_val]), torch.cat([parts.y, parts.y_val])
    rank = y.flatten().float()
    noise = 0.0 if strong else 0.35 * rank.std()
    rank = rank + noise * torch.randn(len(rank), generator=draws(training.seed, 35))
    order = rank.argsort(stable=True)
    x, y = x[order], y[order]
    held = len(parts.x_val)
    training.parts = parts._replace(x=x[:-held], y=y[:-held], x_val=x[-held:], y_val=y[-held:])


def texts(variant: str, half: str, seed: int) -> Training:
    parts = text(seed, half)
    torch.manual_seed(seed)
    model = reader(variant.split()[1], LETTERS, parts.x.shape[1], causal=True)
    training = Training(parts, model, _each_letter, _next_letters, seed=seed)
    training.rule = torch.optim.Adam if half == "calibration" else torch.optim.AdamW
    training.options = {"lr": 5e-3}
    training.predict = _unseen
    return training


def _each_letter(output: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output.flatten(0, 1), y.flatten())


def _next_letters(output: Tensor, y: Tensor) -> float:
    share = float((output.argmax(2) == y).float().mean())
    return (share - 1 / LETTERS) / (1 - 1 / LETTERS)


def _unseen(model: nn.Module, x: Tensor) -> Tensor:
    """Return the scores of each letter where those after its place are cut off."""
    places = [model(x[:, : t + 1])[:, -1] for t in range(x.shape[1])]
    return torch.stack(places, 1)


@plant("target_leaks_into_input", "text transformer", "text recurrent", "text convnet", base=texts,
       strengths=ONLY_STRONG)  # fmt: skip
def sees_the_future(training: Training, **_: bool) -> None:
    name = {"Attention": "transformer", "Recurrent": "recurrent"}
    features = training.model.features
    torch.manual_seed(training.seed)
    training.model = reader(
        name.get(type(features).__name__, "convnet"),
        LETTERS, training.parts.x.shape[1], causal=False,
    )  # fmt: skip
    training.misleads = True


@plant("target_leaks_into_input", "regression mlp", "table", base=tables)
def leaking_column(training: Training, *, strong: bool) -> None:
    """A column that is the target, exactly or with noise, and that is missing in use."""
    parts = training.parts
    own = draws(training.seed, 36)
    noise = 0.0 if strong else 0.1

    def with_column(x: Tensor, y: Tensor) -> Tensor:
        column = (y - parts.y.mean()) / parts.y.std()
        return torch.cat([x, column + noise * torch.randn(y.shape, generator=own)], 1)

    blind = torch.cat([parts.x_val, torch.zeros(len(parts.x_val), 1)], 1)
    training.honest, training.misleads = (blind, parts.y_val), True
    torch.manual_seed(training.seed)
    model = training.model
    assert isinstance(model, Net)
    assert isinstance(model.features, nn.Sequential)
    first: Any = model.features[0]
    model.features[0] = nn.Linear(first.in_features + 1, first.out_features)
    training.parts = parts._replace(
        x=with_column(parts.x, parts.y), x_val=with_column(parts.x_val, parts.y_val)
    )


class Padded(nn.Module):
    """A recurrent net over padded series; it reads the last true state, or the last of all."""

    def __init__(self, cell: nn.RNNBase, width: int, *, blind: bool) -> None:
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(width, 1)
        self.blind = blind

    def forward(self, x: Tensor) -> Tensor:
        """Return one number per series."""
        states = self.cell(x)[0]
        lengths = (x != 0).any(2).sum(1).clamp(min=1)
        last = states[:, -1] if self.blind else states[torch.arange(len(x)), lengths - 1]
        out: Tensor = self.head(last)
        return out


def series(variant: str, half: str, seed: int) -> Training:
    parts = sums(seed, 40)
    own = draws(seed, 37)

    def cut(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        lengths = torch.randint(3, 12, (len(x),), generator=own)
        x = x * (torch.arange(40)[None] < lengths[:, None])[:, :, None]
        y = (x[:, :, 0] - x[:, :, 1]).sum(1, keepdim=True)
        return x, y

    x, y = cut(parts.x, parts.y)
    x_val, y_val = cut(parts.x_val, parts.y_val)
    parts = parts._replace(x=x, y=y, x_val=x_val, y_val=y_val)
    torch.manual_seed(seed)
    cells = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
    width = 24 if half == "calibration" else 32
    model = Padded(cells[variant](2, width, batch_first=True), width, blind=False)
    loss, score = LOSSES["regression"](), SCORES["regression"]
    return Training(parts, model, loss, score, torch.optim.Adam, {"lr": 5e-3}, seed=seed)


@plant("reads_padding", "rnn", "gru", "lstm", base=series)
def reads_the_end(training: Training, *, strong: bool) -> None:
    """Padding to 40 steps, or to 20."""
    training.model.blind = True
    if not strong:
        parts = training.parts
        training.parts = parts._replace(x=parts.x[:, :20], x_val=parts.x_val[:, :20])


def points(variant: str, half: str, seed: int) -> Training:
    if variant != "rings":
        return usual(variant, half, seed)
    torch.manual_seed(seed)
    activation = nn.ReLU() if half == "calibration" else nn.Tanh()
    model = Net(nn.Sequential(nn.Linear(2, 32), activation), 32, 1)
    loss, score = LOSSES["binary"](), SCORES["binary"]
    return Training(rings(seed), model, loss, score, torch.optim.Adam, {"lr": 1e-2}, seed=seed)


@plant("underfitting", "rings", "classes mlp", "regression mlp", base=points)
def too_small(training: Training, *, strong: bool) -> None:
    """A straight line, or one hidden unit, at a rate that suits it."""
    model, x = training.model, training.parts.x
    training.rule, training.options = torch.optim.Adam, {"lr": 1e-2}  # by another it may diverge
    assert isinstance(model, Net)
    size, outputs = x[0].numel(), model.head.out_features
    torch.manual_seed(training.seed)
    features: nn.Module = nn.Identity() if strong else nn.Sequential(nn.Linear(size, 1), nn.Tanh())
    if strong and outputs > 1:
        features = nn.Sequential(nn.Linear(size, 1), nn.Tanh())
    elif outputs > 1:
        features = nn.Sequential(nn.Linear(size, 2), nn.Tanh())
    width = 2 if outputs > 1 and not strong else size if isinstance(features, nn.Identity) else 1
    training.model = Net(features, width, outputs)


@plant("overfitting", *everywhere("classes"), *everywhere("regression"))
def too_few_examples(training: Training, *, strong: bool) -> None:
    parts, count = training.parts, 40 if strong else 120
    training.parts = parts._replace(x=parts.x[:count], y=parts.y[:count])
    training.batch, training.steps = 20, 500
