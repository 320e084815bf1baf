r"""Where other libraries take random tensors in twenty steps: test_references.py holds ours to it.

    pip install --no-deps pytorch_optimizer==4.1.0 timm==1.0.31 schedulefree==1.4.1 \
        prodigyopt==1.1.2 dadaptation==3.2 came-pytorch==0.1.3
    python tests/references.py

writes references.json. Left out is what differs from its paper: pytorch_optimizer's ADOPT clips
its first real step at 1.19, its LAMB does not scale steps to the length of x. What computes in
16 or 32 bits, whatever it is given, is made to compute in 64.
"""

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import distribution, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["FILE", "KEPT", "STEPS", "Problem"]

Array = NDArray[np.float64]

FILE = Path(__file__).with_suffix(".json")
STEPS = 20
KEPT = (1, 2, STEPS)  # the steps whose points are kept
SHAPES = ((), (5,), (4, 3), (3, 4), (3, 3), (2, 3, 1, 2))
# The shapes of what a reference takes, if not all.
TWO, SQUARE = slice(2, 5), slice(4, 5)
MATRICES = {
    "came": slice(2, 6),  # its vectors have no confidence
    "muon": TWO,
    "shampoo": TWO,
    "soap": SQUARE,  # elsewhere its equations do not determine it
}


class Problem:
    """Bowls around random points, one for each tensor, and noise in their gradients."""

    def __init__(self, rule: str = "") -> None:
        random = np.random.default_rng(3)
        self.start = [random.normal(size=shape) for shape in SHAPES]
        self.goal = [random.normal(size=shape) for shape in SHAPES]
        noise = [[0.3 * random.normal(size=s) for s in SHAPES] for _ in range(STEPS)]
        kept = MATRICES.get(rule, slice(None))
        self.start, self.goal = self.start[kept], self.goal[kept]
        self.noise = [step[kept] for step in noise]

    def gradients(self, t: int, points: list[Array]) -> list[Array]:
        """Return the gradients of step t, counted from 1."""
        return [
            0.5 * (x - goal) + noise
            for x, goal, noise in zip(points, self.goal, self.noise[t - 1], strict=True)
        ]


Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


def timm(file: str) -> Any:
    """Import a file of timm.optim, and no more of timm, which wants torchvision."""
    place = Path(str(distribution("timm").locate_file("timm")))
    for name, folder in (("timm", place), ("timm.optim", place / "optim")):
        sys.modules[name] = parent = ModuleType(name)
        parent.__path__ = [str(folder)]
    return importlib.import_module(f"timm.optim.{file}")


def named(package: str) -> Any:
    """Import a package, where types are not looked for."""
    return importlib.import_module(package)


