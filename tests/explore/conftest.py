"""The explorer's modules in a folder, where Node.js finds them, and as a page."""

from pathlib import Path

import pytest

from thalweg import explore
from thalweg.explore import page


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "package.json").write_text('{"type": "module"}')
    for name, text in page.modules().items():
        (folder / f"{name}.js").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="session")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explore.write(tmp_path_factory.mktemp("page") / "explore.html")
