"""Kernels of rules that look at whole tensors, against these rules themselves."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from numba.core import event
from torch import Tensor

from thalweg import optim, rules
from thalweg.elementwise import maximum, sqrt
from thalweg.faces import faces
from thalweg.matrices import columns, orthogonalize, rows
from thalweg.optim import layout
from thalweg.rule import read_signature
from thalweg.sums import mean, norm

SHAPES: list[tuple[int, ...]] = [
    (), (1,), (7,), (12, 20), (30, 8), (16, 16), (4, 3, 2, 5), (9, 1), (1, 9), (150, 130),
]  # fmt: skip


def parameters(dtype: torch.dtype, shapes: list[tuple[int, ...]] = SHAPES) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(s, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def gradients(ps: list[Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in ps:
        p.grad = torch.randn(p.shape, dtype=torch.float64, generator=generator).to(p.dtype)


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what lets rules step by themselves from now on."""
    return lambda: monkeypatch.setattr(layout, "form_of", lambda *_: None)


def run(
    make: Callable[[list[Tensor]], Any],
    dtype: torch.dtype,
    steps: int = 20,
    shapes: list[tuple[int, ...]] = SHAPES,
) -> Any:
    ps = parameters(dtype, shapes)
    optimizer = make(ps)
    for step in range(steps):
        gradients(ps, step)
        optimizer.step()
    return ps, optimizer


def alone(optimizer: Any) -> int:
    return len(optimizer._stepper._layout.alone)


def assert_same(kernel: Any, function: Any, tolerance: float) -> None:
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


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [(name, torch.float64, 1e-12) for name in rules.names("sums")]
    + [(name, torch.float32, 2e-4) for name in ("lamb", "mars", "prodigy")],
)
def test_twenty_steps_of_a_kernel_are_those_of_the_function(
    name: str, dtype: torch.dtype, tolerance: float, functions: Callable[[], None]
) -> None:
    known = rules.get(name).hyperparameters
    far = {word: 1e-2 for word in ("d0", "distance0") if word in known}  # else x hardly moves

    def make(ps: list[Tensor]) -> Any:
        return optim.Descent(ps, name, **far)

    kernel = run(make, dtype)
    assert alone(kernel[1]) == 0
    functions()
    assert_same(kernel, run(make, dtype), tolerance)


def by_ways(g, x, v, *, t, top, lr=0.1, rests=1.0):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    size = norm(g)
    if size > top:
        top, g = top + 1, g / size
    if t == 1:
        v = mean(g * g, 1)
        if rests:
            return x, v, top
    else:
        v = 0.9 * v + 0.1 * mean(g * g, 1)
    return x - lr * g / (sqrt(v) + 1e-8), v, top


def test_ways_through_a_rule_are_chosen_in_its_kernel(functions: Callable[[], None]) -> None:
    of = read_signature(by_ways, "test", {"top": 1.0}, {})

    def make(ps: list[Tensor]) -> Any:
        return optim.Descent(ps, of)

    kernel = run(make, torch.float64)
    assert alone(kernel[1]) == 0
    functions()
    assert_same(kernel, run(make, torch.float64), 1e-12)


OPTIONS: list[dict[str, Any]] = [
    {"cautious": True, "zero_gradients": True, "maximize": True},
    {"rounding": "kahan", "weight_decay": 0.1},
    {"state_dtype": torch.bfloat16},
]


@pytest.mark.parametrize(
    ("name", "options"),
    [*(("lamb", each) for each in OPTIONS), ("adafactor", OPTIONS[-1])],
    ids=lambda o: o if isinstance(o, str) else next(iter(o)),
)
def test_what_surrounds_a_step_surrounds_its_kernel(
    name: str, options: dict[str, Any], functions: Callable[[], None]
) -> None:
    def make(ps: list[Tensor]) -> Any:
        return optim.Descent(ps, name, lr=0.01, **options)

    dtype = torch.bfloat16 if "rounding" in options else torch.float32
    ps, ours = run(make, dtype, steps=5)
    functions()
    qs, _ = run(make, dtype, steps=5)
    near = 2e-2 if "state_dtype" in options else 1e-5
    for p, q in zip(ps, qs, strict=True):
        torch.testing.assert_close(p, q, rtol=near, atol=near)
        if "zero_gradients" in options:
            assert not p.grad.any()
    # Rows or columns of bfloat16, where they are as many as the elements, are the function's.
    assert alone(ours) == (3 if name == "adafactor" and "state_dtype" in options else 0)


