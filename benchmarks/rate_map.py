"""A map of rates over (lr, beta) against a loop over numpy.linalg.eigvals, and against one call.

    python benchmarks/rate_map.py [--points 512] [--rounds 7]

The loop and the call are given momentum's iteration matrix as a formula; thalweg derives it from
the rule. All find the same rates, or the script stops. Other rules are compared with nothing.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from measure import Ratio, Row, compared, in_words, noise, save_timed, show
from thalweg import theory

SPECTRUM = [0.2, 4.0]
RULES = {"momentum": "beta", "nesterov": "beta", "adam": "beta1", "nadam": "beta1"}


def loop(lrs: Any, betas: Any) -> Any:
    """Return the rates of momentum, one matrix after the other."""
    rates = np.zeros((len(lrs), len(betas)))
    for i, lr in enumerate(lrs.tolist()):
        for j, beta in enumerate(betas.tolist()):
            for λ in SPECTRUM:  # noqa: PLC2401 - the mathematics
                matrix = [[beta, λ], [-lr * beta, 1 - lr * λ]]
                rates[i, j] = max(rates[i, j], np.abs(np.linalg.eigvals(matrix)).max())
    return rates


def call(lrs: Any, betas: Any) -> Any:
    """Return the rates of momentum, all matrices in one call."""
    matrices = np.empty((len(SPECTRUM), len(lrs), len(betas), 2, 2))
    lr, eigenvalue = lrs[:, None], np.array(SPECTRUM)[:, None, None]
    matrices[..., 0, 0], matrices[..., 0, 1] = betas, eigenvalue
    matrices[..., 1, 0], matrices[..., 1, 1] = -lr * betas, 1 - lr * eigenvalue
    return np.abs(np.linalg.eigvals(matrices)).max(axis=(0, -1))


def contestants(rule: str, lrs: Any, betas: Any) -> dict[str, Callable[[], Any]]:
    over = {"lr": lrs, RULES[rule]: betas}
    found = {"thalweg": lambda: theory.rate_map(rule, SPECTRUM, over).rate}
    if rule == "momentum":
        found |= {"loop": lambda: loop(lrs, betas), "one call": lambda: call(lrs, betas)}
    return found


def against(row: Row) -> tuple[str, str]:
    """Write a peer's name, and how it compares."""
    if row["peer"] is None:
        return "-", "-"
    return row["peer"], in_words(Ratio(row["ratio"], *row["interval"]), Ratio(*row["control"]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    lrs = np.geomspace(1e-3, 1, options.points)
    betas = 1 - np.geomspace(1, 1e-3, options.points)
    rows = []
    for rule in RULES:
        runs = contestants(rule, lrs, betas)
        maps = {name: run() for name, run in runs.items()}
        for name, found in maps.items():  # general methods are off by 1e-8 at double roots
            np.testing.assert_allclose(found, maps["thalweg"], atol=1e-7, err_msg=name)
        found = compared(runs, options.rounds)
        peers: list[str | None] = [name for name in runs if name != "thalweg"]
        for peer in peers or [None]:
            row: Row = {"rule": rule, "points": options.points**2, "spectrum": SPECTRUM}
            row |= {"seconds": found.median("thalweg"), "noise": found.noise("thalweg")}
            rows.append(row | {"peer": peer} | found.row(peer))
    show(
        f"{options.points} x {options.points} points: seconds, and a peer's over them [95 %]",
        ["rule", "thalweg", "peer", "peer / thalweg"],
        [[row["rule"], f"{row['seconds']:.3f}", *against(row)] for row in rows],
    )
    print(noise(rows))
    save_timed("rate_map", rows)


if __name__ == "__main__":
    main()
