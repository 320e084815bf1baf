"""The package as an index takes it: what a wheel holds."""

import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

ROOT = Path(__file__).parents[1]


def test_a_wheel_holds_what_the_source_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # where a build backend is called
    with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*.*")}
    source = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    assert packed == source
    assert {Path(name).suffix for name in packed} >= {".py", ".html", ".css", ".js", ".typed"}
