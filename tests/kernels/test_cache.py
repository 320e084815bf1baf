"""The folder of generated sources: it holds code that will be run."""

import os
import pwd
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from thalweg.kernels import Step, cache
from thalweg.rule import rule


def _folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    monkeypatch.setenv("THALWEG_CACHE", str(root))
    return cache.folder()


@pytest.mark.parametrize("place", ["kernels", "kernels/__pycache__"])
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_a_cache_that_others_can_write_to_is_not_used(
    place: str, mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _folder(tmp_path, monkeypatch)
    assert folder
    assert {stat.S_IMODE(p.stat().st_mode) for p in (folder, folder / "__pycache__")} == {0o700}
    (tmp_path / place).chmod(mode)
    assert cache.folder() is None
    (tmp_path / place).chmod(0o755)
    assert cache.folder() == folder


@pytest.mark.parametrize(
    ("mode", "used"), [(0o755, True), (0o777, False), (0o757, False), (0o1777, True)]
)
def test_the_whole_way_to_the_cache_is_looked_at(
    mode: int,
    used: bool,  # noqa: FBT001 - a parameter
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who can write to a folder above can put another in its place, but not where it is sticky."""
    above = tmp_path / "above"
    (above / "between" / "root").mkdir(parents=True)
    above.chmod(mode)
    assert (_folder(above / "between" / "root", monkeypatch) is not None) == used
    (tmp_path / "link").symlink_to(above / "between")
    assert (_folder(tmp_path / "link" / "root", monkeypatch) is not None) == used


def test_a_group_may_write_above_only_if_it_is_the_user_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o775)
    user = pwd.getpwuid(os.getuid()).pw_name
    for group, members, used in (
        (user, [], True), (user, [user], True), (user, ["eve"], False), ("staff", [], False),
    ):  # fmt: skip
        found = SimpleNamespace(gr_name=group, gr_mem=members)
        monkeypatch.setattr("grp.getgrgid", lambda _, found=found: found)
        assert (_folder(tmp_path, monkeypatch) is not None) == used


def test_the_cache_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _folder(tmp_path, monkeypatch)
    assert folder
    code = folder / "code"
    code.touch()
    assert cache.owned(code)
    lstat, mine, theirs = os.lstat, os.getuid(), os.getuid() + 1

    def belongs(other: Path) -> Callable[..., os.stat_result]:
        """Give one path to another user; a test cannot."""

        def look(path: str | Path) -> os.stat_result:
            found = list(lstat(path))
            found[stat.ST_UID] = theirs if Path(path) == other else mine
            return os.stat_result(found)

        return look

    for other in (tmp_path.parent, tmp_path, folder, folder / "__pycache__", code):
        for home in (os, Path):
            monkeypatch.setattr(home, "lstat", belongs(other))
        assert cache.folder() == (folder if other == code else None), other
    assert not cache.owned(code)


def test_the_cache_is_a_folder_that_only_its_user_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    folder = cache.folder()
    assert folder == tmp_path / "kernels"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o770)
    assert cache.folder() is None
    folder.chmod(0o700)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert cache.folder() is None


def test_without_a_safe_folder_kernels_still_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernels").mkdir(mode=0o777)
    (tmp_path / "kernels").chmod(0o777)
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))

    @rule("test")
    def unsafe_place(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return x - lr * g * 7

    x = np.zeros(3)
    Step(unsafe_place, [x], lr=0.5)([np.ones(3)])
    np.testing.assert_array_equal(x, -3.5)
    assert not list((tmp_path / "kernels").iterdir())


def test_a_file_that_is_not_ours_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    first, _ = cache.load_module("planted", "value = 1", "")
    sys.modules.pop(first.__name__)
    Path(str(first.__file__)).write_text("value = 2")
    again, _ = cache.load_module("planted", "value = 1", "")
    assert again.value == 1
