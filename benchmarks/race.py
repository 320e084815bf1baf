"""The race on digits with every rule: seconds and memory, with a cold and with a warm kernel cache.

    python benchmarks/race.py [--rounds 3]

Also the cost of ``import thalweg`` beside NumPy and of ``thalweg --help``. No other tool runs such
a race, so there is no peer: seconds of this machine, not ratios.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from measure import save


def seconds(*arguments: str, cache: str | None = None, folder: str | None = None) -> float:
    """Run Python with these arguments; return the seconds that it took."""
    place = {"THALWEG_CACHE": cache, "NUMBA_CACHE_DIR": f"{cache}/numba"} if cache else {}
    start = time.perf_counter()
    subprocess.run(  # noqa: S603 - this project's own command line
        [sys.executable, *arguments],
        env={**os.environ, **place},
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def race(cache: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        terms = ("race", "digits", "--rules", "all", "--quiet", "--out", str(Path(folder) / "race"))
        return seconds("-m", "thalweg.cli", *terms, cache=cache)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as cache:
        cold = race(cache)
        warm = [race(cache) for _ in range(rounds)]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    numpy = min(seconds("-c", "import numpy") for _ in range(7))
    both = min(seconds("-c", "import numpy, thalweg") for _ in range(7))
    usage = float(np.median([seconds("-m", "thalweg.cli", "--help") for _ in range(7)]))
    row: dict[str, Any] = {"cold": cold, "warm": warm, "peak_mib": peak}
    save("race", [row | {"import_adds": both - numpy, "help": usage}])
    print(
        f"race digits --rules all: cold {cold:.1f} s; warm {', '.join(f'{w:.1f}' for w in warm)} s"
    )
    print(f"peak memory {peak:.0f} MiB")
    print(f"import thalweg adds {1e3 * (both - numpy):.1f} ms to NumPy; --help {usage:.2f} s")


if __name__ == "__main__":
    main()