# By rule: its hyperparameters, the library, and what makes its optimizer.
REFERENCES: Mapping[str, tuple[Mapping[str, float], str, Make]] = {
    "ademamix": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "beta3": 0.99, "slow_weight": 3.0, "warmup": 12.0,
         "eps": 1e-3, "weight_decay": 0.1},
        "pytorch_optimizer",
        lambda params: named("pytorch_optimizer").AdEMAMix(
            params, lr=0.1, betas=(0.8, 0.9, 0.99), alpha=3.0, t_alpha_beta3=12, eps=1e-3,
            weight_decay=0.1, weight_decouple=True, foreach=False),
    ),
    "adopt": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 0.01},
        "timm",
        lambda params: timm("adopt").Adopt(
            params, lr=0.1, betas=(0.8, 0.9), eps=0.01, clip_exp=0.25, foreach=False),
    ),
    "adan": (
        {"lr": 0.1, "beta1": 0.9, "beta2": 0.8, "beta3": 0.95, "eps": 1e-3, "weight_decay": 0.1},
        "timm",
        lambda params: timm("adan").Adan(
            params, lr=0.1, betas=(0.9, 0.8, 0.95), eps=1e-3, weight_decay=0.1, foreach=False),
    ),
    "laprop": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 0.0},
        "timm",
        lambda params: timm("laprop").LaProp(
            params, lr=0.1, betas=(0.8, 0.9), eps=0.0),
    ),
    "schedule_free_sgd": (
        {"lr": 0.1, "beta": 0.8, "weight_decay": 0.1, "warmup": 6.0},
        "schedulefree",
        lambda params: named("schedulefree").SGDScheduleFree(
            params, lr=0.1, momentum=0.8, weight_decay=0.1, warmup_steps=6, foreach=False),
    ),
    "lamb": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1},
        "timm",
        lambda params: timm("lamb").Lamb(
            params, lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1, max_grad_norm=None),
    ),
    "lars": (
        {"lr": 10.0, "beta": 0.8, "trust": 0.01, "weight_decay": 0.1},
        "timm",
        lambda params: timm("lars").Lars(
            params, lr=10.0, momentum=0.8, weight_decay=0.1, trust_coeff=0.01),
    ),
    "novograd": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1},
        "pytorch_optimizer",
        lambda params: named("pytorch_optimizer").NovoGrad(
            params, lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1, weight_decouple=False,
            foreach=False),
    ),
    "stable_adamw": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1},
        "pytorch_optimizer",
        lambda params: named("pytorch_optimizer").StableAdamW(
            params, lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1, kahan_sum=False,
            foreach=False),
    ),
    "mars": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "gamma": 0.5, "weight_decay": 0.1, "eps": 1e-3},
        "timm",
        lambda params: timm("mars").Mars(
            params, lr=0.1, betas=(0.8, 0.9), gamma=0.5, weight_decay=0.1, eps=1e-3,
            optimize_1d=True),
    ),
    "prodigy": (
        {"lr": 0.7, "beta1": 0.8, "beta2": 0.9, "d0": 1e-2, "weight_decay": 0.1},
        "prodigyopt",
        lambda params: named("prodigyopt").Prodigy(
            params, lr=0.7, betas=(0.8, 0.9), d0=1e-2, weight_decay=0.1),
    ),
    "dadapt_adam": (
        {"lr": 0.7, "beta1": 0.8, "beta2": 0.9, "d0": 1e-2},
        "dadaptation",
        lambda params: named("dadaptation").DAdaptAdam(params, lr=0.7, betas=(0.8, 0.9), d0=1e-2),
    ),
    "adafactor": (
        {"lr": 0.3, "decay": 0.7, "eps2": 0.9, "clip": 1.1, "weight_decay": 0.1},
        "torch",
        lambda params: torch.optim.Adafactor(
            params, lr=0.3, beta2_decay=-0.7, eps=(None, 0.9), d=1.1, weight_decay=0.1,
            foreach=False),
    ),
    "came": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "beta3": 0.95, "eps2": 1e-3, "clip": 1.1,
         "weight_decay": 0.1},
        "came_pytorch",
        lambda params: named("came_pytorch").CAME(
            params, lr=0.1, betas=(0.8, 0.9, 0.95), eps=(1e-30, 1e-3), clip_threshold=1.1,
            weight_decay=0.1),
    ),
    "muon": (
        {"lr": 0.1, "beta": 0.8, "weight_decay": 0.2},
        "torch",
        lambda params: torch.optim.Muon(
            params, lr=0.1, momentum=0.8, weight_decay=0.2, adjust_lr_fn="match_rms_adamw"),
    ),
    "shampoo": (
        {"lr": 0.1, "eps": 1e-3},
        "pytorch_optimizer",
        lambda params: named("pytorch_optimizer").Shampoo(
            params, lr=0.1, momentum=0.0, preconditioning_compute_steps=1, matrix_eps=1e-3),
    ),
    "soap": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "every": 3.0, "weight_decay": 0.1},
        "pytorch_optimizer",
        lambda params: named("pytorch_optimizer").SOAP(
            params, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1, precondition_frequency=3),
    ),
    "schedule_free_adamw": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1, "warmup": 6.0},
        "schedulefree",
        lambda params: named("schedulefree").AdamWScheduleFree(
            params, lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1, warmup_steps=6,
            foreach=False),
    ),
}  # fmt: skip


def path(rule: str, make: Make) -> dict[str, list[Any]]:
    """Return where an optimizer is after the steps that are kept."""
    problem = Problem(rule)
    params = [
        torch.nn.Parameter(torch.from_numpy(x.copy())) for x in map(np.asarray, problem.start)
    ]
    optimizer: Any = make(params)
    two_points = hasattr(optimizer, "eval")
    if two_points:
        optimizer.train()
    points = {}
    for t in range(1, STEPS + 1):
        for p, g in zip(
            params, problem.gradients(t, [p.detach().numpy() for p in params]), strict=True
        ):
            p.grad = torch.tensor(g)
        optimizer.step()
        if t in KEPT:
            points[str(t)] = [p.tolist() for p in params]
    if two_points:
        optimizer.eval()
        points["answer"] = [p.tolist() for p in params]
    return points


def main() -> None:
    """Write the file."""
    torch.set_default_dtype(torch.float64)
    given = torch.Tensor.to
    tensor: Any = torch.Tensor
    tensor.bfloat16 = tensor.float = tensor.clone
    tensor.to = lambda x, *a, **k: x if a[:1] == (torch.float32,) else given(x, *a, **k)
    found = {
        name: {"hyper": hyper, "by": f"{package} {version(package)}", "points": path(name, make)}
        for name, (hyper, package, make) in REFERENCES.items()
    }
    rows = (f" {json.dumps(name)}: {json.dumps(row)}" for name, row in found.items())
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
