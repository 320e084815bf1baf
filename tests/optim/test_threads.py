"""Steps beside threads, forks and DataLoader workers; and what an import asks for."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import pytest
import torch
from torch import Tensor

from optim_pairs import Build, Configuration, every_class
from thalweg import optim

LARGE = (150_000, 3, 70_001)  # the kernel shares it out among threads


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Set back what a test sets."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def large_training(build: Build, steps: int = 3) -> list[Tensor]:
    params = [torch.linspace(-1.0, 1.0, n).requires_grad_() for n in LARGE]
    optimizer = build(params)
    for t in range(1, steps + 1):
        for p in params:
            p.grad = torch.cos(p.detach() * t)
        optimizer.step()
    return [p.detach() for p in params]


@every_class
def test_any_number_of_threads_gives_the_same_bits(configuration: Configuration) -> None:
    ended = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ended.append(large_training(configuration.ours))
        assert numba.get_num_threads() == min(threads, numba.config.NUMBA_NUM_THREADS)
    assert all(map(torch.equal, *ended))
    torch.testing.assert_close(ended[0], large_training(configuration.theirs), rtol=1e-5, atol=1e-6)


def test_optimizers_step_in_several_threads_at_once() -> None:
    makers: list[Build] = [
        partial(getattr(optim, name), lr=0.01 * number)
        for number, name in enumerate(["SGD", "Adam", "Adam", "NAdam", "Lion"], 1)
    ]
    alone = [large_training(make, steps=10) for make in makers]
    with ThreadPoolExecutor(len(makers)) as pool:
        together = list(pool.map(partial(large_training, steps=10), makers))
    for got, wanted in zip(together, alone, strict=True):
        assert all(map(torch.equal, got, wanted))


def run(program: str) -> str:
    """Run a program in a process of its own, which must come to an end."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


THREADS = """
import torch

torch.set_num_threads(3)
assert torch.get_num_threads() == 3  # from here on, torch does not set it again of itself
from thalweg import optim

p = torch.linspace(-1, 1, 400_000).requires_grad_()
p.grad = torch.cos(p.detach())
optimizer = optim.Adam([p])
optimizer.step()
print("threads", torch.get_num_threads())
"""

COMPILER = """
import sys

optimizer.load_state_dict(optimizer.state_dict())
optimizer.zero_grad(set_to_none=False)
optimizer.add_param_group({"params": [torch.zeros(1)]})
print("compiler", "torch._dynamo" in sys.modules)
del optimizer.param_groups[1]
p.grad = torch.cos(p.detach())
"""

FORK = """
import hashlib, multiprocessing

def steps():
    for _ in range(3):
        optimizer.step()
    return hashlib.sha256(p.detach().numpy()).hexdigest()

def child(queue):
    queue.put(steps())  # torch's own parallel operations would hang here

fork = multiprocessing.get_context("fork")
queue = fork.SimpleQueue()
process = fork.Process(target=child, args=(queue,), daemon=True)
process.start()
process.join(60)
print("fork", process.exitcode)  # None: it hangs
print("steps", process.exitcode == 0 and queue.get() == steps())
"""

WORKERS = """
from torch.utils.data import DataLoader, TensorDataset

def training(module, workers):
    torch.manual_seed(0)
    torch.set_num_threads(2)
    model = torch.nn.Sequential(torch.nn.Linear(8, 5000), torch.nn.Linear(5000, 1))
    optimizer = getattr(module, "AdamW")(model.parameters(), lr=0.01)
    x = torch.linspace(-1, 1, 800).reshape(100, 8)
    data = TensorDataset(x, x.sum(1, keepdim=True))
    for epoch in range(2):
        for a, b in DataLoader(data, batch_size=20, num_workers=workers):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(a), b).backward()
            optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])

ours = training(optim, 2)
print("workers", torch.equal(ours, training(optim, 0)))
print("torch", torch.allclose(ours, training(torch.optim, 0), rtol=1e-4, atol=1e-5))
"""

FORK_WHILE_COMPILING = """
import os, tempfile, threading, time
from thalweg.kernels.cpu import kernel

folder = tempfile.TemporaryDirectory()
os.environ["THALWEG_CACHE"] = folder.name

def first_step(name):
    p = torch.ones(3, requires_grad=True)
    p.grad = torch.ones(3)
    getattr(optim, name)([p]).step()

thread = threading.Thread(target=first_step, args=("NAdam",))
thread.start()
while thread.is_alive() and not kernel._one_at_a_time.locked():
    time.sleep(0.001)
process = fork.Process(target=first_step, args=("Lion",), daemon=True)
process.start()
process.join(60)
thread.join()
print("compiling", process.exitcode)  # None: it hangs
"""


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """Return what one process found: to load torch takes longer than all five parts."""
    printed = run(THREADS + COMPILER + FORK + WORKERS + FORK_WHILE_COMPILING)
    return dict(line.split() for line in printed.splitlines())  # type: ignore[misc] # two words


def test_torch_keeps_its_number_of_threads(found: dict[str, str]) -> None:
    assert found["threads"] == "3"


def test_no_optimizer_loads_torchs_compiler(found: dict[str, str]) -> None:
    """Its own ones do, when they are made: it takes a second."""
    assert found["compiler"] == "False"


def test_a_process_forked_after_a_step_steps_too(found: dict[str, str]) -> None:
    assert found["fork"] == "0"
    assert found["steps"] == "True"


def test_workers_of_a_data_loader_run_beside_it(found: dict[str, str]) -> None:
    assert found["workers"] == "True"
    assert found["torch"] == "True"


def test_a_process_forked_while_a_thread_compiles_compiles_too(found: dict[str, str]) -> None:
    assert found["compiling"] == "0"


def test_without_torch_the_import_says_what_to_install() -> None:
    program = """
import sys
sys.modules["torch"] = None
import thalweg
try:
    import thalweg.optim
except ModuleNotFoundError as error:
    print(error, error.name)
"""
    assert run(program) == "thalweg.optim needs PyTorch: pip install 'thalweg[torch]' torch\n"
