"""What is compiled, and when."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.errors import NumbaError

from kernels.own_rules import declared
from thalweg.kernels import Step
from thalweg.linear import train
from thalweg.rule import rule


def test_what_numba_refuses_is_refused_with_the_rules_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: Any, **__: Any) -> None:
        raise NumbaError("Cannot cast")

    monkeypatch.setattr("thalweg.kernels.cpu.kernel.callback", refusing)

    @rule("test")
    def unknown_to_numba(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return x - lr * g

    line = unknown_to_numba.function.__code__.co_firstlineno
    message = (
        rf"test_kernel\.py, line {line}: rule 'unknown_to_numba' cannot be compiled.*: Cannot cast"
    )
    with pytest.raises(ValueError, match=message):
        Step(unknown_to_numba, [np.zeros(1)])


def test_a_number_from_outside_is_read_when_a_kernel_is_made(tmp_path: Path) -> None:
    of, _ = declared("return x - lr * huge * g", tmp_path)
    names = of.function.__globals__
    for number in (2.0, 3.0):
        names["huge"] = number
        x = np.ones(1)
        Step(of, [x], lr=0.1)([np.ones(1)])
        assert x[0] == pytest.approx(1 - 0.1 * number)


COUNT_COMPILATIONS = """
import numpy as np
from numba.core import event
recorder = event.install_recorder("numba:run_pass")
with recorder as passes:
    {first}
    count = len(passes.buffer)
    {again}
print(count, len(passes.buffer) - count)
"""
STEPS = """
    from thalweg.kernels import Step
    x = [np.zeros(10, np.float32), np.zeros(100_000, np.float32)]
    step = Step("adam", x, lr=0.1)
    step(x)
    step = Step("adam", x[:1], lr=0.1)
    step(x[:1])
"""
TRAINING = """
    from thalweg.linear import train
    X = np.random.default_rng(0).standard_normal((50, 3))
    train(X, X[:, 0], rule="adam", epochs=2)
"""


def count_compilations(first: str, again: str, **environment: str) -> tuple[int, int]:
    output = subprocess.run(
        [sys.executable, "-c", COUNT_COMPILATIONS.format(first=first, again=again)],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    cold, warm = map(int, output.split())
    return cold, warm


def test_a_warm_cache_compiles_nothing_and_neither_does_a_new_rate(tmp_path: Path) -> None:
    again = "step.hyper['lr'] = 0.2; step(x[:1])"
    folders = {"THALWEG_CACHE": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    cold, warm = count_compilations(STEPS, again, **folders)
    assert cold > 0
    assert warm == 0
    assert count_compilations(STEPS, again, **folders) == (0, 0)


def test_a_training_that_ran_here_compiles_nothing_in_another_process() -> None:
    """Its drivers take 14 seconds to compile, so this is the cache of all tests."""
    train(np.ones((50, 3)), np.ones(50), rule="adam", epochs=2)
    again = "train(X, X[:, 0], rule='adam', epochs=2, lr=[0.1, 0.2])"
    assert count_compilations(TRAINING, again) == (0, 0)
