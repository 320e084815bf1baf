"""The data sets that have a name: scikit-learn's own and the airfoil set of UCI."""

import os
from pathlib import Path

import numpy as np

from thalweg.data.dataset import Dataset

__all__ = ["airfoil_here", "load", "names"]

_BUNDLED = ("digits", "diabetes", "breast_cancer", "wine", "iris")

_AIRFOIL_URL = (
    "https://archive.ics.uci.edu/ml/machine-learning-databases/00291/airfoil_self_noise.dat"
)
_AIRFOIL_SHA256 = "74c75fd71783f1e6b71f8a622b993dc592897a97cd689c5090a07147a1b097b3"
_AIRFOIL_FEATURES = (
    "frequency", "angle_of_attack", "chord_length", "velocity", "displacement_thickness",
)  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the names that ``load`` knows.

    Example:
        >>> names()
        ('digits', 'diabetes', 'breast_cancer', 'wine', 'iris', 'airfoil')
    """
    return (*_BUNDLED, "airfoil")


def load(name: str) -> Dataset:
    """Load the set of that name, one of ``names()``."""
    return _airfoil() if name == "airfoil" else _bundled(name)


def _bundled(name: str) -> Dataset:
    from sklearn import datasets  # noqa: PLC0415 - takes a second to load

    # The bundled diabetes features are scaled by all 442 rows; the raw ones keep the test part
    # out of the standardization.
    raw = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**raw)
    regression = name == "diabetes"
    return Dataset(
        name=name,
        X=bunch.data.astype(np.float64),
        y=bunch.target.astype(np.float64 if regression else np.int64),
        features=tuple(map(str, bunch.feature_names)),
        target="progression" if regression else "class",
        classes=None if regression else tuple(map(str, bunch.target_names)),
        source=f"scikit-learn, load_{name}",
        loaded=name,
    )


def _airfoil() -> Dataset:
    table = np.loadtxt(_airfoil_file())
    return Dataset(
        name="airfoil",
        X=table[:, :-1],
        y=table[:, -1],
        features=_AIRFOIL_FEATURES,
        target="sound_pressure",
        classes=None,
        source=_AIRFOIL_URL,
        loaded="airfoil",
    )


def airfoil_here() -> bool:
    """Return whether the airfoil set can be loaded without a network."""
    import pooch  # noqa: PLC0415 - only this set is downloaded

    file = Path(_AIRFOIL_URL).name
    folders = [os.environ.get("THALWEG_DATA"), pooch.os_cache("thalweg")]
    return any(Path(folder, file).exists() for folder in folders if folder)


def _airfoil_file() -> Path:
    """Find the file in THALWEG_DATA, else in the cache, else at its home."""
    import pooch  # noqa: PLC0415 - only this set is downloaded

    file = Path(_AIRFOIL_URL).name
    folder = os.environ.get("THALWEG_DATA")
    if folder and (local := Path(folder, file)).exists():
        if (found := pooch.file_hash(local)) != _AIRFOIL_SHA256:
            raise ValueError(
                f"{local} has the SHA-256 {found}, not {_AIRFOIL_SHA256}; replace it by the file "
                f"of {_AIRFOIL_URL}"
            )
        return local
    try:
        cache = pooch.os_cache("thalweg")
        return Path(pooch.retrieve(_AIRFOIL_URL, f"sha256:{_AIRFOIL_SHA256}", file, cache))
    except (OSError, ValueError) as error:  # no network, no disk, or not the file it should be
        raise FileNotFoundError(
            f"airfoil could not be downloaded from {_AIRFOIL_URL} ({type(error).__name__}); "
            f"put {file} into a folder and name the folder in the environment variable "
            "THALWEG_DATA"
        ) from error
