"""Files that are written whole or not at all."""

from pathlib import Path

import pytest

from thalweg import files


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nowhere/a.txt", "there is no folder .*nowhere for a.txt; make it, or name another"),
        ("file/a.txt", "there is no folder .*file for a.txt"),
        ("folder", "folder is a folder; name a file in it, such as .*folder/NAME"),
    ],
)
def test_a_place_is_looked_at_before_the_work(tmp_path: Path, where: str, message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    files.check_place(tmp_path / "new.txt")
    for check in (files.check_place, lambda path: files.check_replaceable(path, b"mark")):
        with pytest.raises(OSError, match=message):
            check(tmp_path / where)


def test_a_folder_that_may_not_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # whoever runs the tests may write anywhere
    with pytest.raises(PermissionError, match=f"the folder {tmp_path} may not be written to"):
        files.check_place(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("nowhere/a.txt", FileNotFoundError),
        ("file/a.txt", NotADirectoryError),
        ("folder", IsADirectoryError),
    ],
)
def test_what_cannot_be_written_is_named_as_its_user_did(
    tmp_path: Path, where: str, error: type[OSError]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(error) as caught:
        files.write(tmp_path / where, b"content")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / where), None)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}  # nothing is left
