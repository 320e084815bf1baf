"""Kernels for GPUs of rules that look at whole tensors, run by Triton's interpreter on the CPU."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is built for Linux alone")

from kernels.interpreted import _on_a_gpu, on_the_cpu  # noqa: F401 - after the line above
from optim_pairs import layout_of
from thalweg import optim, rules
from thalweg.elementwise import maximum, sqrt
from thalweg.kernels.triton import source
from thalweg.matrices import orthogonalize
from thalweg.optim import cuda_passes, layout
from thalweg.sums import mean, norm, total

SHAPES: list[tuple[int, ...]] = [(), (7,), (10, 70), (30, 3), (8, 8), (4, 3, 2, 5), (1, 9)]

FEW = [(7,), (10, 70), (4, 3, 2, 5)]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tensors of a test have several blocks, in both directions."""
    monkeypatch.setattr(cuda_passes, "_HEIGHT", {"matrix": 8, "vector": 2})
    monkeypatch.setattr(cuda_passes, "_TALL", 2)
    monkeypatch.setattr(cuda_passes, "_WIDE", 64)
    monkeypatch.setattr(cuda_passes, "_LANES", 16)


def parameters(dtype: torch.dtype, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(s, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def gradients(ps: list[Tensor], seed: int) -> None:
    for i, p in enumerate(ps):
        generator = torch.Generator().manual_seed(1000 * seed + i)
        p.grad = torch.randn(p.shape, dtype=torch.float64, generator=generator).to(p.dtype)


def run(
    make: Any, dtype: torch.dtype = torch.float64, steps: int = 3, shapes: Any = SHAPES
) -> tuple[list[Tensor], Any]:
    ps = parameters(dtype, shapes)
    optimizer = make(ps)
    for step in range(steps):
        gradients(ps, step)
        optimizer.step()
    return ps, optimizer


def by_functions(make: Any, *given: Any) -> tuple[list[Tensor], Any]:
    """Run with each rule's own function."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "form_of", lambda *_: None)
        return run(make, *given)


def assert_launched(optimizer: Any) -> None:
    found = layout_of(optimizer)
    assert {type(bucket) for bucket in found.buckets} == {cuda_passes.DevicePassBucket}
    assert not found.alone
    assert found.on_device


def assert_same(kernel: Any, function: Any, tolerance: float) -> None:
    """Compare in shares of the largest move, and states in shares of their largest number."""
    (ps, ours), (qs, theirs) = kernel, function
    starts = parameters(ps[0].dtype, [tuple(p.shape) for p in ps])
    move = max(float((q - s).detach().abs().max()) for q, s in zip(qs, starts, strict=True))
    for p, q in zip(ps, qs, strict=True):
        assert float((p - q).detach().abs().max()) <= tolerance * move
        assert ours.state[p].keys() == theirs.state[q].keys()
        for name, kept in ours.state[p].items():
            other = theirs.state[q][name]
            assert (kept.shape, kept.dtype) == (other.shape, other.dtype)
            near = tolerance * float(other.abs().max())
            torch.testing.assert_close(kept, other, rtol=0, atol=near)


def of(name: str) -> Any:
    """Return what makes an optimizer whose first steps move x, whatever the rule has to find."""
    known = rules.get(name).hyperparameters
    far = {word: 1e-2 for word in ("d0", "distance0") if word in known}
    return lambda ps: optim.Descent(ps, name, **far)


@pytest.mark.parametrize("name", [n for n in rules.names("sums") if not rules.get(n).inputs])
def test_steps_are_those_of_the_function(name: str) -> None:
    given = torch.float64, 2, SHAPES if name in {"lamb", "came"} else FEW
    kernel = run(of(name), *given)
    assert_launched(kernel[1])
    assert_same(kernel, by_functions(of(name), *given), 1e-12)


@pytest.mark.parametrize("name", ["mars", "came", "prodigy"])
def test_steps_in_float32_are_those_of_the_function(name: str) -> None:
    given = torch.float32, 1, FEW
    assert_same(run(of(name), *given), by_functions(of(name), *given), 2e-4)


def clashing(g, x, rows, start, top, *, t, sums, lr=0.01, partial=0.5, column=1.0):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    rows = partial * rows + mean(g * g, 1)
    top = maximum(top, norm(g) + mean(rows))
    start = start + mean(abs(g), 0) * top
    across = g / sqrt(rows) / sqrt(start + column)
    sums = sums + 1 / t
    tile_0 = lr * sums / mean(across * across)
    return x - tile_0 * across, rows, start, top, sums


def over_all(g, x, m, *, t, size, lr=0.01, beta=0.9):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    m = beta * m + g / sqrt(total(g * g))
    size = 0.5 * size + total(x * m)
    return x - lr * m * (1 + norm(x)), m, size


@pytest.mark.parametrize("function", [clashing, over_all])
def test_a_rule_of_ones_own_may_use_any_name(function: Any) -> None:
    found = rules.rule("test")(function)
    given = torch.float64, 2, FEW
    kernel = run(lambda ps: optim.Descent(ps, found), *given)
    assert_launched(kernel[1])
    assert_same(kernel, by_functions(lambda ps: optim.Descent(ps, found), *given), 1e-12)


OPTIONS: list[dict[str, Any]] = [
    {"cautious": True, "zero_gradients": True, "maximize": True},
    {"rounding": "kahan", "weight_decay": 0.1},
    {"state_dtype": torch.bfloat16},
    {"clip_norm": 0.5},
]


@pytest.mark.parametrize(
    ("options", "name"),
    [*((options, "lamb") for options in OPTIONS), (OPTIONS[2], "adafactor")],
    ids=lambda given: given if isinstance(given, str) else next(iter(given)),
)
def test_options_do_what_they_do_on_the_cpu(options: dict[str, Any], name: str) -> None:
    def make(ps: list[Tensor]) -> Any:
        return optim.Descent(ps, name, lr=0.01, **options)

    dtype = torch.bfloat16 if "rounding" in options else torch.float32
    ps, _ = run(make, dtype, 2, FEW)
    qs, _ = on_the_cpu(lambda: run(make, dtype, 2, FEW))
    near = 2e-2 if "state_dtype" in options else 1e-5
    for p, q in zip(ps, qs, strict=True):
        torch.testing.assert_close(p, q, rtol=near, atol=near)
        assert p.grad is not None
        assert bool(p.grad.any()) != ("zero_gradients" in options)


def test_noise_of_rounding_is_not_the_same_in_each_step() -> None:
    torch.manual_seed(0)
    p = torch.ones(300, dtype=torch.bfloat16, requires_grad=True)
    optimizer = optim.Descent([p], "lars", beta=0.0, rounding="stochastic")  # equal steps
    moved = []
    for _ in range(2):
        p.data.fill_(1.0)
        p.grad = torch.ones_like(p)
        optimizer.step()
        assert set(p.tolist()) <= {1.0, 1 - 2**-8}
        moved.append(p.detach() < 1.0)
    assert 0 < int(moved[0].sum()) < 300
    assert not torch.equal(*moved)


def test_bits_do_not_depend_on_what_steps_beside() -> None:
    together, _ = run(of("adafactor"), torch.float32, 2, FEW)
    for i, p in enumerate(together):
        ps = parameters(torch.float32, FEW)
        optimizer = of("adafactor")(ps)
        for step in range(2):
            gradients(ps, step)
            for other in ps[:i] + ps[i + 1 :]:
                other.grad = None
            optimizer.step()
        assert torch.equal(p, ps[i])


@pytest.mark.parametrize("name", ["prodigy", "dowg"])
def test_a_total_is_over_those_that_have_a_gradient(name: str) -> None:
    def rests(first: Any) -> Any:
        ps, optimizer = first(of(name), torch.float64, 1, FEW)
        before = ps[1].detach().clone()
        gradients(ps, 5)
        ps[1].grad = None
        optimizer.step()
        assert torch.equal(ps[1], before)
        return ps, optimizer

    kernel = rests(run)
    assert_launched(kernel[1])
    assert_same(kernel, rests(by_functions), 1e-12)


def test_one_that_rested_takes_the_number_of_the_model() -> None:
    def steps(first: Any) -> Any:
        ps, optimizer = first(of("dowg"), torch.float64, 1, FEW)
        gradients(ps, 5)
        ps[1].grad = None
        optimizer.step()
        gradients(ps, 6)
        optimizer.step()
        return ps, optimizer

    kernel = steps(run)
    assert layout_of(kernel[1]).alone  # its count of steps, and so its state, is another
    assert_same(kernel, steps(by_functions), 1e-12)


def test_a_number_that_somebody_changed_is_read_again() -> None:
    ps, optimizer = run(of("prodigy"), shapes=FEW)
    optimizer.state[ps[0]]["d"].mul_(2)
    gradients(ps, 4)
    optimizer.step()
    assert layout_of(optimizer).alone
    assert len({float(optimizer.state[p]["d"]) for p in ps}) == 1


def test_groups_that_would_have_two_ds_are_refused() -> None:
    ps = parameters(torch.float64, [(3,), (4,)])
    optimizer = optim.Descent([{"params": ps[:1], "beta2": 0.9}, {"params": ps[1:]}], "prodigy")
    gradients(ps, 0)
    with pytest.raises(ValueError, match="cannot differ in beta2"):
        optimizer.step()


@pytest.mark.parametrize("name", ["lamb", "came", "dowg"])
def test_nobody_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ps, optimizer = run(of(name), torch.float64, 1, FEW)

    def waiting(*_: Any) -> None:
        raise AssertionError("the host waits")

    for method in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, method, waiting)
    gradients(ps, 2)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()


def test_an_overflow_moves_nothing_and_does_not_stay() -> None:
    def make(ps: list[Tensor]) -> Any:
        return optim.Descent(ps, "adafactor", nonfinite="skip", zero_gradients=True)

    ps, optimizer = run(make, torch.float32, 2, FEW)
    before = [p.detach().clone() for p in ps]
    states = [t.clone() for p in ps for t in optimizer.state[p].values()]
    gradients(ps, 3)
    assert ps[1].grad is not None
    ps[1].grad[3, 2] = torch.inf
    optimizer.step()
    assert all(map(torch.equal, ps, before))
    assert all(map(torch.equal, (t for p in ps for t in optimizer.state[p].values()), states))
    assert not any(p.grad.any() for p in ps if p.grad is not None)


def test_a_rule_of_matrices_is_its_function_and_has_no_kernel() -> None:
    _, optimizer = run(lambda ps: optim.Descent(ps, "muon"), shapes=[(4, 6)])
    assert len(layout_of(optimizer).alone) == 1
    with pytest.raises(ValueError, match=r"matrix_rules.py, line \d+: .*it looks at a whole"):
        source("muon")


def summing(g, x, *, t, lr=0.01):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    return x - lr * g / total(norm(g))


def test_what_cannot_be_compiled_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match=r"test_triton_passes.py, line \d+: .*a total is of what"):
        source(rules.rule("test")(summing))
    with pytest.raises(ValueError, match=r"line \d+: .*curvature"):
        source("sophia")
    assert orthogonalize.__name__ not in source("came")


COMPILE = """
import re
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from thalweg import rules
from thalweg.kernels import triton_passes
from thalweg.kernels.body import Wrap

wrap = Wrap(scaled=True, coupled=True, zeroed=True)
made = triton_passes.kernels(rules.get("adafactor"), "float32", wrap, "matrix", ("float32",))
kinds = dict.fromkeys(("hyper", "scale", "sums", "partial"), "*fp64")
kinds |= dict.fromkeys(("gradients", "addresses", "seed", "sizes"), "*i64")
kinds |= dict.fromkeys(("group", "tensor", "first"), "*i32")
kinds |= {"slots": "*fp32", "n": "i32", "blocks": "i32"}
fixed = {"LANES": 1024, "WIDE": 128, "HEIGHT": 512, "TALL": 8, "ALIGNED": True}
for function in (f for pair in made.PASSES for f in pair):
    signature = {n: kinds.get(n, "constexpr") for n in function.arg_names}
    constants = {n: fixed[n] for n in function.arg_names if n in fixed}
    source = ASTSource(function, signature, constants)
    options = {"enable_fp_fusion": made.FUSED}
    text = compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
    words = ("global.v", "global.*v4", "div.full", "sqrt.approx", "atom", "local")
    print(*(f"{word}:{len(re.findall(word, text))}" for word in words))
"""


def test_kernels_compile_for_gpus(tmp_path: Path) -> None:
    """Tiles are read as vectors, nothing is approximate, and no sum is added by atomics."""
    environment = {
        **os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path),
        "THALWEG_CACHE": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    for line in lines:
        assert line.endswith(" div.full:0 sqrt.approx:0 atom:0 local:0")
    assert not any(line.startswith("global.v:0 global.*v4:0 ") for line in lines[1::2])
