"""What every test starts from, and every example in a docstring."""

import atexit
import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

# Beside other workers of pytest-xdist all libraries use one thread each, and so does what a test
# starts, unless the test asks for more: threads without a core of their own wait for each other.
# NumPy's reads it when it is loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("COLUMNS", None)  # of a worker it is 80: tables would be narrower than elsewhere

from thalweg import rule, rules, wrapper

# A shell ignores Ctrl-C on behalf of what it starts in the background; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Triton reads it when it is imported, which any module of tests may bring about: no GPU is needed.
os.environ["TRITON_INTERPRET"] = "1"

# What wrote the logs there is no test, and loads Lightning.
collect_ignore = ["tests/doctor/logs"]


# What is imported and collected stays: to look through it again and again takes seconds.
gc.disable()


def pytest_collection_finish() -> None:
    """Leave what is there now out of garbage collection, which begins, and seldom.

    Compiling makes many objects that stay. By Python's own thresholds, looking through them for
    garbage was a tenth of all processor time.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)  # else Triton's library lists it as leaked
    gc.set_threshold(50_000, 10, 10)
    gc.enable()


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the rules and wrappers that a test declares."""
    rules.names()  # declares the built-in ones
    monkeypatch.setattr(rule, "_rules", dict(rule._rules))
    monkeypatch.setattr(wrapper, "_wrappers", dict(wrapper._wrappers))


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Let models and tensors that a test draws be the same in every run and in any order."""
    if "torch" in sys.modules:  # not torch.manual_seed, which notes the stack for each kind of GPU
        sys.modules["torch"].default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def _few_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the pictures of a race's page in tests of reports alone: a small race takes less."""
    if "report" not in request.path.parts:
        none = {"wide": "", "narrow": ""}
        monkeypatch.setattr("thalweg.report.page.drawn", lambda *_: none)


@pytest.fixture(params=["in compiled code", "in Python"])
def _asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask tensors where they lie both ways: there are systems without the first."""
    if request.param == "in Python":
        monkeypatch.setattr("thalweg.kernels.cpu.addresses.functions", lambda _: None)


@pytest.fixture(scope="module")
def short_targets() -> Iterator[None]:
    """Let Adam find the targets of modules in a 25th of its steps, of which all take a second."""
    modules = pytest.importorskip("thalweg.tasks.modules")
    from thalweg.racing import run  # noqa: PLC0415 - as slow to load

    steps, whole = modules._STEPS // 25, run._target

    def target(*given: Any, **named: Any) -> Any:
        """Take as few in another process."""
        importlib.import_module("thalweg.tasks.modules")._STEPS = steps
        return whole(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modules, "_STEPS", steps)
        patch.setattr(run, "_target", target)
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch use one thread, as workers do."""
    import torch  # noqa: PLC0415 - takes seconds to load

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
