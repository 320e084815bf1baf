"""Linear models beside their peers: one pass, the optimum at C = 1, and memory.

    python benchmarks/linear.py

Contestants run in turn; times are medians, of the processor (one core: OMP_NUM_THREADS=1). One pass
has the choice of the rate in ours, and nothing of the kind in others; Vowpal Wabbit reads a cache
that it wrote before. What is called the time to the optimum is that of the loosest setting whose
objective, that of LogisticRegression at C = 1, is within 1e-3 of the least. A peer that is not
installed (pip install vowpalwabbit river) is left out, with a line that says so.
"""

import importlib.util
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression, SGDClassifier

from linear_sets import Parts, a9a, dense, words
from measure import save, show
from thalweg.linear import LinearClassifier

ROUNDS = 5
FEW = 2000  # rows that river is given: its time is by the row
Fit = Callable[[], Callable[[], NDArray[Any]]]  # trains; what it returns gives outputs on the test


def installed(module: str) -> bool:
    found = importlib.util.find_spec(module) is not None
    if not found:
        print(f"{module} is not installed: pip install {module}")
    return found


def loss_of(z: NDArray[Any], y: NDArray[Any]) -> float:
    return float(np.mean(np.logaddexp(0, z) - y * z))


def in_turn(fits: Mapping[str, Fit]) -> dict[str, tuple[float, Any]]:
    """Return the median seconds of each contestant, and what its last fit returned."""
    seconds: dict[str, list[float]] = {name: [] for name in fits}
    last: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, fit in fits.items():
            began = time.process_time()
            last[name] = fit()
            seconds[name].append(time.process_time() - began)
    return {name: (float(np.median(each)), last[name]) for name, each in seconds.items()}


def _scikit(model: Any, parts: Parts) -> Fit:
    X, X_test, y, _ = parts

    def fit() -> Callable[[], NDArray[Any]]:
        fitted = model.fit(X, y)
        return lambda: np.asarray(fitted.decision_function(X_test))

    return fit


def _write(X: Any, y: NDArray[Any], path: Path) -> None:
    """Write rows as Vowpal Wabbit reads them."""
    rows = csr_matrix(X)
    with path.open("w", encoding="utf-8") as file:
        for i, label in enumerate(y):
            own = slice(*rows.indptr[i : i + 2])
            pairs = zip(rows.indices[own].tolist(), rows.data[own].tolist(), strict=True)
            words = " ".join(f"{j}:{x:.6g}" for j, x in pairs)
            file.write(f"{1 if label else -1} | {words}\n")


def _vowpal(parts: Parts, folder: Path, more: str) -> Fit:
    """Return Vowpal Wabbit, which trains from a cache."""
    from vowpalwabbit import Workspace  # type: ignore[import-not-found] # noqa: PLC0415 - a peer

    train, test = folder / "train", folder / "test"
    common = "--quiet -b 18 --loss_function logistic"
    if not train.exists():
        _write(parts[0], parts[2], train)
        _write(parts[1], parts[3], test)
        Workspace(f"-d {train} --cache_file {train}.cache -t {common}").finish()
    model = folder / f"model{more.strip()}"

    def outputs() -> NDArray[Any]:
        Workspace(f"-i {model} -t -d {test} -r {model}.raw --quiet").finish()
        lines = Path(f"{model}.raw").read_text(encoding="utf-8").splitlines()
        return np.array([float(line.split()[0].split(":")[-1]) for line in lines if line.strip()])

    def fit() -> Callable[[], NDArray[Any]]:
        Workspace(f"-d {train} --cache_file {train}.cache {common} -f {model}{more}").finish()
        return outputs

    return fit


def _river(parts: Parts) -> Fit:
    """Return river's logistic regression on some rows: a step of it is Python."""
    from river import linear_model  # type: ignore[import-not-found] # noqa: PLC0415 - a peer

    def named(X: Any) -> list[dict[int, float]]:
        rows = csr_matrix(X[:FEW])
        pairs = zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
        return [
            dict(zip(rows.indices[a:b].tolist(), rows.data[a:b].tolist(), strict=True))
            for a, b in pairs
        ]

    rows, labels = named(parts[0]), parts[2][:FEW].astype(bool).tolist()

    def fit() -> Callable[[], NDArray[Any]]:
        model = linear_model.LogisticRegression()
        for x, y in zip(rows, labels, strict=True):
            model.learn_one(x, y)
        return lambda: np.zeros(len(parts[3]))  # of so few rows they would mean nothing

    return fit


