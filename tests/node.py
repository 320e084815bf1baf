"""JavaScript in the tests, run by Node.js: the machine's own, or the one that Playwright brings."""

import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def _node() -> str | None:
    if found := shutil.which("node"):
        return found
    with contextlib.suppress(ImportError):
        from playwright._impl._driver import compute_driver_executable  # noqa: PLC0415

        return str(compute_driver_executable()[0])
    return None


NODE = _node()
needs_node = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")


def run(folder: Path, text: str, **given: Any) -> Any:
    """Return the JSON that a module prints. It knows what it is given as constants."""
    assert NODE
    file = folder / "test.mjs"
    lines = [f"const {name} = {json.dumps(value)};" for name, value in given.items()]
    file.write_text("\n".join([text.partition("\n\n")[0], *lines, text.partition("\n\n")[2]]))
    done = subprocess.run([NODE, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
