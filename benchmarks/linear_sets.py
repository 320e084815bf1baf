"""Data for linear models: carried, and made up in the shapes that real tables have."""

import ast
import functools
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_svmlight_file,
    load_wine,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split

from thalweg import data

Parts = tuple[Any, Any, NDArray[Any], NDArray[Any]]  # X, X_test, y, y_test

SPLITS = range(3)
PACKAGES = "numpy", "scipy", "sklearn", "pandas", "numba", "dask"  # of whose texts one is told


def a9a(rows: int | None = None) -> Parts:
    """Return the adult data of the folder that THALWEG_DATA names, or some of its rows."""
    folder = Path(os.environ["THALWEG_DATA"])
    X, y = load_svmlight_file(str(folder / "a9a"), n_features=123)
    X_test, y_test = load_svmlight_file(str(folder / "a9a.t"), n_features=123)
    for each in (X, X_test):  # scikit-learn's own SGD and saga refuse wide indices
        each.indices, each.indptr = each.indices.astype(np.int32), each.indptr.astype(np.int32)
    some = np.random.default_rng(0).permutation(len(y))[:rows]
    return X[some], X_test, (y[some] > 0).astype(int), (y_test > 0).astype(int)


def words(rows: int = 100_000, test: int = 25_000, columns: int = 47_236) -> Parts:
    """Return rows in the shape of RCV1: normed tf-idf of 32 words, of which some 700 tell."""
    rng = np.random.default_rng(0)
    frequency = 1 / (np.arange(columns) + 30.0) ** 1.05
    edges = np.cumsum(frequency / frequency.sum())
    n = rows + test
    wanted = np.clip(np.round(rng.lognormal(np.log(32.4) - 0.125, 0.5, n)), 3, 400)
    draws = (wanted * 1.18).astype(int) + 1  # some words are drawn twice
    where = np.repeat(np.arange(n), draws)
    which = np.minimum(np.searchsorted(edges, rng.random(draws.sum())), columns - 1)
    X = sparse.csr_matrix((np.ones(len(where)), (where, which)), shape=(n, columns))
    documents = np.asarray((X > 0).sum(axis=0)).ravel()
    X.data = 1 + np.log(X.data)
    X = X @ sparse.diags(np.log((1 + n) / (1 + documents)))
    X = (sparse.diags(1 / np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())) @ X).tocsr()
    telling = rng.random(columns) < np.minimum(0.6, 2.5 * (frequency / frequency.max()) ** 0.8)
    w = np.where(telling, rng.standard_normal(columns), 0)
    z = X @ w
    y = drawn(rng, 5.5 * z / z.std() - 0.5)
    X = X[:, rng.permutation(columns)].tocsr()
    X.sort_indices()
    return X[:rows], X[rows:], y[:rows], y[rows:]


