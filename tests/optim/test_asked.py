"""Rules that ask for gradients at other points: against their papers' loops, written out."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optim.test_curvature import diagonal
from thalweg import descend, problems, rules
from thalweg.optim import Descent
from thalweg.rule import rule
from thalweg.tensors import Tensors

ASKING = ("sam(momentum)", "sophia")


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def batches(count: int = 6) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(2)
    return [
        (
            torch.randn(8, 5, generator=random, dtype=torch.float64),
            torch.randint(3, (8,), generator=random),
        )
        for _ in range(count)
    ]


def closure_of(model: nn.Module, optimizer: Any, batch: tuple[Tensor, Tensor]) -> Callable[[], Any]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sam_is_the_papers_loop(decay: float) -> None:
    ours, theirs = net(), net()
    optimizer = Descent(ours.parameters(), "sam(momentum)", lr=0.1, radius=0.3, weight_decay=decay)
    peer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    params = list(theirs.parameters())

    def slopes(batch: tuple[Tensor, Tensor]) -> list[Tensor]:
        loss = nn.functional.cross_entropy(theirs(batch[0]), batch[1])
        loss = loss + decay / 2 * sum(p.square().sum() for p in params)
        return list(torch.autograd.grad(loss, params))

    for batch in batches():
        loss = optimizer.step(closure_of(ours, optimizer, batch))
        first = slopes(batch)
        size = torch.cat([g.flatten() for g in first]).norm()
        with torch.no_grad():
            start = [p.clone() for p in params]
            for p, g in zip(params, first, strict=True):
                p.add_(0.3 * g / size)
        second = slopes(batch)
        with torch.no_grad():
            for p, x, g in zip(params, start, second, strict=True):
                p.copy_(x)
                p.grad = g
        expected = nn.functional.cross_entropy(theirs(batch[0]), batch[1])
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        peer.step()
        # What the parameters have as gradients are those at x.
        plain = [g - decay * x for g, x in zip(first, start, strict=True)]
        torch.testing.assert_close(
            [p.grad for p in ours.parameters()], plain, rtol=1e-9, atol=1e-12
        )
        torch.testing.assert_close(list(ours.parameters()), params, rtol=1e-12, atol=1e-15)


def exact_diagonal(model: nn.Module, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
    loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
    return diagonal(loss, list(model.parameters()))


def test_sophia_is_the_papers_loop() -> None:
    model, peer = net(), net()
    hyper = {"lr": 0.05, "beta1": 0.8, "beta2": 0.6, "scale": 0.5, "eps": 1e-3, "every": 2}
    optimizer = Descent(model.parameters(), "sophia", weight_decay=0.1, **hyper)
    params = list(peer.parameters())
    m = [torch.zeros_like(p) for p in params]
    h = [torch.zeros_like(p) for p in params]
    for t, batch in enumerate(batches(), 1):
        optimizer.step(
            closure_of(model, optimizer, batch), curvature=lambda b=batch: exact_diagonal(model, b)
        )
        g = torch.autograd.grad(nn.functional.cross_entropy(peer(batch[0]), batch[1]), params)
        if t % 2 == 1:
            bends = exact_diagonal(peer, batch)
            h = [0.6 * a + 0.4 * b for a, b in zip(h, bends, strict=True)]
        m = [0.8 * a + 0.2 * b for a, b in zip(m, g, strict=True)]
        with torch.no_grad():
            for p, mean, bend in zip(params, m, h, strict=True):
                p.copy_(p - 0.05 * 0.1 * p)
                p.copy_(p - 0.05 * (mean / (0.5 * bend).clamp(min=1e-3)).clamp(-1, 1))
        torch.testing.assert_close(list(model.parameters()), params, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-8), (torch.float32, 2e-3)])
def test_a_curvature_from_gradients_is_hutchinsons(dtype: torch.dtype, bound: float) -> None:
    """The first step moves by h alone where beta1 is 0 and every element is divided by it."""
    model, batch = net().to(dtype), batches(1)[0]
    batch = batch[0].to(dtype), batch[1]
    optimizer = Descent(model.parameters(), "sophia", lr=1e-3, beta2=0.0, weight_decay=0.0)
    closure = closure_of(model, optimizer, batch)
    torch.manual_seed(3)
    optimizer.step(closure)
    found = [state["h"].double() for state in optimizer.state.values()]
    same = net()
    torch.manual_seed(3)
    loss = nn.functional.cross_entropy(same(batch[0].double()), batch[1])
    signs = [torch.empty_like(p, dtype=dtype).bernoulli_(0.5) * 2 - 1 for p in same.parameters()]
    params = list(same.parameters())
    slopes = torch.autograd.grad(loss, params, create_graph=True)
    along = sum((g * u).sum() for g, u in zip(slopes, signs, strict=True))
    assert isinstance(along, Tensor)
    products = torch.autograd.grad(along, params)
    expected = [u * product for u, product in zip(signs, products, strict=True)]
    size = torch.cat([e.flatten() for e in expected]).norm()
    apart = torch.cat([(a - b).flatten() for a, b in zip(found, expected, strict=True)]).norm()
    assert apart < bound * size


def test_all_passes_of_a_step_drop_the_same() -> None:
    """With dropout drawn anew, the two gradients that are near each other would be far apart."""
    model = nn.Sequential(nn.Linear(5, 40), nn.Dropout(0.5), nn.Linear(40, 3)).double()
    optimizer = Descent(model.parameters(), "sophia", beta2=0.0)
    optimizer.step(closure_of(model, optimizer, batches(1)[0]))
    largest = max(state["h"].abs().max() for state in optimizer.state.values())
    assert largest < 100  # else about 0.1 / 1e-6
    before = torch.get_rng_state()
    again = Descent(model.parameters(), "sam(sgd)", radius=0.0, lr=1.0)
    start = [p.detach().clone() for p in model.parameters()]
    again.step(closure_of(model, again, batches(1)[0]))
    for x, p in zip(start, model.parameters(), strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.detach(), x - p.grad, rtol=1e-12, atol=1e-15)
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    model(batches(1)[0][0])  # one pass is what a step draws
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("name", ASKING)
def test_a_step_without_a_closure_is_refused_and_does_nothing(name: str) -> None:
    w = torch.ones(3, requires_grad=True)
    optimizer = Descent([w], name)
    w.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match=rf"{name[:3]}.+ asks for .+ call step\(closure\)"):
        optimizer.step()
    assert torch.equal(w, torch.ones(3))
    with pytest.raises(ValueError, match=r"asks for the .+ races of modules have it"):
        rules.get(name).advance(1.0, 1.0, {"v": 0.0, "m": 0.0, "h": 0.0}, t=1, hyper={})


def test_a_closure_that_fails_leaves_the_parameters_where_they_were() -> None:
    w = torch.ones(3, requires_grad=True)
    optimizer = Descent([w], "sam(sgd)")
    calls = []

    def closure() -> Tensor:
        calls.append(1)
        if len(calls) > 1:
            raise KeyError
        loss = w.square().sum()
        loss.backward()
        return loss

    with pytest.raises(KeyError):
        optimizer.step(closure)
    assert torch.equal(w, torch.ones(3))
    assert w.grad is not None
    assert torch.equal(w.grad, 2 * torch.ones(3))


def test_a_gradient_uphill_that_is_not_finite_skips_the_step() -> None:
    w = torch.ones(2, requires_grad=True)
    optimizer = Descent([w], "sam(sgd)", radius=1.0, nonfinite="skip")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.where(w > 1.5, w * float("inf"), w).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.equal(w, torch.ones(2))


def test_clipping_counts_where_the_gradient_is_used() -> None:
    """A gradient of norm 10 everywhere: cut to 1, and h is that of the whole loss."""
    w = torch.zeros(1, requires_grad=True, dtype=torch.float64)
    optimizer = Descent([w], "sam(sgd)", lr=1.0, clip_norm=1.0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (10 * w).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert w.item() == pytest.approx(-1.0, rel=1e-6)
    v = torch.full((1,), 3.0, requires_grad=True, dtype=torch.float64)
    bending = Descent([v], "sophia", beta2=0.0, clip_norm=1.0)

    def curved() -> Tensor:
        bending.zero_grad()
        loss = (v**2).sum() * 5
        loss.backward()
        return loss

    bending.step(curved)
    assert bending.state[v]["h"].item() == pytest.approx(10.0, rel=1e-6)


def test_two_rules_that_ask_see_one_another_where_they_were() -> None:
    """Both gradients are taken before either group moves."""
    a, b = (torch.tensor([x], requires_grad=True, dtype=torch.float64) for x in (1.0, 2.0))
    groups = [
        {"params": [a], "rule": "sam(sgd)", "lr": 0.1},
        {"params": [b], "rule": "sam(nesterov)", "lr": 0.1},
    ]
    optimizer = Descent(groups, "sam(sgd)", radius=0.0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (a * b).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert a.item() == pytest.approx(1 - 0.1 * 2, rel=1e-12)
    assert b.item() == pytest.approx(2 - 0.1 * 1 * 1.9, rel=1e-12)


def test_a_length_goes_as_a_hyperparameter_and_must_be_given() -> None:
    @rule("a rate that falls to 0")
    def falling(g: Any, x: Any, *, t: int, steps: float, lr: float = 0.5) -> Any:
        return x - lr * (1 - t / steps) * g

    w = torch.tensor([1.0], requires_grad=True, dtype=torch.float64)
    with pytest.raises(ValueError, match="steps must be given, >= 1: it has no default"):
        Descent([w], "falling")
    optimizer = Descent([w], "falling", steps=4)
    trace = descend(problems.quadratic([[1.0]]), "falling", [1.0], steps=4)
    for t in range(1, 5):
        w.grad = w.detach().clone()
        optimizer.step()
        assert w.item() == pytest.approx(trace.x[t, 0], rel=1e-14)


def test_descend_gives_the_exact_gradient_and_diagonal_of_the_step() -> None:
    problem = problems.get("rosenbrock")
    path = descend(problem, "sam(sgd)", steps=5, lr=1e-4, radius=0.1)
    x = problem.start
    for row in path.x[1:]:
        g = problem.gradient(x)
        x = x - 1e-4 * problem.gradient(x + 0.1 * g / sum(g**2) ** 0.5)
        assert row == pytest.approx(x, rel=1e-12)
    hyper = {"lr": 1e-2, "scale": 1.0, "weight_decay": 0.0, "beta1": 0.0, "beta2": 0.0}
    trace = descend(problem, "sophia", steps=1, **hyper)
    d = [problem.hessian(problem.start)[i, i] for i in range(2)]
    assert trace.state["h"] == pytest.approx(d, rel=1e-12)


def test_a_plain_call_of_the_functions_is_a_step() -> None:
    x = Tensors([torch.tensor([3.0]), torch.tensor([4.0])])
    moved = rules.get("sam(sgd)")(x, x, t=1, gradient=lambda y: y, lr=1.0, radius=5.0)
    assert [part.item() for part in moved] == [-3.0, -4.0]


@pytest.mark.parametrize("given", [[1.0], []], ids=str)
def test_a_curvature_that_is_no_tensor_of_each_parameter_is_refused(given: list[float]) -> None:
    w = torch.ones(2, requires_grad=True)
    optimizer = Descent([w], "sophia")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = w.square().sum()
        loss.backward()
        return loss

    with pytest.raises(ValueError, match=rf"of its shape: \[\(2,\)\], got {re.escape(str(given))}"):
        optimizer.step(closure, curvature=lambda: given)  # type: ignore[arg-type, return-value]
    assert w.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["sam(adamw)", "sophia"])
def test_complex_parameters_are_pairs_of_real_ones(name: str) -> None:
    start = torch.tensor([1.0 + 2.0j, -0.5 + 0.25j], dtype=torch.complex128)
    ended = []
    for as_pairs in (False, True):
        w = (torch.view_as_real(start) if as_pairs else start).clone().requires_grad_()
        optimizer = Descent([w], name, lr=0.1)

        def closure(w: Tensor = w, optimizer: Descent = optimizer) -> Tensor:
            optimizer.zero_grad()
            pairs = w if w.ndim == 2 else torch.view_as_real(w)
            loss = (pairs**4).sum() + pairs.prod()
            loss.backward()
            return loss

        torch.manual_seed(0)
        for _ in range(4):
            optimizer.step(closure)
        ended.append(w.detach() if as_pairs else torch.view_as_real(w.detach()))
    torch.testing.assert_close(*ended, rtol=0, atol=1e-14)
    assert (ended[0] - torch.view_as_real(start)).abs().max() > 0.1


def thawed(rule: str, after: int, **options: Any) -> list[list[Tensor]]:
    """Return the path of a model whose first layer is frozen for some steps."""
    model = net()
    first = list(model.parameters())[:2]
    optimizer = Descent(model.parameters(), rule, **options)
    path = []
    for number, batch in enumerate(batches()):
        for p in first:
            p.requires_grad = number >= after
        optimizer.step(closure_of(model, optimizer, batch))
        path.append([p.detach().clone() for p in model.parameters()])
    return path


def slopes(model: nn.Module, batch: tuple[Tensor, Tensor], last: int) -> tuple[Tensor, ...]:
    loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
    return torch.autograd.grad(loss, list(model.parameters())[-last:])


@pytest.mark.parametrize("base", ["adam", "adopt"])  # adopt has an `if t == 1`
def test_a_layer_that_is_thawed_later_counts_its_own_steps(base: str) -> None:
    path = thawed(f"sam({base})", 3, lr=0.1, radius=0.3)
    model = net()
    params, one = list(model.parameters()), rules.get(base)
    hyper = {**one.defaults, "lr": 0.1}
    kept = [(one.first_state(p.detach(), hyper), 0) for p in params]
    for number, batch in enumerate(batches()):
        moving = range(0 if number >= 3 else 2, 4)
        first = slopes(model, batch, len(moving))
        size = torch.cat([g.flatten() for g in first]).norm()
        start = [p.detach().clone() for p in params]
        with torch.no_grad():
            for i, g in zip(moving, first, strict=True):
                params[i].add_(0.3 * g / size)
        second = slopes(model, batch, len(moving))
        for i, g in zip(moving, second, strict=True):
            state, t = kept[i]
            x, state = one.advance(g, start[i], state, t=t + 1, hyper=hyper)
            params[i].data, kept[i] = x, (state, t + 1)
        torch.testing.assert_close(path[number], params, rtol=1e-12, atol=1e-14)


def test_a_curvature_is_asked_for_by_the_steps_of_each_tensor() -> None:
    def bent(x: Any) -> Any:
        return 0.0 * x + 3.0

    w = [torch.ones(2, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)]
    hyper = {**rules.sophia.defaults, "every": 2.0, "lr": 0.1}
    optimizer = Descent(w, "sophia", **hyper)
    alone = [p.detach().clone() for p in w]
    state: list[dict[str, Any]] = [{"m": 0.0, "h": 0.0} for _ in w]
    for number in range(5):
        for i, p in enumerate(w):
            p.grad = 3.0 * p.detach() if number >= i else None
        optimizer.step(curvature=lambda: [bent(p) for p in w])
        for i in range(min(number + 1, 2)):
            alone[i], state[i] = rules.sophia.advance(
                3.0 * alone[i], alone[i], state[i],
                t=number + 1 - i, hyper=hyper, inputs={"curvature": bent},
            )  # fmt: skip
        torch.testing.assert_close([p.detach() for p in w], alone)
