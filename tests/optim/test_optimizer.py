"""What surrounds a step: signatures, hooks, schedulers, sparse gradients, refusals, as torch's."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer, lr_scheduler
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from optim_pairs import (
    CONFIGURATIONS,
    Build,
    Configuration,
    assert_same,
    every_class,
    every_configuration,
    follow,
    leaf,
    members,
    new_parameters,
    scalars_in,
    set_gradients,
)
from thalweg import optim


def half(_: int) -> float:
    return 0.5


def falling(epoch: int) -> float:
    return 1 / (1 + epoch)


SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, falling),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, half),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 5]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 4),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.2, total_iters=6),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 8),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 8, 2.0),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
        o, 0.1, total_steps=20, cycle_momentum=has_momentum(o)
    ),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(
        o, 0.01, 0.1, step_size_up=3, cycle_momentum=has_momentum(o)
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, 4), lr_scheduler.ExponentialLR(o, 0.8)], o
    ),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.StepLR(o, 2)], [3]
    ),
}


def has_momentum(optimizer: Optimizer) -> bool:
    return isinstance(optimizer, torch.optim.SGD) or "betas" in optimizer.defaults


def test_every_scheduler_of_torch_is_in_the_table() -> None:
    assert set(SCHEDULERS) == set(lr_scheduler.__all__) - {"LRScheduler"}


@every_class
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_drives_both_alike(name: str, configuration: Configuration) -> None:
    ended, rates = [], set()
    with scalars_in(torch.float64):
        for build in (configuration.ours, configuration.theirs):
            optimizer = build(new_parameters())
            scheduler = SCHEDULERS[name](optimizer)
            for t in range(1, 13):
                follow(optimizer, t, t)
                scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
                rates.add(optimizer.param_groups[0]["lr"])
            ended.append(optimizer)
    assert len(rates) > 1
    assert_same(*ended, 1e-11)


@every_class
def test_the_signature_is_torchs_with_names_added(configuration: Configuration) -> None:
    ours, theirs = (
        list(inspect.signature(getattr(module, configuration.name)).parameters.values())
        for module in (optim, torch.optim)
    )
    assert ours[: len(theirs)] == theirs
    added = ours[len(theirs) :]
    assert {"clip_norm", "cautious", "nonfinite"} <= {p.name for p in added}
    assert {p.kind for p in added} == {inspect.Parameter.KEYWORD_ONLY}


@every_configuration
def test_a_class_shows_itself_as_torchs_does(configuration: Configuration) -> None:
    ours, theirs = configuration.ours(new_parameters()), configuration.theirs(new_parameters())
    assert repr(ours) == repr(theirs)
    assert ours.defaults == theirs.defaults
    assert isinstance(ours, type(theirs))


@every_class
def test_hooks_run_when_torchs_do(configuration: Configuration) -> None:
    logs = [hooked(build) for build in (configuration.ours, configuration.theirs)]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 2 * 4 + 2 + 2


def hooked(build: Build) -> list[str]:
    """Take two steps, save and load with a hook of each kind; return who was called."""
    log: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def hook(optimizer: Optimizer, *rest: Any) -> None:
            values = [p.detach().sum().item() for p in members(optimizer)[:2]]
            log.append(f"{name} {[round(v, 7) for v in values]} {[type(r) for r in rest]}")

        return hook

    optimizer = build(new_parameters())
    handles = [
        register_optimizer_step_pre_hook(note("before any")),
        register_optimizer_step_post_hook(note("after any")),
        optimizer.register_step_pre_hook(note("before")),
        optimizer.register_step_post_hook(note("after")),
        optimizer.register_state_dict_pre_hook(note("before saving")),
        optimizer.register_state_dict_post_hook(note("after saving")),
        optimizer.register_load_state_dict_pre_hook(note("before loading")),
        optimizer.register_load_state_dict_post_hook(note("after loading")),
    ]
    follow(optimizer, 1, 2)
    optimizer.load_state_dict(optimizer.state_dict())
    for handle in handles:
        handle.remove()
    follow(optimizer, 3, 3)
    return log


def test_hooks_run_once_around_a_step_that_extends_ours() -> None:
    class Extended(optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    optim.SGD(new_parameters()).step()  # by now torch would have wrapped its class too
    log = hooked(Extended)
    assert len(log) == 2 * 4 + 2 + 2
    assert [line.split()[0] for line in log[:4]] == ["before", "before", "after", "after"]


def test_a_hook_may_change_the_arguments_of_a_step() -> None:
    returned = []
    for module in (optim, torch.optim):
        optimizer = module.Adam(new_parameters())
        optimizer.register_step_pre_hook(lambda o, *_: ((o, lambda: 7.0), {}))
        returned.append([optimizer.step(), optimizer.step(closure=lambda: 8.0)])
        optimizer.register_step_pre_hook(lambda *_: "else")
        with pytest.raises(RuntimeError, match=r"must return None or a tuple of \(new_args"):
            optimizer.step()
    assert returned[0] == returned[1] == [7.0, 7.0]


def test_hooks_may_make_anything_of_a_state() -> None:
    optimizer = optim.Adam(new_parameters(), betas=(0.0, 0.9), state_dtype=torch.float32)
    follow(optimizer, 1, 2)
    optimizer.register_state_dict_post_hook(lambda _, packed: {"wrapped": packed})
    optimizer.register_load_state_dict_pre_hook(lambda _, given: given["wrapped"])

    def add(o: Optimizer) -> None:
        for state in o.state.values():
            state["more"] = 1

    optimizer.register_load_state_dict_post_hook(add)
    packed = optimizer.state_dict()
    assert "exp_avg" in packed["wrapped"]["state"][0]
    optimizer.load_state_dict(packed)
    assert {state["more"] for state in optimizer.state.values()} == {1}
    follow(optimizer, 3, 4)


@every_class
def test_the_profiler_sees_a_step_under_torchs_name(configuration: Configuration) -> None:
    seen = []
    for build in (configuration.ours, configuration.theirs):
        optimizer = build(new_parameters())
        with torch.profiler.profile() as profile:
            follow(optimizer, 1, 2)
        events = {e.key: e.count for e in profile.key_averages()}
        seen.append({key: count for key, count in events.items() if key.startswith("Optimizer")})
    assert seen[0] == seen[1] == {f"Optimizer.step#{configuration.name}.step": 2}


@every_class
def test_sparse_gradients_are_stepped_or_refused_as_torch_does(
    configuration: Configuration,
) -> None:
    options = {"momentum": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0}
    given = {k: options.get(k, v) for k, v in configuration.options.items()}
    plain = Configuration(configuration.name, given)
    ended = [sparsely(plain.ours), sparsely(plain.theirs)]
    if configuration.name in {"SGD", "Adagrad"}:
        assert_same(ended[0], ended[1], 1e-6)
    else:
        assert isinstance(ended[0], str)
        assert ended[0] == ended[1]


@pytest.mark.parametrize("options", [{"dampening": 0.4}, {}, {"nesterov": True}], ids=str)
def test_torch_makes_the_state_of_sparse_gradients(options: dict[str, Any]) -> None:
    """It is sparse too; there is a dense step without any gradient for it."""
    momentum = Configuration("SGD", {"lr": 0.05, "momentum": 0.8, **options})
    assert_same(sparsely(momentum.ours), sparsely(momentum.theirs), 1e-6)


def test_gradients_that_are_sparse_are_refused_with_options_of_ours() -> None:
    for options in ({"clip_norm": 1.0}, {"nonfinite": "skip"}, {"cautious": True}):
        made = sparsely(Configuration("SGD", {"lr": 0.05, **options}).ours)
        assert made.startswith(
            "SGD has no step of its own with sparse gradients, and torch's has no "
            f"{next(iter(options))}; sparse=False in an embedding makes them dense"
        )


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
@pytest.mark.parametrize("scale", [1024.0, torch.inf])  # that overflows
def test_sparse_gradients_are_unscaled_as_torch_does(name: str, scale: float) -> None:
    both = Configuration(name, {"lr": 0.05})
    ended = []
    for build in (both.ours, both.theirs):
        scaler = GradScaler("cpu", init_scale=scale)
        ended.append((sparsely(build, scaler), scaler.state_dict()))
    assert_same(ended[0][0], ended[1][0], 1e-6)
    assert ended[0][1] == ended[1][1]


def sparsely(build: Build, scaler: GradScaler | None = None) -> Any:
    """Train an embedding with sparse gradients between two dense steps; return what came out."""
    scaler = scaler or GradScaler("cpu", enabled=False)
    torch.manual_seed(0)
    table, dense = nn.Embedding(10, 4, sparse=True), torch.ones(5, requires_grad=True)
    optimizer = build([*table.parameters(), dense])
    steps: list[Any] = []
    optimizer.register_step_pre_hook(lambda *given: steps.append(given))
    for t in range(1, 6):
        optimizer.zero_grad()
        scaler.scale(dense.square().sum()).backward()
        if t % 2:
            scaler.scale(table(torch.tensor([t, 3, 3])).sin().sum()).backward()
        try:
            with torch.sparse.check_sparse_tensor_invariants():
                scaler.step(optimizer)
                scaler.update()
        except RuntimeError as refusal:
            return str(refusal)
        assert scaler.is_enabled() or len(steps) == t
    return optimizer


@pytest.mark.parametrize("given", [torch.float64, torch.bfloat16], ids=str)
@every_class
def test_a_gradient_of_another_format_is_taken_in_the_parameters(
    given: torch.dtype, configuration: Configuration
) -> None:
    ours, theirs = (
        build(new_parameters(torch.float32)) for build in (configuration.ours, configuration.theirs)
    )
    for p in members(ours):
        p.grad_dtype = None
    for t in range(1, 6):
        set_gradients(members(ours), t)
        for p, like in zip(members(ours), members(theirs), strict=True):
            p.grad = None if p.grad is None else p.grad.to(given)
            like.grad = None if p.grad is None else p.grad.float()
        ours.step()
        theirs.step()
    assert_same(ours, theirs, 1e-5)


@every_class
def test_a_gradient_not_yet_conjugated_is_taken_for_what_it_is(
    configuration: Configuration,
) -> None:
    """torch's own classes, but for SGD, refuse it; it is theirs once resolved."""
    ours, theirs = (
        build(new_parameters(torch.complex128))
        for build in (configuration.ours, configuration.theirs)
    )
    for t in range(1, 6):
        set_gradients(members(ours), t)
        for p, like in zip(members(ours), members(theirs), strict=True):
            p.grad = None if p.grad is None else (p.grad * (0.3 - 0.8j)).conj()
            like.grad = None if p.grad is None else p.grad.resolve_conj()
        ours.step()
        theirs.step()
    assert_same(ours, theirs, 1e-6)


