"""Two races: seconds and memory of all their processes, with a cold and with a warm kernel cache.

    python benchmarks/race.py [--rounds 3]

Every rule on digits, a linear model; and eight rules with 64 trials each on an MLP
(``examples/digits_mlp.py``), with torch as it is and with compiled steps. Also the cost of
``import thalweg`` beside NumPy and of ``thalweg --help``. No other tool runs such races, so there
is no peer: seconds of this machine, not ratios.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from measure import save_timed, show

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits_mlp.py"
EIGHT = ("--rules", "sgd,momentum,nesterov,rmsprop,adam,adamw,nadam,lion", "--trials", "64")
COMPILED = """
import dataclasses
import digits_mlp

def task():
    return dataclasses.replace(digits_mlp.task(), compile=True)
"""


def run(*arguments: str, cache: str | None = None) -> tuple[float, float]:
    """Run Python with these arguments; return its seconds and the peak MiB of its processes."""
    places = ("THALWEG_CACHE", "NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
    own = {place: f"{cache}/{place}" for place in places} if cache else {}
    start = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - this project's own command line
        [sys.executable, *arguments],
        env={**os.environ, **own, "PYTHONPATH": os.pathsep.join([str(EXAMPLE.parent), *sys.path])},
        stdout=subprocess.DEVNULL,
    ) as process:
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, memory(psutil.Process(process.pid)) if cache else 0.0)
            time.sleep(0.1 if cache else 0.001)
    if process.returncode:
        sys.exit(f"{arguments} failed")
    return time.perf_counter() - start, peak


def memory(parent: psutil.Process) -> float:
    """Return the MiB of a process and those below it, what they share counted once."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total / 2**20


def race(rounds: int, *terms: str) -> dict[str, Any]:
    """Run a race with a cold cache, then with a warm one."""
    with tempfile.TemporaryDirectory() as folder:
        found = [
            run(
                "-m",
                "thalweg.cli",
                "race",
                *terms,
                "--quiet",
                "--out",
                f"{folder}/{i}",
                cache=folder,
            )
            for i in range(1 + rounds)
        ]
    (cold, _), *warm = found
    return {"cold": cold, "warm": [w for w, _ in warm], "peak_mib": max(peak for _, peak in found)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "compiled.py"
        compiled.write_text(COMPILED)
        rows = {
            "digits, twenty rules": race(rounds, "digits"),
            "MLP, 8 rules x 64": race(rounds, str(EXAMPLE), *EIGHT),
            "MLP, compiled": race(rounds, str(compiled), *EIGHT),
        }
    numpy = min(run("-c", "import numpy")[0] for _ in range(7))
    both = min(run("-c", "import numpy, thalweg")[0] for _ in range(7))
    usage = float(np.median([run("-m", "thalweg.cli", "--help")[0] for _ in range(7)]))
    costs = {"import_adds": both - numpy, "help": usage}
    lines = [
        [
            name,
            f"{row['cold']:.0f}",
            ", ".join(f"{w:.0f}" for w in row["warm"]),
            f"{row['peak_mib']:.0f}",
        ]
        for name, row in rows.items()
    ]
    show("races", ["race", "cold s", "warm s", "peak MiB"], lines)
    print(f"import thalweg adds {1e3 * (both - numpy):.1f} ms to NumPy; --help {usage:.2f} s")
    save_timed("race", [*({"race": name} | row for name, row in rows.items()), costs])


if __name__ == "__main__":
    main()
