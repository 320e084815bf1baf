"""A rule of your own: declare its equation once, and everything works with it.

Signum (Bernstein et al. 2018) moves every coordinate by lr against the sign of a leaky average of
the gradients. Declared below in three lines, it descends on a bowl, runs as a compiled kernel,
trains in lanes and races against two built-in rules.
"""

import math
from typing import Any

import numpy as np
from common import arguments
from matplotlib.figure import Figure

from thalweg import data, descend, kernels, linear, plots, race, rules, style
from thalweg.descent import Trace
from thalweg.elementwise import sign


@rules.rule("Bernstein et al. 2018, Algorithm 2")
def signum(g: Any, x: Any, m: Any, *, t: int, lr: float = 1e-3, beta: float = 0.9) -> Any:  # noqa: ANN401, ARG001 - floats, arrays and tensors alike; every rule takes t
    """Sign of the momentum: every coordinate moves by lr, however small its gradient."""
    m = beta * m + (1 - beta) * g
    return x - lr * sign(m), m


def falling(step: int) -> float:
    """Return a falling rate: with steps of one length signum would circle the minimum."""
    return 1 / math.sqrt(step + 1)


def kernel_difference() -> float:
    """Take 100 steps by the compiled kernel and by the equation itself; compare in float32."""
    random = np.random.default_rng(0)
    x = random.standard_normal(1000).astype(np.float32)
    step = kernels.Step(signum, [x], lr=0.01)
    expected, m = x.astype(np.float64), np.zeros(1000)
    for t in range(1, 101):
        g = random.standard_normal(1000).astype(np.float32)
        step([g])
        expected, m = signum(g.astype(np.float64), expected, m, t=t, lr=0.01)
    return float(np.abs(x - expected).max())


def losses_by_rate(digits: data.Dataset, rates: list[float]) -> dict[str, np.ndarray]:
    """Train one lane per rate by each rule; return the validation losses after 10 epochs."""
    parts = data.split(digits)
    losses = {}
    for name in ("signum", "sgd", "adam"):
        fit = linear.train(
            parts.train.X, parts.train.y, loss="softmax", rule=name, epochs=10, l2=1e-4,
            lr=rates, validation=(parts.validation.X, parts.validation.y),
        )  # fmt: skip
        losses[name] = fit.validation_loss[-1]
        lane = int(np.nanargmin(losses[name]))
        print(
            f"{name:6} in {len(rates)} lanes:  best validation loss {losses[name][lane]:.4f} "
            f"at lr {rates[lane]:.2g}"
        )
    return losses


def draw(traces: list[Trace], rates: list[float], losses: dict[str, np.ndarray]) -> Figure:
    """Draw the paths over the bowl, and the losses over the rates."""
    picture, (left, right) = style.figure(9.0, 4.6, ncols=2, gridspec_kw={"wspace": 0.1})
    plots.paths(traces, left).set_title("bowl x₁² + 2x₂², 20 steps")
    for (name, values), marker in zip(losses.items(), "os^", strict=True):
        right.loglog(rates, values, marker=marker, markersize=3, label=name)
    right.set(
        title="digits, batch 32, after 10 epochs", ylim=(0.05, 5),
        xlabel="learning rate, a lane each", ylabel="validation loss (nats)",
    )  # fmt: skip
    right.legend()
    return picture


def main() -> None:
    """Use the rule in each place, print and draw what comes out."""
    args = arguments(__doc__)
    traces = [
        descend("bowl", signum, lr=falling, beta=0.5),
        descend("bowl", "momentum", lr=0.1, beta=0.5),
    ]
    print(f"descent on a bowl, 20 steps:  f = {traces[0].f[0]:g} to {traces[0].f[-1]:.4f}")
    print(f"kernel against equation, 100 steps in float32:  apart by {kernel_difference():.1e}")

    digits = data.load("digits")
    rates = np.geomspace(1e-5, 10, 49).tolist()
    losses = losses_by_rate(digits, rates)

    trials, repeats = (4, 2) if args.quick else (160, 10)
    verdict = race(digits, rules=[signum, "sgd", "adam"], epochs=10, trials=trials, repeats=repeats)
    print(f"\nrace:\n{verdict}")

    with style.styled():
        print(f"picture: {style.save(draw(traces, rates, losses), args.out)}")


if __name__ == "__main__":
    main()
