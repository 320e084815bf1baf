"""Make what the README shows: the table and the pictures, from real runs.

    python docs/pictures.py

Runs ``thalweg race digits`` (about half a minute), writes docs/digits.png and docs/bowl.png, and
prints the table.
"""

import tempfile
from pathlib import Path

import pyarrow.parquet
from rich.console import Console

from thalweg import descend, plots, problems, race, race_plots, report, style

HERE = Path(__file__).parent


def main() -> None:
    """Run the race, print its table, draw the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        verdict = race("digits", out=folder)
        curves = pyarrow.parquet.read_table(Path(folder) / "curves.parquet")
    Console(width=100).print(report.table(verdict.results))
    style.save(race_plots.loss_curves(verdict.results, curves), HERE / "digits.png")
    bowl = problems.get("stretched_bowl")
    traces = [
        descend(bowl, "sgd", lr=0.4),
        descend(bowl, "momentum", lr=0.4, beta=0.5),
        descend(bowl, "adam", lr=0.4),
    ]
    axes = plots.paths(traces)
    style.save(axes.get_figure(root=True), HERE / "bowl.png")


if __name__ == "__main__":
    main()
