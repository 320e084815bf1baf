"""torch's class and ours on the same gradients: what the tests of thalweg.optim share."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from thalweg import optim
from thalweg.optim.layout import Layout

__all__ = [
    "BOTH",
    "CONFIGURATIONS",
    "KINDS",
    "ONE_EACH",
    "PRECISIONS",
    "SHAPES",
    "WHOLE",
    "Build",
    "Configuration",
    "Edit",
    "assert_close",
    "assert_same",
    "ends",
    "every_class",
    "every_configuration",
    "every_kind",
    "every_precision",
    "every_whole",
    "follow",
    "layout_of",
    "leaf",
    "make",
    "members",
    "new_parameters",
    "scalars_in",
    "set_gradients",
    "without_bfloat16",
]  # fmt: skip

SHAPES = ((3,), (17, 5), (1,), (), (0,), (4, 3, 2, 2), (33,))
MATRICES = ((3, 2), (17, 5), (1, 4), (6, 6), (2, 9), (4, 3), (33, 1))
# torch's Adafactor divides by the number of elements.
SHAPES_OF = {"Muon": MATRICES, "Adafactor": (*SHAPES[:4], (2, 1), *SHAPES[5:])}
Build = Callable[..., Optimizer]
BOTH = {"thalweg": optim, "torch": torch.optim}


@dataclass(frozen=True, eq=False)
class Configuration:
    """A class of torch.optim and the options that it is made with."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.options.items())})"

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of parameters that the class takes."""
        return SHAPES_OF.get(self.name, SHAPES)

    def theirs(self, params: Any, **more: Any) -> Optimizer:
        made: Optimizer = getattr(torch.optim, self.name)(params, **{**self.options, **more})
        return made

    def ours(self, params: Any, **more: Any) -> Optimizer:
        made: Optimizer = getattr(optim, self.name)(params, **{**self.options, **more})
        return made


DECAY = {"weight_decay": 0.1}
ADAM = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3} | DECAY
RMS = {"lr": 0.02, "alpha": 0.9, "eps": 1e-3} | DECAY

# The first of each class stands for it where a test needs no more than one.
CONFIGURATIONS = tuple(
    Configuration(name, options)
    for name, options in (
        ("SGD", {"lr": 0.05, "momentum": 0.8} | DECAY),
        ("SGD", {"lr": 0.05, "maximize": True} | DECAY),
        ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True} | DECAY),
        ("SGD", {"lr": 0.05, "momentum": 0.8, "dampening": 0.4} | DECAY),
        ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "initial_accumulator_value": 0.1} | DECAY),
        ("Adagrad", {"lr": 0.1, "eps": 0.1, "maximize": True} | DECAY),
        ("RMSprop", RMS),
        ("RMSprop", RMS | {"centered": True, "maximize": True}),
        ("RMSprop", RMS | {"momentum": 0.7}),
        ("RMSprop", RMS | {"momentum": 0.7, "centered": True}),
        ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-3} | DECAY),
        ("Adadelta", {"maximize": True} | DECAY),
        ("Adam", ADAM),
        ("Adam", ADAM | {"amsgrad": True, "maximize": True}),
        ("Adam", ADAM | {"decoupled_weight_decay": True}),
        ("Adam", ADAM | {"betas": (0.0, 0.9)}),
        ("AdamW", ADAM),
        ("AdamW", ADAM | {"amsgrad": True, "maximize": True}),
        ("Adamax", ADAM),
        ("Adamax", ADAM | {"maximize": True}),
        ("NAdam", ADAM | {"momentum_decay": 0.05}),
        ("NAdam", ADAM | {"decoupled_weight_decay": True, "maximize": True}),
        ("RAdam", ADAM),
        ("RAdam", ADAM | {"decoupled_weight_decay": True, "maximize": True}),
        ("RAdam", ADAM | {"betas": (0.8, 0.6)}),
        ("ASGD", {"lr": 0.05, "lambd": 0.01, "alpha": 0.6, "t0": 3} | DECAY),
        ("ASGD", {"lr": 0.05, "maximize": True} | DECAY),
        ("Rprop", {"lr": 0.05, "etas": (0.4, 1.3), "step_sizes": (1e-3, 0.2)}),
        ("Rprop", {"maximize": True}),
    )
)
ONE_EACH = tuple({c.name: c for c in reversed(CONFIGURATIONS)}.values())[::-1]
# They look at whole tensors: at matrices alone, or at sums.
MATCHED = {"nesterov": False, "adjust_lr_fn": "match_rms_adamw"}
WHOLE = (
    Configuration("Muon", {"lr": 0.05, "momentum": 0.8}),
    Configuration("Adafactor", {"lr": 0.05} | DECAY),
    Configuration("Muon", {"lr": 0.05, "weight_decay": 0.3} | MATCHED),
    Configuration("Adafactor", {"lr": 0.1, "beta2_decay": -1.0, "eps": (1e-2, 0.1), "d": 1.5}),
)
every_whole = pytest.mark.parametrize("configuration", WHOLE, ids=lambda c: c.id)
every_configuration = pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: c.id)
PRECISIONS = ((torch.float64, 1e-12), (torch.float32, 2e-5))
every_precision = pytest.mark.parametrize(
    ("dtype", "tolerance"), PRECISIONS, ids=["float64", "float32"]
)
every_class = pytest.mark.parametrize("configuration", ONE_EACH, ids=lambda c: c.name)
# One for each kind of state: elements (SGD), a count too (Adam), numbers (NAdam, ASGD), own rates.
KINDS = tuple(c for c in ONE_EACH if c.name in {"SGD", "Adam", "NAdam", "ASGD", "Rprop"})
every_kind = pytest.mark.parametrize("configuration", KINDS, ids=lambda c: c.name)


@contextmanager
def scalars_in(dtype: torch.dtype) -> Iterator[None]:
    """Let torch keep its own scalars (step sizes, products) in that format."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def without_bfloat16() -> Iterator[None]:
    """Let torch's Muon orthogonalize in the format of its momentum, as ours does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "bfloat16", Tensor.clone)
        yield


def new_parameters(
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    shapes: Iterable[tuple[int, ...]] | None = None,
) -> list[Tensor]:
    """Return parameters of all shapes, away from zero."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes or SHAPES
    ]
    return [(x + x.sign()).to(dtype).requires_grad_() for x in drawn]


