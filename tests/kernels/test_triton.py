"""Kernels for GPUs: run by Triton's interpreter on the CPU, and compiled for GPUs not at hand.

The interpreter executes a kernel's own source, so what is computed is tested; that a GPU runs it is
not.
"""

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

pytest.importorskip("triton", reason="Triton is built for Linux alone")

from kernels.interpreted import _on_a_gpu, on_the_cpu  # noqa: F401 - after the line above
from kernels.own_rules import (
    asking,
    by_constant,
    by_default,
    by_infinity,
    by_uniform_test,
    calling,
    counting,
    decorated,
    every_so_often,
    mixed,
    nested,
)  # fmt: skip
from optim_pairs import (
    Configuration,
    assert_same,
    every_class,
    follow,
    layout_of,
    members,
    new_parameters,
    scalars_in,
    set_gradients,
)
from test_elementwise import MEANT, PAIRS, assert_meant, every_function
from thalweg import optim, rules
from thalweg.elementwise import exp, log, minimum, sqrt
from thalweg.kernels.triton import source
from thalweg.optim import cuda
from thalweg.rule import Rule, rule

REAL = {torch.float64: 1e-13, torch.float32: 2e-6}
HALVES = {torch.bfloat16: 2**-8, torch.float16: 2**-10}
DTYPES = REAL | HALVES


def drawn(shape: int, seed: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)


def powers(g, x, m, *, t, lr=0.01, kappa=3.0):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    m = 0.5 * m + minimum(x**5, 2.0**g) + abs(x) ** -0.25
    return x - lr * m / sqrt(1 + log(1 + exp(g)) ** kappa), m


def clashing(g, x, at_x, tl, sign, *, t, lr=0.01, addresses=0.1, float=0.5):  # type: ignore[no-untyped-def] # noqa: A002, ANN001, ANN201
    slots = float * tl + g
    return x - lr * addresses * slots**2 * float**t, at_x + g, slots, sign - g


OWN = {
    f.__name__: f
    for f in (
        mixed, counting, nested, asking, calling, powers, by_constant, by_default, by_infinity,
        by_uniform_test, decorated, clashing, every_so_often,
    )
}  # fmt: skip


def named(name: str) -> Rule:
    starts = {"count": 2.0} if name == "counting" else {}
    return rule("test", start=starts)(OWN[name]) if name in OWN else rules.get(name)


def assert_near(value: Tensor, wanted: Any, precision: torch.dtype) -> None:
    """Compare a number or an array, in the precision that it was computed in or kept in."""
    computed = DTYPES[precision]
    kept = max(computed, DTYPES[value.dtype])
    wanted = torch.as_tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(
        value.detach().double(), wanted, rtol=kept, atol=computed, equal_nan=True
    )


# Of 16 bits are what is read and written, as a wrap says; what is computed is as in float32.
STEPPED = [(n, torch.float64) for n in [*rules.names("element-wise"), *OWN]]
STEPPED += [
    (n, d)
    for n in ("sgd", "nadam", "yogi", "rprop", "powers", "clashing")
    for d in DTYPES
    if d is not torch.float64
]


@pytest.mark.parametrize(("name", "dtype"), STEPPED, ids=str)
def test_a_step_is_the_rule_function(name: str, dtype: torch.dtype) -> None:
    """From the state that the step before left, in float64: no error can hide in another."""
    of, computed = named(name), torch.float64 if dtype is torch.float64 else torch.float32
    hyper = of.resolve({"lr": 2**-5})
    params = [drawn(size, size, dtype).requires_grad_() for size in (1500, 3, 0)]
    with scalars_in(computed):
        optimizer = optim.Descent(params, of, lr=2**-5)
        for t in (1, 2):
            before = [deepcopy(dict(optimizer.state[p])) for p in params]
            points = [p.detach().double().clone() for p in params]
            for p in params:
                p.grad = drawn(p.numel(), 1000 * t + p.numel(), dtype)
            optimizer.step()
            for p, x, state in zip(params, points, before, strict=True):
                own = of.first_state(x, hyper)
                own |= {key: state[key].double() for key in own if key in state}
                assert p.grad is not None
                moved, after = of.advance(p.grad.double(), x, own, t=t, hyper=hyper)
                assert_near(p, moved, computed)
                for key, wanted in after.items():
                    assert_near(optimizer.state[p][key], wanted, computed)
                assert optimizer.state[p]["step"] == t


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_function_means_what_it_means_elsewhere(dtype: Any) -> None:
    g, x = map(torch.from_numpy, PAIRS.astype(dtype))
    p = x.clone().requires_grad_()
    p.grad = g.clone()
    optimizer = optim.Descent([p], rule("test")(every_function))
    optimizer.step()
    state = optimizer.state[p]
    found = [p.detach(), *(state[key] for key in list(MEANT)[1:])]
    assert_meant([value.numpy() for value in found], dtype)


