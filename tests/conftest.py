"""What every test starts from."""

import os
import signal

import pytest

from thalweg import rule, rules

# A shell ignores Ctrl-C on behalf of what it starts in the background; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Triton reads it when it is imported, which any module of tests may bring about: no GPU is needed.
os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the rules that a test declares."""
    rules.names()  # declares the built-in ones
    monkeypatch.setattr(rule, "_rules", dict(rule._rules))


@pytest.fixture(params=["in compiled code", "in Python"])
def _asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask tensors where they lie both ways: there are systems without the first."""
    if request.param == "in Python":
        monkeypatch.setattr("thalweg.kernels.cpu.addresses.functions", lambda _: None)