def set_gradients(parameters: Iterable[Tensor], t: int) -> None:
    """Give each parameter the gradient of step t: some elements are 0, each fifth is missing."""
    for index, p in enumerate(parameters):
        missing = (t + index) % 5 == 0
        p.grad = None if missing else drawn(p.shape, t, index).to(p.device, p.dtype, copy=True)


def step_in_float32(ours: Optimizer, theirs: Optimizer, t: int) -> None:
    """Take step t of both, theirs with our rounded gradients in float32."""
    set_gradients(members(ours), t)
    for p, like in zip(members(ours), members(theirs), strict=True):
        like.grad = None if p.grad is None else p.grad.float()
    ours.step()
    theirs.step()


@cache
def drawn(shape: torch.Size, t: int, index: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * t + index)
    numbers = torch.randn(shape, dtype=torch.float64, generator=generator)
    numbers[numbers > 2] = 0.0
    return numbers


def members(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def follow(optimizer: Optimizer, first: int, last: int) -> None:
    """Take the steps first, ..., last."""
    for t in range(first, last + 1):
        set_gradients(members(optimizer), t)
        optimizer.step()


def layout_of(optimizer: Any) -> Layout:
    """Return who steps which tensor, as it was laid out."""
    found: Layout = optimizer._stepper._layout
    return found


def assert_same(ours: Optimizer, theirs: Optimizer, tolerance: float) -> None:
    """Compare parameters, and what a checkpoint would hold, names and formats included."""
    for p, like in zip(members(ours), members(theirs), strict=True):
        assert_close(p.detach(), like.detach(), tolerance)
        assert p.stride() == like.stride()
    packed, wanted = ours.state_dict(), theirs.state_dict()
    assert packed["param_groups"] == wanted["param_groups"]
    assert packed["state"].keys() == wanted["state"].keys()
    for number, expected in wanted["state"].items():
        assert set(packed["state"][number]) == set(expected)
        for key, value in expected.items():
            if key not in idle(theirs):
                assert_close(packed["state"][number][key], value, tolerance)


def idle(optimizer: Optimizer) -> set[str]:
    """Return the state of which no value counts: the first moment where its beta is 0."""
    return {"exp_avg"} if optimizer.defaults.get("betas", (1,))[0] == 0 else set()


def assert_close(value: Any, wanted: Any, tolerance: float) -> None:
    torch.testing.assert_close(
        value,
        wanted,
        rtol=tolerance,
        atol=tolerance,
        equal_nan=True,
        check_dtype=value.ndim > 0,  # torch loads single numbers in the parameter's dtype
    )


Edit = Callable[[dict[str, Any], int], None]


def leaf(values: Tensor) -> Tensor:
    return values.clone().requires_grad_()


def ends(library: str, configuration: Configuration, steps: int, edit: Edit) -> list[list[float]]:
    """Return where a parameter is after each step, the group edited after each."""
    p = leaf(torch.tensor([1.0, -2.0]))
    optimizer = make(library, configuration, [p])
    path = []
    for t in range(1, steps + 1):
        p.grad = torch.tensor([1.0, -0.5]) / t
        optimizer.step()
        path.append(p.tolist())
        edit(optimizer.param_groups[0], t)
    return path


def make(
    library: str, configuration: Configuration, params: list[Tensor], **more: Any
) -> Optimizer:
    made = configuration.ours if library == "thalweg" else configuration.theirs
    return made(params, **more)