@every_class
def test_a_class_is_torchs(configuration: Configuration) -> None:
    with scalars_in(torch.float64):
        ours, theirs = (
            make(new_parameters()) for make in (configuration.ours, configuration.theirs)
        )
        for optimizer in (ours, theirs):
            follow(optimizer, 1, 4)
    assert {type(bucket) for bucket in layout_of(ours).buckets} == {cuda.DeviceBucket}
    assert_same(ours, theirs, 1e-12)


OPTIONS: dict[str, dict[str, Any]] = {
    "cautious": {"cautious": True},
    "zeroed": {"zero_gradients": True},
    "independent decay": {"independent_decay": True, "weight_decay": 0.1},
    "kahan": {"rounding": "kahan"},
    "state in float32": {"state_dtype": torch.float32, "rounding": "kahan"},
    "state in bfloat16": {"state_dtype": torch.bfloat16},
    "clipped": {"clip_norm": 0.5},
    "hardly clipped": {"clip_norm": 1e6},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_do_what_they_do_on_the_cpu(options: dict[str, Any], dtype: torch.dtype) -> None:
    ours, like = (optim.AdamW(several(dtype), lr=0.02, **options) for _ in range(2))
    follow(ours, 1, 3)
    on_the_cpu(lambda: follow(like, 1, 3))
    for p, q in zip(members(ours), members(like), strict=True):
        torch.testing.assert_close(p, q, rtol=4 * float(torch.finfo(dtype).eps), atol=1e-6)
        assert (p.grad is None) == (q.grad is None)
        assert p.grad is None or torch.equal(p.grad, q.grad)  # type: ignore[arg-type] # both are there
        for key, value in like.state[q].items():
            assert ours.state[p][key].dtype is value.dtype
            torch.testing.assert_close(ours.state[p][key], value, rtol=2**-6, atol=1e-5)


def test_a_cautious_step_does_not_hide_nan() -> None:
    p = torch.ones(3, requires_grad=True)
    p.grad = torch.tensor([1.0, torch.nan, -1.0])
    optim.SGD([p], lr=0.5, cautious=True).step()
    torch.testing.assert_close(p.detach(), torch.tensor([0.5, torch.nan, 1.5]), equal_nan=True)


def several(dtype: torch.dtype) -> list[Tensor]:
    """Return parameters of all shapes and memory orders."""
    wide = torch.linspace(1.0, 2.0, 40).reshape(4, 10).to(dtype)
    return [*new_parameters(dtype), wide.T.requires_grad_(), wide.clone()[:, ::2].requires_grad_()]


def test_stochastic_rounding_goes_to_a_neighbour_and_keeps_the_mean() -> None:
    ended = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        p = torch.ones(2000, dtype=torch.bfloat16, requires_grad=True)
        optimizer = optim.SGD([p], lr=1e-3, rounding="stochastic")
        for step in range(8):
            p.grad = torch.ones_like(p)
            optimizer.step()
            if step == 0:
                assert set(p.detach().unique().tolist()) == {1.0, 1 - 2**-8}
        ended.append(p.detach().float())
    deviation = (8 * 1e-3 * 2**-8) ** 0.5  # of a walk whose steps are 2**-8 or nothing
    assert ended[0].mean() == pytest.approx(0.992, abs=5 * deviation / 2000**0.5)
    assert ended[0].std() == pytest.approx(deviation, rel=0.2)
    assert torch.equal(ended[0], ended[1])
    assert not torch.equal(ended[0], ended[2])


def test_the_noise_of_rounding_is_another_for_each_parameter_that_steps_alone() -> None:
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.ones(2_000, dtype=torch.bfloat16)) for _ in range(2)]
    model = torch.nn.ParameterList(params)
    optim.SGD(params, lr=1e-3, rounding="stochastic").attach(model)
    torch.stack([p.sum() for p in params]).sum().backward()
    chance = 1e-3 * 2**8
    both = ((params[0] != 1.0) & (params[1] != 1.0)).float().mean()
    assert both == pytest.approx(chance**2, abs=5 * chance / 2_000**0.5)


def scaled(*, ours: bool, unscale: bool) -> Optimizer:
    """Train under a loss scale that overflows in step 3."""
    params = new_parameters(torch.float32)
    optimizer = (optim if ours else torch.optim).Adam(params, lr=0.05)
    if ours:
        optimizer._step_supports_amp_scaling = not unscale  # as torch sets it where fused=True
    scaler = GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    for t in range(1, 6):
        optimizer.zero_grad()
        loss = torch.stack([(p.sin() * (i + t)).sum() for i, p in enumerate(params)]).sum()
        scaler.scale(loss * (torch.inf if t == 3 else 1.0)).backward()
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    return optimizer


