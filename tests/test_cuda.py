"""The optimizers on a GPU, where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("on_cuda.py")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize(
    "name", ["every_class_is_torchs", "a_loss_scale_is_taken_off", "a_graph_replays_steps"]
)
def test_on_a_gpu(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), name],
        env={**os.environ, "TRITON_INTERPRET": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
