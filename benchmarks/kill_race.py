"""A race killed at 20 random moments and resumed each time, against one that nobody killed.

    python benchmarks/kill_race.py [--kills 20] [--seed 0] [--source train.py:task]

The command line is killed (SIGKILL) after a random share of what the race still has to do, and
resumed, until it was killed so often; then it may end. Every training and the verdict must be
those of the unbroken race, bit for bit, but for what a clock measured. Prints where it was killed,
and what came out; exits with 1 if anything differs.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from thalweg.racing.store import Records

TERMS = ("--rules", "sgd,adam,lion", "--epochs", "10", "--trials", "32", "--seeds", "10")


def start(*words: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "thalweg.cli", "race", "--quiet", *words]
    return subprocess.Popen(command)  # noqa: S603 - this project's own command line


def finished(out: Path) -> float:
    """Return the share of the race that is done."""
    try:
        with Records(out) as records:
            state = records.progress()
    except (OSError, ValueError):
        return 0.0  # it has not begun
    return float(state.done / state.total) if state else 0.0


def kill(process: "subprocess.Popen[bytes]", out: Path, moment: float) -> None:
    while finished(out) < moment and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()


def kept(out: Path) -> tuple[dict[Any, str], Any]:
    """Return each training's numbers and the verdict, without what a clock measured."""
    with Records(out) as records:
        trainings = {
            (result.trial.phase, result.trial.rule, result.trial.number): repr(
                (result, result.train_loss.tolist(), result.validation_loss.tolist())
            )
            for result in records.results()
        }
    return trainings, timeless(json.loads((out / "results.json").read_text(encoding="utf-8")))


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if "seconds" not in k and k != "command"}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", default="digits")
    given = parser.parse_args()
    rng = random.Random(given.seed)  # noqa: S311 - moments, no secrets
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        start(given.source, *TERMS, "--out", str(whole)).wait()
        words = [given.source, *TERMS, "--out", str(broken)]
        for left in range(given.kills, 0, -1):
            done = finished(broken)
            moment = done + rng.random() * 2 * (0.98 - done) / (left + 1)
            kill(start(*words), broken, moment)
            print(f"killed at {finished(broken):.1%}", flush=True)
            if (broken / "race.sqlite").exists() and finished(broken):
                words = ["--resume", str(broken)]
        start(*words).wait()
        same = kept(whole) == kept(broken)
    print(f"{given.kills} kills: the same verdict and trainings" if same else "they DIFFER")
    return not same


if __name__ == "__main__":
    sys.exit(main())
