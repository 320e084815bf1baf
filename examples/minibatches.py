"""GD, minibatch SGD and SGD are one estimator of the gradient of (1/n) Σ f_i.

The mean gradient of B examples drawn at random is unbiased, and its standard error falls as 1/√B:
σ/√B with replacement, σ/√B · √((n − B)/(n − 1)) without. B = 1 is SGD; B = n without replacement
is gradient descent, whose error is 0. Here both are measured on the minibatches of
thalweg.linear.train itself.
"""

import math

import numpy as np
from common import Array, arguments, regression
from matplotlib.figure import Figure

from thalweg import linear, style


def minibatch_gradients(X: Array, y: Array, batch_size: int, sampling: str, count: int) -> Array:
    """Return at least so many minibatch gradients at w = 0, a row each.

    Lane j rests but for step j, whose rate is 1: from 0 it goes to minus the gradient of the j-th
    minibatch.
    """
    lanes = min(len(X) // batch_size, count)
    rates = [lambda step, j=j: float(step == j) for j in range(lanes)]
    gradients = []
    for draw in range(math.ceil(count / lanes)):
        end = linear.train(
            X, y, rule="sgd", epochs=1, batch_size=batch_size, sampling=sampling,
            lr=rates, seed=1000 * batch_size + draw, dtype="float64",
        )  # fmt: skip
        gradients.append(-np.column_stack([end.coef[:, 0], end.intercept]))
    return np.concatenate(gradients)


def rms_norm(vectors: Array) -> float:
    """Return the root of the mean squared norm of the rows."""
    return math.sqrt(np.mean(np.sum(vectors**2, axis=1)))


def draw(n: int, sigma: float, sizes: Array, measured: dict[str, list[float]]) -> Figure:
    """Draw the measured standard errors over the two formulas."""
    picture, axes = style.figure()
    B = np.geomspace(1, n, 2000)[:-1]
    axes.loglog(B, sigma / np.sqrt(B), color=style.TIE, linestyle="--", label="σ/√B")
    axes.loglog(
        B, sigma / np.sqrt(B) * np.sqrt((n - B) / (n - 1)), color=style.WINNER, linestyle="-",
        label="σ/√B · √((n − B)/(n − 1))",
    )  # fmt: skip
    axes.loglog(
        sizes, measured["replacement"], "s", color=style.TIE, markersize=7, markerfacecolor="none",
        label="measured, with replacement",
    )  # fmt: skip
    axes.loglog(
        sizes[:-1], measured["shuffle"][:-1], "o", color=style.WINNER, markersize=5,
        label="measured, without (0 at B = n)",
    )  # fmt: skip
    axes.set(
        title=f"A minibatch gradient's standard error, n = {n} examples",
        xlabel="batch size B (examples)",
        ylabel="standard error of the gradient (norm)",
        ylim=(measured["replacement"][-1] / 5, 2 * sigma),
    )
    axes.legend()
    return picture


def main() -> None:
    """Measure bias and standard error for every batch size, print and draw them."""
    args = arguments(__doc__)
    X, y, _ = regression()
    n = len(X)
    each = -y[:, None] * np.column_stack([X, np.ones(n)])  # every example's gradient at w = 0
    full = each.mean(axis=0)
    sigma = rms_norm(each - full)
    print(f"|full gradient| = {np.linalg.norm(full):.3f}, σ of one example's = {sigma:.3f}\n")

    sizes = np.array([b for b in (1, 2, 5, 10, 20, 50, 100, 200, 500) if b < n] + [n])
    expected = {
        "replacement": sigma / np.sqrt(sizes),
        "shuffle": sigma / np.sqrt(sizes) * np.sqrt((n - sizes) / (n - 1)),
    }
    measured: dict[str, list[float]] = {sampling: [] for sampling in expected}
    print("                   standard error,     standard error, without")
    print("                   with replacement    replacement (shuffle)          bias ÷ its")
    print("   B               measured    σ/√B    measured   σ/√B·√((n−B)/(n−1)) own error")
    for i, batch_size in enumerate(sizes.tolist()):
        errors = {
            s: minibatch_gradients(X, y, batch_size, s, 100 if args.quick else 400) - full
            for s in expected
        }
        for sampling, each_error in errors.items():
            measured[sampling].append(rms_norm(each_error))
        drawn = errors["replacement"]
        bias = np.linalg.norm(drawn.mean(axis=0)) / (expected["replacement"][i] / len(drawn) ** 0.5)
        pairs = "".join(f"{measured[s][i]:12.4f}{expected[s][i]:8.4f}" for s in expected)
        called = {1: "SGD", n: "GD"}.get(batch_size, "")
        print(f"{batch_size:4d}  {called:9s}{pairs}{bias:23.2f}")
    slope = np.polyfit(np.log(sizes), np.log(measured["replacement"]), 1)[0]
    print(f"\nwith replacement the standard error falls as B to the power {slope:.3f}")
    print(f"a batch of all {n} shuffled examples is exact: error {measured['shuffle'][-1]:.0e}")

    with style.styled():
        print(f"picture: {style.save(draw(n, sigma, sizes, measured), args.out)}")


if __name__ == "__main__":
    main()
