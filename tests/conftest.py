"""What every test starts from."""

import pytest

from thalweg import rule, rules


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the rules that a test declares."""
    rules.names()  # declares the built-in ones
    monkeypatch.setattr(rule, "_rules", dict(rule._rules))
