"""Small data for linear models, of the kinds that tables have: each drawn anew for each seed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_linnerud,
    load_wine,
)
from sklearn.model_selection import train_test_split

from linear_sets import Parts, drawn
from thalweg import data

TEST = 2000


def _cut(X: Any, y: NDArray[Any], rows: int) -> Parts:
    return X[:rows], X[rows:], y[:rows], y[rows:]


def _repeated(parts: Parts, rows: NDArray[np.intp]) -> Parts:
    """Return some rows for training, some of them more than once."""
    X, X_test, y, y_test = parts
    return X[rows], X_test, y[rows], y_test


def carried(seed: int) -> Iterator[tuple[str, Parts]]:
    """Yield splits of scikit-learn's sets of labels, whole and of few rows."""
    for name, load in (
        ("breast cancer", load_breast_cancer),
        ("wine", load_wine),
        ("iris", load_iris),
        ("digits", load_digits),
    ):
        X, y = load(return_X_y=True)
        for rows in (0.75, 60):
            parts = train_test_split(X, y, train_size=rows, random_state=seed, stratify=y)
            yield f"{name}, {len(parts[2])} rows", tuple(parts)
    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X, y == 8, random_state=seed)
    yield "digits, 8 or not", tuple(parts)


def columns(rng: np.random.Generator, n: int) -> Iterator[tuple[str, NDArray[np.float64], Any]]:
    """Yield X and an output of deviation 1 that some of its columns make."""
    plain = rng.standard_normal((n, 15))
    w = rng.standard_normal(15) * (rng.random(15) < 0.6)
    w[0] += 1.0

    def scaled(z: Any) -> Any:
        return (z - z.mean()) / z.std()

    z = scaled(plain @ w)
    yield "plain", plain, z
    yield "heavy tails", np.sign(plain) * abs(plain) ** 3, z
    tails = rng.standard_t(2, (n, 15))
    yield "tails of both", tails, scaled(np.clip(tails @ w, -20, 20))
    walk = np.cumsum(plain, axis=1)
    yield "correlated", walk, scaled(walk @ w)
    near = np.repeat(plain[:, :4], 4, axis=1) + 0.02 * rng.standard_normal((n, 16))
    yield "near copies", near, scaled(plain[:, :4] @ w[:4])
    yield "constant columns", np.column_stack([plain, np.full((n, 3), 7.0), np.zeros(n)]), z
    yield "huge offsets", plain + 1e7 * rng.standard_normal(15), z
    yield "units", plain * 10.0 ** rng.integers(-8, 8, 15), z
    rare = (rng.random((n, 80)) < 10 ** rng.uniform(-2.3, -0.7, 80)).astype(float)
    yield "rare columns", rare, scaled(rare @ rng.standard_normal(80))
    counts = rng.poisson(np.exp(rng.normal(size=20)), (n, 20)).astype(float)
    yield "counts", counts, scaled(np.log1p(counts) @ rng.standard_normal(20))
    groups = np.eye(12)[rng.integers(0, 12, n)]
    more = np.column_stack([groups, np.eye(5)[rng.integers(0, 5, n)], plain[:, :3]])
    yield "one-hot", more, scaled(more @ rng.standard_normal(20))
    yield "yes and no", (plain > 0).astype(float), z
    one = plain[:, :1]
    yield "one column", one, scaled(one[:, 0])
    powers = np.column_stack([np.tanh(one) ** i for i in range(1, 9)])
    yield "powers of a column", powers, scaled(np.sin(2 * one[:, 0]))
    pairs = np.column_stack([plain, *(plain[:, [i]] * plain[:, i + 1 :] for i in range(14))])
    yield "products of columns", pairs, scaled(z + pairs[:, 20] * 0.5)
    yield "no signal", plain, np.zeros(n)
    wide = rng.standard_normal((n, 300))
    yield "wide, few tell", wide, scaled(wide[:, :4].sum(axis=1))
    yield "wide, all tell", wide, scaled(wide @ rng.standard_normal(300))
    factors = rng.standard_normal((n, 5))
    mixed = factors @ rng.standard_normal((5, 200)) + 0.5 * rng.standard_normal((n, 200))
    yield "wide, five factors", mixed, scaled(factors @ rng.standard_normal(5))


ROWS = {"wide, few tell": 100, "wide, all tell": 100, "wide, five factors": 80, "one column": 40}


def classifications(seed: int) -> Iterator[tuple[str, Parts]]:
    """Yield sets with labels."""
    yield from carried(seed)
    rng = np.random.default_rng(seed)
    for name, X, z in columns(rng, TEST + 400):
        n = ROWS.get(name, 300)
        yield name, _cut(X[: n + TEST], drawn(rng, 2.5 * z)[: n + TEST], n)
        if name == "plain":
            yield "plain, 30 rows", _cut(X, drawn(rng, 2.5 * z), 30)
            yield "plain, 60 rows", _cut(X, drawn(rng, 2.5 * z), 60)
            yield "imbalanced", _cut(X, drawn(rng, 2 * z - 4), 400)
            yield "separable", _cut(X, (z > 0.3).astype(int), 200)
            cuts = np.digitize(z + 0.3 * rng.standard_normal(len(z)), [-0.8, 0.6])
            yield "three classes", _cut(X, cuts, 300)
            W = rng.standard_normal((15, 6))
            classes = np.argmax(X @ W + rng.gumbel(size=(len(z), 6)) * 2, axis=1)
            yield "six classes", _cut(X, classes, 300)
            y = drawn(rng, 2.5 * z)
            yield "rows twice", _repeated(_cut(X, y, 150), np.repeat(range(150), 2))
            yield "rows drawn", _repeated(_cut(X, y, 200), rng.integers(0, 200, 200))
    frequency = 1 / (np.arange(2000) + 5.0)
    words = rng.random((TEST + 300, 2000)) < np.minimum(0.5, 8 * frequency / frequency.sum())
    z = words @ (rng.standard_normal(2000) * (frequency < frequency[5]))
    text = sparse.csr_matrix(words.astype(float))
    yield "text", _cut(text, drawn(rng, 2.5 * z / z.std()), 300)


def regressions(seed: int) -> Iterator[tuple[str, Parts]]:
    """Yield sets with numbers to predict."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    for rows in (0.75, 60):
        parts = train_test_split(X, y, train_size=rows, random_state=seed)
        yield f"diabetes, {len(parts[2])} rows", tuple(parts)
    air = data.load("airfoil")
    for rows in (0.75, 60):
        parts = train_test_split(np.asarray(air.X), air.y, train_size=rows, random_state=seed)
        yield f"airfoil, {len(parts[2])} rows", tuple(parts)
    X, y = load_linnerud(return_X_y=True)
    yield "linnerud, 15 rows", tuple(train_test_split(X, y[:, 0], random_state=seed))
    rng = np.random.default_rng(seed + 1000)
    for name, X, z in columns(rng, TEST + 400):
        n = ROWS.get(name, 300)
        y = z + 0.7 * rng.standard_normal(len(z))
        yield name, _cut(X[: n + TEST], y[: n + TEST], n)
        if name == "plain":
            yield "plain, 30 rows", _cut(X, y, 30)
            yield "plain, no noise", _cut(X, 1e5 + 3 * z, 300)
            yield "y with tails", _cut(X, z + 0.5 * rng.standard_t(2.2, len(z)), 300)
            yield "rows twice", _repeated(_cut(X, y, 150), np.repeat(range(150), 2))
            yield "rows drawn", _repeated(_cut(X, y, 200), rng.integers(0, 200, 200))
