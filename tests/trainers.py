"""Lightning and transformers, loaded when a test asks for them: each process that collects tests
would need four seconds more.
"""

import os
from typing import Any

import pytest

__all__ = ["lightning", "transformers"]


def lightning() -> Any:
    """Return Lightning, or skip the test."""
    return pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")


def transformers() -> Any:
    """Return transformers, or skip the test."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when it is imported: no network in tests
    pytest.importorskip(
        "accelerate", reason="accelerate, which transformers needs, is not installed"
    )
    return pytest.importorskip("transformers", reason="transformers is not installed")