@functools.cache
def _documents() -> tuple[Any, NDArray[np.int64]]:
    """Return the documentation strings of installed packages as tf-idf, and each one's package."""
    found: dict[str, int] = {}
    for number, name in enumerate(PACKAGES):
        for path in sorted(Path(importlib.import_module(name).__file__ or "").parent.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
                    text = ast.get_docstring(node) or ""
                    if len(text) > 60:
                        found.setdefault(text, number)
    order = np.random.default_rng(0).permutation(len(found))
    X = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(list(found))[order]
    X.sort_indices()
    return X, np.array(list(found.values()))[order]


def documents(package: str, rows: int | None = None) -> Parts:
    """Return texts that are of a package or not, three quarters to learn from, or some of these."""
    X, number = _documents()
    y = (number == PACKAGES.index(package)).astype(int)
    n = 3 * len(y) // 4
    return X[:n][:rows], X[n:], y[:n][:rows], y[n:]


def drawn(rng: np.random.Generator, z: NDArray[Any]) -> NDArray[np.int64]:
    """Return labels whose log-odds are z."""
    labels: NDArray[np.int64] = (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(int)
    return labels


def numbers(
    rows: int, test: int, columns: int, seed: int = 0
) -> tuple[np.random.Generator, NDArray[np.float32], NDArray[Any]]:
    """Return correlated normal columns, and outputs of deviation 1 that half of them make."""
    rng = np.random.default_rng(seed)
    factors = 0.5 * rng.standard_normal((10, columns), np.float32)
    X = rng.standard_normal((rows + test, 10), np.float32) @ factors
    X += rng.standard_normal(X.shape, np.float32)
    z = X @ (rng.standard_normal(columns) * (rng.random(columns) < 0.5)).astype(np.float32)
    return rng, X, z / z.std()


def dense(rows: int, test: int = 20_000, columns: int = 100) -> Parts:
    """Return standardized columns and labels."""
    rng, X, z = numbers(rows, test, columns)
    X = (X - X[:rows].mean(axis=0)) / X[:rows].std(axis=0)
    y = drawn(rng, 3 * z + 0.5)
    return X[:rows], X[rows:], y[:rows], y[rows:]


def classifications() -> Iterator[tuple[str, Parts]]:
    """Yield sets with labels."""
    yield "a9a", a9a()
    few = a9a(1000)
    yield "a9a, 1,000 rows", few
    yield "a9a, 1,000 rows, dense", (few[0].toarray(), few[1].toarray(), *few[2:])
    yield "RCV1's shape", words()
    yield "RCV1's shape, 5,000 rows", words(5000, 5000, 20_000)
    for rows in (None, 5000, 1000):
        for package in PACKAGES[:3]:
            some = f", {rows:,} rows" if rows else ""
            yield f"texts, of {package}{some}", documents(package, rows)
    yield "dense, 100,000 × 100", dense(100_000)
    for name, load in (("breast cancer", load_breast_cancer), ("wine", load_wine)):
        for split in SPLITS:
            X, y = load(return_X_y=True)
            yield f"{name}, split {split}", tuple(train_test_split(X, y, random_state=split))
    X, y = load_iris(return_X_y=True)
    yield "iris", tuple(train_test_split(X, y, random_state=0, stratify=y))
    X, y = load_digits(return_X_y=True)
    yield "digits", tuple(train_test_split(X, y, random_state=0, stratify=y))
    rng, X, z = numbers(2000, 4000, 20)
    plain, odds = drawn(rng, 3 * z), 10 ** rng.uniform(-2.5, -0.5, 200)
    rare = (rng.random((6000, 200)) < odds).astype(float)
    made: dict[str, tuple[Any, Any]] = {
        "units 1e-6 to 1e6": (X * 10 ** rng.uniform(-6, 6, 20), plain),
        "a column of 1e9 and its changes": (X + 1e9 * (np.arange(20) == 0), plain),
        "lognormal columns": (np.exp(1.5 * X), plain),
        "0.1 % outliers of 1e6": (np.where(rng.random(X.shape) < 1e-3, 1e6 * X, X), plain),
        "copies of columns": (np.repeat(X[:, :5], 4, axis=1) + 0.01 * X, plain),
        "200 rare columns": (rare, drawn(rng, rare @ rng.normal(size=200) * 1.5)),
        "1 % positive": (X, drawn(rng, 2 * z - 6)),
        "separable": (X, (z > 0).astype(int)),
    }
    for name, (columns, y) in made.items():
        yield name, (columns[:2000], columns[2000:], y[:2000], y[2000:])
    yield "50 rows", (X[:50], X[2000:], plain[:50], plain[2000:])


def regressions() -> Iterator[tuple[str, Parts]]:
    """Yield sets with numbers to predict."""
    for name in ("diabetes", "airfoil"):
        known = data.load(name)
        for split in SPLITS:
            parts = train_test_split(np.asarray(known.X), known.y, random_state=split)
            yield f"{name}, split {split}", tuple(parts)
    rng, X, z = numbers(2000, 2000, 20)
    y = 2 * z + rng.standard_normal(len(z)) + 3
    made: dict[str, tuple[Any, Any]] = {
        "numbers": (X, y),
        "units 1e-6 to 1e6, 1e9 y + 1e12": (X * 10 ** rng.uniform(-6, 6, 20), 1e9 * y + 1e12),
        "1e-9 y": (X, 1e-9 * y),
        "y with heavy tails": (X, 2 * z + rng.standard_t(1.5, len(z))),
        "hardly any signal": (X, 0.2 * z + rng.standard_normal(len(z))),
        "copies of columns": (np.repeat(X[:, :5], 4, axis=1) + 0.01 * X, y),
    }
    for name, (columns, target) in made.items():
        yield name, (columns[:2000], columns[2000:], target[:2000], target[2000:])
    yield "50 rows", (X[:50], X[2000:], y[:50], y[2000:])
