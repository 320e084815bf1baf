"""Which of the optimizers of today? Eight rules raced on three small modules, many times.

    python benchmarks/modern.py [--races 20] [--only text digits] [--kept FOLDER] [--plain]
    python benchmarks/modern.py --agree 20 [--only text digits] [--kept FOLDER]

The modules: an MLP on scikit-learn's digits, a small convolutional net on them, and a transformer
of two layers on the characters of Python's own help pages. Muon and SOAP step hidden matrices, with
AdamW for the rest, as a race does it. Each race has another seed: other parts, another search,
other starts. With ``--plain`` a plain loop stands beside: torch's Muon and AdamW, each at six
rates, on one split; the best rate of each is trained anew on other seeds.

With ``--agree`` Muon and AdamW race alone, so many times and with longer searches, in one process.
It prints what the races say: that one of the two is surely better, that both are as good (the price
of each is at most 5 %), or that it is undecided; and what races of more or fewer repeats would say,
each drawn from the repeats of all.

Races are kept in a folder, and go on there. The results count those of all modules that are kept,
and say how many there are; only those of ``--only`` are run.
"""

import argparse
import math
import pydoc_data.topics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Muon

import thalweg
from measure import save, show
from repeat import Race, judged, kept, mlp, pooled, told
from thalweg import rules as registry
from thalweg.optim.roles import roles_of
from thalweg.racing.protocol import MARGIN
from thalweg.tasks import modules

RULES = (
    "adamw", "momentum", "muon", "soap", "schedule_free_adamw", "ademamix", "prodigy", "lion",
)  # fmt: skip
PAIR = ("muon", "adamw")
LETTERS, WINDOW, WIDTH, HEADS = 24_000, 32, 32, 2
RATES = tuple(10**e for e in (-3.5, -3.0, -2.5, -2.0, -1.5, -1.0))
SEEDS = 8  # of the plain loop's best rate
BATCH = 32


class Block(nn.Module):
    """Causal attention and a layer of four times the width, each after a normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.between = nn.LayerNorm(WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.register_buffer("later", torch.ones(WINDOW, WINDOW, dtype=torch.bool).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return what goes on to the next block."""
        h = self.before(x)
        parts = (
            layer(h).unflatten(-1, (HEADS, -1)) for layer in (self.query, self.key, self.value)
        )
        q, k, v = (part.transpose(-3, -2) for part in parts)
        scores = q @ k.transpose(-2, -1) / math.sqrt(WIDTH / HEADS)
        weights = scores.masked_fill(self.later, -math.inf).softmax(-1)
        x = x + self.out((weights @ v).transpose(-3, -2).flatten(-2))
        further: Tensor = self.narrow(functional.gelu(self.wide(self.between(x))))
        return x + further


class Transformer(nn.Module):
    """Two blocks on characters; the next one's logits, classes along axis 1."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.letter, self.place = nn.Embedding(letters, WIDTH), nn.Embedding(WINDOW, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.last, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, letters)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (examples, letters, places)."""
        places = torch.arange(WINDOW, device=x.device)
        h = self.blocks(self.letter(x) + self.place(places))
        logits: Tensor = self.head(self.last(h))
        return logits.transpose(1, 2)


def text() -> thalweg.TorchTask:
    """Return the transformer, on windows of the help pages that Python has."""
    topics = pydoc_data.topics.topics
    whole = "".join(topics[name] for name in sorted(topics))[:LETTERS]
    known = sorted(set(whole))
    codes = torch.tensor([known.index(letter) for letter in whole])
    starts = range(0, len(codes) - WINDOW - 1, WINDOW)
    return thalweg.TorchTask(
        model=lambda: Transformer(len(known)),
        loss=functional.cross_entropy,
        train=(
            torch.stack([codes[i : i + WINDOW] for i in starts]),
            torch.stack([codes[i + 1 : i + 1 + WINDOW] for i in starts]),
        ),
        name="help pages, transformer",
    )


def convnet() -> thalweg.TorchTask:
    """Return a small convolutional net on digits of 8 x 8 pixels."""
    images, digits = load_digits(return_X_y=True)
    return thalweg.TorchTask(
        model=lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(64, 10),
        ),
        loss=functional.cross_entropy,
        train=(images.reshape(-1, 1, 8, 8) / 16, digits),
        name="digits, convnet",
    )  # fmt: skip


