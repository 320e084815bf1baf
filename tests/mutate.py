"""Break the code in known ways and see a test fail: mutations that no test noticed once.

    python tests/mutate.py [WORD ...]

The test of a mutation is run on a copy of src/ with a cache of kernels of its own, as it is and
with the mutation: it must pass, then fail. Words choose the mutations whose name has one of them.
Prints which were killed; exits with 1 if one survived, or could not be tried. It takes minutes, is
run by hand, and is no part of the tests.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mutation:
    """A text of a file in src/thalweg, what replaces it, and the test that must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = (
    Mutation(
        "search: the mean takes trials 60 % above the best",
        "racing/search.py", "NEAR = 0.2 ", "NEAR = 0.6 ",
        "tests/racing/test_search.py -k 20_percent",
    ),
    Mutation(
        "space: Adadelta's rates are those of the others",
        "catalog.py", "        rates=(1e-3, 1e3),\n", "",
        "tests/racing/test_space.py -k unit_of_the_rule",
    ),
    Mutation(
        "space: ASGD's alpha is tuned",
        "racing/space.py", '"lambd", "alpha", "t0"', '"lambd", "t0"',
        "tests/racing/test_space.py -k tuned_are",
    ),
    Mutation(
        "advice: a fifth more epochs is no waste",
        "racing/advice.py", "_WASTE = 1.1 ", "_WASTE = 1.2 ",
        "tests/racing/test_advice.py -k no_waste",
    ),
    Mutation(
        "cache: a folder of another user is taken",
        "kernels/cache.py", "status.st_uid in {0, os.getuid()}", "True",
        "tests/kernels/test_cache.py",
    ),
    Mutation(
        "cache: a folder that a group may write to is taken",
        "kernels/cache.py", "not mode & stat.S_IWOTH and not shared", "not mode & stat.S_IWOTH",
        "tests/kernels/test_cache.py",
    ),
    Mutation(
        "conditioning: a least eigenvalue of 0 is taken",
        "theory/conditioning.py", "spectrum[0] <= 0:", "spectrum[0] < 0:",
        "tests/theory/test_conditioning.py -k least_eigenvalue",
    ),
    Mutation(
        "steps: rounding decides a tie",
        "theory/steps.py", "accuracy * (1 + 1e-13)", "accuracy",
        "tests/theory/test_steps.py -k met_exactly",
    ),
    Mutation(
        "rates: a rule that is unstable for small rates has a limit",
        "theory/rates.py", "> 1e-9).any()", "> 1e9).any()",
        "tests/theory/test_rates.py -k small_rates",
    ),
    Mutation(
        "optimum: the rate is minimized for the ends of the spectrum alone",
        "theory/optimum.py", "np.geomspace(mu, L, 9)", "np.geomspace(mu, L, 2)",
        "tests/theory/test_optimum.py -k between_the_ends",
    ),
    Mutation(
        "linearization: eps is held for every rule",
        "theory/linearization.py", 'if frozen and "eps" in hyper:', 'if "eps" in hyper:',
        "tests/theory/test_linearization.py -k eps_counts",
    ),
    Mutation(
        "translate: a power runs though its base changes",
        "kernels/builder.py", ' == "t" and left.steady:', ' == "t":',
        "tests/kernels/test_builder.py -k power",
    ),
    Mutation(
        "translate: a negative number does not hold in where",
        "kernels/builder.py",
        "test = self.compare(ast.NotEq(), test", "test = self.compare(ast.Gt(), test",
        "tests/kernels/test_builder.py -k holds",
    ),
    Mutation(
        "around: a cautious step moves where the gradient is 0",
        "kernels/around.py", "ast.LtE(), climb", "ast.Lt(), climb",
        "tests/kernels/test_translate.py -k cautious",
    ),
    Mutation(
        "generate: all arrays are rounded by the same noise",
        "kernels/cpu/generate.py", "salt = self.arrays.index(name)", "salt = 0",
        "tests/kernels/cpu/test_generate.py -k noise",
    ),
    Mutation(
        "loops: uniform state is not rounded as it is kept",
        "kernels/cpu/loops.py",
        "state[c, j - 1, :] = np.float32(value)", "state[c, j - 1, :] = value",
        "tests/kernels/cpu/test_loops.py",
    ),
    Mutation(
        "lanes: an uneven last chunk counts as a whole one",
        "stack/lanes.py", "losses.double() * own", "losses.double() * whole",
        "tests/stack/test_lanes.py -k weighs_its_chunks",
    ),
    Mutation(
        "cli: a rate 20 % from the predicted one is not marked",
        "cli/rates.py", "_FAR = 0.05 ", "_FAR = 0.2 ",
        "tests/cli/test_rates.py -k far_from_5",
    ),
)  # fmt: skip


def broken(mutation: Mutation, folder: Path) -> bool:
    """Apply the mutation to the copy in a folder; False if its text is not there once."""
    file = folder / "thalweg" / mutation.file
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if text.count(mutation.old) != 1:
        return False
    file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    return True


def tested(test: str, folder: Path) -> int:
    """Run a test on the copy; return the status of pytest: 0 if all passed."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *test.split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), "THALWEG_CACHE": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode


def tried(mutation: Mutation) -> str:
    """Return "killed", "SURVIVED", or what keeps the mutation from being tried."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", folder, ignore=unwanted, dirs_exist_ok=True)
        if tested(mutation.test, folder) != 0:
            return "its test does not pass, or does not run, on the code as it is"
        if not broken(mutation, folder):
            return "its text is not in the file, or more than once"
        return "SURVIVED" if tested(mutation.test, folder) == 0 else "killed"


def main(words: list[str]) -> int:
    """Try the mutations whose name has one of the words, all without words; print a table."""
    chosen = [m for m in MUTATIONS if not words or any(word in m.name for word in words)]
    console = Console(width=120)
    table = Table("mutation", "file", "outcome")
    outcomes = []
    for mutation in chosen:
        outcomes.append(tried(mutation))
        console.print(f"{outcomes[-1]}: {mutation.name}", markup=False)
        table.add_row(mutation.name, mutation.file, outcomes[-1])
    console.print(table)
    return int(not chosen or set(outcomes) != {"killed"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