@pytest.mark.parametrize("unscale", [False, True])
def test_a_loss_scale_is_taken_off_and_an_overflow_skips_the_step(*, unscale: bool) -> None:
    ours, theirs = scaled(ours=True, unscale=unscale), scaled(ours=False, unscale=unscale)
    assert_same(ours, theirs, 1e-5)
    assert ours.state[members(ours)[1]]["step"] == 4


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_a_gradient_that_is_not_finite_may_skip_the_step_or_raise(bad: float) -> None:
    for nonfinite in ("skip", "raise"):
        optimizer = optim.Adam(new_parameters(), nonfinite=nonfinite)
        follow(optimizer, 1, 2)
        before = deepcopy(optimizer)
        set_gradients(members(optimizer), 3)
        gradient = members(optimizer)[1].grad
        assert gradient is not None
        gradient[3, 2] = bad
        if nonfinite == "skip":
            optimizer.step()
        else:
            with pytest.raises(FloatingPointError, match="parameter 1 of group 0 is not finite"):
                optimizer.step()
        assert_same(optimizer, before, 0.0)


def test_an_overflow_does_not_stay_in_gradients_that_the_step_zeroes() -> None:
    optimizer = optim.Adam(new_parameters(), nonfinite="skip", zero_gradients=True)
    follow(optimizer, 1, 2)
    before = [p.detach().clone() for p in members(optimizer)]
    set_gradients(members(optimizer), 3)
    gradients = [p.grad for p in members(optimizer) if p.grad is not None]
    gradients[1][3, 2] = torch.inf
    optimizer.step()
    assert not any(g.any() for g in gradients)
    assert all(map(torch.equal, members(optimizer), before))


def test_a_gradient_that_parameters_share_is_zeroed_when_all_have_read_it() -> None:
    params = [torch.ones(5, requires_grad=True) for _ in range(2)]
    optimizer = optim.SGD(params, lr=0.25, zero_gradients=True)
    shared = torch.ones(5)
    for t in (1, 2):
        params[0].grad = params[1].grad = shared.fill_(1.0)
        optimizer.step()
        assert not shared.any()
        assert [p.tolist() for p in params] == [[1 - 0.25 * t] * 5] * 2


def test_a_state_in_another_order_is_brought_into_the_parameters() -> None:
    made = []
    for cls in (optim.SGD, torch.optim.SGD):
        p = drawn(20, 0, torch.float64).view(4, 5).requires_grad_()
        optimizer: Optimizer = cls([p], lr=0.5, momentum=0.5)
        for t in range(1, 6):
            p.grad = drawn(20, t, torch.float64).view(4, 5)
            optimizer.step()
            if t == 2:  # in the same memory
                p.data = p.data.flatten().view(5, 4).t()
        made.append(optimizer)
    assert type(layout_of(made[0]).buckets[0]) is cuda.DeviceBucket
    assert_same(made[0], made[1], 1e-12)