def test_a_changed_rate_compiles_nothing_and_a_checkpoint_goes_on() -> None:
    ps, optimizer = run(lambda ps: optim.Descent(ps, "adafactor"), torch.float32, steps=2)
    qs = [p.detach().clone().requires_grad_() for p in ps]
    again = optim.Descent(qs, "adafactor")
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    recorder = event.install_recorder("numba:run_pass")
    with recorder as passes:
        for one in (optimizer, again):
            one.param_groups[0] |= {"lr": 0.02, "clip": 2.0}
            gradients(one.param_groups[0]["params"], 7)
            one.step()
    assert len(passes.buffer) == 0
    for p, q in zip(ps, qs, strict=True):
        assert torch.equal(p, q)


def test_a_tensor_without_gradient_rests_and_its_count_does_not_go_on() -> None:
    ps = parameters(torch.float64, [(5, 6), (4, 3)])
    optimizer = optim.Descent(ps, "lamb")
    before = ps[1].detach().clone()
    gradients(ps, 0)
    ps[1].grad = None
    optimizer.step()
    assert torch.equal(ps[1], before)
    gradients(ps, 1)
    optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in ps] == [2, 1]
    assert alone(optimizer) == 0


def test_one_d_serves_groups_of_different_rates(functions: Callable[[], None]) -> None:
    def make(ps: list[Tensor]) -> Any:
        groups = [{"params": ps[:4], "lr": 1.0}, {"params": ps[4:], "lr": 0.5, "weight_decay": 0.1}]
        return optim.Descent(groups, "prodigy", d0=1e-2)

    kernel = run(make, torch.float64)
    assert alone(kernel[1]) == 0
    assert len({float(kernel[1].state[p]["d"]) for p in kernel[0]}) == 1
    functions()
    assert_same(kernel, run(make, torch.float64), 1e-11)


def test_groups_that_would_have_two_ds_are_refused_as_by_the_function() -> None:
    ps = parameters(torch.float64, [(3,), (4,)])
    groups = [{"params": ps[:1], "beta2": 0.9}, {"params": ps[1:]}]
    optimizer = optim.Descent(groups, "prodigy")
    gradients(ps, 0)
    with pytest.raises(ValueError, match="cannot differ in beta2"):
        optimizer.step()


def strided() -> Tensor:
    return torch.randn(6, 4, dtype=torch.float64).t().requires_grad_()


def test_what_no_kernel_takes_is_stepped_by_the_rule() -> None:
    torch.manual_seed(0)
    turned, complex_ = strided(), torch.randn(3, 2, dtype=torch.complex128, requires_grad=True)
    optimizer = optim.Descent([turned, complex_], "adafactor")
    for p in (turned, complex_):
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert alone(optimizer) == 2
    order = optim.Descent([turned], "lamb")  # a norm does not ask for the order
    order.step()
    assert alone(order) == 0


def test_a_state_of_another_shape_is_not_read_as_if_it_fitted() -> None:
    p = torch.randn(6, 4, requires_grad=True)
    optimizer = optim.Descent([p], "adafactor")
    p.grad = torch.ones_like(p)
    optimizer.step()
    optimizer.state[p]["r"] = torch.ones(2, 1)
    with pytest.raises(RuntimeError):
        optimizer.step()


def test_numbers_far_from_one_are_summed_without_loss() -> None:
    p = torch.full((1_000_000,), 1e-3, requires_grad=True)
    p.grad = torch.ones_like(p)
    optim.Descent([p], "lamb", lr=1.0, weight_decay=0.0, eps=0.0).step()
    step = 1e-3 - p.detach().double()
    assert float(step.norm()) == pytest.approx(1e-3 * 1_000_000**0.5, rel=1e-6)
    assert np.isfinite(step.numpy()).all()


MATRICES: list[tuple[int, ...]] = [
    (12, 20),
    (30, 8),
    (16, 16),
    (9, 1),
    (1, 9),
    (4, 3, 2, 5),
    (300, 270),
]


def own_muon(g, x, v, *, t, lr=1e-2, beta=0.9, eps=1e-5):  # noqa: ANN001, ANN201
    v = beta * v + g / (mean(g * g, 1) + 1e-12) ** 0.5
    argument = v / (1 - beta**t)
    whole = orthogonalize(argument, iterations=3, eps=eps)  # names that a kernel uses itself
    return x - lr * maximum(rows(x), columns(g)) * whole * norm(whole), v


@pytest.mark.parametrize(
    ("rule", "dtype", "tolerance"),
    [(rule, torch.float64, 1e-11) for rule in ("muon", "cautious(muon)", "own_muon")]
    + [("normuon", torch.float32, 5e-3)],
)
def test_what_surrounds_products_of_matrices_is_compiled(
    rule: str, dtype: torch.dtype, tolerance: float, functions: Callable[[], None]
) -> None:
    found = rules.rule("test")(own_muon) if rule == "own_muon" else rule

    def make(ps: list[Tensor]) -> Any:
        return optim.Descent(ps, found, lr=0.01)

    kernel = run(make, dtype, 8, MATRICES)
    assert alone(kernel[1]) == 0
    functions()
    assert_same(kernel, run(make, dtype, 8, MATRICES), tolerance)


