"""The step kernel on NumPy arrays against torch.optim: fused, foreach and plain, float32.

    python benchmarks/step.py [--rules adam,sgd] [--rounds 15]

Each cell is one optimizer step over all arrays, gradients in the same place each time; contestants
take turns in one process, with the same number of threads (measure.py says how, and when nothing is
written). torch has no yogi, adabelief, lion: those are compared with nothing.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch

from measure import Ratio, Row, compared, in_words, noise, save_timed, show
from thalweg import rules
from thalweg.kernels import Step

SHAPES = [(10, 100), (1, 10_000), (1, 1_000_000), (200, 10_000), (1_000, 100), (1, 16_000_000)]
T = torch.optim
TORCH: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (T.SGD, {}),
    "momentum": (T.SGD, {"momentum": 0.9}),
    "averaged_momentum": (T.SGD, {"momentum": 0.9, "dampening": 0.9}),
    "nesterov": (T.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (T.Adagrad, {}),
    "rmsprop": (T.RMSprop, {}),
    "centered_rmsprop": (T.RMSprop, {"centered": True}),
    "rmsprop_momentum": (T.RMSprop, {"momentum": 0.9}),
    "adadelta": (T.Adadelta, {}),
    "adam": (T.Adam, {}),
    "amsgrad": (T.Adam, {"amsgrad": True}),
    "adamw": (T.AdamW, {}),
    "adamax": (T.Adamax, {}),
    "nadam": (T.NAdam, {}),
    "radam": (T.RAdam, {}),
    "rprop": (T.Rprop, {}),
    "asgd": (T.ASGD, {}),
}
PATHS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}


def torch_steps(
    name: str, arrays: list[Any], gradients: list[Any]
) -> dict[str, Callable[[], object]]:
    """Return a step function per path that torch has for this rule."""
    if name not in TORCH:
        return {}
    optimizer, arguments = TORCH[name]
    steps: dict[str, Callable[[], object]] = {}
    for path, flags in PATHS.items():
        tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = torch.from_numpy(gradient.copy())
        try:
            steps[path] = optimizer(tensors, lr=1e-4, **arguments, **flags).step
            steps[path]()
        except (TypeError, RuntimeError):  # torch has no such path for this rule
            steps.pop(path, None)
    return steps


def against(row: Row) -> str:
    """Write how torch's fastest path compares."""
    if row["fastest"] is None:
        return "-"
    found = Ratio(row["ratio"], *row["interval"])
    return f"{in_words(found, Ratio(*row['control']))} ({row['fastest']})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rules", default=",".join(rules.names("element-wise")))
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(numba.get_num_threads())
    rng = np.random.default_rng(0)
    rows = []
    for name in options.rules.split(","):
        for count, size in SHAPES:
            arrays = [rng.standard_normal(size, np.float32) for _ in range(count)]
            gradients = [rng.standard_normal(size, np.float32) for _ in range(count)]
            step = Step(name, [a.copy() for a in arrays], lr=1e-4)
            contestants = torch_steps(name, arrays, gradients)
            contestants["thalweg"] = lambda step=step, g=gradients: step(g)  # type: ignore[misc]
            found = compared(contestants, options.rounds)
            row: Row = {"rule": name, "arrays": count, "size": size, "ratio": None}
            row |= {"seconds": found.median("thalweg"), "noise": found.noise("thalweg")}
            row |= {"torch": {p: found.median(p) for p in PATHS if p in contestants}}
            row |= {"fastest": (best := found.fastest(row["torch"])), **found.row(best)}
            rows.append(row)
            milliseconds = f"{1e3 * row['seconds']:9.4f} ms"
            print(f"{name:18s} {count:5d} x {size:<9d} {milliseconds}  {against(row)}", flush=True)
    cells = {(r["rule"], r["arrays"], r["size"]): against(r) for r in rows}
    lines = [
        [name, *(cells[name, count, size] for count, size in SHAPES)]
        for name in options.rules.split(",")
    ]
    show(
        "seconds of torch's fastest path / seconds of thalweg [95 %], float32",
        ["rule", *(f"{count}x{size}" for count, size in SHAPES)],
        lines,
    )
    print(noise(rows))
    save_timed("step", rows)


if __name__ == "__main__":
    main()