def one_pass(name: str, parts: Parts) -> list[dict[str, Any]]:
    """Return the test losses and the times of one pass."""
    fits: dict[str, Fit] = {
        "thalweg": _scikit(LinearClassifier(finish=False, random_state=0), parts),
        "SGDClassifier": _scikit(
            SGDClassifier("log_loss", max_iter=1, tol=None, random_state=0), parts
        ),
    }
    fits["thalweg"]()  # compiles
    with tempfile.TemporaryDirectory() as folder:
        if installed("vowpalwabbit"):
            fits["Vowpal Wabbit"] = _vowpal(parts, Path(folder), "")
            fits["Vowpal Wabbit --coin"] = _vowpal(parts, Path(folder), " --coin")
        if installed("river"):
            fits["river"] = _river(parts)
        found = in_turn(fits)
        share = len(parts[2]) / FEW
        return [
            {
                "part": "one pass", "set": name, "contestant": each,
                "test loss": None if each == "river" else loss_of(outputs(), parts[3]),
                "seconds": seconds * (share if each == "river" else 1),
            }
            for each, (seconds, outputs) in found.items()
        ]  # fmt: skip


def objective(fit: Any, parts: Parts) -> float:
    """Return that of LogisticRegression at C = 1, over the rows."""
    X, _, y, _ = parts
    z = np.asarray(X @ fit.coef_.ravel() + fit.intercept_, np.float64)
    return loss_of(z, y) + float(np.sum(fit.coef_.astype(float) ** 2)) / (2 * len(y))


def solvers(parts: Parts) -> dict[str, list[Any]]:
    """Return models from loose to tight."""
    n = len(parts[2])

    def of(solver: str, counts: list[int], **more: Any) -> list[Any]:
        return [LogisticRegression(solver=solver, max_iter=k, tol=1e-14, **more) for k in counts]

    found = {
        "thalweg": [LinearClassifier(alpha=1 / n, finish=f, random_state=0) for f in (1e-2, 1e-3)],
        "saga": of("saga", [2, 3, 5, 8, 12, 20, 40, 80], random_state=0),
        "lbfgs": of("lbfgs", [5, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, 100]),
        "LIBLINEAR": of("liblinear", [2, 3, 4, 6, 8, 12], intercept_scaling=10, random_state=0),
    }
    if parts[0].shape[1] <= 1000:
        found["newton-cholesky"] = of("newton-cholesky", [1, 2, 3, 4, 5, 6])
    return found


def optimum(name: str, parts: Parts) -> list[dict[str, Any]]:
    """Return the times to 1e-3 of the least objective."""
    X, _, y, _ = parts
    least = objective(LinearClassifier(alpha=1 / len(y), finish=True).fit(X, y), parts)
    near: dict[str, Any] = {}
    for each, models in solvers(parts).items():
        for model in models:
            if objective(model.fit(X, y), parts) <= least * 1.001:
                near[each] = model
                break
        else:
            print(f"{each} does not come within 1e-3 of the optimum of {name}")
    found = in_turn({each: lambda m=model: m.fit(X, y) for each, model in near.items()})  # type: ignore[misc]
    return [
        {"part": "optimum", "set": name, "contestant": each, "seconds": seconds}
        for each, (seconds, _) in found.items()
    ]


def memory(order: str) -> dict[str, Any]:
    """Return how much memory a fit takes beside X, as a share of it, in a process of its own."""
    told = subprocess.run(  # noqa: S603 - this file
        [sys.executable, __file__, order], capture_output=True, text=True, check=True
    )
    return {"part": "memory", "order": order, "beside X": float(told.stdout)}


def _beside(order: str) -> None:
    rng = np.random.default_rng(0)
    LinearClassifier().fit(rng.random((100, 100), np.float32), np.arange(100) % 2)
    shape = (1_000_000, 100)
    X = rng.random(shape, np.float32) if order == "C" else rng.random(shape[::-1], np.float32).T
    y = (X[:, 0] > 0.5).astype(np.int8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    LinearClassifier().fit(X, y)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / X.nbytes)


def main() -> None:
    warnings.simplefilter("ignore")  # of solvers that are told to stop early
    sets: dict[str, Parts] = {
        "a9a, CSR": a9a(),
        "RCV1's shape, CSR": words(),
        "100,000 × 100": dense(100_000),
    }
    passes = [row for name, parts in sets.items() for row in one_pass(name, parts)]
    ends = [row for name, parts in sets.items() for row in optimum(name, parts)]
    spaces = [memory(order) for order in "CF"]
    save("linear", [*passes, *ends, *spaces])
    for title, rows in (("One pass", passes), ("To 1e-3 of the optimum", ends)):
        cells = [
            [row["set"], row["contestant"],
             f"{row['test loss']:.4f}" if row.get("test loss") else "", f"{row['seconds']:.3f}"]
            for row in rows
        ]  # fmt: skip
        show(title, ["set", "contestant", "test loss", "seconds"], cells)
    for space in spaces:
        print(f"memory beside X, order {space['order']}: {space['beside X']:.2f} of it")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _beside(sys.argv[1])
    else:
        main()