def test_nobody_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would fetch a number from a GPU is forbidden; "raise" has to."""
    optimizer = optim.NAdam(new_parameters(), clip_norm=0.5, nonfinite="skip")
    follow(optimizer, 1, 2)  # from then on everything has its place
    optimizer.found_inf, optimizer.grad_scale = torch.zeros(()), torch.tensor(2.0)  # type: ignore[attr-defined]

    def waiting(*_: Any) -> None:
        raise AssertionError("the host waits")

    for name in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, name, waiting)
    follow(optimizer, 3, 4)
    optimizer.options = optim.options.Options(nonfinite="raise")
    with pytest.raises(AssertionError, match="the host waits"):
        follow(optimizer, 6, 6)


def test_groups_have_values_of_their_own_and_may_change_them() -> None:
    params = new_parameters()
    made = []
    for cls in (optim.AdamW, torch.optim.AdamW):
        own = [p.detach().clone().requires_grad_() for p in params]
        optimizer: Optimizer = cls([{"params": own[:3]}, {"params": own[3:], "lr": 0.1}], lr=0.01)
        follow(optimizer, 1, 2)
        optimizer.param_groups[0]["lr"] = 0.3
        optimizer.param_groups[1] |= {"betas": (0.5, 0.6), "maximize": True}
        follow(optimizer, 3, 4)
        optimizer.state[own[1]]["step"].fill_(100)
        follow(optimizer, 6, 6)
        made.append(optimizer)
    assert_same(made[0], made[1], 1e-6)


def test_another_gradient_or_rate_is_sent_to_the_device() -> None:
    made = []
    for cls in (optim.SGD, torch.optim.SGD):
        p = torch.ones(5, requires_grad=True)
        optimizer: Optimizer = cls([p], lr=0.5)
        gradients = [torch.full((5,), value) for value in (1.0, 2.0)]  # both stay where they lie
        for gradient, lr in ((0, 0.5), (1, 0.5), (1, 0.25), (1, 0.25), (0, 0.25)):
            p.grad, optimizer.param_groups[0]["lr"] = gradients[gradient], lr
            optimizer.step()
        made.append(p.detach())
    assert torch.equal(made[0], made[1])


def test_a_training_goes_on_where_torchs_stopped() -> None:
    theirs = torch.optim.Adam(new_parameters(), lr=0.05)
    follow(theirs, 1, 3)
    ours = optim.Adam([p.detach().clone().requires_grad_() for p in members(theirs)], lr=0.05)
    ours.load_state_dict(deepcopy(theirs.state_dict()))
    for optimizer in (ours, theirs):
        follow(optimizer, 4, 6)
    assert_same(ours, theirs, 1e-6)


def test_released_gradients_make_the_same_training() -> None:
    ended = []
    for attached in (True, False):
        torch.manual_seed(0)
        model = torch.nn.Linear(6, 9)
        optimizer = optim.Adam(model.parameters(), lr=0.1)
        if attached:
            optimizer.attach(model)
        for _ in range(3):
            model(torch.ones(5, 6)).square().sum().backward()
            if not attached:
                optimizer.step()
                optimizer.zero_grad()
        ended.append(optimizer)
    assert_same(ended[0], ended[1], 0.0)


COMPILE = """
import re, sys
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from thalweg import rules
from thalweg.kernels import triton
from thalweg.kernels.body import Wrap

def compiled(name, real, wrap, target):
    made = triton.kernels(rules.get(name), real, wrap, "float32")
    number = {"float32": "fp32", "float64": "fp64"}[real]
    kinds = {"hyper": "*fp64", "scale": "*fp64", "slots": "*" + number, "n": "i32"}
    kinds |= dict.fromkeys(("gradients", "addresses", "seed", "size"), "*i64")
    kinds |= dict.fromkeys(("group", "tensor", "first"), "*i32")
    fixed = {"LANES": 128, "BLOCK": 1024, "ALIGNED": True}
    for function in (made.uniforms, made.update):
        signature = {n: kinds.get(n, "constexpr") for n in function.arg_names}
        constants = {n: fixed[n] for n in function.arg_names if n in fixed}
        source = ASTSource(function, signature, constants)
        code = compile(source, target=target, options={"enable_fp_fusion": made.FUSED}).asm
    return code

nvidia, amd = GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx942", 64)
plain = Wrap(scaled=True, coupled=True)
half = Wrap(scaled=True, shrunk=True, values="bfloat16", state="bfloat16", rounding="stochastic")
for name, real, wrap in (
    ("adam", "float32", plain), ("adamw", "float32", half), ("nadam", "float64", plain)
):
    text = compiled(name, real, wrap, nvidia)["ptx"]
    found = {word: len(re.findall(word, text)) for word in ("global.v", "div.full", "sqrt.approx")}
    print(name, *(f"{word}:{bool(count)}" for word, count in found.items()))
for name in ("adam", "yogi"):
    print(name, "fused:", "fma.rn" in compiled(name, "float32", plain, nvidia)["ptx"])
print("amd", "amdgcn" in compiled("adam", "float32", plain, amd))
"""


def test_kernels_compile_for_gpus(tmp_path: Path) -> None:
    """Whole blocks are read and written as vectors; division and root are not approximate.

    Products and sums are one instruction but in a rule that decides by them.

    There is no folder that is safe to write kernels into; Triton finds their source all the same.
    """
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(0o777)
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path / "triton"),
        "THALWEG_CACHE": str(tmp_path),
        "TRITON_DEFAULT_FP_FUSION": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *lines, adam, yogi, amd = done.stdout.splitlines()
    assert (adam, yogi, amd) == ("adam fused: True", "yogi fused: False", "amd True")
    names = ("adam", "adamw", "nadam")
    assert lines == [f"{n} global.v:True div.full:False sqrt.approx:False" for n in names]


def test_the_source_needs_no_triton() -> None:
    code = "import sys; from thalweg.kernels.triton import source; source('adam'); "
    code += "print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_source_is_one_program_of_plain_triton() -> None:
    text = source("nadam")
    compile(text, "nadam", "exec")
    element = text.split("def element")[1].split("@triton.jit")[0]
    assert "beta" not in element
    assert "tl.div_rn(u7 * m_bar, tl.sqrt_rn(v_hat) + u8)" in element
