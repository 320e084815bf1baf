"""Whose line an error is told with: the user's own, not a library's, wherever that lies."""

import json
import runpy
import site
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from thalweg.errors import told, user_line

LIBRARY = "def fail(what):\n    raise ValueError(what)\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of packages of a Python whose user works in another folder."""
    folder, work = tmp_path / "lib" / "packages", tmp_path / "work"
    folder.mkdir(parents=True)
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(folder)])
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


def library(folder: Path) -> Callable[[str], None]:
    """Write a module that fails into a folder, and return its function."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "library.py").write_text(LIBRARY)
    fail: Callable[[str], None] = runpy.run_path(str(folder / "library.py"))["fail"]
    return fail


def line_of(fail: Callable[[str], None]) -> str | None:
    """Return the line that is told of what the user's file calls."""
    Path("train.py").write_text("\n\ndef call(fail):\n    fail('no')\n")
    call = runpy.run_path(str(Path("train.py").resolve()))["call"]
    with pytest.raises(ValueError, match="no") as caught:
        call(fail)
    assert told(caught.value).endswith(": ValueError: no")
    # Without this test's own frame, which is a user's too.
    return user_line(caught.value.with_traceback(caught.tb.tb_next))


def install(folder: Path, name: str, record: str, origin: object = None) -> None:
    """Write what pip leaves of a package in a folder."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text(record)
    if origin:
        (info / "direct_url.json").write_text(json.dumps(origin))


def test_a_library_among_the_packages_is_not_the_users(packages: Path) -> None:
    assert line_of(library(packages)) == "train.py:4"


@pytest.mark.parametrize("name", ["site-packages", "dist-packages"])
def test_nor_is_one_of_another_python(packages: Path, name: str) -> None:
    assert line_of(library(packages.parents[1] / "other" / name / "deep")) == "train.py:4"


@pytest.mark.parametrize("line", ["{}", "# of them\n\n{}", "import sys\n{}", "../../opt/libs"])
def test_nor_is_one_in_a_folder_that_a_pth_file_names(packages: Path, line: str) -> None:
    folder = packages.parents[1] / "opt" / "libs"
    (packages / "more.pth").write_text(line.format(folder))
    assert line_of(library(folder / "deep")) == "train.py:4"


def test_nor_is_one_that_was_installed_into_some_folder(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = packages.parents[1] / "target"
    install(folder, "library", "library.py,,\nlibrary-1.0.dist-info/RECORD,,\n")
    fail = library(folder)
    assert line_of(fail) == f"{folder / 'library.py'}:2"  # nothing is imported from there
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    assert line_of(fail) == "train.py:4"
    (folder / "own.py").write_text(LIBRARY)  # beside it
    own = runpy.run_path(str(folder / "own.py"))["fail"]
    assert line_of(own) == f"{folder / 'own.py'}:2"


def test_a_project_that_is_installed_to_be_edited_is_the_users(packages: Path) -> None:
    project = packages.parents[1] / "project"
    (packages / "own.pth").write_text(str(project / "src"))
    origin = {"url": project.as_uri(), "dir_info": {"editable": True}}
    install(packages, "own", "own.pth,,\nown-1.0.dist-info/RECORD,,\n", origin)
    assert line_of(library(project / "src")) == f"{project / 'src' / 'library.py'}:2"


@pytest.mark.parametrize("name", ["easy-install.pth", "conda.pth"])
def test_so_is_what_older_tools_named_to_be_worked_on(packages: Path, name: str) -> None:
    folder = packages.parents[1] / "project"
    (packages / name).write_text(str(folder))
    assert line_of(library(folder)) == f"{folder / 'library.py'}:2"


def test_so_is_the_folder_that_the_user_works_in(packages: Path) -> None:
    (packages / "own.pth").write_text(str(Path.cwd().parent))
    assert line_of(library(Path("nets"))) == f"{Path('nets') / 'library.py'}:2"
