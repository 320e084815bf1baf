"""Make what the README, race.md and theory.md show: the table and the pictures, from real runs.

    python docs/pictures.py [race] [theory]

``race`` runs ``thalweg race digits`` (a minute or two), writes docs/digits.png and prints the
table; ``theory`` draws the rest. Both by default.
"""

import sys
import tempfile
from pathlib import Path

import pyarrow.parquet
from matplotlib.axes import Axes

from thalweg import (
    cli,
    descend,
    plots,
    problems,
    race,
    report,
    schedules,
    style,
    theory,
)
from thalweg.report import pictures

HERE = Path(__file__).parent


def save(ax: Axes, name: str) -> None:
    """Write the figure that axes stand on."""
    style.save(ax.figure.canvas.figure, HERE / name)


def race_pictures() -> None:
    """Run the race, print its table, draw its curves."""
    with tempfile.TemporaryDirectory() as folder:
        verdict = race("digits", out=folder)
        curves = pyarrow.parquet.read_table(Path(folder) / "curves.parquet")
    print(report.text(verdict.record, width=106))  # room for all that the README explains
    style.save(pictures.loss_curves(verdict.record, curves), HERE / "digits.png")


def theory_pictures() -> None:
    """Draw descents, and what theory says of them."""
    bowl = problems.get("stretched_bowl")
    slow = descend(bowl, "sgd", lr=0.4)
    rules = [
        slow,
        descend(bowl, "momentum", lr=0.4, beta=0.5),
        descend(bowl, "adam", lr=0.4),
    ]
    save(plots.paths(rules), "bowl.png")
    cli.main(["rates", "momentum", "--spectrum", "0.2,4", "--out", str(HERE / "rates.png")])
    save(plots.rates("sgd", [0.2, 4.0]), "regions.png")
    save(plots.components(slow), "components.png")
    fast = descend(bowl, "momentum", steps=60, lr=0.4, beta=0.5)
    others = [descend(bowl, rule, steps=60, lr=0.4) for rule in ("sgd", "adam")]
    save(plots.loss([*others, fast]), "loss.png")
    save(plots.leaky_weights([0.5, 0.9, 0.95]), "leaky.png")
    curves = [
        schedules.warmup(schedules.cosine(1.0, steps=90), 10),
        schedules.one_cycle(1.0, steps=100),
        schedules.warmup_stable_decay(1.0, 10, 60, 30),
        schedules.inverse_sqrt(1.0),
    ]
    save(plots.schedule(curves, 100), "schedules.png")
    methods = [descend("rosenbrock", rule, steps=40) for rule in ("newton", "bfgs", "lbfgs")]
    save(plots.paths(methods), "rosenbrock.png")
    tuned = descend(bowl, "momentum", **theory.best("momentum", 0.2, 4.0).hyper)
    plots.animate([slow, tuned], HERE / "bowl.gif", frames_per_second=5)


def main() -> None:
    """Make what was asked for."""
    wanted = sys.argv[1:] or ["race", "theory"]
    for name, make in (("race", race_pictures), ("theory", theory_pictures)):
        if name in wanted:
            make()


if __name__ == "__main__":
    main()
