"""Rules that torch does not have, a user's own among them, against the rule functions."""

import pickle
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from numba.core import event
from torch import Tensor
from torch.optim import Optimizer

from optim_pairs import (
    Configuration,
    assert_close,
    assert_same,
    every_class,
    follow,
    members,
    new_parameters,
    set_gradients,
)
from thalweg import optim, rules, wrapper
from thalweg.elementwise import maximum, sign, sqrt, where
from thalweg.kernels.cpu import kernel
from thalweg.rule import Range, Rule, read_signature, rule
from thalweg.sums import norm

ADAM = {"m": "exp_avg", "v": "exp_avg_sq"}
CLASSES = {
    "yogi": (optim.Yogi, ADAM),
    "adabelief": (optim.AdaBelief, {"m": "exp_avg", "s": "exp_avg_var"}),
    "lion": (optim.Lion, {"m": "exp_avg"}),
}


def reference(
    of: Rule, hyper: Mapping[str, float], steps: int, *, decay: float = 0.0, shrink: float = 1.0,
    turn: float = 1.0,
) -> tuple[list[Tensor], list[dict[str, Any]]]:  # fmt: skip
    """Return where the plain function takes the parameters, each with its own count of steps."""
    params = new_parameters()
    points, counts = [p.detach() for p in params], [0] * len(params)
    states = [of.first_state(x, hyper) for x in points]
    for step in range(1, steps + 1):
        set_gradients(params, step)
        for i, p in enumerate(params):
            if p.grad is not None:
                counts[i] += 1
                g = turn * p.grad + decay * points[i]
                points[i], states[i] = of.advance(
                    g, shrink * points[i], states[i], t=counts[i], hyper=hyper
                )
    return points, states


def assert_follows(
    optimizer: Optimizer,
    points: list[Tensor],
    states: list[dict[str, Any]],
    keys: Mapping[str, str],
) -> None:
    for p, x, state in zip(members(optimizer), points, states, strict=True):
        assert_close(p.detach(), x, 1e-12)
        for name, key in keys.items():
            dtype = None if isinstance(state[name], Tensor) else torch.float64
            assert_close(optimizer.state[p][key], torch.as_tensor(state[name], dtype=dtype), 1e-12)


@pytest.mark.parametrize("name", rules.names("element-wise"))
@pytest.mark.parametrize("maximize", [False, True])
def test_descent_takes_any_rule(name: str, *, maximize: bool) -> None:
    of = rules.get(name)
    hyper = of.defaults | {"lr": 0.02}
    optimizer = optim.Descent(new_parameters(), of, lr=0.02, maximize=maximize)
    follow(optimizer, 1, 12)
    points, states = reference(of, hyper, 12, turn=-1.0 if maximize else 1.0)
    assert_follows(optimizer, points, states, {n: n for n in (*of.state, *of.uniform_state)})


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("name", ["yogi", "adabelief"])
def test_a_class_of_its_own_is_its_rule(name: str, *, decoupled: bool) -> None:
    cls, keys = CLASSES[name]
    optimizer = cls(
        new_parameters(), lr=0.02, betas=(0.8, 0.9), eps=0.01, weight_decay=0.1,
        decoupled_weight_decay=decoupled,
    )  # fmt: skip
    follow(optimizer, 1, 12)
    hyper = {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "eps": 0.01}
    around = {"shrink": 1 - 0.02 * 0.1} if decoupled else {"decay": 0.1}
    assert_follows(optimizer, *reference(rules.get(name), hyper, 12, **around), keys)


def test_lion_is_its_rule() -> None:
    optimizer = optim.Lion(new_parameters(), lr=0.02, betas=(0.8, 0.9), weight_decay=0.1)
    follow(optimizer, 1, 12)
    hyper = {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.1}
    assert_follows(optimizer, *reference(rules.lion, hyper, 12), CLASSES["lion"][1])


def own_rule() -> Rule:
    @rule(
        "a user's own", start={"scale": 2.0, "used": "lr"}, ranges={"floor": Range(0.0, 1.0, "[]")}
    )
    def own(g, x, m, scale, *, t, used, lr=0.1, beta=0.5, floor=0.01):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        m = beta * m + (1 - beta) * sign(g) * sqrt(abs(g))
        scale = maximum(where(m * g > 0, 1.01 * scale, 0.4 * scale), floor)
        used = used + lr / t
        return x - lr * scale * m / (1 + used), m, scale, used

    return own


def test_descent_takes_a_users_own_rule() -> None:
    own = own_rule()
    optimizer = optim.Descent(new_parameters(), own, lr=0.05, floor=0.9, weight_decay=0.1)
    follow(optimizer, 1, 12)
    hyper = {"lr": 0.05, "beta": 0.5, "floor": 0.9}
    points, states = reference(own, hyper, 12, decay=0.1)
    assert states[1]["scale"].min() == 0.9  # the bound was reached
    assert_follows(optimizer, points, states, {n: n for n in ("m", "scale", "used")})