@every_class
def test_a_parameter_that_overlaps_itself_is_refused(configuration: Configuration) -> None:
    for build in (configuration.ours, configuration.theirs):
        p = torch.ones(1).expand(5).requires_grad_()
        optimizer = build([p])
        p.grad = torch.ones(5)
        with pytest.raises(RuntimeError, match="refers to a single memory location"):
            optimizer.step()


@pytest.mark.parametrize(
    "configuration",
    [c for c in CONFIGURATIONS if c.name in {"Adagrad", "Adam", "AdamW"}],
    ids=lambda c: c.id,
)
def test_fused_classes_are_ours_all_the_same(configuration: Configuration) -> None:
    ours, theirs = (
        build(new_parameters(torch.float32), fused=True)
        for build in (configuration.ours, configuration.theirs)
    )
    follow(ours, 1, 8)
    follow(theirs, 1, 8)
    assert_same(ours, theirs, 2e-5)


@every_class
def test_a_differentiable_step_has_torchs_derivative(configuration: Configuration) -> None:
    slopes = []
    for build in (configuration.ours, configuration.theirs):
        start = torch.linspace(1.0, 2.0, 5, dtype=torch.float64, requires_grad=True)
        given = torch.linspace(-1.0, 1.5, 5, dtype=torch.float64, requires_grad=True)
        p = start.clone()
        optimizer = build([p], differentiable=True)
        p.grad = given * given
        optimizer.step()
        p.square().sum().backward()
        assert start.grad is not None
        slopes.append((start.grad.tolist(), given.grad is not None and given.grad.tolist()))
    assert slopes[0] == slopes[1]


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # torch's own, of torch
def test_a_step_may_be_compiled_by_torch() -> None:
    ours, theirs = (
        module.Adam([torch.ones(3, requires_grad=True)], lr=0.02) for module in (optim, torch.optim)
    )
    step = torch.compile(ours.step, backend="eager")
    for t in (1, 2):
        for optimizer in (ours, theirs):
            set_gradients(members(optimizer), t)
        step()
        theirs.step()
    assert_same(ours, theirs, 1e-6)


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # torch's own, of torch
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9}),
        ("NAdam", {"clip_norm": 0.1}),
        ("Lion", {}),
        ("Descent", {"rule": "adabelief", "cautious": True}),
    ],
)
def test_a_whole_training_step_may_be_compiled_by_torch(name: str, options: dict[str, Any]) -> None:
    """The step is taken outside torch's graph, with its hooks."""
    ended = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).double()
        optimizer = getattr(optim, name)(model.parameters(), lr=0.02, **options)
        steps: list[Any] = []
        optimizer.register_step_post_hook(lambda *given, log=steps: log.append(given))

        def training_step(x: Tensor, model: Any = model, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

        take = torch.compile(training_step, backend="eager") if compiled else training_step
        for t in range(1, 6):
            take(torch.arange(10, dtype=torch.float64).reshape(2, 5) / t)
        assert len(steps) == 5
        ended.append(optimizer)
    assert_same(ended[1], ended[0], 1e-12)


@pytest.mark.parametrize("name", ["SGD", "Lion"])
def test_a_group_that_is_no_group_is_refused_as_by_torch(name: str) -> None:
    optimizer = getattr(optim, name)([leaf(torch.ones(1))], lr=0.1)
    with pytest.raises(TypeError, match="param_group must be a dict, but got <class 'list'>"):
        optimizer.add_param_group([1])


@pytest.mark.parametrize(
    "build",
    [
        optim.SGD, optim.Adam, optim.Lion, optim.Yogi, optim.AdaBelief,
        lambda params, lr: optim.Descent(params, "adam", lr=lr),
    ],
)  # fmt: skip
@pytest.mark.parametrize("params", [None, [], 1])
def test_options_are_refused_before_parameters(build: Any, params: Any) -> None:
    with pytest.raises(ValueError, match=r"Invalid learning rate: -1.0|lr must be > 0, got -1.0"):
        build(params, lr=-1.0)


def test_a_subclass_shows_its_own_arguments() -> None:
    class Scaled(optim.Adam):
        def __init__(self, model: nn.Module, scale: float) -> None:
            super().__init__(model.parameters(), lr=scale)

    class Same(optim.Adam):
        pass

    assert list(inspect.signature(Scaled).parameters) == ["model", "scale"]
    assert "clip_norm" in inspect.signature(Same).parameters
    assert "betas" in inspect.signature(Same).parameters
