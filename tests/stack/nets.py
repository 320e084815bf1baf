"""Small networks and plain torch trainings of them: what the tests of thalweg.stack share."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from optim_pairs import scalars_in
from thalweg.linear.stream import stream
from thalweg.rules import get
from thalweg.stack import Examples, Model, Observer, Outcome, Parts, TorchTask, train

__all__ = [
    "NETS",
    "Attention",
    "X",
    "Y",
    "classes",
    "in_lanes",
    "make",
    "minibatches",
    "numbered",
    "one_by_one",
    "rows",
]

SEED = 5


class Attention(nn.Module):
    """A transformer over tokens, of two layers unless it is told otherwise."""

    def __init__(self, dropout: float = 0.0, layers: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(12, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.out(self.layers(self.tokens(x)).mean(1))
        return scores


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(2, 4, 3), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip


def normalized() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3)
    )


def images(generator: torch.Generator) -> Tensor:
    return torch.randn(60, 1, 8, 8, dtype=torch.float64, generator=generator)


# name -> what makes the module, what makes the inputs
NETS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[torch.Generator], Tensor]]] = {
    "mlp": (mlp, lambda g: torch.randn(60, 6, dtype=torch.float64, generator=g)),
    "lenet": (lenet, images),
    "batch norm": (normalized, images),
    "transformer": (Attention, lambda g: torch.randint(12, (60, 5), generator=g)),
}


def classes(name: str, dtype: torch.dtype = torch.float64, **given: Any) -> TorchTask:
    """Return a task of three classes on one of the networks."""
    network, inputs = NETS[name]
    generator = torch.Generator().manual_seed(1)
    x = inputs(generator)
    given.setdefault("loss", functional.cross_entropy)
    given.setdefault("model", lambda: network().to(dtype))
    x = x.to(dtype) if x.is_floating_point() else x
    return TorchTask(**{"train": (x, torch.arange(60) % 3), **given})


def make(task: TorchTask) -> tuple[Model, Parts]:
    parts = Examples.of(task).draw(0)
    return Model(task, parts.train), parts


def in_lanes(
    task: TorchTask,
    rule: str | Sequence[str],
    hyper: Sequence[Mapping[str, Any]],
    *,
    epochs: int,
    batch_size: int = 9,
    seeds: Sequence[int] | None = None,
    stacked: bool = True,
    observers: Sequence[Observer] = (),
) -> Outcome:
    """Train with each of the settings, on the minibatches of one seed unless there are several."""
    model, parts = make(task)
    assert model.stacked or not stacked, model.traits.why
    rules = [get(name) for name in ([rule] * len(hyper) if isinstance(rule, str) else rule)]
    settings = [
        {name: own.get(name, default) for name, default in rule.defaults.items()}
        for rule, own in zip(rules, hyper, strict=True)
    ]
    return train(
        model, parts, rules, settings, seeds=seeds or [SEED] * len(hyper), epochs=epochs,
        batch_size=batch_size, shared=seeds is None, stacked=stacked, observers=observers,
    )  # fmt: skip


def one_by_one(
    task: TorchTask,
    optimizer: Callable[[Any], torch.optim.Optimizer],
    *,
    epochs: int,
    batch_size: int = 9,
    seed: int = SEED,
    clip_norm: float | None = None,
    penalty: Callable[[nn.Module], Any] = lambda _: 0,
    smoothing: float = 0.0,
    gradients: float = 1.0,
) -> tuple[nn.Module, list[float], list[float]]:
    """Return what plain torch comes to: the module, training and validation losses by epoch."""
    parts = Examples.of(task).draw(0)
    torch.manual_seed(seed)
    with scalars_in(torch.float32):  # whatever torch's default is meanwhile
        module = task.model()
    steps = optimizer(module.parameters())
    (x, y), (valid_x, valid_y) = parts.train, parts.validation
    batches = iter(minibatches(len(y), batch_size, seed, epochs=epochs))
    loss = task.loss
    assert loss is not None
    means, validation = [], [_evaluated(module, steps, loss, valid_x, valid_y)]
    for _ in range(epochs):
        module.train()
        losses = []
        epoch = list(itertools.islice(batches, -(-len(y) // batch_size)))
        for rows in epoch[: int(len(epoch) / gradients)]:

            def closure(rows: Tensor = rows) -> Tensor:
                steps.zero_grad()
                extra = {"label_smoothing": smoothing} if smoothing else {}
                value = loss(module(x[rows]), y[rows], **extra)
                (value + penalty(module)).backward()
                if clip_norm is not None:
                    nn.utils.clip_grad_norm_(module.parameters(), clip_norm)
                return value

            losses.append((steps.step(closure).item(), len(rows)))
        means.append(sum(v * n for v, n in losses) / sum(n for _, n in losses))
        validation.append(_evaluated(module, steps, loss, valid_x, valid_y))
    return module, means, validation


def minibatches(examples: int, batch_size: int, seed: int, *, epochs: int) -> list[Tensor]:
    """Return the rows of each step, in the order that thalweg.linear has for that seed."""
    order_seed = np.random.SeedSequence(seed).spawn(2)[1]
    whole = next(stream(examples, batch_size, [epochs], "shuffle", order_seed))
    order = torch.from_numpy(whole.order).reshape(epochs, examples)
    return [rows for epoch in order for rows in epoch.split(batch_size)]


def _evaluated(
    module: nn.Module,
    steps: torch.optim.Optimizer,
    loss: Callable[..., Tensor],
    x: Tensor,
    y: Tensor,
) -> float:
    """Return the loss where the optimizer's answer is: of torch's, ASGD alone has another place."""
    module.eval()
    with torch.no_grad(), getattr(steps, "answer", nullcontext)():
        named = module.named_parameters()
        answer = {name: steps.state.get(p, {}).get("ax", p) for name, p in named}
        return loss(torch.func.functional_call(module, answer, (x,)), y).item()


X = torch.arange(100.0)[:, None]


Y = torch.arange(100) % 4


def numbered(**given: Any) -> TorchTask:
    """Return a task of four classes on 100 examples that are their own numbers."""
    settings = {
        "model": lambda: nn.Linear(1, 4), "loss": functional.cross_entropy, "train": (X, Y)
    }  # fmt: skip
    return TorchTask(**{**settings, **given})


def rows(batch: Any) -> list[int]:
    """Return which of them a batch has."""
    return [int(value) for value in batch[0].flatten()]