def named_step(g, x, step, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    return x - lr * g, step


def named_lost(g, x, *, t, lost, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    return x - lr * g, lost


def named_maximize(g, x, *, t, maximize=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    return x - maximize * g


def named_clip_norm(g, x, *, t, lr=0.1, clip_norm=1.0):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    return x - lr * clip_norm * g


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (named_step, "state 'step'"), (named_lost, "state 'lost'"),
        (named_maximize, "hyperparameter 'maximize'"),
        (named_clip_norm, "hyperparameter 'clip_norm'"),
    ],
)  # fmt: skip
def test_a_name_of_the_optimizers_own_is_refused(function: Any, what: str) -> None:
    with pytest.raises(
        TypeError, match=f"rule '{function.__name__}' has a {what}, which is a name"
    ):
        read_signature(function, "test", {}, {})


def misspelled(g, x, m, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    m = 0.9 * m + g / norm(g)
    return x - lr * mm, m  # noqa: F821 - that is the fault


def not_imported(g, x, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    return x - lr * power(g @ g, 0.5)  # noqa: F821


def branching(g, x, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    x = norm(x)
    if norm(g) > t and x > t:
        x = x / norm(g)
    if g > 0 and t > 1:
        g = g / norm(g)
    return x - lr * g


@pytest.mark.parametrize(
    ("function", "line", "message"),
    [
        (branching, 4, r"the test `g > 0 and t > 1` is one of a whole tensor.*write `name = wh"),
        (misspelled, 2, "'mm' is neither an argument, nor a name assigned before, .*; did you me"),
        (not_imported, 1, "'power' is neither .*; call power, of thalweg.matrices"),
    ],
)
def test_a_rule_that_cannot_be_called_is_refused_before_a_step(
    function: Any, line: int, message: str
) -> None:
    of = read_signature(function, "test", {}, {})
    at = function.__code__.co_firstlineno + line
    for each in (of, wrapper.named("averaged")(of)):  # type: ignore[misc]
        with pytest.raises(ValueError, match=rf"test_own_classes\.py, line {at}: {message}"):
            optim.Descent([torch.ones(2, 2, requires_grad=True)], each)


def without_a_rate(g, x, *, t, gain=0.5):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    return x - gain * g


def test_a_rule_without_a_rate_decays_independently() -> None:
    p = torch.ones(3, requires_grad=True)
    of = read_signature(without_a_rate, "test", {}, {})
    optimizer = optim.Descent([p], of, weight_decay=0.25, independent_decay=True)
    p.grad = torch.ones(3)
    optimizer.step()
    assert p.tolist() == [0.25] * 3


def test_a_group_may_have_hyperparameters_of_its_own() -> None:
    params = new_parameters()
    optimizer = optim.Descent(
        [{"params": params[:2]}, {"params": params[2:], "beta": 0.3}], "momentum", lr=0.02
    )
    follow(optimizer, 1, 12)
    expected = [reference(rules.momentum, {"lr": 0.02, "beta": beta}, 12)[0] for beta in (0.9, 0.3)]
    for p, x in zip(params, expected[0][:2] + expected[1][2:], strict=True):
        assert_close(p.detach(), x, 1e-12)


REFUSED = [
    (lambda p: optim.Descent(p, "adma"), "unknown rule 'adma'; did you mean adamax, adan, adam?"),
    (lambda p: optim.Descent(p, "sgd", lr=-1.0), "lr must be > 0, got -1.0"),
    (
        lambda p: optim.Descent(p, "sgd", beta=0.5),
        "rule 'sgd' has no hyperparameter 'beta'; it has: lr",
    ),
    (
        lambda p: optim.Descent(p, "sgd", clip_grad_norm=1.0),
        "Descent has no option 'clip_grad_norm'; did you mean clip_norm?",
    ),
    (lambda p: optim.Descent(p, "sgd", weight_decay=-1.0), "weight_decay must be >= 0, got -1.0"),
    (lambda p: optim.Descent(p, "lion", weight_decay=-1.0), "weight_decay must be >= 0, got -1.0"),
    (
        lambda p: optim.Descent([{"params": p, "beta": 2.0}], "momentum"),
        "beta must be in [0, 1), got 2.0",
    ),
    (lambda p: optim.Yogi(p, betas=(0.9,)), "betas must be two numbers, got (0.9,)"),
    (lambda p: optim.Lion(p, betas=0.9), "betas must be two numbers, got 0.9"),
    (lambda p: optim.Yogi(p, weight_decay="a"), "weight_decay must be a number, got 'a'"),
    (lambda p: optim.Yogi(p, weight_decay=torch.inf), "weight_decay must be finite, got inf"),
    (
        lambda p: optim.Descent(p, None),
        "rule must be the name of a rule or what @thalweg.rule.rule made of a function, got None",
    ),
    (
        lambda p: optim.Descent([{"params": p, "betas": (0.8, 0.9)}], "adamw"),
        "rule 'adamw' has no hyperparameter 'betas'; it has: lr, beta1, beta2, eps, weight_decay",
    ),
    (
        lambda p: optim.Descent([{"params": p, "momentum": 0.8}], "momentum"),
        "rule 'momentum' has no hyperparameter 'momentum'; it has: lr, beta",
    ),
    (
        lambda p: optim.Descent(p, "AdamW"),
        "unknown rule 'AdamW'; did you mean adamw, nadamw, adam?",
    ),
    (lambda p: optim.Yogi(p, lr=0.0), "lr must be > 0, got 0.0"),
    (lambda p: optim.Yogi(p, betas=(0.9, 1.0)), "beta2 must be in [0, 1), got 1.0"),
    (lambda p: optim.AdaBelief(p, eps=-1.0), "eps must be >= 0, got -1.0"),
    (lambda p: optim.AdaBelief(p, weight_decay=-1.0), "weight_decay must be >= 0, got -1.0"),
    (lambda p: optim.Lion([{"params": p, "lr": -1.0}]), "lr must be > 0, got -1.0"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_values_outside_their_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make(new_parameters())
    assert str(caught.value) == message


def test_a_group_may_have_further_keys() -> None:
    optimizer = optim.Descent(
        [{"params": new_parameters(), "name": "body", "lr_scale": 0.5, "initial_lr": 0.1}], "adamw"
    )
    assert optimizer.param_groups[0]["lr_scale"] == 0.5


def test_a_sparse_gradient_is_refused_with_a_remedy() -> None:
    words = torch.nn.Embedding(5, 2, sparse=True)
    optimizer = optim.Descent(words.parameters(), "lion")
    words(torch.tensor([1])).sum().backward()
    with pytest.raises(
        RuntimeError,
        match=r"no step of its own with sparse gradients, and torch's has not these rules; "
        "sparse=False in an embedding",
    ):
        optimizer.step()


def test_a_hook_may_bring_a_checkpoint_into_the_form_of_its_rule() -> None:
    theirs = torch.optim.AdamW(new_parameters(), lr=0.02, betas=(0.8, 0.9))
    optimizer = optim.Descent(new_parameters(), "adamw")

    def turned(_: Optimizer, given: dict[str, Any]) -> dict[str, Any]:
        group = dict(given["param_groups"][0])
        group["beta1"], group["beta2"] = group["betas"]
        return {**given, "param_groups": [group]}

    optimizer.register_load_state_dict_pre_hook(turned)
    optimizer.load_state_dict(theirs.state_dict())
    assert optimizer.param_groups[0]["beta2"] == 0.9


MAKERS = {name: cls for name, (cls, _) in CLASSES.items()} | {
    "descent by name": lambda params: optim.Descent(params, "nadam", lr=0.02),
    "descent by rule": lambda params: optim.Descent(params, rules.asgd, lr=0.02, weight_decay=0.1),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_training_goes_on_from_a_checkpoint_or_a_copy(make: Any) -> None:
    never_stopped = make(new_parameters())
    follow(never_stopped, 1, 7)
    loaded = make([p.detach().clone().requires_grad_() for p in members(never_stopped)])
    loaded.load_state_dict(deepcopy(never_stopped.state_dict()))
    copies = [loaded, deepcopy(never_stopped), pickle.loads(pickle.dumps(never_stopped))]  # noqa: S301 - our own
    follow(never_stopped, 8, 15)
    for other in copies:
        follow(other, 8, 15)
        assert_same(other, never_stopped, 1e-12)


CHANGES: dict[str, Any] = {
    "lr": 0.01, "weight_decay": 0.0, "eps": 0.1, "maximize": True, "betas": (0.5, 0.7),
    "alpha": 0.3, "rho": 0.3, "etas": (0.2, 1.1), "lambd": 0.1, "t0": 9, "lr_decay": 0.0,
    "momentum_decay": 0.1, "step_sizes": (1e-4, 1.0),
}  # fmt: skip


@every_class
def test_no_changed_value_compiles_anything(configuration: Configuration) -> None:
    optimizer = configuration.ours(new_parameters())
    follow(optimizer, 1, 6)
    changes = {name: value for name, value in CHANGES.items() if name in optimizer.defaults}
    known = kernel._compiled.cache_info().misses
    with event.install_recorder("numba:run_pass") as compiled:
        for name, value in changes.items():
            optimizer.param_groups[0][name] = value
            follow(optimizer, 1, 2)
        optimizer.param_groups[0]["lr"] = torch.tensor(0.02)
        follow(optimizer, 1, 2)
        optimizer.add_param_group({"params": new_parameters(seed=1), "lr": 0.3})
        follow(optimizer, 1, 6)
        other = configuration.ours(new_parameters(), clip_norm=1.0)
        other.param_groups[0].update(changes)
        follow(other, 1, 2)
    assert not compiled.buffer
    assert kernel._compiled.cache_info().misses == known  # nothing came from the disk either


def test_a_new_rule_is_seen_to_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorder of the test above does record."""
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))

    @rule("a rule that no cache has")
    def unseen(g, x, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return x - lr * g / 3

    optimizer = optim.Descent(new_parameters(), unseen)
    with event.install_recorder("numba:run_pass") as compiled:
        follow(optimizer, 1, 1)
    assert compiled.buffer
