"""Three ways to choose the examples of a minibatch, on the same data.

"shuffle" takes every example once per epoch, in a fresh order; "replacement" draws anew each time,
so that an epoch misses a given example with probability (1 - 1/n)^n ≈ 1/e; "sequential" keeps the
order of the file, whatever it is sorted by. First the visits of each example are counted, then the
same training is run in each way, on many seeds, its rates in lanes.
"""

import math

import numpy as np
from common import Array, above, arguments, regression
from matplotlib.figure import Figure

from thalweg import linear, style

RATES = (0.003, 0.01, 0.03, 0.1)
DRAWN = 1  # the lane of the picture: rate 0.01
EPOCHS, LAST = 20, 10


def visits(n: int, sampling: str, seed: int) -> Array:
    """Count how often each of n examples is used in one epoch.

    Example i is the i-th unit vector, so weight i moves only when example i is used: halfway from
    where it is to 1.
    """
    end = linear.train(
        np.eye(n), np.ones(n), rule="sgd", epochs=1, batch_size=1, sampling=sampling,
        seed=seed, intercept=False, lr=0.5, dtype="float64",
    )  # fmt: skip
    weights: Array = end.coef[0, 0]
    return np.rint(-np.log2(1 - weights))


def losses(X: Array, y: Array, sampling: str, seed: int) -> Array:
    """Return the training loss by epoch and rate, (epochs + 1, rates)."""
    return linear.train(
        X, y, rule="sgd", epochs=EPOCHS, batch_size=10, sampling=sampling, seed=seed, lr=RATES
    ).train_loss


def draw(shares: dict[str, Array], excess: dict[str, Array]) -> Figure:
    """Draw how often examples are used, and the loss curves with their bands."""
    picture, (left, right) = style.figure(9.0, 3.8, ncols=2)
    k = np.arange(6)
    bars = {"edgecolor": style.INK, "linewidth": 0.7}
    left.bar(k - 0.2, shares["shuffle"], 0.4, color=style.FAINT, label="shuffle", **bars)
    left.bar(k + 0.2, shares["replacement"], 0.4, color=style.TIE, label="replacement", **bars)
    poisson = [math.exp(-1) / math.factorial(i) for i in k]
    left.plot(k + 0.2, poisson, "o", color=style.INK, label="1/(e k!), Poisson")
    left.set(
        title="How often an epoch uses an example", ylabel="share of the examples",
        xlabel="uses in one epoch, k (sequential: as shuffle)",
    )  # fmt: skip
    left.legend()
    for sampling, runs in excess.items():
        low, middle, high = np.quantile(runs[:, :, DRAWN], [0.1, 0.5, 0.9], axis=0)
        (line,) = right.semilogy(middle, label=sampling)
        right.fill_between(
            range(EPOCHS + 1), low, high, color=line.get_color(), alpha=0.25, linewidth=0
        )
    right.set(
        title=f"SGD, batch 10, lr {RATES[DRAWN]}: median and middle 80 % of {len(runs)} seeds",
        xlabel="epoch", ylabel="loss above the least loss (%)",
    )  # fmt: skip
    right.xaxis.get_major_locator().set_params(integer=True)
    right.legend()
    return picture


def main() -> None:
    """Count visits, train, print and draw both."""
    args = arguments(__doc__)
    X, y, least = regression()
    seeds = range(8 if args.quick else 40)
    shares, excess = {}, {}
    for sampling in ("shuffle", "replacement", "sequential"):
        counts = np.array([visits(len(X), sampling, seed) for seed in seeds])
        shares[sampling] = np.array([(counts == k).mean() for k in range(6)])
        excess[sampling] = above(least, np.array([losses(X, y, sampling, s) for s in seeds]))

    print(f"             missed in    % above the least loss, median of {len(seeds)} seeds")
    print(f"             an epoch     and the last {LAST} of {EPOCHS} epochs")
    print(f"sampling     (share)    {''.join(f'   lr {rate:<5g}' for rate in RATES)}")
    for sampling, runs in excess.items():
        ends = np.median(runs[:, -LAST:], axis=(0, 1))
        cells = "".join(f"{end:11.3f}" for end in ends)
        print(f"{sampling:11s}  {shares[sampling][0]:<10.4f}{cells}")
    missed = shares["replacement"][0]
    print(
        f"\nwith replacement an epoch misses {missed:.4f} of the examples; 1/e is {1 / math.e:.4f}"
    )

    with style.styled():
        print(f"picture: {style.save(draw(shares, excess), args.out)}")


if __name__ == "__main__":
    main()
