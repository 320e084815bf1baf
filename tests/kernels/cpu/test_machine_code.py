"""Machine code on disk: no process is stopped or misled by what it finds there, or cannot leave."""

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import caching, codegen

from thalweg.kernels import Step, cache
from thalweg.kernels.cpu.simd import compiled_driver
from thalweg.rule import rule

DOUBLE = """
def double(values):
    values[0] *= 2
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[Path, bytes]]:
    """Return a function that reads all machine code; what is compiled from now on goes there."""
    folder = tmp_path / "machine code"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    return lambda: {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def doubled(dtype: str = "float64") -> int:
    """Double a number as a new process would; return how often its machine code was found."""
    module, _ = cache.load_module("double", DOUBLE, "")
    sys.modules.pop(module.__name__)
    driver = compiled_driver()(module.double)
    values = np.array([1.5], dtype)
    driver(values)
    assert values[0] == 3.0
    return sum(driver.stats.cache_hits.values())


def test_what_is_kept_is_found(kept: Callable[[], dict[Path, bytes]]) -> None:
    assert doubled() == 0
    assert kept()
    assert doubled() == 1


def test_types_and_processors_share_no_file(
    kept: Callable[[], dict[Path, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else processes that compile at once could leave one's code under the other's name."""
    assert doubled("float32") == 0
    first = kept()
    assert doubled("float64") == 0
    second = kept()
    elsewhere = ("triple", "another processor", "")
    monkeypatch.setattr(codegen.CPUCodegen, "magic_tuple", lambda _: elsewhere)
    assert doubled("float64") == 0
    third = kept()
    assert len(first) < len(second) < len(third)
    assert first.items() <= second.items() <= third.items()


@pytest.mark.parametrize("damage", [lambda code: code[:100], lambda _: b"", lambda _: b"other"])
def test_a_damaged_file_is_written_anew(
    damage: Callable[[bytes], bytes], kept: Callable[[], dict[Path, bytes]]
) -> None:
    doubled()
    for path, content in kept().items():
        path.write_bytes(damage(content))
    assert doubled() == 0
    assert doubled() == 1


def test_on_a_full_disk_nothing_is_kept(
    kept: Callable[[], dict[Path, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_open_for_write", full)
    assert doubled() == 0
    assert not kept()


def test_a_planted_pickle_does_not_run(
    kept: Callable[[], dict[Path, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubled()
    planted = pickle.dumps(_Planted(str(tmp_path / "ran")))
    (place,) = {path.parent for path in kept()}
    for path in kept():
        path.write_bytes(planted)
    place.chmod(0o777)
    assert doubled() == 0
    assert not (tmp_path / "ran").exists()
    place.chmod(0o755)
    monkeypatch.setattr(cache, "owned", lambda _: False)
    assert doubled() == 0
    assert not (tmp_path / "ran").exists()


class _Planted:
    """Makes a folder as it is unpickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def test_where_nothing_can_be_written_kernels_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    @rule("test")
    def read_only(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return x - lr * g * 11

    x = np.zeros(3)
    Step(read_only, [x], lr=0.5)([np.ones(3)])
    np.testing.assert_array_equal(x, -5.5)
    assert doubled() == 0