@pytest.mark.parametrize("by", ["kernel", "function"])
@pytest.mark.parametrize("rule", ["muon", "lookahead(normuon)", "own_muon", "soap"])
def test_matrices_that_lie_in_one_tensor_step_as_if_each_lay_by_itself(
    rule: str, by: str, functions: Callable[[], None]
) -> None:
    """Rows, columns and norms are those of each matrix, by kernels and by functions."""
    found = rules.rule("test")(own_muon) if rule == "own_muon" else rule
    whole = parameters(torch.float64, [(3 * shape[0], *shape[1:]) for shape in MATRICES[:-1]])
    parts = [part.detach().clone().requires_grad_() for p in whole for part in p.chunk(3)]
    fused = optim.Descent([{"params": whole, "split": 3}], found, lr=0.01)
    apart = optim.Descent(parts, found, lr=0.01)
    if by == "function":
        functions()
    for step in range(4):
        gradients(whole, step)
        slopes = [part.clone() for p in whole for part in p.grad.chunk(3)]  # type: ignore[union-attr] # there
        for part, slope in zip(parts, slopes, strict=True):
            part.grad = slope
        fused.step()
        apart.step()
    assert alone(fused) == (0 if by == "kernel" and rule != "soap" else len(whole))
    for i, p in enumerate(whole):
        own = parts[3 * i : 3 * i + 3]
        torch.testing.assert_close(p, torch.cat(own), rtol=1e-12, atol=1e-12)
        for name, kept in fused.state[p].items():
            several = [apart.state[part][name] for part in own]
            wanted = torch.stack(several).reshape(kept.shape) if kept.ndim else several[0]
            torch.testing.assert_close(kept, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: next(iter(o)))
def test_what_surrounds_a_step_surrounds_products_too(
    options: dict[str, Any], functions: Callable[[], None]
) -> None:
    def make(ps: list[Tensor]) -> Any:
        return optim.Descent(ps, "muon", lr=0.1, **options)

    dtype = torch.bfloat16 if "rounding" in options else torch.float32
    ps, ours = run(make, dtype, 5, MATRICES)
    functions()
    qs, _ = run(make, dtype, 5, MATRICES)
    assert alone(ours) == 0
    for p, q, start in zip(ps, qs, parameters(dtype, MATRICES), strict=True):
        assert (p - q).detach().float().norm() < 0.03 * (q - start).detach().float().norm()
        if "zero_gradients" in options:
            assert not p.grad.any()


def test_options_of_torchs_muon_reach_the_products(functions: Callable[[], None]) -> None:
    options = {"ns_coefficients": (2.0, -1.5, 0.5), "ns_steps": 3, "eps": 1e-3, "nesterov": False}

    def make(ps: list[Tensor]) -> Any:
        return optim.Muon(ps, lr=0.1, **options)

    shapes = [shape for shape in MATRICES if len(shape) == 2]
    kernel = run(make, torch.float64, 5, shapes)
    assert alone(kernel[1]) == 0
    functions()
    assert_same(kernel, run(make, torch.float64, 5, shapes), 1e-12)


def test_torchs_muon_of_bfloat16_keeps_its_format(functions: Callable[[], None]) -> None:
    shapes = [shape for shape in MATRICES if len(shape) == 2]

    def make(ps: list[Tensor]) -> Any:
        return optim.Muon(ps, lr=0.1)

    ps, ours = run(make, torch.bfloat16, 5, shapes)
    functions()
    qs, theirs = run(make, torch.bfloat16, 5, shapes)
    assert alone(ours) == 0
    for p, q, start in zip(ps, qs, parameters(torch.bfloat16, shapes), strict=True):
        kept, other = (o.state[one]["momentum_buffer"] for o, one in ((ours, p), (theirs, q)))
        assert kept.dtype is other.dtype is torch.bfloat16
        torch.testing.assert_close(kept, other, rtol=2**-7, atol=2**-9)
        assert (p - q).detach().float().norm() < 0.03 * (q - start).detach().float().norm()


def twice(g, x, *, t, lr=1e-2):  # noqa: ANN001, ANN201
    return x - lr * orthogonalize(g) - lr * orthogonalize(x)


def computed_option(g, x, *, t, lr=1e-2):  # noqa: ANN001, ANN201
    return x - lr * orthogonalize(g, eps=lr * 1e-3)


@pytest.mark.parametrize(
    ("function", "why"),
    [(twice, "a kernel has one call of it"), (computed_option, "must be numbers or hyper")],
)
def test_what_no_kernel_takes_is_stepped_by_its_function(function: Any, why: str) -> None:
    rule = rules.rule("test")(function)
    _, optimizer = run(lambda ps: optim.Descent(ps, rule), torch.float64, 1, [(4, 6)])
    assert alone(optimizer) == 1
    assert why in faces(rule).kernel
