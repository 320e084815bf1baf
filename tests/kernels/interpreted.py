"""The CPU as a GPU: Triton's interpreter executes a kernel's own source."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import triton
from triton.runtime import interpreter

from thalweg.optim import cuda


@pytest.fixture(autouse=True)
def _on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the CPU for a GPU, and round to bfloat16 as GPUs do: the interpreter cuts off."""
    monkeypatch.setattr(cuda, "_KIND", "cpu")
    monkeypatch.setattr(cuda, "_ready", lambda _: True)
    cast = interpreter.InterpreterBuilder.cast_impl

    def rounding(self: Any, value: Any, kind: Any) -> Any:
        if (
            value.dtype.scalar == triton.language.float32
            and kind.scalar == triton.language.bfloat16
        ):
            rounded = torch.from_numpy(np.ascontiguousarray(value.data)).bfloat16()
            bits = rounded.view(torch.uint16).numpy()
            return interpreter.TensorHandle(bits, kind.scalar)
        return cast(self, value, kind)

    builder = interpreter.interpreter_builder
    for name in ("create_fp_trunc", "cast_impl"):
        monkeypatch.setattr(builder, name, rounding.__get__(builder), raising=False)
    # The interpreter replaces Triton's functions at each call of a function, each time around what
    # it replaced before: half of all time. Here it does it once for a test.
    seen = {"tl": triton.language, "core": triton.language.core}
    replaced = interpreter._patch_lang(SimpleNamespace(__globals__=seen))
    monkeypatch.setattr(interpreter, "_patch_lang", lambda _: interpreter._LangPatchScope())
    with np.errstate(all="ignore"):  # what is not chosen may be the root of a negative number
        yield
    replaced.restore()


def on_the_cpu(make: Any) -> Any:
    """Call with the CPU as what it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "_ready", lambda _: False)
        return make()
