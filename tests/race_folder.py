"""A race folder with made-up but plausible numbers, to look at pictures and pages without a race.

``python tests/race_folder.py FOLDER`` writes one with every rule.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thalweg import rules

START, FLOOR = 2.303, 0.11  # the loss of an untrained softmax on ten classes; the best it can reach


def _curve(
    speed: NDArray[np.float64], noise: NDArray[np.float64], epochs: int
) -> NDArray[np.float64]:
    """Exponential descent to a noise floor, one row per lane."""
    steps = np.arange(epochs + 1)
    return FLOOR + noise[:, None] + (START - FLOOR) * np.exp(-speed[:, None] * steps**0.8)


def _lanes(
    rng: np.random.Generator, best_lr: float, lr: NDArray[np.float64], epochs: int, hardness: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Validation curves and the step of divergence at each rate."""
    ratio = lr / best_lr
    luck = np.exp(rng.normal(0, 0.08, len(lr)))
    speed = 0.9 * np.minimum(ratio, 3) * luck / hardness
    curve = _curve(speed, 0.004 * ratio**1.3 * luck, epochs)
    curve *= np.exp(rng.normal(0, 0.02, curve.shape) * np.minimum(ratio, 2)[:, None])
    curve[:, 0] = START * np.exp(rng.normal(0, 0.02, len(lr)))
    diverged = np.where(ratio > 40 * hardness, 1 + (400 / ratio).astype(np.int64), 0)
    curve[diverged > 0, 1:] = np.nan
    return curve, diverged


def _rows(
    rule: str,
    phase: str,
    lr: NDArray[np.float64],
    curve: NDArray[np.float64],
    diverged: NDArray[np.int64],
) -> pa.Table:
    lanes, points = curve.shape
    index = np.repeat(np.arange(lanes, dtype=np.int32), points)
    return pa.table(
        {
            "rule": [rule] * curve.size,
            "phase": [phase] * curve.size,
            "repeat": np.zeros(curve.size, np.int32),
            "trial": index if phase == "trial" else np.zeros(curve.size, np.int32),
            "seed": index if phase == "final" else np.zeros(curve.size, np.int32),
            "batch_size": np.full(curve.size, 32, np.int32),
            "lr": np.repeat(lr, points),
            "epoch": np.tile(np.arange(points, dtype=np.int32), lanes),
            "train_loss": (curve * 0.85).ravel(),
            "validation_loss": curve.ravel(),
            "diverged_at": np.repeat(diverged, points),
        }
    )


def _row(
    rule: str,
    best_lr: float,
    *,
    trials: NDArray[np.float64],
    lr: NDArray[np.float64],
    diverged: NDArray[np.int64],
    finals: NDArray[np.float64],
) -> dict[str, Any]:
    last = trials[:, -1]
    losses = finals[:, -1] * 1.04
    median = np.median(finals, axis=0)
    hits = np.flatnonzero(median <= 0.16)
    seconds = 0.0021 * (1 + len(rules.get(rule).state))
    good = lr[last <= np.nanmin(last) * 1.05]
    return {
        "rule": rule,
        "source": rules.get(rule).source,
        "hyper": {**rules.get(rule).defaults, "lr": float(lr[np.nanargmin(last)])},
        "batch_size": 32,
        "val_loss": float(np.nanmin(last)),
        "test_loss": dict(
            zip(("low", "typical", "high"), np.quantile(losses, [0.2, 0.5, 0.8]), strict=True)
        ),
        "test_losses": losses[:3].tolist(),
        "test_score": float(1 - np.median(losses) / 3.5),
        "test_scores": (1 - losses[:3] / 3.5).tolist(),
        "epochs_to_target": int(hits[0]) if len(hits) else None,
        "seconds_to_target": float(hits[0] * seconds) if len(hits) else None,
        "seconds_per_epoch": seconds,
        "seconds_spread": 0.04,
        "sensitivity": {
            "within_5_percent": len(good) / len(lr),
            "good_lr": [float(good.min()), float(good.max())],
            "good_lr_decades": float(np.log10(good.max() / good.min())),
        },
        "diverged": float(np.mean(diverged > 0)),
        "trials": len(lr),
        "widened": [f"lr widened to {best_lr * 1e4:g}"] if rule in {"adadelta", "sgd"} else [],
        "space": {"lr": [best_lr * 1e-3, best_lr * 1e3, "log"]},
        "defaults": {"hyper": rules.get(rule).defaults, "val_loss": 0.3, "excess": 0.87},
        "schedule": "constant",
        "steps": 680,
    }


