"""Files that are written whole or not at all."""

from pathlib import Path

import pytest

from thalweg import files


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