# Of races of two rules. Their numbers do not depend on how many processors there are.
ALONE: Mapping[str, Any] = {"on": "threads", "workers": 1, "progress": False}
AGREE: Mapping[str, dict[str, Any]] = {
    "text": {"epochs": 3, "trials": 64, "repeats": 8},
    "digits": {"epochs": 5, "trials": 64, "repeats": 8},
    "convnet": {"epochs": 3, "trials": 64, "repeats": 8},
}
WORDS = ("muon better", "as good", "undecided", "adamw better")
REPEATS, DRAWS = (5, 8, 10), 200  # of races that are drawn from the repeats of all

Task = Callable[[], thalweg.TorchTask]
TASKS: Mapping[str, tuple[Task, dict[str, Any]]] = {
    "text": (text, {"epochs": 3, "trials": 10, "repeats": 5}),
    "digits": (mlp, {"epochs": 5, "trials": 20, "repeats": 5}),
    "convnet": (convnet, {"epochs": 3, "trials": 20, "repeats": 5}),
}


def batches(count: int, epochs: int, seed: int) -> Iterator[Tensor]:
    random = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        yield from torch.split(torch.randperm(count, generator=random), BATCH)


def made(rule: str, model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Return torch's optimizers: Muon for hidden matrices, as its authors use it, else AdamW."""
    named = dict(model.named_parameters())
    hidden = [named[name] for name, role in roles_of(model).items() if role == "hidden"]
    if rule == "adamw" or not all(p.ndim == 2 for p in hidden):  # torch's takes no other shapes
        return [AdamW(model.parameters(), lr=lr)]
    rest = [p for p in model.parameters() if all(p is not own for own in hidden)]
    matched = Muon(hidden, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [matched, AdamW(rest, lr=lr)]


def trained(task: thalweg.TorchTask, rule: str, lr: float, epochs: int, seed: int) -> float:
    """Return the loss on held-out examples after a plain loop."""
    x, y = (torch.as_tensor(part) for part in task.train)
    x = x.float() if x.is_floating_point() else x
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held, own = order[: len(x) // 5], order[len(x) // 5 :]
    torch.manual_seed(seed)
    model = task.model()
    optimizers = made(rule, model, lr)
    for rows in batches(len(own), epochs, seed):
        for optimizer in optimizers:
            optimizer.zero_grad()
        assert task.loss is not None
        torch.autograd.backward(task.loss(model(x[own[rows]]), y[own[rows]]))
        for optimizer in optimizers:
            optimizer.step()
    with torch.no_grad():
        assert task.loss is not None
        return float(task.loss(model(x[held]), y[held]))


def plain(task: thalweg.TorchTask, epochs: int) -> dict[str, Any]:
    """Return how many deviations of a seed Muon is ahead of AdamW in a plain tuned loop."""
    losses = {}
    for rule in PAIR:
        first = [trained(task, rule, lr, epochs, 0) for lr in RATES]
        best = RATES[int(np.nanargmin(first))]
        losses[rule] = [trained(task, rule, best, epochs, 1 + seed) for seed in range(SEEDS)]
    muon, adamw = (np.array(losses[rule]) for rule in PAIR)
    deviation = float(np.sqrt((muon.var(ddof=1) + adamw.var(ddof=1)) / 2))
    ahead = float((adamw.mean() - muon.mean()) / deviation)
    return {"ahead": ahead, "deviation": deviation, "losses": losses}


def verdict_of(race: Race) -> str:
    """Return what a race says of Muon beside AdamW."""
    muon, adamw = (race["rules"].index(name) for name in PAIR)
    worse = told(judged(race))
    if worse[adamw, muon]:
        return "muon"
    return "adamw" if worse[muon, adamw] else "tie"


def word_of(race: Race) -> str:
    """Return what a race of the two says, one of ``WORDS``."""
    if (said := verdict_of(race)) != "tie":
        return f"{said} better"
    return "as good" if (judged(race).high <= MARGIN).all() else "undecided"


def drawn(races: Sequence[Race], repeats: int) -> float:
    """Return in which share of races of so many repeats Muon is better, drawn from those of all."""
    random, losses = np.random.default_rng(0), np.concatenate([r["losses"] for r in races], axis=1)
    chosen = random.integers(losses.shape[1], size=(DRAWS, repeats))
    said = [word_of({**races[0], "losses": losses[:, own].tolist()}) for own in chosen]
    return said.count(WORDS[0]) / DRAWS


def agreed(name: str, races: Sequence[Race]) -> dict[str, Any]:
    """Return the row of a module on which the two alone raced."""
    said = list(map(word_of, races))
    muon, adamw = (
        np.log([race["losses"][race["rules"].index(rule)] for race in races]) for rule in PAIR
    )
    gaps = adamw - muon  # (races, repeats)
    return {
        "module": name,
        **AGREE[name],
        "races": len(races),
        **{word: said.count(word) for word in WORDS},
        "adamw above muon": float(np.expm1(gaps.mean())),
        "luck of a repeat": float(np.sqrt(gaps.var(axis=1, ddof=1).mean())),
        "drawn": {str(repeats): drawn(races, repeats) for repeats in REPEATS},
    }


def agree(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Race the two alone on each module, a line for each race; return the modules' rows."""
    rules = list(map(registry.get, PAIR))
    rows = []
    for name in filter(AGREE.__contains__, options.only):
        file = options.kept / f"{name}-{'-'.join(PAIR)}.jsonl"
        task, races = TASKS[name][0](), []
        for number in range(options.agree):
            # No verdict reads the target, which would take half of the time.
            with mock.patch.object(modules, "_STEPS", 1):
                (race,) = kept(file, {number: task}, rules, **AGREE[name], **ALONE)
            races.append(race)
            print(f"{name}, seed {number}: {word_of(race)}", flush=True)
        rows.append(agreed(name, races))
    return rows


def counted(name: str, races: Sequence[Race], loop: dict[str, Any] | None) -> dict[str, Any]:
    """Return the row of a module; the plain loop is None where it was not run."""
    names = races[0]["rules"] if races else []
    prices = pooled(races).tolist() if races else []
    said = [verdict_of(race) for race in races]
    return {
        "module": name,
        "races": len(races),
        "prices": dict(zip(names, prices, strict=True)),
        "muon beside adamw": {word: said.count(word) for word in ("muon", "tie", "adamw")},
        "taken": {rule: sum(r["take"] == rule for r in races) for rule in names},
        "plain loop": loop,
    }


def told_as(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--races", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "modern")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--agree", type=int, default=0, help="races of Muon and AdamW alone")
    options = parser.parse_args()
    options.kept.mkdir(parents=True, exist_ok=True)
    if options.agree:
        rows = agree(options)
        save("modern_pair", rows)
        columns = ["module", "races", *WORDS, "adamw above muon", "luck of a repeat"]
        show("Muon beside AdamW", columns, [[told_as(row[c]) for c in columns] for row in rows])
        titles = ["module", *(f"{repeats} repeats" for repeats in REPEATS)]
        shares = [[row["module"], *map(told_as, row["drawn"].values())] for row in rows]
        show("Races drawn from all repeats: Muon is better", titles, shares)
        return
    every = list(map(registry.get, RULES))
    rows = []
    for name, (task, terms) in TASKS.items():
        file = options.kept / f"{name}.jsonl"
        have = len(file.read_text().splitlines()) if file.exists() else 0
        numbers = range(options.races if name in options.only else have)
        races = kept(file, {number: task() for number in numbers}, every, **terms)
        run = options.plain and name in options.only
        loop = plain(task(), terms["epochs"]) if run else None
        if races or loop:
            rows.append(counted(name, races, loop))
    save("modern", rows)
    show(
        "price of each rule, of the best one's loss",
        ["module", "races", *RULES, "muon / tie / adamw", "plain loop: muon ahead"],
        [
            [
                row["module"],
                str(row["races"]),
                *(f"{row['prices'][rule]:.1%}" if row["races"] else "" for rule in RULES),
                " / ".join(map(str, row["muon beside adamw"].values())),
                f"{row['plain loop']['ahead']:.1f} deviations" if row["plain loop"] else "not run",
            ]
            for row in rows
        ],
    )


if __name__ == "__main__":
    main()