def make(
    names: tuple[str, ...] | None = None,
    *,
    trials: int = 64,
    seeds: int = 20,
    epochs: int = 20,
    seed: int = 0,
) -> tuple[dict[str, Any], pa.Table]:
    """Return results and curves as a race leaves them, all numbers from the seed."""
    rng = np.random.default_rng(seed)
    tables, entries = [], []
    for name in names or rules.names("element-wise"):
        best_lr = 10 * rules.get(name).defaults["lr"]
        hardness = float(np.exp(rng.normal(0, 0.5))) * (12 if name == "asgd" else 1)
        lr = best_lr * 10 ** rng.uniform(-3, 3, trials)
        lr[0] = best_lr
        curve, diverged = _lanes(rng, best_lr, lr, epochs, hardness)
        rates = np.full(seeds, lr[np.nanargmin(curve[:, -1])])
        finals, final_diverged = _lanes(rng, best_lr, rates, epochs, hardness)
        tables.append(_rows(name, "trial", lr, curve, diverged))
        tables.append(_rows(name, "final", rates, finals, final_diverged))
        entries.append(_row(name, best_lr, trials=curve, lr=lr, diverged=diverged, finals=finals))
    entries.sort(key=lambda row: row["test_loss"]["typical"])
    best = entries[0]["test_loss"]["typical"]
    for row in entries:
        price = float(row["test_loss"]["typical"] / best - 1)
        low, high = max(0.0, price - 0.04), price + 0.04
        state = "as good" if high <= 0.05 else "worse" if low > 0 else "undecided"
        row |= {"price": {"low": low, "typical": price, "high": high}, "state": state}
        row |= {"could_be_best": low == 0, "probability": 0.5 / (1 + 9 * price)}
        row["repeats_needed"] = 12.0 if state == "undecided" else 2.0
    order = ("as good", "undecided", "worse")
    entries.sort(key=lambda row: order.index(row["state"]))
    return _results(entries, trials, seeds, epochs), pa.concat_tables(tables)


def _results(entries: list[dict[str, Any]], trials: int, seeds: int, epochs: int) -> dict[str, Any]:
    winner = entries[0]["rule"]
    lr = entries[0]["hyper"]["lr"]
    return {
        "schema": 3,
        "version": "0.1.0",
        "command": "thalweg race digits --rules all --batch-size 32 --epochs 20 --seed 0",
        "seed": 0,
        "data": {
            "name": "digits",
            "source": "scikit-learn, load_digits",
            "kind": "multiclass",
            "rows": 1797,
            "features": 64,
            "classes": [str(digit) for digit in range(10)],
            "dropped": 3,
            "split": {"train": 1078, "validation": 359, "test": 360},
        },
        "protocol": {
            "epochs": epochs,
            "trials": trials,
            "trials_per_rule": {row["rule"]: trials for row in entries},
            "repeats": 3,
            "seeds": seeds,
            "batch_sizes": [32],
            "schedules": ["constant"],
            "halving": False,
            "l2": 1e-4,
            "second_round": trials // 4,
            "budget": None,
            "selection": "the lowest validation loss after the last epoch",
            "metric": "accuracy",
            "loss": "softmax",
            "model": "multinomial logistic regression, 64 features, 10 classes, intercept",
            "dtype": "float32",
        },
        "target": {
            "validation_loss": 0.16,
            "constant": START,
            "reference": 0.112,
            "rule": "95 % of the way from the best constant (2.303) to the reference (0.112)",
        },
        "winner": winner,
        "take": winner,
        "margin": 0.05,
        "sentence": f"Take {winner}, lr {lr:.2g}, batch 32: it is at most 4 % worse than the best.",
        "code": {
            "torch": f"torch.optim.{winner.title()}(model.parameters(), lr={lr:.3g})",
            "thalweg": f'thalweg.linear.train(X, y, rule="{winner}", epochs={epochs}, lr={lr:.3g})',
        },
        "by_budget": _by_budget(entries, trials),
        "batch_sizes": _batch_sizes(entries[0]),
        "rules": entries,
    }


def _by_budget(entries: list[dict[str, Any]], trials: int) -> list[dict[str, Any]]:
    """Losses that fall with the budget, slower for the first rules."""
    found = []
    for count in sorted({1, min(16, trials), trials}):
        losses = {row["rule"]: 0.1 + (i + 1) / (i + count) / 10 for i, row in enumerate(entries)}
        best = min(losses, key=losses.__getitem__)
        found.append({"trials": count, "best": best, "val_loss": losses})
    return found


def _batch_sizes(row: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {
            "batch_size": size,
            "hyper": {**row["hyper"], "lr": 0.001 * size},
            "schedule": "constant",
            "val_loss": 0.12,
            "epochs_to_target": epochs,
            "seconds_per_epoch": 0.1 / size,
            "seconds_to_target": None if epochs is None else 0.1 * epochs / size,
            "bytes": 2000 * size,
            "predicted_epochs": 2 + size / 60,
        }
        for size, epochs in ((8, 2), (32, 2), (128, 5), (512, None))
    ]
    advice = "In one repeat, batch 32 reaches the target first (6.2 ms, 2 epochs, 62 KiB)."
    return {"rows": rows, "noise_scale": 120.0, "advice": advice}


def write(directory: Path, results: dict[str, Any], curves: pa.Table) -> Path:
    """Write results.json and curves.parquet as a race does."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(json.dumps(results), encoding="utf-8")
    pq.write_table(curves, directory / "curves.parquet")
    return directory


if __name__ == "__main__":
    write(Path(sys.argv[1]), *make())
