"""What the features of a table are worth: the test loss of a logistic regression on them.

Tables like the census's (numbers with long tails, words with rare ones, dates, missing values) are
made up. They are split and encoded as a race does it, and by skrub's ``tabular_pipeline`` on the
same rows. Both regressions are scikit-learn's. What it costs to read 1,000,000 rows of 10 columns
comes last.

    python benchmarks/tables.py
"""

import resource
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skrub
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from measure import save, show
from thalweg import data

SEEDS = range(5)
ROWS = 8_000


def census(rng: np.random.Generator, rows: int = ROWS) -> pd.DataFrame:
    """Return a table of the kind of the census's."""
    age = rng.integers(17, 90, rows)
    hours = np.clip(rng.normal(40, 12, rows), 1, 99).round()
    gain = np.where(rng.random(rows) < 0.08, rng.lognormal(8, 1, rows), 0).round()
    levels = ["none", "school", "college", "bachelor", "master", "doctor"]
    education = rng.choice(6, rows, p=[0.05, 0.4, 0.25, 0.2, 0.08, 0.02])
    work = rng.choice(["private", "state", "self", "never worked"], rows, p=[0.75, 0.14, 0.1, 0.01])
    countries = np.array([f"country {i}" for i in range(41)])
    place = np.minimum(rng.geometric(0.3, rows) - 1, 40)
    job = rng.integers(0, 200, rows)
    words = np.array(
        [f"{a} {b}" for a in ("senior", "junior", "chief", "deputy") for b in range(50)]
    )
    since = pd.Timestamp("2000-01-01") + pd.to_timedelta(rng.integers(0, 8000, rows), unit="D")
    score = (
        0.04 * (age - 40) - 0.0008 * (age - 45) ** 2 + 0.03 * (hours - 40) + 0.7 * (education - 2)
        + np.where(gain > 3000, 2, 0) + (work == "self") * 0.5 - (place > 4) * 0.8
        + (job < 50) * 0.9 - (since.year - 2010) * 0.05 - 1.2
    )  # fmt: skip
    table = pd.DataFrame({
        "age": age.astype(float), "hours": hours, "gain": gain, "work": work,
        "education": np.array(levels)[education], "country": countries[place], "job": words[job],
        "since": since.strftime("%Y-%m-%d"),
        "income": np.where(rng.random(rows) < 1 / (1 + np.exp(-score)), ">50K", "<=50K"),
    })  # fmt: skip
    for name, share in (("age", 0.02), ("hours", 0.05), ("work", 0.06), ("country", 0.03)):
        table.loc[rng.random(rows) < share, name] = None
    return table


def losses(table: pd.DataFrame, folder: Path) -> dict[str, float]:
    """Return the test losses on our features and on skrub's."""
    path = folder / "census.csv"
    table.to_csv(path, index=False)
    parts = data.split(data.load(path, target="income"))
    ours = LogisticRegression(max_iter=2000).fit(parts.train.X, parts.train.y)
    X = table.drop(columns="income")
    theirs = skrub.tabular_pipeline(LogisticRegression(max_iter=2000))
    warnings.simplefilter("ignore", UserWarning)  # of words that the training part lacks
    theirs.fit(X.iloc[parts.train.rows], parts.train.y)
    rows = X.iloc[parts.test.rows]
    return {
        "thalweg": log_loss(parts.test.y, ours.predict_proba(parts.test.X)),
        "skrub": log_loss(parts.test.y, theirs.predict_proba(rows)),
        "features": float(len(parts.encoder.features)),
        "skrub features": float(theirs[:-1].transform(rows).shape[1]),
    }


def reading(folder: Path, rows: int = 1_000_000) -> dict[str, Any]:
    """Return what reading a large table costs."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {f"x{i}": rng.normal(size=rows).round(5) for i in range(8)}
    columns |= {"town": rng.choice(["red", "green", "blue"], rows), "y": rng.normal(size=rows)}
    path = folder / "large.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        seconds, peak = fresh.submit(_read, path).result()
    return {"MiB": path.stat().st_size / 2**20, "processor seconds": seconds, "peak MiB": peak}


def _read(path: Path) -> tuple[float, float]:
    """Read a table; return the seconds of the processor and the peak of the process."""
    before = time.process_time()
    data.load(path, target="y")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.process_time() - before, peak


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows: list[dict[str, Any]] = [
            {"table": "census", "seed": seed, **losses(census(np.random.default_rng(seed)), folder)}
            for seed in SEEDS
        ]
        shown = [
            [str(row["seed"]), *(f"{row[k]:.4f}" for k in ("thalweg", "skrub")),
             f"{row['thalweg'] / row['skrub']:.4f}",
             f"{row['features']:.0f}, {row['skrub features']:.0f}"]
            for row in rows
        ]  # fmt: skip
        columns = ["seed", "thalweg", "skrub", "ratio", "features"]
        show("Test loss of a logistic regression", columns, shown)
        large = reading(folder)
        print(f"1,000,000 rows of 10 columns were read: {large}")
    save("tables", [*rows, {"table": "1,000,000 x 10", **large}])


if __name__ == "__main__":
    main()
